// Conversations: the catalogue of what clients and upstreams say to each other in the cut tests, byte for byte.
// Each bench (server codec, client codec, relay, whole proxy) plays the same ones; a case is a conversation and one cut in it.
// Nothing here runs: see peers.h.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/time.h"

namespace weir::test {

struct Reply {
  int status = 200;
  std::string body;
  std::string trailers;  // as WireMessage has them
  bool chunked = false;
  std::string bytes;      // all of it, 1xx included
  std::size_t first = 0;  // so many bytes at once, the rest after `gap`; 0: all at once
  Duration gap{0};
  bool at_head = false;      // does not wait for the request's body
  bool fin = false;          // closes after it
  bool until_close = false;  // which ends it: an early FIN cannot be told from the end (RFC 9112 6.3)
  bool reset = false;        // resets after it
  bool stops = false;        // only the first part comes
};

struct Ask {
  std::string method;
  std::string target;
  std::string body;
  std::string trailers;
  std::string bytes;
  std::vector<Reply> replies;  // for the first try, the second, ...; the last for all further ones
  bool chunked = false;
};

// What the client says, and after what.
struct Step {
  enum class When : unsigned char { at_once, informational, heads, answers };
  When when = When::at_once;
  std::size_t count = 0;  // of such as came
  std::string bytes;
};

struct Conversation {
  std::string name;
  std::vector<Ask> asks;
  std::vector<Step> steps;
  bool queued = false;      // whole proxy: another client's request, kBackground, holds the only permit for a while
  bool reconnects = false;  // takes a second connection to the upstream
  bool uploads = false;     // spliced: what is long goes up
  std::size_t stride = 1;   // of the offsets that are worth a cut
  std::vector<std::string> methods() const;
  std::size_t client_bytes() const;
  std::size_t end_of_ask(std::size_t index) const;  // in the client's bytes
};

inline constexpr const char* kBackground = "/background";
const Reply& background_reply();

const std::vector<Conversation>& conversations();
const std::vector<Conversation>& long_conversations();  // with bodies that are long enough to be spliced

}  // namespace weir::test
