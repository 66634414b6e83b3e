#include "proxy/upstream/balancer.h"

#include <algorithm>

namespace weir {
namespace {

bool tried(const PickContext& context, std::uint32_t id) {
  const auto* end = context.tried + context.tried_count;
  return std::find(context.tried, end, id) != end;
}

}  // namespace

void Balancer::reset(const EndpointSet& set, Random& random) {
  eligible_.assign(set.size(), 0);
  current_.assign(set.size(), 0);
  if (set.size() == 0) return;
  // Workers begin at different places, or they would all send their first requests to the same endpoint.
  cursor_ = random.below(set.size());
  if (set.uniform) return;
  Candidates everybody;
  everybody.count = set.size();
  for (std::uint64_t i = random.below(set.size()); i > 0; --i) round_robin(set, everybody);
}

Balancer::Candidates Balancer::find_candidates(const EndpointSet& set, const PickContext& context, bool any_ejected,
                                               MonotonicTime now) {
  Candidates found;
  found.count = set.size();
  if (!any_ejected && context.tried_count == 0) return found;

  std::size_t usable = 0;
  std::size_t fresh = 0;  // usable and not tried before
  for (std::size_t i = 0; i < set.size(); ++i) {
    const Endpoint& endpoint = *set.slots[i].endpoint;
    const bool is_usable = !any_ejected || !endpoint.ejected(now);
    const bool is_tried = tried(context, endpoint.id);
    eligible_[i] = static_cast<std::uint8_t>((is_usable ? 1 : 0) | (is_tried ? 0 : 2));
    usable += is_usable ? 1 : 0;
    fresh += is_usable && !is_tried ? 1 : 0;
  }
  found.panic = usable == 0 || static_cast<double>(usable) < panic_below_ * static_cast<double>(set.size());
  if (found.panic) {
    fresh = 0;
    for (std::size_t i = 0; i < set.size(); ++i) {
      eligible_[i] |= 1;
      fresh += eligible_[i] == 3 ? 1 : 0;
    }
    usable = set.size();
  }
  const std::uint8_t wanted = fresh > 0 ? 3 : 1;
  for (std::uint8_t& mark : eligible_) mark = (mark & wanted) == wanted ? 1 : 0;
  found.count = fresh > 0 ? fresh : usable;
  found.all = found.count == set.size();
  return found;
}

Balancer::Pick Balancer::pick(const EndpointSet& set, const PickContext& context, bool any_ejected, MonotonicTime now,
                              Random& random) {
  if (set.size() == 0) return {};
  if (set.size() == 1) return {0, any_ejected && set.slots[0].endpoint->ejected(now)};
  const Candidates candidates = find_candidates(set, context, any_ejected, now);
  const std::size_t index =
      balance_ == Balance::round_robin ? round_robin(set, candidates) : least_request(set, candidates, random);
  return {index, candidates.panic};
}

std::size_t Balancer::round_robin(const EndpointSet& set, const Candidates& candidates) {
  if (set.uniform) {
    do {
      cursor_ = cursor_ + 1 >= set.size() ? 0 : cursor_ + 1;
    } while (!may(candidates, cursor_));
    return cursor_;
  }
  // Smooth weighted round robin: everybody gains its weight, the richest is picked and pays the sum.
  std::size_t best = kNone;
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < set.size(); ++i) {
    if (!may(candidates, i)) continue;
    current_[i] += set.slots[i].weight;
    sum += set.slots[i].weight;
    if (best == kNone || current_[i] > current_[best]) best = i;
  }
  current_[best] -= sum;
  return best;
}

// Both choices are drawn by weight and compared by load per weight, the first one winning ties: so an idle service is used
// exactly in proportion to the weights, and a busy one evens out the load per weight. (Drawing evenly and comparing
// weight / (active + 1) would send an idle service's whole traffic to the heavier of two endpoints.)
std::size_t Balancer::least_request(const EndpointSet& set, const Candidates& candidates, Random& random) {
  const std::size_t first = draw(set, candidates, kNone, random);
  if (candidates.count == 1) return first;
  const std::size_t second = draw(set, candidates, first, random);
  const auto load = [&](std::size_t i) {
    return static_cast<std::uint64_t>(set.slots[i].endpoint->active.load(std::memory_order_relaxed));
  };
  return load(second) * set.slots[first].weight < load(first) * set.slots[second].weight ? second : first;
}

// By weight among the candidates but `except`, which leaves at least one.
std::size_t Balancer::draw(const EndpointSet& set, const Candidates& candidates, std::size_t except, Random& random) const {
  constexpr int kTries = 4;
  for (int i = 0; i < kTries; ++i) {  // as a rule nearly everybody is a candidate
    std::size_t index = 0;
    if (set.uniform) {
      index = random.below(set.size());
    } else {
      const auto& sums = set.weight_up_to;
      const std::uint64_t point = random.below(set.total_weight());
      index = static_cast<std::size_t>(std::upper_bound(sums.begin(), sums.end(), point) - sums.begin());
    }
    if (index != except && may(candidates, index)) return index;
  }
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < set.size(); ++i) {
    if (i != except && may(candidates, i)) sum += set.slots[i].weight;
  }
  std::uint64_t point = random.below(sum);
  for (std::size_t i = 0; i < set.size(); ++i) {
    if (i == except || !may(candidates, i)) continue;
    if (point < set.slots[i].weight) return i;
    point -= set.slots[i].weight;
  }
  return except;  // not reached: weights are at least 1
}

}  // namespace weir
