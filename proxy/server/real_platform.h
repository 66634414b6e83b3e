// RealPlatform: the world as it is: a thread and a libevent loop a worker, real sockets, c-ares, the log writer's thread, systemd.
// main owns it, before the Server and longer than it; its loops end in stop_workers(), which comes before the Server goes.
// It decides nothing: it is the real counterpart of the tests' simulated world.
#pragma once

#include <csignal>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "proxy/base/log.h"
#include "proxy/net/ares_resolver.h"
#include "proxy/net/listener.h"
#include "proxy/net/tcp_stream.h"
#include "proxy/runtime/inotify_watcher.h"
#include "proxy/runtime/libevent_loop.h"
#include "proxy/runtime/log_writer.h"
#include "proxy/server/host_probe.h"
#include "proxy/server/platform.h"
#include "proxy/server/systemd.h"

namespace weir {

struct RealPlatformOptions {
  std::size_t workers = 0;  // 0: as many as the host allows
  bool json_log = false;
  std::string log_level = "info";
};

class RealPlatform final : public Platform {
 public:
  // Signals are blocked before the first worker thread starts, so that all of them come to `on_signal`, on the main loop.
  RealPlatform(const RealPlatformOptions& options, std::function<void(int)> on_signal);
  ~RealPlatform() override;

  void run() { main_->run(); }  // until stop_main()
  void stop_main() { main_->stop(); }
  void stop_workers();                   // ends and joins every worker's thread
  void reopen_logs();                    // after they were moved away (logrotate)
  LogWriter::Counts log_counts() const;  // of all access logs that there were

  EventLoop& main_loop() override { return *main_; }
  std::size_t workers() const override { return workers_.size(); }
  EventLoop& worker_loop(std::size_t worker) override { return *workers_[worker]->loop; }
  Connector& connector(std::size_t worker) override { return *workers_[worker]->connector; }
  Connector& main_connector() override { return main_connector_; }
  NameResolver& resolver() override { return *resolver_; }
  FileWatcher& file_watcher() override { return *files_; }
  std::uint64_t seed() override { return entropy(); }
  Result<std::unique_ptr<SharedListener>> listen(const ListenRequest& request) override;
  Result<std::unique_ptr<LogSink>> open_log(const std::string& path) override;
  PressureReading pressure() override { return probe_.read(main_->now()); }
  void give_memory_back() override;
  Supervisor& supervisor() override { return supervisor_; }
  Log& log() override { return log_; }

 private:
  void forget_ended_logs();
  struct WorkerThread {
    std::unique_ptr<RealLoop> loop;
    std::unique_ptr<TcpConnector> connector;
    std::thread thread;
  };
  std::unique_ptr<RealLoop> main_;
  TcpConnector main_connector_;
  DescriptorLogSink stderr_{2};
  Log log_;
  std::vector<std::shared_ptr<LogWriter>> writers_;  // those in use, and those that still write their last lines
  LogWriter::Counts ended_logs_;
  HostProbe probe_;
  SystemdSupervisor supervisor_;
  std::map<std::string, std::vector<int>> handed_down_;
  std::unique_ptr<AresResolver> resolver_;
  std::unique_ptr<InotifyWatcher> files_;
  std::vector<std::unique_ptr<WorkerThread>> workers_;
};

}  // namespace weir
