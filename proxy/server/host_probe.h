// HostProbe: what the machine allows weir and how much of it weir uses: CPUs, memory, open files; from affinity, cgroup v1 or v2, and /proc.
// The real platform owns one, on the main thread; tests give it a tree of files instead of the machine's.
// It never measures the host as a whole, only weir's own process and cgroup, and what it cannot read it reports as not known.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "proxy/base/time.h"
#include "proxy/server/platform.h"

namespace weir {

class HostProbe {
 public:
  static constexpr unsigned kMostWorkers = 4;

  explicit HostProbe(std::string root = "");  // put before /proc and /sys

  double cpus() const;                      // affinity and quota; at least something above 0
  unsigned automatic_workers() const;       // cpus, rounded up, 1 to kMostWorkers
  PressureReading read(MonotonicTime now);  // CPU since the last call

  // Parts, for tests.
  std::optional<double> cpu_quota() const;     // in CPUs; none: unlimited or not known
  std::optional<double> memory_share() const;  // working set over limit
  static std::optional<double> open_files_share();

 private:
  std::optional<std::string> file(const std::string& path) const;  // its content
  // The directories from the process's own cgroup up to the root of the hierarchy that has `controller`; v2 when it is empty.
  const std::string& cgroup_directory(const std::string& controller) const;
  std::string find_cgroup_directory(const std::string& controller) const;

  std::string root_;
  mutable std::map<std::string, std::string> directories_;  // by controller
  double cpus_known_ = 0;
  MonotonicTime cpus_at_{};
  MonotonicTime last_{};
  Duration last_cpu_{0};
  std::uint32_t last_files_ = 0;
  MonotonicTime files_at_{};
};

// Raises RLIMIT_NOFILE to its hard limit; the limit that is in force then.
std::uint64_t raise_open_file_limit();

}  // namespace weir
