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
#include "proxy/server/heartbeat.h"
#include "proxy/server/worker.h"

namespace weir {

struct ServerHooks {
  // Reads the configuration again. Its error is for people: every message, one a line.
  std::function<Result<std::shared_ptr<const Config>>()> load;
  // All is over: no connection is left (clean), or the time for that is up.
  std::function<void(bool clean)> finished;
};

class Server {
 public:
  enum class Phase : std::uint8_t { created, starting, running, draining_inbound, draining_outbound, stopping, stopped };
  static constexpr Duration kGrace = std::chrono::seconds(1);      // a drained connection may say its last request until then
  static constexpr Duration kQuiet = std::chrono::seconds(1);      // outbound is idle when nothing was asked for so long
  static constexpr Duration kDrainTick = std::chrono::milliseconds(50);
  static constexpr Duration kStuckAfter = std::chrono::seconds(10);
  static constexpr Duration kStopWithin = std::chrono::seconds(2);

  Server(Platform& platform, MetricsRegistry& metrics, ServerHooks hooks);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  Result<void> start(std::shared_ptr<const Config> config);
  Result<void> reload();  // while the last one is still being handed out: remembered, and done after it
  void terminate();       // the first time drains, the second time stops
  void drain();
  void stop();            // at once

  bool ready() const { return phase_ == Phase::running && applied_; }
  bool stuck() const { return heartbeat_->worst_delay() > kStuckAfter; }  // a worker does not turn
  Phase phase() const { return phase_; }
  std::string_view phase_name() const;
  std::uint64_t generation() const { return generation_; }
  const std::string& last_error() const { return last_error_; }  // of the last reload; empty when it was taken
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
  Result<void> take(std::shared_ptr<const Config> config);
  Result<Next> prepare(const Config& config);
  void hand_out(const WorkerPlan& plan);
  void on_applied();
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
  std::size_t unapplied_ = 0;   // workers that have not taken the present generation yet
  bool applied_ = false;        // the first generation is everywhere
  bool reload_wanted_ = false;
  bool last_reload_ok_ = true;
  std::string last_error_;
  WallTime last_reload_at_{};

  Timer drain_timer_;           // the next look, while draining
  Timer stop_timer_;
  MonotonicTime drain_began_{}, drain_deadline_{};
  bool grace_over_ = false;
  std::size_t unanswered_ = 0;  // workers that owe a status
  WorkerStatus total_;
  std::size_t unstopped_ = 0;
};

}  // namespace weir
