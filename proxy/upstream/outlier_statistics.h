// EndpointStatistics: what the workers count of one endpoint's calls; OutlierWindow: the last few seconds of it, taken over in slices.
// An Endpoint owns the counts, its OutlierState the window; Service moves windows on, under its lock, from main's loop.
// Counting is one relaxed addition, without lock or allocation; nothing here decides (outlier_detection.h).
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "proxy/base/time.h"

namespace weir {

// Latencies in classes of an eighth to a quarter of their size, from 16 us to two minutes. Time to the response head.
struct LatencyScale {
  static constexpr std::size_t kClasses = 88;
  static std::size_t class_of(Duration latency) {
    if (latency < Duration(0)) return 0;
    const auto units = static_cast<std::uint64_t>(latency.count()) >> kUnitBits;
    if (units < 4) return static_cast<std::size_t>(units);
    const auto octave = static_cast<std::size_t>(std::bit_width(units)) - 1;  // at least 2
    const std::size_t found = (octave - 1) * 4 + ((units >> (octave - 2)) & 3);
    return found < kClasses ? found : kClasses - 1;
  }
  static Duration middle_of(std::size_t index);

 private:
  static constexpr unsigned kUnitBits = 14;  // 16.4 us
};

struct EndpointStatistics {  // ever growing; differences count, so that running over is harmless
  alignas(64) std::atomic<std::uint32_t> successes{0};
  std::array<std::atomic<std::uint32_t>, LatencyScale::kClasses> latencies{};

  void add_success() { successes.fetch_add(1, std::memory_order_relaxed); }
  void add_latency(Duration latency) { latencies[LatencyScale::class_of(latency)].fetch_add(1, std::memory_order_relaxed); }
};

class OutlierWindow {
 public:
  static constexpr std::size_t kSlices = 10;

  void add_failure() { ++fresh_failures_; }
  // A tenth of the window has passed: takes what was counted since the last time, drops the oldest slice. `keep` false: what was counted
  // belongs to nobody (the endpoint is ejected: those are late answers).
  void advance(const EndpointStatistics& counted, bool with_latency, bool keep);
  void clear();  // the slices; what was counted up to the next advance() counts still
  // Looked at from now on: nothing that was counted before counts.
  void restart(const EndpointStatistics& counted, bool with_latency);

  std::uint32_t calls() const { return sums_.successes + sums_.failures; }
  std::uint32_t failures() const { return sums_.failures; }
  double failure_ratio() const { return calls() == 0 ? 0 : static_cast<double>(sums_.failures) / calls(); }
  std::uint32_t latency_calls() const { return latency_calls_; }
  Duration median_latency() const;  // 0 without latencies

 private:
  using Latencies = std::array<std::uint32_t, LatencyScale::kClasses>;
  struct Slice {
    std::uint32_t successes = 0;
    std::uint32_t failures = 0;
  };
  struct LatencyPart {  // made when latencies are looked at
    Latencies seen{};   // of EndpointStatistics, the last time
    Latencies sum{};
    std::array<Latencies, kSlices> slices{};
  };
  void advance_latencies(const EndpointStatistics& counted, bool keep);

  std::uint32_t seen_successes_ = 0;
  std::uint32_t fresh_failures_ = 0;
  std::uint32_t latency_calls_ = 0;
  std::size_t at_ = 0;
  Slice sums_;
  std::array<Slice, kSlices> slices_{};
  std::vector<LatencyPart> latency_;  // none or one
};

}  // namespace weir
