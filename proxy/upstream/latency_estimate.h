// LatencyEstimate: how long a try at an endpoint is expected to take, as peak_ewma weighs it: it jumps up to any longer time that was
// observed, falls back by an exponential average over `kDecay`, and is forgotten in time when nothing is observed.
// Endpoint owns one, shared by all workers: one relaxed atomic word. Two that observe at once may lose one observation, never tear it.
// It never counts what is under way: the balancer multiplies by that.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>

#include "proxy/base/time.h"

namespace weir {

class LatencyEstimate {
 public:
  static constexpr Duration kDecay = std::chrono::seconds(10);
  // What a failed try counts as, when it did not take longer: an endpoint that fails at once must not look fast. From there an endpoint
  // whose neighbors take 10 ms is tried again after about a minute (10 s x ln 500).
  static constexpr Duration kPenalty = std::chrono::seconds(5);

  void observe(Duration latency, MonotonicTime now) {
    const std::uint64_t old = word_.load(std::memory_order_relaxed);
    const auto sample = std::max(static_cast<float>(seconds(latency)), kLeast);
    const float known = cost_of(old);
    const double elapsed = elapsed_since(old, now);
    if (sample >= known) return store(sample, now);
    if (elapsed <= 0) return;  // within one tick: the average has no time to move
    const auto kept = static_cast<float>(std::exp(-elapsed / seconds(kDecay)));
    store(known * kept + sample * (1 - kept), now);
  }
  void observe_failure(Duration took, MonotonicTime now) { observe(std::max(took, kPenalty), now); }
  // The try was given up after that long: it would have taken longer.
  void observe_at_least(Duration took, MonotonicTime now) {
    if (seconds(took) > cost(now)) observe(took, now);
  }

  // Seconds, decayed to `now`; 0: nothing is known (any more).
  double cost(MonotonicTime now) const {
    const std::uint64_t word = word_.load(std::memory_order_relaxed);
    if (word == 0) return 0;
    const double elapsed = std::max(elapsed_since(word, now), 0.0);
    return static_cast<double>(cost_of(word)) * std::exp(-elapsed / seconds(kDecay));
  }

 private:
  // The upper half is the cost in seconds, a float; the lower one the time, in ticks of 2^16 ns (66 us) that wrap after 78 hours.
  static constexpr int kTickBits = 16;
  static constexpr float kLeast = 1e-6F;  // so that what is known is never 0

  static float cost_of(std::uint64_t word) { return std::bit_cast<float>(static_cast<std::uint32_t>(word >> 32)); }
  static std::uint32_t ticks(MonotonicTime now) {
    return static_cast<std::uint32_t>(static_cast<std::uint64_t>(now.time_since_epoch().count()) >> kTickBits);
  }
  static double elapsed_since(std::uint64_t word, MonotonicTime now) {
    const auto difference = static_cast<std::int32_t>(ticks(now) - static_cast<std::uint32_t>(word));
    constexpr double kTick = 65536e-9;
    // Clocks of two workers' turns differ by little: what seems far ahead is old, beyond half the wrap.
    if (difference < -(1 << 20)) return 1e6;
    return difference * kTick;
  }
  void store(float cost, MonotonicTime now) {
    word_.store(static_cast<std::uint64_t>(std::bit_cast<std::uint32_t>(cost)) << 32 | ticks(now), std::memory_order_relaxed);
  }

  std::atomic<std::uint64_t> word_{0};
};

}  // namespace weir
