#include "proxy/upstream/hash_circle.h"

#include <algorithm>

#include "proxy/upstream/hash_ring.h"
#include "proxy/upstream/maglev_table.h"

namespace weir {

std::size_t HashCircle::place_of(std::uint64_t hash) const {
  if (points_.empty()) return static_cast<std::size_t>(hash % owners_.size());
  const auto found = std::lower_bound(points_.begin(), points_.end(), hash);
  return found == points_.end() ? 0 : static_cast<std::size_t>(found - points_.begin());
}

std::shared_ptr<const HashCircle> make_hash_circle(Balance balance, std::span<const EndpointSlot> slots) {
  if (slots.empty()) return nullptr;
  if (balance == Balance::ring_hash) return std::make_shared<const HashCircle>(make_ring(slots));
  if (balance == Balance::maglev) return std::make_shared<const HashCircle>(make_maglev(slots));
  return nullptr;
}

}  // namespace weir
