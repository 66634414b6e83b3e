#include "proxy/chain/worst_case.h"

#include <algorithm>

namespace weir {
namespace {

constexpr Duration kForever = Duration::max();
constexpr std::uint64_t kMostStarts = 1'000'000;  // of nested retries: beyond, they are only ever "far too many", and as good as endless

// Neither is negative.
Duration plus(Duration a, Duration b) { return a > kForever - b ? kForever : a + b; }

Duration times(Duration one, std::uint64_t count) {
  if (count != 0 && one > kForever / static_cast<Duration::rep>(count)) return kForever;
  return one * static_cast<Duration::rep>(count);
}

enum class Upstream : std::uint8_t { silent, unreachable };

class Computation {
 public:
  Computation(std::span<const ChainStep> steps, Upstream upstream, Duration innermost, bool with_totals = true)
      : steps_(steps), upstream_(upstream), innermost_(innermost), with_totals_(with_totals) {}

  // E(i, s) of the header.
  Duration ends(std::size_t i, Duration start) const {
    if (start == kForever || ++starts_ > kMostStarts) return kForever;
    if (i == steps_.size()) return plus(start, innermost_);
    const ChainStep& step = steps_[i];
    if (!step.acts) return ends(i + 1, start);
    Duration end = tries_end(i, start);
    if (!step.always) return end;
    if (step.facts.try_limit > Duration::zero()) end = std::min(end, plus(start, step.facts.try_limit));
    if (with_totals_ && step.facts.total > Duration::zero()) end = std::min(end, std::max(start, step.facts.total));
    return end;
  }

 private:
  // T(n) of the header.
  Duration tries_end(std::size_t i, Duration start) const {
    const FilterFacts& facts = steps_[i].facts;
    const bool silent = upstream_ == Upstream::silent;
    const std::uint32_t tries = silent || facts.retries_connects ? facts.max_attempts : 1;
    Duration at = plus(start, facts.longest_wait);
    const Duration hold = silent ? facts.holds_answer : Duration::zero();
    for (std::uint32_t k = 0; k <= (silent ? facts.free_resends : 0); ++k) at = plus(ends(i + 1, at), hold);
    for (std::uint32_t k = 1; k < tries && at != kForever; ++k) {
      const Duration pause =
          plus(backoff_bound(facts.base_backoff, facts.max_backoff, k), silent ? facts.max_retry_after : Duration::zero());
      at = plus(ends(i + 1, plus(at, pause)), hold);
    }
    return at;
  }

  std::span<const ChainStep> steps_;
  Upstream upstream_;
  Duration innermost_;
  bool with_totals_;
  mutable std::uint64_t starts_ = 0;  // nested retries multiply, and the time to add them up with them
};

std::optional<Duration> finite(Duration end) { return end == kForever ? std::nullopt : std::optional(end); }

bool bounds(const ChainStep& step) { return step.acts && step.always; }

std::uint64_t product(std::uint64_t a, std::uint64_t b) { return std::min(kMostStarts, a * b); }

}  // namespace

Duration backoff_bound(Duration base, Duration max, std::uint32_t n) {
  Duration bound = base;
  for (std::uint32_t i = 1; i < n && bound < max; ++i) bound = times(bound, 2);
  return std::min(bound, max);
}

std::size_t shortest_total(std::span<const ChainStep> steps, std::size_t count) {
  std::size_t shortest = WorstCase::kNone;
  for (std::size_t i = 0; i < count; ++i) {
    if (!bounds(steps[i]) || steps[i].facts.total <= Duration::zero()) continue;
    if (shortest == WorstCase::kNone || steps[i].facts.total < steps[shortest].facts.total) shortest = i;
  }
  return shortest;
}

std::uint64_t most_attempts(std::span<const ChainStep> steps) {
  std::uint64_t attempts = 1;
  for (const ChainStep& step : steps) {
    if (step.acts) attempts = product(attempts, step.facts.max_attempts);
  }
  return attempts;
}

WorstCase worst_case(std::span<const ChainStep> steps, const UpstreamTimes& upstream) {
  WorstCase worst;
  std::uint64_t starts = 1;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const FilterFacts& facts = steps[i].facts;
    if (!steps[i].acts) continue;
    starts = product(starts, std::uint64_t{facts.max_attempts} + facts.free_resends);
    if (!steps[i].always) continue;
    if (facts.try_limit > Duration::zero()) worst.try_limits.push_back(i);
    const bool quieter = worst.silence == WorstCase::kNone || facts.idle < steps[worst.silence].facts.idle;
    if (facts.idle > Duration::zero() && quieter) worst.silence = i;
  }
  worst.attempts = most_attempts(steps);
  worst.free_resends = starts - worst.attempts;
  const Duration head = Computation(steps, Upstream::silent, kForever).ends(0, Duration::zero());
  worst.to_headers = finite(head);
  worst.tries = finite(Computation(steps, Upstream::silent, kForever, false).ends(0, Duration::zero()));
  const Duration connect = std::min(upstream.connect, upstream.pending);
  worst.unreachable = finite(Computation(steps, Upstream::unreachable, connect).ends(0, Duration::zero()));
  worst.total = shortest_total(steps, steps.size());
  if (worst.total != WorstCase::kNone && head != kForever) worst.to_end = std::max(head, steps[worst.total].facts.total);
  return worst;
}

}  // namespace weir
