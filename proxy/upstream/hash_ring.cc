#include "proxy/upstream/hash_ring.h"

#include <algorithm>

#include "proxy/base/hash.h"
#include "proxy/upstream/endpoint.h"

namespace weir {

HashCircle make_ring(std::span<const EndpointSlot> slots) {
  std::uint64_t weights = 0;
  for (const EndpointSlot& slot : slots) weights += slot.weight;
  // Only powers of two, so that a set that changes a little nearly always keeps its density; and a lower density keeps part of the points.
  int density = 0;  // points for a unit of weight: kPointsForWeight / 2^density
  while (density < 40 && ((weights * kPointsForWeight) >> density) > kMaxPoints) ++density;

  struct Point {
    std::uint64_t at;
    std::uint32_t owner;
  };
  std::vector<Point> ring;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const std::uint64_t seed = hash_text(slots[i].endpoint->text);
    const std::uint64_t count = std::max<std::uint64_t>((slots[i].weight * kPointsForWeight) >> density, 1);
    for (std::uint64_t k = 0; k < count; ++k) {
      ring.push_back({spread_bits(seed + k * 0x9e3779b97f4a7c15U), static_cast<std::uint32_t>(i)});
    }
  }
  // Points that fall together: by address, for the order of the set must not matter.
  std::sort(ring.begin(), ring.end(), [&](const Point& a, const Point& b) {
    return a.at != b.at ? a.at < b.at : slots[a.owner].endpoint->text < slots[b.owner].endpoint->text;
  });
  std::vector<std::uint32_t> owners(ring.size());
  std::vector<std::uint64_t> points(ring.size());
  for (std::size_t i = 0; i < ring.size(); ++i) {
    owners[i] = ring[i].owner;
    points[i] = ring[i].at;
  }
  return {Balance::ring_hash, std::move(owners), std::move(points)};
}

}  // namespace weir
