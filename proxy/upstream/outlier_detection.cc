#include "proxy/upstream/outlier_detection.h"

#include <algorithm>

namespace weir {
namespace {

Duration part(Duration whole, double share) { return Duration(static_cast<Duration::rep>(static_cast<double>(whole.count()) * share)); }

}  // namespace

std::string_view to_word(OutlierSign sign) {
  switch (sign) {
    case OutlierSign::consecutive_failures: return "consecutive_failures";
    case OutlierSign::failure_ratio: return "failure_ratio";
    case OutlierSign::latency: return "latency";
  }
  return {};
}

void OutlierDetector::record_success(OutlierState& state, std::uint32_t generation, MonotonicTime now) const {
  if (generation != state.generation || state.ejected(now)) return;
  state.consecutive = 0;
}

OutlierVerdict OutlierDetector::record_failure(OutlierState& state, std::uint32_t generation, All all, MonotonicTime now,
                                               Random& random) const {
  if (config_.mode == FilterMode::disabled) return OutlierVerdict::none;
  if (generation != state.generation || state.ejected(now)) return OutlierVerdict::none;
  state.window.add_failure();
  if (++state.consecutive < config_.consecutive_failures) return OutlierVerdict::none;
  // Free of failures: none since its last success.
  const OutlierVerdict verdict = may_eject(state, all, now, [](const OutlierState& other) { return other.consecutive == 0; });
  if (verdict == OutlierVerdict::eject) eject(state, OutlierSign::consecutive_failures, now, random);
  return verdict;
}

std::vector<OutlierFinding> OutlierDetector::sweep(All all, MonotonicTime now, Random& random) const {
  std::vector<OutlierFinding> found;
  if (config_.mode == FilterMode::disabled) return found;
  if (config_.failure_ratio) sweep_ratios(all, now, random, found);
  if (config_.latency) sweep_latencies(all, now, random, found);
  return found;
}

void OutlierDetector::sweep_ratios(All all, MonotonicTime now, Random& random, std::vector<OutlierFinding>& found) const {
  std::vector<std::size_t> suspects;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const OutlierWindow& window = all[i]->window;
    if (all[i]->out(now) || window.calls() < config_.min_calls) continue;
    if (window.failure_ratio() >= config_.failure_ratio->value()) suspects.push_back(i);
  }
  std::stable_sort(suspects.begin(), suspects.end(),
                   [&](std::size_t a, std::size_t b) { return all[a]->window.failure_ratio() > all[b]->window.failure_ratio(); });
  for (const std::size_t index : suspects) {
    OutlierState& state = *all[index];
    const double ratio = state.window.failure_ratio();
    // Another must fail less than half as often, or this one does not stand out.
    const OutlierVerdict verdict = may_eject(state, all, now, [ratio](const OutlierState& other) {
      return other.window.calls() == 0 ? other.consecutive == 0 : other.window.failure_ratio() * 2 < ratio;
    });
    found.push_back({index, OutlierSign::failure_ratio, verdict});
    if (verdict == OutlierVerdict::eject) eject(state, OutlierSign::failure_ratio, now, random);
  }
}

void OutlierDetector::sweep_latencies(All all, MonotonicTime now, Random& random, std::vector<OutlierFinding>& found) const {
  const OutlierLatency& config = *config_.latency;
  std::vector<std::size_t> suspects;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i]->out(now) || all[i]->window.latency_calls() < config.min_calls) continue;
    const Duration typical = all[i]->window.median_latency();
    const Duration others = typical_of_others(all, i, now);
    if (others > Duration(0) && typical >= config.min_latency && typical >= others * config.times_median_of_others) suspects.push_back(i);
  }
  std::stable_sort(suspects.begin(), suspects.end(),
                   [&](std::size_t a, std::size_t b) { return all[a]->window.median_latency() > all[b]->window.median_latency(); });
  for (const std::size_t index : suspects) {
    OutlierState& state = *all[index];
    const OutlierVerdict verdict = may_eject(state, all, now, [](const OutlierState&) { return true; });  // it does, by its sign
    found.push_back({index, OutlierSign::latency, verdict});
    if (verdict == OutlierVerdict::eject) eject(state, OutlierSign::latency, now, random);
  }
}

// The median of the medians of those others that had enough calls; 0 when there is none.
Duration OutlierDetector::typical_of_others(All all, std::size_t except, MonotonicTime now) const {
  std::vector<Duration> medians;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (i == except || all[i]->out(now) || all[i]->window.latency_calls() < config_.latency->min_calls) continue;
    medians.push_back(all[i]->window.median_latency());
  }
  if (medians.empty()) return Duration(0);
  std::sort(medians.begin(), medians.end());
  const std::size_t half = medians.size() / 2;
  return medians.size() % 2 == 1 ? medians[half] : (medians[half - 1] + medians[half]) / 2;
}

template <class StandsOut>
OutlierVerdict OutlierDetector::may_eject(const OutlierState& state, All all, MonotonicTime now, const StandsOut& stands_out) const {
  std::size_t out = 0;  // ejected, or unhealthy: both leave the rest to the others
  std::size_t other_usable = 0;
  bool other_healthy = false;
  for (const OutlierState* other : all) {
    if (other == &state) continue;
    if (other->out(now)) {
      ++out;
      continue;
    }
    ++other_usable;
    other_healthy = other_healthy || stands_out(*other);
  }
  if (other_usable == 0) return OutlierVerdict::last_usable;
  if (config_.max_ejected <= 0) return OutlierVerdict::max_ejected;
  // The tiny addition keeps 50% of 4 at 2 in binary fractions. One may always go: else a small service would eject nobody.
  const auto share = static_cast<std::size_t>(config_.max_ejected * static_cast<double>(all.size()) + 1e-9);
  if (out + 1 > std::max<std::size_t>(share, 1)) return OutlierVerdict::max_ejected;
  return other_healthy ? OutlierVerdict::eject : OutlierVerdict::all_fail_alike;
}

void OutlierDetector::eject(OutlierState& state, OutlierSign sign, MonotonicTime now, Random& random) const {
  if (state.ejections > 0 && state.last_ejection > Duration(0)) {
    const auto healthy_spells = (now - state.ejected_until) / state.last_ejection;
    state.ejections -= static_cast<std::uint32_t>(std::min<std::int64_t>(healthy_spells, state.ejections));
  }
  state.last_ejection = eject_for(state.ejections, random);
  state.ejections += 1;
  state.ejected_until = now + state.last_ejection;
  state.sign = sign;
  state.awaits_check = gated_ && config_.mode == FilterMode::enforce;
  state.consecutive = 0;
  state.window.clear();
  ++state.generation;
}

bool OutlierDetector::record_check_passed(OutlierState& state, MonotonicTime began, MonotonicTime now) const {
  if (!state.awaits_check || began < state.ejected_until) return false;
  state.awaits_check = false;
  state.ejected_until = now;  // spells of health count from here
  return true;
}

// base, 2 x base, 4 x base ... up to max; a random quarter keeps endpoints that fell together from returning together.
Duration OutlierDetector::eject_for(std::uint32_t ejections, Random& random) const {
  const Duration base = config_.eject_base;
  const Duration max = std::max(config_.eject_max, base);
  Duration length = base;
  for (std::uint32_t i = 0; i < ejections && length < max; ++i) length = length > max / 2 ? max : length * 2;
  const Duration jitter = part(length, 0.25 * random.unit());
  // At the cap the jitter shortens, but never below the base.
  return length >= max ? std::max(base, max - jitter) : std::min(max, length + jitter);
}

}  // namespace weir
