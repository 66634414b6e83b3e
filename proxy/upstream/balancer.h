// Balancer: which endpoint the next try goes to, in one of six ways: in turn, by chance, the better of two chosen by chance (fewer requests,
// or less to wait by peak EWMA), or by the request's hash (ring_hash, maglev) with a bound on load.
// Each worker's link owns one; it reads the endpoints' shared state and keeps only its own place in the round.
// It never acquires anything: the caller counts the request on the endpoint that was picked.
//
// Slow start. For `slow_start` after an endpoint came (back) it counts with a part of its weight: the part of that time that has passed, at
// least a tenth. It is drawn so much more seldom, and bears so much less where loads are compared. Hashing takes no part in it: who
// belongs to an endpoint does not change for a while.
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
    bool passed_full = false;   // the endpoint of the request's hash had its bound of load: another was taken
  };
  struct Options {
    Balance balance = Balance::least_request;
    double panic_below = 0.5;
    double hash_max_load = 1.25;  // of the average per weight
    Duration slow_start{0};
  };
  // What few ways of balancing look at, and cost to find out.
  struct Surroundings {
    std::uint32_t in_flight = 1;  // requests at the service, this one too: for hashing
    bool any_warming = false;     // an endpoint may be in its slow start
  };

  void configure(const Options& options) { options_ = options; }
  void reset(const EndpointSet& set, Random& random);  // a new set

  // The ejected are skipped, those in `context.tried` avoided while another is usable. `any_unusable` false promises that no endpoint
  // is ejected at `now`, which saves looking.
  Pick pick(const EndpointSet& set, const PickContext& context, bool any_unusable, MonotonicTime now, Random& random) {
    return pick(set, context, any_unusable, now, random, Surroundings{});
  }
  Pick pick(const EndpointSet& set, const PickContext& context, bool any_unusable, MonotonicTime now, Random& random,
            const Surroundings& around);

 private:
  // Who may be picked: everybody (the usual case), or those that `eligible_` marks.
  struct Candidates {
    bool all = true;
    std::size_t count = 0;
    bool panic = false;
  };
  Candidates find_candidates(const EndpointSet& set, const PickContext& context, bool any_unusable, MonotonicTime now);
  struct Round {  // one pick
    const EndpointSet& set;
    const Candidates& candidates;
    MonotonicTime now;
    bool warming;
  };
  bool may(const Candidates& candidates, std::size_t index) const { return candidates.all || eligible_[index] != 0; }
  double warmth(const Round& round, std::size_t index) const;  // the part of its weight that counts: 0.1 to 1
  std::size_t round_robin(const Round& round, Random& random);
  std::size_t least_request(const Round& round, Random& random);
  std::size_t peak_ewma(const Round& round, Random& random);
  double expected_wait(const Round& round, std::size_t index) const;
  std::size_t by_hash(const Round& round, std::uint64_t hash, std::uint32_t in_flight, bool& passed_full) const;
  std::size_t highest_by_hash(const Round& round, std::uint64_t hash) const;
  std::size_t draw(const Round& round, std::size_t except, Random& random) const;
  std::size_t draw_first(const Round& round, Random& random) const;
  bool left_cold(const Round& round, std::size_t index, Random& random) const;

  Options options_;
  std::size_t cursor_ = 0;              // round robin, equal weights
  std::vector<std::int64_t> current_;   // smooth weighted round robin
  std::vector<std::uint8_t> eligible_;  // scratch, sized by reset()
};

}  // namespace weir
