// Server: main's duties: it builds everything from a Config, hands each generation to the workers, reloads, drains and ends.
// main (or a simulated world) owns it, on the main loop; its platform and metrics outlive it. It owns the workers and all shared state.
// It never serves a request itself, and it never keeps half a reload: a configuration is taken whole or refused.
//
// Order of the end: the loops of the workers have ended (or, simulated, are not run any more) before a Server is dropped.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "proxy/server/admin.h"
#include "proxy/server/config_watch.h"
#include "proxy/server/heartbeat.h"
#include "proxy/server/reload.h"
#include "proxy/server/tls_watch.h"
#include "proxy/server/worker.h"

namespace weir {

struct ServerHooks {
  // Reads the configuration again. Its error is for people: every message, one a line.
  std::function<Result<std::shared_ptr<const Config>>()> load;
  // The endpoints that a file lists (`file:` endpoints); its error carries file, line and column. Not set: files give none.
  std::function<Result<std::vector<EndpointConfig>>(const std::string& path)> read_endpoints;
  // The files and folders that the last load() asked for: when they change, so may its answer, and the Server reloads by itself. May be
  // absent: then it does not.
  std::function<std::vector<std::string>()> watched;
  // Whether they read differently than at the last load(); asked when `watched` says that something happened.
  std::function<bool()> stale;
  // All is over: no connection is left (clean), or the time for that is up.
  std::function<void(bool clean)> finished;
};

class Server {
 public:
  enum class Phase : std::uint8_t { created, starting, running, draining_inbound, draining_outbound, stopping, stopped };
  static constexpr Duration kGrace = std::chrono::seconds(1);  // a drained connection may say its last request until then
  static constexpr Duration kQuiet = std::chrono::seconds(1);  // outbound is idle when nothing was asked for so long
  static constexpr Duration kDrainTick = std::chrono::milliseconds(50);
  static constexpr Duration kStuckAfter = std::chrono::seconds(10);
  static constexpr Duration kStopWithin = std::chrono::seconds(2);
  // A socket that is to be closed takes nobody new from then on; who is halfway in by now has so long before the queue is emptied.
  static constexpr Duration kHalfwayIn = std::chrono::milliseconds(50);

  Server(Platform& platform, MetricsRegistry& metrics, ServerHooks hooks);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  Result<void> start(std::shared_ptr<const Config> config);
  // While the last one is still being handed out: remembered, and done after it. `done` hears what came of it, once every worker serves it
  // or at once where nothing is to be handed out; if weir ends first, never.
  Result<void> reload(ReloadWaiter done = {});
  void terminate();  // the first time drains, the second time stops
  void drain();
  void stop();  // at once

  bool ready() const { return phase_ == Phase::running && applied_; }
  bool stuck() const { return heartbeat_->worst_delay() > kStuckAfter; }  // a worker does not turn
  Phase phase() const { return phase_; }
  std::string_view phase_name() const;
  std::uint64_t generation() const { return generation_; }
  std::uint64_t served_generation() const { return unapplied_ == 0 ? generation_ : generation_ - 1; }  // by every worker
  const std::string& last_error() const { return last_.error; }  // of the last reload; empty when it was not refused
  const ReloadStatus& last_reload() const { return last_; }
  const std::shared_ptr<const Config>& config() const { return config_; }
  Platform& platform() { return platform_; }
  MetricsRegistry& metrics() { return metrics_; }
  const HostPressure& pressure() const { return pressure_; }
  ServiceDirectory& directory() { return *directory_; }
  StateStore& states() { return *states_; }
  std::vector<std::unique_ptr<Worker>>& workers() { return workers_; }
  // The addresses that listeners are bound to, by name (port 0 resolved).
  std::map<std::string, Address> listening() const;
  std::optional<Address> admin_address(bool changes) const { return admin_->address(changes); }

 private:
  struct Next;  // what a new configuration needs opened before it can be taken
  Result<ReloadOutcome::Kind> load_and_take();
  Result<void> take(std::shared_ptr<const Config> config);
  Result<Next> prepare(const Config& config);
  void hand_out();
  void on_applied();
  void note_refusal(std::string error);
  void on_files_changed();
  void watch_files();
  ReloadOutcome outcome(ReloadOutcome::Kind kind) const;
  void ask_status();
  void on_status(const WorkerStatus& status);
  void step_drain();
  void close_inbound_sockets();
  void end(bool clean);
  void on_stop_timeout() { end(false); }
  void collect(std::vector<MetricsRegistry::Snapshot>& rows) const;
  template <class F>
  void post_all(const F& task);

  Platform& platform_;
  MetricsRegistry& metrics_;
  ServerHooks hooks_;
  HostPressure pressure_;
  std::shared_ptr<const Config> config_;
  std::unique_ptr<StateStore> states_;
  std::unique_ptr<ServiceDirectory> directory_;
  std::map<std::string, std::shared_ptr<ListenerShare>> shares_;  // by configured address
  std::string log_path_;
  std::shared_ptr<LogSink> log_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<Heartbeat> heartbeat_;
  std::unique_ptr<AdminServer> admin_;
  std::vector<std::shared_ptr<void>> collectors_;

  Phase phase_ = Phase::created;
  std::uint64_t generation_ = 0;
  std::size_t unapplied_ = 0;  // workers that have not taken the present generation yet
  bool applied_ = false;       // the first generation is everywhere
  bool reload_wanted_ = false;
  ReloadStatus last_;
  ConfigWatch files_;
  TlsWatch tls_;
  Timer hand_out_timer_;
  WorkerPlan plan_;                    // that is about to be handed out
  std::vector<ReloadWaiter> waiting_;  // for the reload that is wanted
  std::vector<ReloadWaiter> handing_;  // for the one that is being handed out

  Timer drain_timer_;  // the next look, while draining
  Timer stop_timer_;
  MonotonicTime drain_began_{}, drain_deadline_{};
  bool grace_over_ = false;
  std::size_t unanswered_ = 0;  // workers that owe a status
  WorkerStatus total_;
  std::size_t unstopped_ = 0;
};

template <class F>
void Server::post_all(const F& task) {
  for (const auto& one : workers_) {
    Worker* worker = one.get();
    worker->loop().post([worker, task] { task(*worker); });
  }
}

}  // namespace weir
