// HashCircle: which endpoint a hash belongs to, and which are next when that one cannot be used; made once for an endpoint set by
// make_ring (ring_hash) or make_maglev. Immutable and shared by all workers through the set; main makes it, away from the data path.
// It depends on nothing but addresses and weights, so that all weirs agree. It never knows who is usable or full: the balancer walks on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "proxy/upstream/service_config.h"

namespace weir {

struct EndpointSlot;

class HashCircle {
 public:
  // `owners` are indices into the set, one for each place. `points`, ascending, are where the places end; without any, all places are equal.
  HashCircle(Balance kind, std::vector<std::uint32_t> owners, std::vector<std::uint64_t> points)
      : kind_(kind), owners_(std::move(owners)), points_(std::move(points)) {}

  Balance kind() const { return kind_; }
  std::size_t places() const { return owners_.size(); }
  std::size_t place_of(std::uint64_t hash) const;
  std::size_t next(std::size_t place) const { return place + 1 == owners_.size() ? 0 : place + 1; }
  std::uint32_t owner(std::size_t place) const { return owners_[place]; }

 private:
  Balance kind_;
  std::vector<std::uint32_t> owners_;
  std::vector<std::uint64_t> points_;
};

// Null for a balance that does not hash, and for an empty set.
std::shared_ptr<const HashCircle> make_hash_circle(Balance balance, std::span<const EndpointSlot> slots);

}  // namespace weir
