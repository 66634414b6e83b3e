// Ledger: what clients and upstreams saw of each request, told by themselves, for the checks to compare with what the proxy says.
// A run owns one; its actors write into it. What must never happen, whatever the configuration, they report at once.
// It never asks the proxy.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/swarm/plan.h"

namespace weir::test {

// A request, and its one answer.
struct RequestFacts {
  const RequestPlan* plan = nullptr;
  const ClientPlan* client = nullptr;
  // The client's side.
  bool sent = false;  // its head was written, or is on its way in the client's buffer
  bool sent_whole = false;
  MonotonicTime sent_at{};
  MonotonicTime head_at{};  // of the answer
  int status = 0;           // of the final head; 0: none came
  bool whole = false;       // the answer came to its end
  bool of_upstream = false;
  bool alone = false;      // nothing else was under way on the connection when it was sent, and nothing held the client up
  bool cancelled = false;  // HTTP/2: by a RST_STREAM of its client's ...
  bool refused = false;    // ... or refused by the proxy, which says that nobody saw it
  bool after_end = false;  // sent on a connection on which the proxy had said, or shown, that it is over
  // The upstreams' side.
  int heads_seen = 0;
  int wholes_seen = 0;
  MonotonicTime last_seen_at{};
};

struct ClientFacts {
  bool connected = false;
  bool refused = false;
  bool fin = false;
  bool reset = false;
  bool left = false;                   // it went by itself, before everything was answered
  std::size_t last_answer = SIZE_MAX;  // the first that said that the connection closes after it, by place among the plan's requests
};

class Ledger {
 public:
  explicit Ledger(bool keep_trail) : keep_trail_(keep_trail) {}

  RequestFacts& request(std::uint32_t id) { return requests[id]; }
  void broken(const std::string& what) { problems.push_back(what); }
  bool keeps_trail() const { return keep_trail_; }
  void trail(MonotonicTime at, const std::string& line);

  std::map<std::uint32_t, RequestFacts> requests;  // by id; garbage is not here
  std::vector<ClientFacts> clients;                // as in the plan
  std::vector<std::string> problems;
  std::vector<std::string> lines;
  std::uint64_t garbage = 0;  // sent in place of requests
  std::uint64_t answers = 0;  // final heads that clients saw

 private:
  bool keep_trail_;
};

}  // namespace weir::test
