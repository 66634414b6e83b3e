// HostPressure: how near the host's limits are, as ratios in thousandths, sampled by the main thread and read by load shedding.
// main owns it and writes it about every 100 ms; workers read it with relaxed loads. 0 means "not known": never a reason to shed.
// It takes no decision.
#pragma once

#include <atomic>
#include <cstdint>

namespace weir {

struct HostPressure {
  std::atomic<std::uint32_t> cpu{0};            // of the CPUs that weir may use
  std::atomic<std::uint32_t> memory{0};         // of weir's own cgroup (v1 or v2) limit
  std::atomic<std::uint32_t> open_files{0};     // of RLIMIT_NOFILE
  std::atomic<std::uint32_t> loop_delay_us{0};  // the worst worker's, in microseconds
};

}  // namespace weir
