// make_ring: consistent hashing on a ring (Karger 1997, as ketama): each endpoint stands at points that its address gives, in number by its
// weight, and a hash belongs to the next point. When an endpoint leaves, only its own share moves; when one comes, it takes its share evenly.
// A pure function; the endpoint set keeps what it made.
// It never makes more than about kMaxPoints: large sets get fewer points each, and more uneven shares.
#pragma once

#include <span>

#include "proxy/upstream/hash_circle.h"

namespace weir {

inline constexpr std::uint64_t kPointsForWeight = 256;               // for each unit of weight: shares differ by some 6 %
inline constexpr std::uint64_t kMaxPoints = std::uint64_t{1} << 19;  // 6 MiB; beyond, each endpoint still has at least one

HashCircle make_ring(std::span<const EndpointSlot> slots);

}  // namespace weir
