#include "proxy/upstream/happy_eyeballs.h"

namespace weir {
namespace {

HappyEyeballs::Family other(HappyEyeballs::Family family) {
  using Family = HappyEyeballs::Family;
  if (family == Family::ipv4) return Family::ipv6;
  return family == Family::ipv6 ? Family::ipv4 : Family::none;
}

}  // namespace

std::size_t HappyEyeballs::pick_other(const EndpointSet& set, std::size_t first, const PickContext& context, MonotonicTime now,
                                      Random& random) {
  const Family wanted = other(set.slots[first].endpoint->address.family());
  if (wanted == Family::none) return kNone;
  std::size_t picked = kNone;
  for (const bool again : {false, true}) {  // those that were tried come second
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < set.size(); ++i) {
      const Endpoint& endpoint = *set.slots[i].endpoint;
      if (endpoint.address.family() != wanted || !endpoint.usable(now) || context.was_tried(endpoint.id) != again) continue;
      sum += set.slots[i].weight;
      if (random.below(sum) < set.slots[i].weight) picked = i;  // so that each is kept with its share of the sum
    }
    if (picked != kNone) break;
  }
  return picked;
}

std::size_t HappyEyeballs::first(const EndpointSet& set, std::size_t picked, const PickContext& context, MonotonicTime now,
                                 Random& random) const {
  const Family family = set.slots[picked].endpoint->address.family();
  if (!distrusted(family, now) || distrusted(other(family), now)) return picked;
  const std::size_t instead = pick_other(set, picked, context, now, random);
  return instead == kNone ? picked : instead;
}

}  // namespace weir
