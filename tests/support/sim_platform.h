// SimPlatform: the Platform of a simulated world: loops and a network in virtual time, names from a table, logs into strings.
// A test's World owns it and drops it after the Server. Everything that it was told is kept for the test to read.
// It never touches the real machine.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "proxy/server/platform.h"
#include "proxy/sim/sim_files.h"
#include "proxy/sim/sim_loop.h"
#include "proxy/sim/sim_net.h"

namespace weir::test {

class MemoryLog : public LogSink {
 public:
  explicit MemoryLog(std::string& text) : text_(text) {}
  void write(std::string_view lines) override { text_ += lines; }

 private:
  std::string& text_;
};

// Answers after a millisecond from tables; names that are not in them do not exist.
class TableResolver : public NameResolver {
 public:
  explicit TableResolver(SimLoop& loop) : loop_(loop) {}
  void configure(const ResolverOptions& options) override { configured = options; }
  std::unique_ptr<NameLookup> lookup(const std::string& host, std::uint16_t port, AddressFamilies families, NameHandler& handler) override;
  std::unique_ptr<NameLookup> lookup_srv(const std::string& name, SrvHandler& handler) override;
  std::map<std::string, std::vector<std::string>> table;  // host -> ip addresses, IPv6 without brackets
  std::map<std::string, std::vector<SrvTarget>> srv;
  std::string failing;  // not empty: every lookup fails with this
  Duration ttl = std::chrono::seconds(30);
  int lookups = 0;
  ResolverOptions configured;

 private:
  SimLoop& loop_;
};

class FakeSupervisor : public Supervisor {
 public:
  void ready(std::string_view status) override { said.push_back("ready: " + std::string(status)); }
  void reloading() override { said.push_back("reloading"); }
  void stopping() override { said.push_back("stopping"); }
  void watchdog() override { ++fed; }
  Duration watchdog_interval() const override { return interval; }
  std::vector<std::string> said;
  int fed = 0;
  Duration interval{0};
};

class SimPlatform : public Platform {
 public:
  SimPlatform(SimWorld& world, std::size_t workers);

  EventLoop& main_loop() override { return main_; }
  std::size_t workers() const override { return loops_.size(); }
  EventLoop& worker_loop(std::size_t worker) override { return *loops_[worker]; }
  Connector& connector(std::size_t worker) override { return net.connector(*loops_[worker]); }
  Connector& main_connector() override { return net.connector(main_); }
  NameResolver& resolver() override { return names; }
  FileWatcher& file_watcher() override { return files; }
  std::uint64_t seed() override { return world_.random().next(); }
  Result<std::unique_ptr<SharedListener>> listen(const ListenRequest& request) override;
  Result<std::unique_ptr<LogSink>> open_log(const std::string& path) override;
  SplicePipeMaker splice_pipes() override { return pipes; }
  PressureReading pressure() override { return reading; }
  FakeSupervisor& supervisor() override { return supervisor_; }
  Log& log() override { return log_; }

 private:
  SimWorld& world_;
  SimLoop& main_;
  std::vector<SimLoop*> loops_;
  FakeSupervisor supervisor_;

 public:
  SimNet net;
  TableResolver names;
  SimFiles files;
  SplicePipeMaker pipes = make_kernel_pipe;  // which joins no simulated streams: bodies are copied
  PressureReading reading;
  std::map<std::string, std::string> logs;  // by path
  std::string messages;                     // the daemon's log
  MemoryLog messages_sink{messages};
  Log log_{messages_sink, [this] { return world_.wall_now(); }};
  std::vector<std::string> taken_addresses;  // listen() on these fails
};

}  // namespace weir::test
