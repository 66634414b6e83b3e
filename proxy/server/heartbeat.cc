#include "proxy/server/heartbeat.h"

#include <algorithm>
#include <utility>

namespace weir {

Heartbeat::Heartbeat(Platform& platform, HostPressure& pressure, std::vector<std::unique_ptr<Worker>>& workers)
    : platform_(platform), pressure_(pressure), workers_(workers), timer_(platform.main_loop(), Callback::to<&Heartbeat::beat>(this)) {
  for (std::size_t i = 0; i < workers.size(); ++i) pulses_.push_back(std::make_shared<Pulse>());
}

void Heartbeat::start() {
  tidied_at_ = platform_.main_loop().now();
  fed_at_ = tidied_at_;
  sent_at_ = tidied_at_;
  beat();
}

bool Heartbeat::all_turn() const {
  return std::all_of(pulses_.begin(), pulses_.end(),
                     [this](const auto& pulse) { return pulse->answered.load(std::memory_order_acquire) >= sent_; });
}

Duration Heartbeat::worst_delay() const {
  Duration worst{0};
  for (const auto& pulse : pulses_) {
    const bool answered = pulse->answered.load(std::memory_order_acquire) >= sent_;
    const Duration delay = answered ? Duration(pulse->delay_nanos.load(std::memory_order_relaxed)) : platform_.main_loop().now() - sent_at_;
    worst = std::max(worst, delay);
  }
  return worst;
}

void Heartbeat::feed_watchdog() {
  const Duration interval = platform_.supervisor().watchdog_interval();
  if (interval == Duration::zero() || platform_.main_loop().now() - fed_at_ < interval / 4) return;
  fed_at_ = platform_.main_loop().now();
  platform_.supervisor().watchdog();
}

// After the beat went out: it takes longer than the delays that the beat measures.
void Heartbeat::read_pressure(MonotonicTime now) {
  if (pressure_at_ != MonotonicTime{} && now - pressure_at_ < kPressurePeriod) return;
  pressure_at_ = now;
  const PressureReading reading = platform_.pressure();  // a dozen files of /proc and /sys each time
  pressure_.cpu.store(reading.cpu, std::memory_order_relaxed);
  pressure_.memory.store(reading.memory, std::memory_order_relaxed);
  pressure_.open_files.store(reading.open_files, std::memory_order_relaxed);
}

void Heartbeat::beat() {
  const MonotonicTime now = platform_.main_loop().now();
  const Duration delay = worst_delay();
  longest_delay_ = std::max(longest_delay_, delay);
  pressure_.loop_delay_us.store(static_cast<std::uint32_t>(std::min<std::int64_t>(delay.count() / 1000, UINT32_MAX)),
                                std::memory_order_relaxed);
  std::uint64_t served = 0;
  for (const auto& pulse : pulses_) served += pulse->served.load(std::memory_order_relaxed);
  const bool busy = served != served_;
  served_ = served;
  const bool stuck = !all_turn();
  if (!stuck) {  // a stuck worker is asked once, not ten times a second
    feed_watchdog();
    const bool tidy = now - tidied_at_ >= kTidyPeriod;
    const bool tidied = std::exchange(tidied_, tidy);
    if (tidy) tidied_at_ = now;
    ++sent_;
    sent_at_ = now;
    for (std::size_t i = 0; i < workers_.size(); ++i) {
      Worker& worker = *workers_[i];
      worker.loop().post([pulse = pulses_[i], &worker, tidy, number = sent_, sent_at = now] {
        pulse->delay_nanos.store((worker.loop().now() - sent_at).count(), std::memory_order_relaxed);
        pulse->served.store(worker.status().exchanges, std::memory_order_relaxed);
        if (tidy) worker.tidy();
        pulse->answered.store(number, std::memory_order_release);
      });
    }
    if (tidied) platform_.give_memory_back();
  }
  read_pressure(now);
  Duration period = busy || stuck ? kBusyPeriod : kIdlePeriod;
  if (const Duration watched = platform_.supervisor().watchdog_interval(); watched > Duration::zero())
    period = std::min(period, watched / 4);
  timer_.arm(period);
}

}  // namespace weir
