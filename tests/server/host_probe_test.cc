#include "proxy/server/host_probe.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

using namespace weir;

namespace {

// A tree of files that stands for /proc and /sys.
struct Tree {
  Tree() {
    char name[] = "/tmp/weir-probe-XXXXXX";
    root = mkdtemp(name);
  }
  ~Tree() { std::filesystem::remove_all(root); }
  void put(const std::string& path, const std::string& content) {
    std::filesystem::create_directories(std::filesystem::path(root + path).parent_path());
    std::ofstream(root + path) << content;
  }
  std::string root;
};

}  // namespace

TEST_CASE("without any cgroup nothing is limited, and nothing is known of memory") {
  Tree tree;
  HostProbe probe(tree.root);
  CHECK_FALSE(probe.cpu_quota());
  CHECK_FALSE(probe.memory_share());
  CHECK(probe.automatic_workers() >= 1);
  CHECK(probe.automatic_workers() <= 4);
}

TEST_CASE("cgroup v2: the least quota of all levels counts") {
  Tree tree;
  tree.put("/proc/self/cgroup", "0::/pod/weir\n");
  tree.put("/sys/fs/cgroup/pod/weir/cpu.max", "max 100000\n");
  HostProbe probe(tree.root);
  CHECK_FALSE(probe.cpu_quota());
  tree.put("/sys/fs/cgroup/pod/cpu.max", "150000 100000\n");
  CHECK(probe.cpu_quota() == 1.5);
  tree.put("/sys/fs/cgroup/pod/weir/cpu.max", "50000 100000\n");
  CHECK(probe.cpu_quota() == 0.5);
  CHECK(probe.automatic_workers() == 1);
  CHECK(probe.cpus() == 0.5);
}

TEST_CASE("cgroup v2: the working set counts, not page cache that can be given back") {
  Tree tree;
  tree.put("/proc/self/cgroup", "0::/weir\n");
  tree.put("/sys/fs/cgroup/weir/memory.max", "max\n");
  tree.put("/sys/fs/cgroup/weir/memory.current", "900\n");
  HostProbe probe(tree.root);
  CHECK_FALSE(probe.memory_share());
  tree.put("/sys/fs/cgroup/weir/memory.max", "1000\n");
  CHECK(probe.memory_share() == 0.9);
  tree.put("/sys/fs/cgroup/weir/memory.stat", "anon 1\ninactive_file 400\nactive_file 3\n");
  CHECK(probe.memory_share() == 0.5);
  CHECK(probe.read(MonotonicTime(1s)).memory == 500);
}

TEST_CASE("cgroup v1: quota and memory of each controller's own hierarchy") {
  Tree tree;
  tree.put("/proc/self/cgroup", "5:memory:/pod\n4:cpu,cpuacct:/pod\n0::/\n");
  tree.put("/sys/fs/cgroup/cpu,cpuacct/pod/cpu.cfs_quota_us", "-1\n");
  tree.put("/sys/fs/cgroup/cpu,cpuacct/pod/cpu.cfs_period_us", "100000\n");
  tree.put("/sys/fs/cgroup/memory/pod/memory.limit_in_bytes", "9223372036854771712\n");
  tree.put("/sys/fs/cgroup/memory/pod/memory.usage_in_bytes", "800\n");
  HostProbe probe(tree.root);
  CHECK_FALSE(probe.cpu_quota());
  CHECK_FALSE(probe.memory_share());
  tree.put("/sys/fs/cgroup/cpu,cpuacct/pod/cpu.cfs_quota_us", "200000\n");
  tree.put("/sys/fs/cgroup/memory/pod/memory.limit_in_bytes", "1000\n");
  tree.put("/sys/fs/cgroup/memory/pod/memory.stat", "total_inactive_file 300\n");
  CHECK(probe.cpu_quota() == 2.0);
  CHECK(probe.memory_share() == 0.5);
}

TEST_CASE("in a container whose own path is not mounted, the mount's root is read") {
  Tree tree;
  tree.put("/proc/self/cgroup", "4:cpu,cpuacct:/kubepods/pod1/c1\n");
  tree.put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "100000\n");
  tree.put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  CHECK(HostProbe(tree.root).cpu_quota() == 1.0);
}

TEST_CASE("broken files are taken for absent") {
  Tree tree;
  tree.put("/proc/self/cgroup", "nonsense\n::\n0::/weir");
  tree.put("/sys/fs/cgroup/weir/cpu.max", "");
  tree.put("/sys/fs/cgroup/weir/memory.max", "x");
  tree.put("/sys/fs/cgroup/weir/memory.current", "-3");
  HostProbe probe(tree.root);
  CHECK_FALSE(probe.cpu_quota());
  CHECK_FALSE(probe.memory_share());
}

TEST_CASE("open files and CPU are shares of what is allowed") {
  const auto files = HostProbe::open_files_share();
  REQUIRE(files);
  CHECK(*files > 0);
  CHECK(*files < 1);
  HostProbe probe;
  CHECK(probe.read(MonotonicTime(1s)).cpu == 0);  // nothing to compare with yet
  volatile double sum = 0;
  for (int i = 0; i < 3000000; ++i) sum = sum + i;
  CHECK(probe.read(MonotonicTime(1s + 1ms)).cpu > 0);
}
