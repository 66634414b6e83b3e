#include "filters/load_shed/load_shed_policy.h"

#include <algorithm>

namespace weir {

namespace {

constexpr double kFallPerSecond = 0.5;  // from everything to nothing in two seconds
constexpr Duration kRetryAfter = std::chrono::seconds(1);

// 0 at the threshold, 1 at the end of the scale.
double excess(double value, double threshold, double end) {
  if (threshold >= end) return value >= end ? 1 : 0;
  return std::clamp((value - threshold) / (end - threshold), 0.0, 1.0);
}

}  // namespace

LoadShedPolicy::Share LoadShedPolicy::share(MonotonicTime now) {
  Share worst;
  if (pressure_ == nullptr) return worst;
  const auto weigh = [&](std::size_t index, std::string_view resource, const std::atomic<std::uint32_t>& reading, double unit,
                         double threshold, double end) {
    const std::uint32_t value = reading.load(std::memory_order_relaxed);
    Held& held = held_[index];
    if (value == 0) {  // not known (any more)
      held.probability = 0;
      return;
    }
    const double target = excess(value * unit, threshold, end);
    if (target == 0 && held.probability == 0) return;
    const double fallen = held.probability - kFallPerSecond * seconds(std::max(now - held.at, Duration{0}));
    held = Held{std::max({target, fallen, 0.0}), now};
    if (held.probability > worst.probability) worst = Share{held.probability, resource};
  };
  const auto ratio = [&](std::size_t index, std::string_view resource, const std::atomic<std::uint32_t>& reading,
                         const std::optional<Ratio>& threshold) {
    if (threshold) weigh(index, resource, reading, 0.001, threshold->value(), 1.0);
  };
  ratio(0, "cpu", pressure_->cpu, config_.cpu);
  ratio(1, "memory", pressure_->memory, config_.memory);
  ratio(2, "open_files", pressure_->open_files, config_.open_files);
  if (config_.loop_delay) {  // a delay has no natural end: twice the threshold is as bad as it gets
    weigh(3, "loop_delay", pressure_->loop_delay_us, 1e-6, seconds(*config_.loop_delay), 2 * seconds(*config_.loop_delay));
  }
  return worst;
}

Admission LoadShedPolicy::admit(MonotonicTime now, const AdmissionFacts& /*facts*/, Random& random) {
  Admission admission;
  admission.ticket.admitted = now;
  const Share shed = share(now);
  if (shed.probability > 0 && random.chance(shed.probability)) {
    admission.verdict = Admission::Verdict::reject;
    admission.kind = FailureKind::shed;
    admission.reason = shed.resource;
    admission.retry_after = kRetryAfter;
  }
  return admission;
}

}  // namespace weir
