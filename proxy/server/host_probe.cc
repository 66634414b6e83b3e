#include "proxy/server/host_probe.h"

#include <dirent.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>

namespace weir {
namespace {

constexpr std::uint64_t kUnlimitedFrom = std::uint64_t{1} << 60;  // cgroup v1 says "no limit" with a number near 2^63

std::optional<std::uint64_t> number(std::string_view text) {
  if (text.empty() || text[0] < '0' || text[0] > '9') return std::nullopt;
  return std::strtoull(std::string(text).c_str(), nullptr, 10);
}

// The value of `key` in a file of "key value" lines.
std::uint64_t field(const std::string& text, std::string_view key) {
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line(text.data() + at, end - at);
    if (line.size() > key.size() && line.substr(0, key.size()) == key && line[key.size()] == ' ') {
      return number(line.substr(key.size() + 1)).value_or(0);
    }
    at = end + 1;
  }
  return 0;
}

std::string parent(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

bool has_word(std::string_view list, std::string_view word) {  // comma-separated
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    if (list.substr(0, comma) == word) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

std::uint32_t thousandths(std::optional<double> share) {
  return share ? static_cast<std::uint32_t>(std::clamp(*share, 0.0, 100.0) * 1000) : 0;
}

}  // namespace

HostProbe::HostProbe(std::string root) : root_(std::move(root)) {}

std::optional<std::string> HostProbe::file(const std::string& path) const {
  std::ifstream in(root_ + path);
  if (!in) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
}

// /proc/self/cgroup: "0::/a/b" (v2) or "4:cpu,cpuacct:/a/b" (v1). In a container the path may be the host's, and not be there.
// A process is not moved between cgroups while it runs, so it is looked up once.
const std::string& HostProbe::cgroup_directory(const std::string& controller) const {
  const auto known = directories_.find(controller);
  if (known != directories_.end()) return known->second;
  return directories_.emplace(controller, find_cgroup_directory(controller)).first->second;
}

std::string HostProbe::find_cgroup_directory(const std::string& controller) const {
  const std::string text = file("/proc/self/cgroup").value_or("");
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first == std::string::npos ? first : first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (controller.empty() ? !controllers.empty() : !has_word(controllers, controller)) continue;
    const std::string mount = controller.empty() ? "/sys/fs/cgroup" : "/sys/fs/cgroup/" + controllers;
    std::string path = line.substr(second + 1);
    if (path == "/") path.clear();
    return mount + path;
  }
  return {};
}

std::optional<double> HostProbe::cpu_quota() const {
  std::optional<double> least;
  const auto take = [&least](double cpus) { least = std::min(least.value_or(cpus), cpus); };
  // A parent's limit holds for its children, so every level up to the mount counts.
  for (std::string at = cgroup_directory(""); at.size() >= sizeof "/sys/fs/cgroup" - 1; at = parent(at)) {
    const std::string text = file(at + "/cpu.max").value_or("");
    const auto quota = number(text);
    const auto period = number(std::string_view(text).substr(std::min(text.find(' ') + 1, text.size())));
    if (quota && period && *period != 0) take(static_cast<double>(*quota) / static_cast<double>(*period));
  }
  for (std::string at = cgroup_directory("cpu"); at.size() > sizeof "/sys/fs/cgroup" - 1; at = parent(at)) {
    const auto quota = number(file(at + "/cpu.cfs_quota_us").value_or(""));  // -1: none
    const auto period = number(file(at + "/cpu.cfs_period_us").value_or(""));
    if (quota && period && *quota != 0 && *period != 0) take(static_cast<double>(*quota) / static_cast<double>(*period));
  }
  return least;
}

double HostProbe::cpus() const {
  cpu_set_t set;
  CPU_ZERO(&set);
  double allowed = 1;
  if (sched_getaffinity(0, sizeof set, &set) == 0) allowed = std::max(1, CPU_COUNT(&set));
  const std::optional<double> quota = cpu_quota();
  return quota && *quota > 0 ? std::min(allowed, *quota) : allowed;
}

unsigned HostProbe::automatic_workers() const { return std::clamp(static_cast<unsigned>(std::ceil(cpus())), 1U, kMostWorkers); }

std::optional<double> HostProbe::memory_share() const {
  std::optional<double> most;
  const auto take = [&most](std::uint64_t used, std::uint64_t reclaimable, std::uint64_t limit) {
    if (limit == 0 || limit >= kUnlimitedFrom) return;
    const std::uint64_t held = used - std::min(used, reclaimable);  // page cache that nobody uses is given back before anyone dies
    const double share = static_cast<double>(held) / static_cast<double>(limit);
    most = std::max(most.value_or(share), share);
  };
  for (std::string at = cgroup_directory(""); at.size() >= sizeof "/sys/fs/cgroup" - 1; at = parent(at)) {
    const auto limit = number(file(at + "/memory.max").value_or(""));
    const auto used = number(file(at + "/memory.current").value_or(""));
    if (limit && used) take(*used, field(file(at + "/memory.stat").value_or(""), "inactive_file"), *limit);
  }
  for (std::string at = cgroup_directory("memory"); at.size() > sizeof "/sys/fs/cgroup" - 1; at = parent(at)) {
    const auto limit = number(file(at + "/memory.limit_in_bytes").value_or(""));
    const auto used = number(file(at + "/memory.usage_in_bytes").value_or(""));
    if (limit && used) take(*used, field(file(at + "/memory.stat").value_or(""), "total_inactive_file"), *limit);
  }
  return most;
}

std::optional<double> HostProbe::open_files_share() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == 0 || limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
  struct stat entry {};
  std::uint64_t open = 0;
  if (stat("/proc/self/fd", &entry) == 0 && entry.st_size > 0) {  // Linux 6.2 and later count there
    open = static_cast<std::uint64_t>(entry.st_size);
  } else if (DIR* directory = opendir("/proc/self/fd"); directory != nullptr) {
    while (readdir(directory) != nullptr) ++open;
    closedir(directory);
    open -= std::min<std::uint64_t>(open, 3);  // ".", "..", and the directory itself
  } else {
    return std::nullopt;
  }
  return static_cast<double>(open) / static_cast<double>(limit.rlim_cur);
}

PressureReading HostProbe::read(MonotonicTime now) {
  PressureReading reading;
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) == 0) {
    const auto spent = [](const timeval& t) { return std::chrono::seconds(t.tv_sec) + std::chrono::microseconds(t.tv_usec); };
    if (cpus_known_ == 0 || now - cpus_at_ >= 10s) {
      cpus_known_ = cpus();
      cpus_at_ = now;
    }
    const Duration cpu = spent(usage.ru_utime) + spent(usage.ru_stime);
    if (last_ != MonotonicTime{} && now > last_) reading.cpu = thousandths(seconds(cpu - last_cpu_) / (seconds(now - last_) * cpus_known_));
    last_cpu_ = cpu;
    last_ = now;
  }
  reading.memory = thousandths(memory_share());
  if (files_at_ == MonotonicTime{} || now - files_at_ >= 500ms) {  // counting costs with their number on older kernels
    last_files_ = thousandths(open_files_share());
    files_at_ = now;
  }
  reading.open_files = last_files_;
  return reading;
}

std::uint64_t raise_open_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  if (limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) static_cast<void>(getrlimit(RLIMIT_NOFILE, &limit));
  }
  return limit.rlim_cur;
}

}  // namespace weir
