// Server's part that takes configurations: loading, opening what is new, handing out, and telling what came of it.
#include <utility>

#include "config/schema/changes.h"
#include "filters/catalog.h"
#include "proxy/base/text.h"
#include "proxy/server/server.h"

namespace weir {

// Of a listener's unix socket: whoever reaches it may call, as with a port of this host; its folder says who does.
constexpr unsigned kListenerSocketMode = 0666;

struct Server::Next {
  std::map<std::string, std::shared_ptr<ListenerShare>> shares;
  std::string log_path;
  std::shared_ptr<LogSink> log;
};

ReloadOutcome Server::outcome(ReloadOutcome::Kind kind) const {
  ReloadOutcome out;
  out.kind = kind;
  out.generation = generation_;
  out.error = last_.error;
  if (kind == ReloadOutcome::Kind::taken) out.changes = last_.changes;
  return out;
}

Result<void> Server::reload(ReloadWaiter done) {
  if (phase_ != Phase::starting && phase_ != Phase::running) {
    const Error error{"weir is ending", 0};
    if (done) done({ReloadOutcome::Kind::refused, generation_, error.message, {}});
    return error;
  }
  if (done) waiting_.push_back(std::move(done));
  if (unapplied_ != 0) {
    reload_wanted_ = true;
    return {};
  }
  handing_ = std::exchange(waiting_, {});
  platform_.supervisor().reloading();
  const Result<ReloadOutcome::Kind> did = load_and_take();
  last_.tried_at = platform_.main_loop().wall_now();
  if (did.ok() && *did == ReloadOutcome::Kind::taken) return {};  // on_applied() goes on
  const auto kind = did.ok() ? *did : ReloadOutcome::Kind::refused;
  if (did.ok()) {
    platform_.log().info("nothing changed: the configuration says what is served already", {{"generation", generation_}});
    platform_.supervisor().ready("running");
  } else {
    platform_.log().error("the configuration was not taken, the last one stays",
                          {{"reason", last_.error}, {"generation", generation_}, {"refused_since", format_time(last_.refused_since)}});
    platform_.supervisor().ready("running; the last reload was refused");
  }
  const ReloadOutcome told = outcome(kind);
  for (const ReloadWaiter& waiter : std::exchange(handing_, {})) waiter(told);
  return did.ok() ? Result<void>() : Result<void>(did.error());
}

Result<ReloadOutcome::Kind> Server::load_and_take() {
  Result<std::shared_ptr<const Config>> loaded = hooks_.load();
  watch_files();
  if (!loaded) {
    note_refusal(loaded.error().message);
    return loaded.error();
  }
  std::vector<std::string> changes = describe_changes(*config_, **loaded, filter_catalog());
  const auto did = changes.empty() ? ReloadOutcome::Kind::unchanged : ReloadOutcome::Kind::taken;
  if (did == ReloadOutcome::Kind::taken) {
    const Result<void> taken = take(std::move(loaded).value());
    if (!taken) {
      note_refusal(taken.error().message);
      return taken.error();
    }
    last_.changes = std::move(changes);
  }
  last_.error.clear();
  return did;
}

void Server::note_refusal(std::string error) {
  if (last_.error.empty()) last_.refused_since = platform_.main_loop().wall_now();
  last_.error = std::move(error);
}

void Server::watch_files() {
  if (hooks_.watched) files_.watch(hooks_.watched());
}

void Server::on_files_changed() {
  if (phase_ != Phase::starting && phase_ != Phase::running) return;
  if (hooks_.stale && !hooks_.stale()) return;  // touched, or written as it was
  platform_.log().info("files of the configuration have changed");
  static_cast<void>(reload());  // what is wrong with it is in the log and on the admin page
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
    Result<std::unique_ptr<SharedListener>> opened = platform_.listen({listener.name, listener.listen, kListenerSocketMode});
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
  // The workers hold the sockets of what is gone as long as they accept on them: the last one closes them.
  bool halfway = false;
  for (const auto& [address, share] : shares_) {
    if (next->shares.count(address) != 0 || share->socket == nullptr) continue;
    share->socket->close_to_new();
    halfway = halfway || share->socket->address().family() != Address::Family::unix_path;
    share->socket.reset();
  }
  shares_ = std::move(next->shares);
  log_path_ = std::move(next->log_path);
  log_ = std::move(next->log);
  ++generation_;
  last_.served_since = platform_.main_loop().wall_now();
  admin_->commit();
  if (const auto level = parse_log_level(config_->log.level)) platform_.log().set_level(*level);
  platform_.log().set_json(config_->log.json);
  tls_.apply(*config_);
  metrics_.set_max_series(config_->metrics.max_series);
  plan_ = WorkerPlan();
  plan_.config = config_;
  plan_.generation = generation_;
  for (const ListenerConfig& listener : config_->listeners) {
    const std::shared_ptr<ListenerShare>& share = shares_.at(std::string(listener.listen.text()));
    plan_.listeners.push_back({listener.name, share, share->socket});
  }
  plan_.access_log = log_;
  if (config_->access_log) {
    const AccessLogConfig& log = *config_->access_log;
    plan_.access_log_rules = {log.when.statuses, log.when.slower_than, log.when.decided, log.sample};
  }
  unapplied_ = workers_.size();
  if (halfway) {
    hand_out_timer_.arm(kHalfwayIn);
  } else {
    hand_out();
  }
  return {};
}

void Server::hand_out() {
  platform_.resolver().configure(config_->resolver);
  directory_->apply(config_->services, UpstreamOptions{config_->metrics.endpoint_labels});
  states_->begin_generation();
  post_all([this, plan = std::exchange(plan_, WorkerPlan())](Worker& worker) {
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
  if (last_.changes.empty()) {
    platform_.log().info("the configuration is served", {{"generation", generation_}, {"workers", workers_.size()}});
  } else {
    platform_.log().info("the configuration is served",
                         {{"generation", generation_}, {"workers", workers_.size()}, {"changes", join_changes(last_.changes)}});
  }
  const ReloadOutcome told = outcome(ReloadOutcome::Kind::taken);
  const std::vector<ReloadWaiter> waiters = std::exchange(handing_, {});
  if (std::exchange(reload_wanted_, false)) static_cast<void>(reload());
  for (const ReloadWaiter& waiter : waiters) waiter(told);
}

}  // namespace weir
