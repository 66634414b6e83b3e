#include "proxy/upstream/health_check.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace weir {

std::string_view to_word(CheckResult result) {
  switch (result) {
    case CheckResult::none: return "none";
    case CheckResult::passed: return "passed";
    case CheckResult::wrong_status: return "wrong_status";
    case CheckResult::timeout: return "timeout";
    case CheckResult::connect_failure: return "connect_failure";
    case CheckResult::tls_failure: return "tls_failure";
    case CheckResult::broken: return "broken";
    case CheckResult::bad_answer: return "bad_answer";
    case CheckResult::not_serving: return "not_serving";
    case CheckResult::not_implemented: return "not_implemented";
    case CheckResult::wrong_grpc_status: return "wrong_grpc_status";
    case CheckResult::count_: break;
  }
  return {};
}

std::string_view to_word(Health health) {
  switch (health) {
    case Health::unknown: return "unknown";
    case Health::healthy: return "healthy";
    case Health::unhealthy: return "unhealthy";
  }
  return {};
}

bool HealthPolicy::record(HealthState& state, CheckResult result, int status) const {
  const bool passed = result == CheckResult::passed;
  const bool like_the_last = state.last != CheckResult::none && state.last_passed() == passed;
  if (!like_the_last) state.in_a_row = 0;
  if (state.in_a_row < std::numeric_limits<std::uint32_t>::max()) ++state.in_a_row;
  state.last = result;
  state.last_status = status;

  Health next = state.health;
  if (passed && (state.health == Health::unknown || state.in_a_row >= config_.healthy_after)) next = Health::healthy;
  if (!passed && state.in_a_row >= config_.unhealthy_after) next = Health::unhealthy;
  return std::exchange(state.health, next) != next;
}

Duration HealthPolicy::next_check(const HealthState& state, bool awaited, Random& random) const {
  constexpr double kJitter = 0.1;  // either way: checks of many proxies, begun together, drift apart
  const bool about_to_change =
      (state.health == Health::healthy && !state.last_passed()) || (state.health == Health::unhealthy && state.last_passed());
  Duration length = config_.interval;
  if (awaited || about_to_change || state.health == Health::unknown) {
    length = config_.fast_interval > Duration(0) ? config_.fast_interval : config_.interval / 4;
  }
  const double factor = 1 - kJitter + 2 * kJitter * random.unit();
  return std::max(Duration(1), Duration(static_cast<Duration::rep>(static_cast<double>(length.count()) * factor)));
}

}  // namespace weir
