#include "proxy/server/server.h"

#include <algorithm>
#include <utility>

#include "proxy/base/text.h"
#include "proxy/server/state_metrics.h"

namespace weir {

Server::Server(Platform& platform, MetricsRegistry& metrics, ServerHooks hooks)
    : platform_(platform),
      metrics_(metrics),
      hooks_(std::move(hooks)),
      states_(std::make_unique<StateStore>(platform.seed())),
      directory_(std::make_unique<ServiceDirectory>(platform.main_loop(), platform.resolver(), platform.seed(),
                                                    DirectoryParts{&platform.main_connector(), &metrics.shard(0), &platform.log()})),
      files_(platform.main_loop(), platform.file_watcher(), Callback::to<&Server::on_files_changed>(this)),
      tls_(platform.main_loop(), platform.log()),
      hand_out_timer_(platform.main_loop(), Callback::to<&Server::hand_out>(this)),
      drain_timer_(platform.main_loop(), Callback::to<&Server::ask_status>(this)),
      stop_timer_(platform.main_loop(), Callback::to<&Server::on_stop_timeout>(this)) {
  for (std::size_t i = 0; i < platform.workers(); ++i) {
    workers_.push_back(
        std::make_unique<Worker>(WorkerParts{platform.worker_loop(i), platform.connector(i), *directory_, *states_, metrics, pressure_,
                                             platform.log(), static_cast<std::uint32_t>(i), platform.seed(), platform.splice_pipes()}));
  }
  directory_->equip({hooks_.read_endpoints, &platform.file_watcher(), &platform.log()});
  heartbeat_ = std::make_unique<Heartbeat>(platform, pressure_, workers_);
  admin_ = std::make_unique<AdminServer>(platform, metrics, *this);
  collectors_.push_back(directory_->publish_metrics(metrics));
  collectors_.push_back(metrics.add_collector([this](std::vector<MetricsRegistry::Snapshot>& rows) { collect(rows); }));
}

Server::~Server() {
  collectors_.clear();
  admin_.reset();
  heartbeat_.reset();
  workers_.clear();
}

std::string_view Server::phase_name() const {
  static constexpr std::string_view kNames[] = {"created",           "starting", "running", "draining_inbound",
                                                "draining_outbound", "stopping", "stopped"};
  return kNames[static_cast<std::size_t>(phase_)];
}

std::map<std::string, Address> Server::listening() const {
  std::map<std::string, Address> out;
  if (config_ == nullptr) return out;
  for (const ListenerConfig& listener : config_->listeners) {
    const auto found = shares_.find(std::string(listener.listen.text()));
    if (found != shares_.end() && found->second->socket != nullptr) out.emplace(listener.name, found->second->socket->address());
  }
  return out;
}

Result<void> Server::start(std::shared_ptr<const Config> config) {
  CHECK(phase_ == Phase::created);
  Result<void> taken = take(std::move(config));
  if (!taken) return taken;
  phase_ = Phase::starting;
  heartbeat_->start();
  watch_files();
  return {};
}

void Server::terminate() {
  if (phase_ == Phase::created || phase_ == Phase::starting || phase_ == Phase::running) {
    drain();
  } else {
    stop();
  }
}

void Server::drain() {
  if (phase_ != Phase::starting && phase_ != Phase::running) {
    if (phase_ == Phase::created) stop();
    return;
  }
  phase_ = Phase::draining_inbound;
  drain_began_ = platform_.main_loop().now();
  drain_deadline_ = drain_began_ + config_->drain_timeout;
  platform_.supervisor().stopping();
  platform_.log().info("draining, inbound first", {{"timeout_seconds", config_->drain_timeout}});
  if (hand_out_timer_.armed()) {  // who follows the new configuration is served to the end, and who ordered it first is answered
    hand_out_timer_.disarm();
    hand_out();
  }
  post_all([](Worker& worker) {
    worker.stop_accepting(Direction::inbound);
    worker.begin_drain(Direction::inbound);
  });
  ask_status();
}

void Server::ask_status() {
  if (platform_.main_loop().now() >= drain_deadline_) {
    platform_.log().warning("the drain timeout is over: what still runs is cut off");
    return stop();
  }
  if (unanswered_ != 0) {  // a worker is slow to turn
    drain_timer_.arm(kDrainTick);
    return;
  }
  unanswered_ = workers_.size();
  total_ = WorkerStatus();
  post_all([this](Worker& worker) { platform_.main_loop().post([this, status = worker.status()] { on_status(status); }); });
  drain_timer_.arm(kDrainTick);
}

void Server::on_status(const WorkerStatus& status) {
  total_.inbound_connections += status.inbound_connections;
  total_.inbound_in_flight += status.inbound_in_flight;
  total_.outbound_in_flight += status.outbound_in_flight;
  total_.outbound_activity = std::max(total_.outbound_activity, status.outbound_activity);
  if (--unanswered_ == 0) step_drain();
}

// Every worker has answered since it was told to accept no more: nobody uses the sockets. Closed, so that whoever dials now is refused at
// once and goes elsewhere, rather than waiting in a queue that nobody empties.
void Server::close_inbound_sockets() {
  for (const ListenerConfig& listener : config_->listeners) {
    if (listener.direction != Direction::inbound) continue;
    const auto found = shares_.find(std::string(listener.listen.text()));
    if (found != shares_.end()) found->second->socket.reset();
  }
}

void Server::step_drain() {
  const MonotonicTime now = platform_.main_loop().now();
  if (phase_ == Phase::draining_inbound) {
    close_inbound_sockets();
    if (!grace_over_ && now >= drain_began_ + kGrace) {
      grace_over_ = true;
      post_all([](Worker& worker) { worker.close_idle(Direction::inbound); });
    }
    if (total_.inbound_connections != 0 || total_.inbound_in_flight != 0) return;
    phase_ = Phase::draining_outbound;
    platform_.log().info("inbound is drained; outbound is served until it is quiet");
  }
  if (phase_ != Phase::draining_outbound) return;
  const bool quiet = total_.outbound_activity == MonotonicTime{} || now >= total_.outbound_activity + kQuiet;
  if (total_.outbound_in_flight == 0 && quiet) stop();
}

void Server::stop() {
  if (phase_ == Phase::stopping || phase_ == Phase::stopped) return;
  const bool ran = phase_ != Phase::created;
  phase_ = Phase::stopping;
  drain_timer_.disarm();
  files_.stop();
  tls_.stop();
  hand_out_timer_.disarm();
  plan_ = WorkerPlan();
  heartbeat_->stop();
  if (!ran) return end(true);
  stop_timer_.arm(kStopWithin);
  unstopped_ = workers_.size();
  post_all([this](Worker& worker) {
    worker.close_all();
    platform_.main_loop().post([this] {
      if (--unstopped_ == 0) end(true);
    });
  });
}

void Server::end(bool clean) {
  if (phase_ == Phase::stopped) return;
  phase_ = Phase::stopped;
  stop_timer_.disarm();
  if (hooks_.finished) hooks_.finished(clean);
}

namespace {

MetricsRegistry::Snapshot gauge_row(const char* name, const char* help, double value) {
  MetricsRegistry::Snapshot row{name, help, MetricKind::gauge, {}, {}};
  row.samples.emplace_back().value = value;
  return row;
}

}  // namespace

void Server::collect(std::vector<MetricsRegistry::Snapshot>& rows) const {
  rows.push_back(gauge_row("weir_config_generation", "Which configuration since the start is served.", static_cast<double>(generation_)));
  rows.push_back(gauge_row("weir_config_last_reload_success", "1 when the last reload was taken, 0 when it was refused.",
                           last_.error.empty() ? 1 : 0));
  rows.push_back(gauge_row("weir_config_last_reload_timestamp_seconds", "When the last reload was tried; 0: never.",
                           static_cast<double>(last_.tried_at.time_since_epoch().count()) * 1e-9));
  rows.push_back(gauge_row("weir_ready", "1 while /readyz says so.", ready() ? 1 : 0));
  rows.push_back(gauge_row("weir_workers", "Worker threads.", static_cast<double>(workers_.size())));
  rows.push_back(gauge_row("weir_host_cpu_ratio", "CPU used, of the CPUs that weir may use.", pressure_.cpu * 1e-3));
  rows.push_back(gauge_row("weir_host_memory_ratio", "Memory used, of the limit of weir's cgroup.", pressure_.memory * 1e-3));
  rows.push_back(gauge_row("weir_host_open_files_ratio", "Open files, of the limit.", pressure_.open_files * 1e-3));
  rows.push_back(
      gauge_row("weir_loop_delay_seconds", "How long the slowest worker took to turn to a new task.", pressure_.loop_delay_us * 1e-6));
  rows.push_back(gauge_row("weir_loop_delay_max_seconds", "The longest that any worker took for that since the start.",
                           static_cast<double>(heartbeat_->longest_delay().count()) * 1e-9));
  MetricsRegistry::Snapshot build{"weir_build_info", "Always 1; which weir this is.", MetricKind::gauge, {"version"}, {}};
  build.samples.emplace_back().labels = {WEIR_VERSION};
  build.samples.back().value = 1;
  rows.push_back(std::move(build));
  tls_.collect(rows);
  collect_states(*states_, platform_.main_loop().now(), rows);
}

}  // namespace weir
