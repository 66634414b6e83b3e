#include "proxy/upstream/maglev_table.h"

#include <algorithm>
#include <limits>

#include "proxy/base/hash.h"
#include "proxy/upstream/endpoint.h"

namespace weir {

HashCircle make_maglev(std::span<const EndpointSlot> slots) {
  struct Claimant {
    std::uint64_t hash;
    std::uint32_t index;
    std::uint32_t at;    // the next place of its order
    std::uint32_t step;  // 1 to kMaglevPlaces - 1
    std::uint64_t weight;
    std::uint64_t claimed = 0;  // places so far, times the greatest weight
  };
  std::vector<Claimant> claimants;
  std::uint64_t heaviest = 1;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const std::uint64_t hash = hash_text(slots[i].endpoint->text);
    const std::uint64_t other = spread_bits(hash + 0x9e3779b97f4a7c15U);
    claimants.push_back({hash, static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(hash % kMaglevPlaces),
                         static_cast<std::uint32_t>(other % (kMaglevPlaces - 1) + 1), slots[i].weight});
    heaviest = std::max<std::uint64_t>(heaviest, slots[i].weight);
  }
  // In an order of their own: that of the set must not matter.
  std::sort(claimants.begin(), claimants.end(), [](const Claimant& a, const Claimant& b) { return a.hash < b.hash; });

  constexpr std::uint32_t kFree = std::numeric_limits<std::uint32_t>::max();
  std::vector<std::uint32_t> owners(kMaglevPlaces, kFree);
  std::uint32_t taken = 0;
  for (std::uint64_t round = 1; taken < kMaglevPlaces; ++round) {
    for (Claimant& one : claimants) {
      if ((round - 1) * one.weight < one.claimed) continue;  // the heaviest claims in every round, the others less often, all in the first
      one.claimed += heaviest;
      while (owners[one.at] != kFree) one.at = (one.at + one.step) % kMaglevPlaces;
      owners[one.at] = one.index;
      if (++taken == kMaglevPlaces) break;
    }
  }
  return {Balance::maglev, std::move(owners), {}};
}

}  // namespace weir
