#include "proxy/upstream/outlier_detection.h"

#include <algorithm>

namespace weir {
namespace {

Duration part(Duration whole, double share) {
  return Duration(static_cast<Duration::rep>(static_cast<double>(whole.count()) * share));
}

}  // namespace

void OutlierDetector::record_success(OutlierState& state, std::uint32_t generation, MonotonicTime now) const {
  if (generation != state.generation || state.ejected(now)) return;
  state.consecutive = 0;
}

OutlierVerdict OutlierDetector::record_failure(OutlierState& state, std::uint32_t generation,
                                               std::span<OutlierState* const> all, MonotonicTime now, Random& random) const {
  if (config_.mode == FilterMode::disabled) return OutlierVerdict::none;
  if (generation != state.generation || state.ejected(now)) return OutlierVerdict::none;
  if (++state.consecutive < config_.consecutive_failures) return OutlierVerdict::none;
  const OutlierVerdict verdict = may_eject(state, all, now);
  if (verdict != OutlierVerdict::eject) return verdict;

  if (state.ejections > 0 && state.last_ejection > Duration(0)) {
    const auto healthy_spells = (now - state.ejected_until) / state.last_ejection;
    state.ejections -= static_cast<std::uint32_t>(std::min<std::int64_t>(healthy_spells, state.ejections));
  }
  state.last_ejection = eject_for(state.ejections, random);
  state.ejections += 1;
  state.ejected_until = now + state.last_ejection;
  state.consecutive = 0;
  ++state.generation;
  return OutlierVerdict::eject;
}

OutlierVerdict OutlierDetector::may_eject(const OutlierState& state, std::span<OutlierState* const> all, MonotonicTime now) const {
  std::size_t ejected = 0;
  std::size_t other_usable = 0;
  bool other_healthy = false;
  for (const OutlierState* other : all) {
    if (other == &state) continue;
    if (other->ejected(now)) {
      ++ejected;
      continue;
    }
    ++other_usable;
    other_healthy = other_healthy || other->consecutive == 0;
  }
  if (other_usable == 0) return OutlierVerdict::last_usable;
  if (config_.max_ejected <= 0) return OutlierVerdict::max_ejected;
  // The tiny addition keeps 50% of 4 at 2 in binary fractions. One may always go: else a small service would eject nobody.
  const auto share = static_cast<std::size_t>(config_.max_ejected * static_cast<double>(all.size()) + 1e-9);
  if (ejected + 1 > std::max<std::size_t>(share, 1)) return OutlierVerdict::max_ejected;
  return other_healthy ? OutlierVerdict::eject : OutlierVerdict::all_fail_alike;
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
