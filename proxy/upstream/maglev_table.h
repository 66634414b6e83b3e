// make_maglev: the look-up table of Maglev (Eisenbud et al. 2016): endpoints take turns, by weight, to claim the next free place of an order
// of their own. Shares are nearly exact; when an endpoint leaves, a few places beside its own move too.
// A pure function; the endpoint set keeps what it made.
// It never grows: of more than kMaglevPlaces endpoints, those beyond get no place.
#pragma once

#include <span>

#include "proxy/upstream/hash_circle.h"

namespace weir {

inline constexpr std::uint32_t kMaglevPlaces = 65537;  // prime: any step visits all places

HashCircle make_maglev(std::span<const EndpointSlot> slots);

}  // namespace weir
