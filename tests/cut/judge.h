// Judge: what must hold for what peers saw of a conversation, wherever it was cut. Pure: it reads what the peers kept.
// Each finding is a sentence; a case without findings is good.
// It knows nothing of what is between the peers: what that adds (metrics, memory) its bench checks.
#pragma once

#include <string>
#include <vector>

#include "tests/cut/peers.h"

namespace weir::test {

using Problems = std::vector<std::string>;

struct Allowed {
  bool early_fin = false;      // of the upstream: what only a close ends may be shorter
  bool uncut = false;          // nothing was: all answers are there, whole
  bool retries = false;        // the second reply follows the first; else the first is the answer
  std::vector<int> own;        // statuses of the proxy's own answers
  std::size_t tries = 1;       // of one request
  bool client_deaf = false;    // it stalls, or its network does: what does not reach it says nothing
  bool upstream_deaf = false;  // as the upstream's
};

// Finals only; `read` has what the client got.
void judge_client(const Conversation& conversation, const WireReading& read, WireEnd end, const Allowed& allowed, Problems& problems);
// `said`: bytes that the client has sent.
void judge_upstream(const Conversation& conversation, std::size_t said, const CutUpstream& upstream, const Allowed& allowed,
                    Problems& problems);
// One request as an upstream got it.
void judge_request(const Conversation& conversation, std::size_t said, const WireMessage& request, Problems& problems);

bool fits(const Ask& ask, const Reply& reply, const WireMessage& answer);  // it is that reply, or the beginning of it
bool own_answer(const WireMessage& answer);                                // the proxy made it up
std::vector<WireMessage> finals_of(const WireReading& read);

std::string joined(const Problems& problems);

}  // namespace weir::test
