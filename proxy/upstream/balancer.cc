#include "proxy/upstream/balancer.h"

#include <algorithm>
#include <cmath>

#include "proxy/base/hash.h"

namespace weir {
namespace {

constexpr double kColdest = 0.1;             // the part of its weight with which an endpoint begins its slow start
constexpr std::int64_t kWarmthUnits = 1024;  // where weights are integers
constexpr int kMostSkips = 64;               // of endpoints that are left cold: if all are, one is taken all the same
// The second of two must be better by so much: else noise, not weights, would share out an idle service's traffic, and of two endpoints
// the one that is a little faster would get it all.
constexpr double kClearlyBetter = 1.25;
constexpr std::size_t kMostPlaces = 1024;  // of a hash circle that one pick looks at

}  // namespace

void Balancer::reset(const EndpointSet& set, Random& random) {
  eligible_.assign(set.size(), 0);
  current_.assign(set.size(), 0);
  if (set.size() == 0) return;
  // Workers begin at different places, or they would all send their first requests to the same endpoint.
  cursor_ = random.below(set.size());
  if (set.uniform || options_.balance != Balance::round_robin) return;
  constexpr std::size_t kMostRounds = 64;  // each looks at all endpoints
  Candidates everybody;
  everybody.count = set.size();
  const Round round{set, everybody, MonotonicTime{}, false};
  for (std::uint64_t i = random.below(std::min(set.size(), kMostRounds)); i > 0; --i) round_robin(round, random);
}

Balancer::Candidates Balancer::find_candidates(const EndpointSet& set, const PickContext& context, bool any_unusable, MonotonicTime now) {
  Candidates found;
  found.count = set.size();
  if (!any_unusable && context.tried == nullptr) return found;

  std::size_t usable = 0;
  std::size_t fresh = 0;  // usable and not tried before
  for (std::size_t i = 0; i < set.size(); ++i) {
    const Endpoint& endpoint = *set.slots[i].endpoint;
    const bool is_usable = !any_unusable || endpoint.usable(now);
    const bool is_tried = context.was_tried(endpoint.id);
    eligible_[i] = static_cast<std::uint8_t>((is_usable ? 1 : 0) | (is_tried ? 0 : 2));
    usable += is_usable ? 1 : 0;
    fresh += is_usable && !is_tried ? 1 : 0;
  }
  found.panic = usable == 0 || static_cast<double>(usable) < options_.panic_below * static_cast<double>(set.size());
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

Balancer::Pick Balancer::pick(const EndpointSet& set, const PickContext& context, bool any_unusable, MonotonicTime now, Random& random,
                              const Surroundings& around) {
  if (set.size() == 0) return {};
  if (set.size() == 1) return {0, any_unusable && !set.slots[0].endpoint->usable(now)};
  const Candidates candidates = find_candidates(set, context, any_unusable, now);
  const Round round{set, candidates, now, around.any_warming && options_.slow_start > Duration(0)};
  Pick picked{0, candidates.panic};
  switch (options_.balance) {
    case Balance::least_request: picked.index = least_request(round, random); break;
    case Balance::round_robin: picked.index = round_robin(round, random); break;
    case Balance::peak_ewma: picked.index = peak_ewma(round, random); break;
    case Balance::random: picked.index = draw_first(round, random); break;
    case Balance::ring_hash:
    case Balance::maglev: picked.index = by_hash(round, context.hash, around.in_flight, picked.passed_full); break;
  }
  return picked;
}

double Balancer::warmth(const Round& round, std::size_t index) const {
  if (!round.warming) return 1;
  const Endpoint& endpoint = *round.set.slots[index].endpoint;
  const std::int64_t began =
      std::max(endpoint.warm_since.load(std::memory_order_relaxed), endpoint.ejected_until.load(std::memory_order_relaxed));
  const Duration age = round.now.time_since_epoch() - Duration(began);
  if (began == 0 || age < Duration(0) || age >= options_.slow_start) return 1;  // below 0: ejected, and used in a panic
  return std::max(kColdest, static_cast<double>(age.count()) / static_cast<double>(options_.slow_start.count()));
}

bool Balancer::left_cold(const Round& round, std::size_t index, Random& random) const {
  if (!round.warming) return false;
  const double part = warmth(round, index);
  return part < 1 && !random.chance(part);
}

std::size_t Balancer::round_robin(const Round& round, Random& random) {
  const EndpointSet& set = round.set;
  if (set.uniform) {
    int skipped = 0;
    do {
      cursor_ = cursor_ + 1 >= set.size() ? 0 : cursor_ + 1;
    } while (!may(round.candidates, cursor_) || (skipped < kMostSkips && left_cold(round, cursor_, random) && ++skipped > 0));
    return cursor_;
  }
  // Smooth weighted round robin: everybody gains its weight, the richest is picked and pays the sum.
  std::size_t best = kNone;
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < set.size(); ++i) {
    if (!may(round.candidates, i)) continue;
    const auto units = round.warming ? static_cast<std::int64_t>(warmth(round, i) * kWarmthUnits) : kWarmthUnits;
    const std::int64_t gain = set.slots[i].weight * units;
    current_[i] += gain;
    sum += gain;
    if (best == kNone || current_[i] > current_[best]) best = i;
  }
  current_[best] -= sum;
  return best;
}

// Both choices are drawn by weight and compared by load per weight, the first one winning ties: so an idle service is used
// exactly in proportion to the weights, and a busy one evens out the load per weight. (Drawing evenly and comparing
// weight / (active + 1) would send an idle service's whole traffic to the heavier of two endpoints.)
std::size_t Balancer::least_request(const Round& round, Random& random) {
  const std::size_t first = draw_first(round, random);
  if (round.candidates.count == 1) return first;
  const std::size_t second = draw(round, first, random);
  if (left_cold(round, second, random)) return first;  // or, of two endpoints, the cold one would be considered each time
  const auto load = [&](std::size_t i) {
    return static_cast<std::uint64_t>(round.set.slots[i].endpoint->active.load(std::memory_order_relaxed));
  };
  const auto weight = [&](std::size_t i) {
    const auto plain = static_cast<std::uint64_t>(round.set.slots[i].weight);
    return round.warming ? static_cast<std::uint64_t>(warmth(round, i) * static_cast<double>(plain * kWarmthUnits)) : plain;
  };
  return load(second) * weight(first) < load(first) * weight(second) ? second : first;
}

// As least_request, but what is compared is the time that a request can expect to wait.
std::size_t Balancer::peak_ewma(const Round& round, Random& random) {
  const std::size_t first = draw_first(round, random);
  if (round.candidates.count == 1) return first;
  const std::size_t second = draw(round, first, random);
  if (left_cold(round, second, random)) return first;
  return expected_wait(round, second) * kClearlyBetter < expected_wait(round, first) ? second : first;
}

// Latency x (requests in flight + 1), these by average weight. Of an endpoint that was never tried nothing is known: it is tried at once,
// and until that answer is there it counts as failed, so that a new one is neither flooded nor forgotten.
double Balancer::expected_wait(const Round& round, std::size_t index) const {
  const EndpointSlot& slot = round.set.slots[index];
  const double active = slot.endpoint->active.load(std::memory_order_relaxed);
  const double latency = slot.endpoint->latency.cost(round.now);
  if (latency == 0) return active == 0 ? 0 : seconds(LatencyEstimate::kPenalty) * (active + 1);
  if (round.set.uniform && !round.warming) return latency * (active + 1);
  const double average = static_cast<double>(round.set.total_weight()) / static_cast<double>(round.set.size());
  return latency * (active * average / (slot.weight * warmth(round, index)) + 1);
}

// Consistent hashing with bounded loads (Mirrokni et al. 2016): the endpoint of the hash, unless it has its share of what is in flight times
// the bound already; then the next on the circle that has not, so that the overflow of one endpoint is spread, and always the same way.
std::size_t Balancer::by_hash(const Round& round, std::uint64_t hash, std::uint32_t in_flight, bool& passed_full) const {
  const HashCircle& circle = *round.set.circle;
  std::uint64_t weights = round.set.total_weight();
  if (!round.candidates.all) {
    weights = 0;
    for (std::size_t i = 0; i < round.set.size(); ++i) weights += may(round.candidates, i) ? round.set.slots[i].weight : 0;
  }
  const double for_weight = options_.hash_max_load * std::max(in_flight, 1U) / static_cast<double>(weights);
  std::size_t emptiest = kNone;
  double least = 0;
  std::size_t place = circle.place_of(hash);
  std::size_t last = kNone;
  for (std::size_t i = std::min(circle.places(), kMostPlaces); i > 0; --i, place = circle.next(place)) {
    const std::size_t owner = circle.owner(place);
    if (owner == last || !may(round.candidates, owner)) continue;
    last = owner;
    const EndpointSlot& slot = round.set.slots[owner];
    const double active = slot.endpoint->active.load(std::memory_order_relaxed);
    if (active < std::ceil(for_weight * slot.weight)) return owner;
    passed_full = true;
    if (emptiest == kNone || active / slot.weight < least) {
      emptiest = owner;
      least = active / slot.weight;
    }
  }
  // Workers count one after the other, so all may seem full; and where hardly anybody is usable, none may be near.
  return emptiest != kNone ? emptiest : highest_by_hash(round, hash);
}

// Rendezvous hashing: looks at all, and asks no circle.
std::size_t Balancer::highest_by_hash(const Round& round, std::uint64_t hash) const {
  std::size_t best = kNone;
  std::uint64_t highest = 0;
  for (std::size_t i = 0; i < round.set.size(); ++i) {
    if (!may(round.candidates, i)) continue;
    const std::uint64_t value = spread_bits(hash ^ hash_text(round.set.slots[i].endpoint->text));
    if (best != kNone && value <= highest) continue;
    best = i;
    highest = value;
  }
  return best;
}

std::size_t Balancer::draw_first(const Round& round, Random& random) const {
  std::size_t index = draw(round, kNone, random);
  for (int skipped = 0; skipped < kMostSkips && left_cold(round, index, random); ++skipped) index = draw(round, kNone, random);
  return index;
}

// By weight among the candidates but `except`, which leaves at least one.
std::size_t Balancer::draw(const Round& round, std::size_t except, Random& random) const {
  const EndpointSet& set = round.set;
  const Candidates& candidates = round.candidates;
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
