// Balancer: which endpoint the next try goes to: round robin (smooth, weighted) or the less busy of two random ones.
// Each worker's link owns one; it reads the endpoints' shared state and keeps only its own place in the round.
// It never acquires anything: the caller counts the request on the endpoint that was picked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "proxy/base/random.h"
#include "proxy/base/time.h"
#include "proxy/chain/link.h"
#include "proxy/upstream/endpoint.h"

namespace weir {

class Balancer {
 public:
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  struct Pick {
    std::size_t index = kNone;  // into the set
    bool panic = false;         // too few were usable: all were used
  };

  void configure(Balance balance, double panic_below) {
    balance_ = balance;
    panic_below_ = panic_below;
  }
  void reset(const EndpointSet& set, Random& random);  // a new set

  // The ejected are skipped, those in `context.tried` avoided while another is usable. `any_ejected` false promises that no endpoint
  // is ejected at `now`, which saves looking.
  Pick pick(const EndpointSet& set, const PickContext& context, bool any_ejected, MonotonicTime now, Random& random);

 private:
  // Who may be picked: everybody (the usual case), or those that `eligible_` marks.
  struct Candidates {
    bool all = true;
    std::size_t count = 0;
    bool panic = false;
  };
  Candidates find_candidates(const EndpointSet& set, const PickContext& context, bool any_ejected, MonotonicTime now);
  bool may(const Candidates& candidates, std::size_t index) const { return candidates.all || eligible_[index] != 0; }
  std::size_t round_robin(const EndpointSet& set, const Candidates& candidates);
  std::size_t least_request(const EndpointSet& set, const Candidates& candidates, Random& random);
  std::size_t draw(const EndpointSet& set, const Candidates& candidates, std::size_t except, Random& random) const;

  Balance balance_ = Balance::least_request;
  double panic_below_ = 0.5;
  std::size_t cursor_ = 0;                // round robin, equal weights
  std::vector<std::int64_t> current_;     // smooth weighted round robin
  std::vector<std::uint8_t> eligible_;    // scratch, sized by reset()
};

}  // namespace weir
