// Time as values: monotonic instants, wall-clock instants and durations, in nanoseconds.
// Nobody owns a clock here: the event loop reads the clocks and passes instants down.
// This header never reads a clock; the clock types have no now().
#pragma once

#include <chrono>
#include <cstdint>

namespace weir {

using Duration = std::chrono::nanoseconds;
using namespace std::chrono_literals;  // durations are written 250ms, never 250

// Advances while the machine runs, never jumps; the only clock that decisions use.
struct MonotonicClock {
  using rep = std::int64_t;
  using period = std::nano;
  using duration = Duration;
  using time_point = std::chrono::time_point<MonotonicClock, Duration>;
  static constexpr bool is_steady = true;
};

// Time of day (UTC, since the Unix epoch); for logs and HTTP dates only.
struct WallClock {
  using rep = std::int64_t;
  using period = std::nano;
  using duration = Duration;
  using time_point = std::chrono::time_point<WallClock, Duration>;
  static constexpr bool is_steady = false;
};

using MonotonicTime = MonotonicClock::time_point;
using WallTime = WallClock::time_point;

inline constexpr MonotonicTime kNever = MonotonicTime::max();

inline constexpr double seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace weir
