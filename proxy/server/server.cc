#include "proxy/server/server.h"

#include <algorithm>
#include <utility>

#include "proxy/base/text.h"
#include "proxy/server/state_metrics.h"

namespace weir {

struct Server::Next {
  std::map<std::string, std::shared_ptr<ListenerShare>> shares;
  std::string log_path;
  std::shared_ptr<LogSink> log;
};

Server::Server(Platform& platform, MetricsRegistry& metrics, ServerHooks hooks)
    : platform_(platform),
      metrics_(metrics),
      hooks_(std::move(hooks)),
      states_(std::make_unique<StateStore>(platform.seed())),
      directory_(std::make_unique<ServiceDirectory>(platform.main_loop(), platform.resolver(), platform.seed())),
      drain_timer_(platform.main_loop(), Callback::to<&Server::ask_status>(this)),
      stop_timer_(platform.main_loop(), Callback::to<&Server::on_stop_timeout>(this)) {
  for (std::size_t i = 0; i < platform.workers(); ++i) {
    workers_.push_back(std::make_unique<Worker>(WorkerParts{platform.worker_loop(i), platform.connector(i), *directory_, *states_,
                                                            metrics, pressure_, static_cast<std::uint32_t>(i), platform.seed()}));
  }
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
  return {};
}

Result<void> Server::reload() {
  if (phase_ != Phase::starting && phase_ != Phase::running) return Error{"weir is ending", 0};
  if (unapplied_ != 0) {
    reload_wanted_ = true;
    return {};
  }
  platform_.supervisor().reloading();
  Result<std::shared_ptr<const Config>> loaded = hooks_.load();
  Result<void> taken = loaded.ok() ? take(std::move(loaded).value()) : Result<void>(loaded.error());
  last_reload_ok_ = taken.ok();
  last_reload_at_ = platform_.main_loop().wall_now();
  last_error_ = taken.ok() ? std::string() : taken.error().message;
  if (!taken.ok()) {
    platform_.log().error("the configuration was not taken, the last one stays", {{"reason", last_error_}});
    platform_.supervisor().ready("running; the last reload was refused");
  }
  return taken;
}

// Everything that can fail, before anything changes.
Result<Server::Next> Server::prepare(const Config& config) {
  Next next;
  for (const ListenerConfig& listener : config.listeners) {
    const std::string key(listener.listen.text());
    const auto kept = shares_.find(key);
    if (kept != shares_.end()) {
      next.shares.emplace(*kept);
      continue;
    }
    Result<std::unique_ptr<SharedListener>> opened = platform_.listen({listener.name, listener.listen, 0});
    if (!opened) return Error{concat("listener ", listener.name, ": ", opened.error().message), opened.error().code};
    auto share = std::make_shared<ListenerShare>();
    share->socket = std::move(opened).value();
    next.shares.emplace(key, std::move(share));
  }
  if (config.access_log) {
    next.log_path = config.access_log->path;
    if (next.log_path == log_path_) {
      next.log = log_;
    } else {
      Result<std::unique_ptr<LogSink>> opened = platform_.open_log(next.log_path);
      if (!opened) return Error{concat("access_log: ", opened.error().message), opened.error().code};
      next.log = std::move(opened).value();
    }
  }
  Result<void> admin = admin_->prepare(config.admin);  // last: what it opens stays open until it is committed or prepared again
  if (!admin) return admin.error();
  return next;
}

Result<void> Server::take(std::shared_ptr<const Config> config) {
  if (config->listeners.empty()) return Error{"there are no listeners: nothing to run", 0};
  if (config->workers != 0 && config->workers != platform_.workers() && phase_ != Phase::created) {
    platform_.log().warning("workers: a new number takes effect at the next start", {{"workers", platform_.workers()}});
  }
  Result<Next> next = prepare(*config);
  if (!next) return next.error();
  config_ = std::move(config);
  shares_ = std::move(next->shares);
  log_path_ = std::move(next->log_path);
  log_ = std::move(next->log);
  ++generation_;
  admin_->commit();
  if (const auto level = parse_log_level(config_->log.level)) platform_.log().set_level(*level);
  platform_.log().set_json(config_->log.json);
  metrics_.set_max_series(config_->metrics.max_series);
  directory_->apply(config_->services, UpstreamOptions{config_->metrics.endpoint_labels});
  states_->begin_generation();
  WorkerPlan plan;
  plan.config = config_;
  plan.generation = generation_;
  for (const ListenerConfig& listener : config_->listeners) {
    plan.listeners.push_back({listener.name, shares_.at(std::string(listener.listen.text()))});
  }
  plan.access_log = log_;
  if (config_->access_log) {
    const AccessLogConfig& log = *config_->access_log;
    plan.access_log_rules = {log.when.statuses, log.when.slower_than, log.when.decided, log.sample};
  }
  hand_out(plan);
  return {};
}

template <class F>
void Server::post_all(const F& task) {
  for (const auto& one : workers_) {
    Worker* worker = one.get();
    worker->loop().post([worker, task] { task(*worker); });
  }
}

void Server::hand_out(const WorkerPlan& plan) {
  unapplied_ = workers_.size();
  post_all([this, plan](Worker& worker) {
    worker.apply(plan);
    platform_.main_loop().post([this] { on_applied(); });
  });
}

void Server::on_applied() {
  if (--unapplied_ != 0) return;
  states_->end_generation();
  applied_ = true;
  if (phase_ == Phase::starting) phase_ = Phase::running;
  if (phase_ == Phase::running) platform_.supervisor().ready("running");
  platform_.log().info("the configuration is served", {{"generation", generation_}, {"workers", workers_.size()}});
  if (std::exchange(reload_wanted_, false)) static_cast<void>(reload());
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
  post_all([this](Worker& worker) {
    platform_.main_loop().post([this, status = worker.status()] { on_status(status); });
  });
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
  rows.push_back(gauge_row("weir_config_generation", "Which configuration since the start is served.",
                           static_cast<double>(generation_)));
  rows.push_back(gauge_row("weir_config_last_reload_success", "1 when the last reload was taken, 0 when it was refused.",
                           last_reload_ok_ ? 1 : 0));
  rows.push_back(gauge_row("weir_config_last_reload_timestamp_seconds", "When the last reload was tried; 0: never.",
                           static_cast<double>(last_reload_at_.time_since_epoch().count()) * 1e-9));
  rows.push_back(gauge_row("weir_ready", "1 while /readyz says so.", ready() ? 1 : 0));
  rows.push_back(gauge_row("weir_workers", "Worker threads.", static_cast<double>(workers_.size())));
  rows.push_back(gauge_row("weir_host_cpu_ratio", "CPU used, of the CPUs that weir may use.", pressure_.cpu * 1e-3));
  rows.push_back(gauge_row("weir_host_memory_ratio", "Memory used, of the limit of weir's cgroup.", pressure_.memory * 1e-3));
  rows.push_back(gauge_row("weir_host_open_files_ratio", "Open files, of the limit.", pressure_.open_files * 1e-3));
  rows.push_back(gauge_row("weir_loop_delay_seconds", "How long the slowest worker took to turn to a new task.",
                           pressure_.loop_delay_us * 1e-6));
  MetricsRegistry::Snapshot build{"weir_build_info", "Always 1; which weir this is.", MetricKind::gauge, {"version"}, {}};
  build.samples.emplace_back().labels = {WEIR_VERSION};
  build.samples.back().value = 1;
  rows.push_back(std::move(build));
  collect_states(*states_, platform_.main_loop().now(), rows);
}

}  // namespace weir
