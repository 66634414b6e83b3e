#include "proxy/upstream/service.h"

#include <algorithm>
#include <unordered_map>

#include "proxy/base/check.h"

namespace weir {
namespace {

constexpr Duration kStart = 5s;  // of a service: what discovery adds within it is not new

// Whether the window of an endpoint is to be looked at that was not: what it holds is then older than a window, or half of it was not counted.
bool looks_closer(const OutlierConfig& before, const OutlierConfig& now) {
  const bool counted = before.mode != FilterMode::disabled;
  if (now.mode == FilterMode::disabled) return false;
  if (now.failure_ratio) return !counted || !before.failure_ratio;
  return now.latency && !(counted && (before.latency || before.failure_ratio));
}

}  // namespace

// Written by attach() before any post and by detach(); read by posted tasks, all on the worker's thread.
struct Service::Mailbox {
  ServiceWorker* worker = nullptr;
};

// Written by observe(), read by posted tasks: both on main's thread.
struct Service::MainMailbox {
  ServiceObserver* observer = nullptr;
};

Service::Service(std::string name, std::atomic<std::uint32_t>& last_endpoint_id, std::uint64_t seed)
    : name_(std::move(name)),
      last_endpoint_id_(last_endpoint_id),
      retry_budget_(RetryBudgetConfig{}),
      view_(std::make_shared<ServiceView>()),
      outlier_(OutlierConfig{}),
      random_(seed) {}

void Service::configure(const ServiceConfig& config, const UpstreamOptions& options) {
  retry_budget_.configure(config.retry_budget);
  requests_.configure(config.limits.requests == 0 ? HostLimit::kUnlimited : config.limits.requests, config.limits.mode);
  pending_.configure(config.limits.pending, config.limits.mode);

  auto next = std::make_shared<ServiceView>(*view_);
  next->config = config;
  next->config.place = {};  // its file name lives with the configuration, which this view may outlive
  next->removed = false;
  next->options = options;
  auto& circle = next->endpoints.circle;  // made before the lock is taken, as in set_endpoints()
  if (circle == nullptr || circle->kind() != config.balance) circle = make_hash_circle(config.balance, next->endpoints.slots);

  const std::lock_guard lock(mutex_);
  slots_.configure(config.limits.connections, config.limits.mode);
  const bool restarts = looks_closer(view_->config.outlier_detection, config.outlier_detection);
  view_ = std::move(next);
  const bool gated = checks_in(FilterMode::enforce) && config.outlier_detection.mode == FilterMode::enforce;
  outlier_.configure(config.outlier_detection, gated);
  if (config.health_check) health_.configure(*config.health_check);
  for (const EndpointSlot& slot : view_->endpoints.slots) {
    Endpoint& endpoint = *slot.endpoint;
    if (config.outlier_detection.mode == FilterMode::disabled) {
      const std::uint32_t generation = endpoint.outlier.generation + 1;
      endpoint.outlier = {};
      endpoint.outlier.generation = generation;
    }
    if (restarts) endpoint.outlier.window.restart(endpoint.statistics, config.outlier_detection.latency.has_value());
    if (!checked()) endpoint.health = {};
    if (!gated) endpoint.outlier.awaits_check = false;  // nobody would ever end it
  }
  mirror_all();
  grant_all();
  publish();
}

void Service::set_endpoints(const std::vector<FoundEndpoint>& found, MonotonicTime now) {
  // What takes long with many endpoints is done before the lock is taken; only main writes view_, so main may read it without.
  std::unordered_map<std::string_view, const EndpointSlot*> old;
  for (const EndpointSlot& slot : view_->endpoints.slots) old.emplace(slot.endpoint->text, &slot);
  std::unordered_map<std::string_view, std::size_t> index;
  std::vector<EndpointSlot> slots;
  std::vector<Endpoint*> fresh;
  for (const FoundEndpoint& one : found) {
    const auto [place, is_first] = index.emplace(one.address.text(), slots.size());
    if (!is_first) {  // named twice: one endpoint that counts for both
      slots[place->second].weight += one.weight;
      continue;
    }
    const auto kept = old.find(one.address.text());
    if (kept != old.end()) {
      slots.push_back({kept->second->endpoint, one.weight});
      continue;
    }
    std::uint32_t id = 0;
    while (id == 0) id = last_endpoint_id_.fetch_add(1, std::memory_order_relaxed) + 1;
    slots.push_back({std::make_shared<Endpoint>(id, one.address), one.weight});
    fresh.push_back(slots.back().endpoint.get());
  }
  if (began_ == MonotonicTime{}) began_ = now;
  // Where all are new nobody could carry what these do not; and names that answer a moment later belong to the start.
  if (fresh.size() < slots.size() && now - began_ >= kStart) {
    for (Endpoint* endpoint : fresh) begin_slow_start(*endpoint, now);
  }
  auto next = std::make_shared<ServiceView>(*view_);
  next->endpoints = EndpointSet(std::move(slots));
  next->endpoints.circle = make_hash_circle(next->config.balance, next->endpoints.slots);
  next->waiting = false;

  const std::lock_guard lock(mutex_);
  for (const EndpointSlot& slot : view_->endpoints.slots) slot.endpoint->present = false;
  for (const EndpointSlot& slot : next->endpoints.slots) slot.endpoint->present = true;
  outlier_states_.clear();
  for (const EndpointSlot& slot : next->endpoints.slots) outlier_states_.push_back(&slot.endpoint->outlier);
  view_ = std::move(next);
  mirror_all();
  publish();
}

void Service::begin_slow_start(Endpoint& endpoint, MonotonicTime now) {
  const std::int64_t at = now.time_since_epoch().count();
  endpoint.warm_since.store(at, std::memory_order_relaxed);
  if (at > warm_since_.load(std::memory_order_relaxed)) warm_since_.store(at, std::memory_order_relaxed);
}

void Service::set_removed() {
  const std::lock_guard lock(mutex_);
  auto next = std::make_shared<ServiceView>(*view_);
  next->removed = true;
  view_ = std::move(next);
  publish();
}

void Service::publish() {
  auto next = std::make_shared<ServiceView>(*view_);
  ++next->version;
  view_ = next;
  for (const Member& member : members_) {
    member.loop->post([mailbox = member.mailbox, view = view_] {
      if (mailbox->worker != nullptr) mailbox->worker->on_view(view);
    });
  }
}

std::shared_ptr<const ServiceView> Service::attach(std::uint32_t worker, EventLoop& loop, ServiceWorker& handler) {
  const std::lock_guard lock(mutex_);
  auto mailbox = std::make_shared<Mailbox>();
  mailbox->worker = &handler;
  members_.push_back({worker, &loop, std::move(mailbox)});
  return view_;
}

void Service::detach(std::uint32_t worker) {
  const std::lock_guard lock(mutex_);
  const auto gone = std::find_if(members_.begin(), members_.end(), [&](const Member& member) { return member.worker == worker; });
  if (gone == members_.end()) return;
  gone->mailbox->worker = nullptr;
  members_.erase(gone);
  slots_.release_all(worker);
  grant_all();
}

void Service::post(const Member& member, Tell tell) {
  member.loop->post([mailbox = member.mailbox, tell] {
    if (mailbox->worker != nullptr) tell(*mailbox->worker);
  });
}

void Service::tell_granted(std::uint32_t worker) {
  for (const Member& member : members_) {
    if (member.worker == worker) post(member, [](ServiceWorker& handler) { handler.on_connection_granted(); });
  }
}

void Service::grant_all() {
  while (const auto granted = slots_.grant()) tell_granted(*granted);
  note_contention();
}

HostLimit::Taken Service::take_connection(std::uint32_t worker) {
  const std::lock_guard lock(mutex_);
  return slots_.take(worker);
}

bool Service::give_back_connection(std::uint32_t worker) {
  const std::lock_guard lock(mutex_);
  const auto granted = slots_.give_back(worker);
  note_contention();
  if (!granted) return false;
  if (*granted == worker) return true;
  tell_granted(*granted);
  return false;
}

void Service::want_connection(std::uint32_t worker, std::uint32_t waiting, MonotonicTime oldest) {
  const std::lock_guard lock(mutex_);
  if (!slots_.enlist(worker, waiting, oldest)) return;
  grant_all();  // it may be the second of two that found one slot taken, with another free
  if (!slots_.starving()) return;
  for (const Member& member : members_) {
    if (member.worker == worker || slots_.held(member.worker) == 0) continue;
    post(member, [](ServiceWorker& handler) { handler.on_connection_wanted(); });
  }
}

void Service::want_no_connection(std::uint32_t worker) {
  const std::lock_guard lock(mutex_);
  slots_.withdraw(worker);
  note_contention();
}

bool Service::must_yield_connection(std::uint32_t worker, const ConnectionDemand& mine) {
  const std::lock_guard lock(mutex_);
  return slots_.over() || slots_.must_yield(worker, mine);
}

LimitStatus Service::connection_limit() const {
  const std::lock_guard lock(mutex_);
  return {slots_.used(), slots_.limit()};
}

// What the data path reads of an endpoint's state. Raises unusable_until_ only: it is lowered where something returns (mirror_all).
void Service::mirror(Endpoint& endpoint) {
  OutlierState& state = endpoint.outlier;
  const bool unhealthy = endpoint.health.health == Health::unhealthy && checks_in(FilterMode::enforce);
  state.unhealthy = unhealthy;
  endpoint.consecutive.store(state.consecutive, std::memory_order_relaxed);
  endpoint.generation.store(state.generation, std::memory_order_relaxed);
  endpoint.unhealthy.store(unhealthy, std::memory_order_relaxed);
  std::int64_t until = 0;
  if (enforced()) until = state.awaits_check ? Endpoint::kEjectedForNow : state.ejected_until.time_since_epoch().count();
  endpoint.ejected_until.store(until, std::memory_order_relaxed);
  if (unhealthy) until = Endpoint::kEjectedForNow;
  if (until > unusable_until_.load(std::memory_order_relaxed)) unusable_until_.store(until, std::memory_order_relaxed);
}

void Service::mirror_all() {
  std::int64_t latest = 0;
  for (const EndpointSlot& slot : view_->endpoints.slots) {
    Endpoint& endpoint = *slot.endpoint;
    mirror(endpoint);
    const std::int64_t until = endpoint.ejected_until.load(std::memory_order_relaxed);
    latest = std::max(latest, endpoint.outlier.unhealthy ? Endpoint::kEjectedForNow : until);
  }
  unusable_until_.store(latest, std::memory_order_relaxed);
}

void Service::record_success(Endpoint& endpoint, std::uint32_t generation, MonotonicTime now) {
  if (endpoint.consecutive.load(std::memory_order_relaxed) == 0) return;
  const std::lock_guard lock(mutex_);
  outlier_.record_success(endpoint.outlier, generation, now);
  mirror(endpoint);
}

OutlierVerdict Service::record_failure(Endpoint& endpoint, std::uint32_t generation, MonotonicTime now) {
  endpoint.failures.fetch_add(1, std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  if (!endpoint.present) return OutlierVerdict::none;
  const OutlierVerdict verdict = outlier_.record_failure(endpoint.outlier, generation, outlier_states_, now, random_);
  mirror(endpoint);
  if (verdict == OutlierVerdict::eject) tell_ejected();
  return verdict;
}

// ---- what main looks at ----

void Service::observe(EventLoop& main, ServiceObserver* observer) {
  const std::lock_guard lock(mutex_);
  if (observer_ != nullptr) observer_->observer = nullptr;
  observer_.reset();
  if (observer == nullptr) return;
  main_ = &main;
  observer_ = std::make_shared<MainMailbox>();
  observer_->observer = observer;
}

EndpointSet Service::endpoints() const {
  const std::lock_guard lock(mutex_);
  return view_->endpoints;
}

void Service::tell_ejected() {
  if (observer_ == nullptr) return;
  main_->post([mailbox = observer_] {
    if (mailbox->observer != nullptr) mailbox->observer->on_ejected();
  });
}

bool Service::record_check(Endpoint& endpoint, CheckResult result, int status, MonotonicTime began, MonotonicTime now) {
  const std::lock_guard lock(mutex_);
  if (!checked() || !endpoint.present) return false;
  const Health was = endpoint.health.health;
  const bool changed = health_.record(endpoint.health, result, status);
  const bool returned = result == CheckResult::passed && outlier_.record_check_passed(endpoint.outlier, began, now);
  if (changed || returned) mirror_all();
  if (changed && was == Health::unhealthy && checks_in(FilterMode::enforce)) begin_slow_start(endpoint, now);
  return changed || returned;
}

MonotonicTime Service::next_check(const Endpoint& endpoint, MonotonicTime began, MonotonicTime now) {
  const std::lock_guard lock(mutex_);
  const OutlierState& outlier = endpoint.outlier;
  if (outlier.awaits_check && now < outlier.ejected_until) {  // asked again just when a passed check lets it return
    return std::max(now, std::min(began + health_.next_check(endpoint.health, false, random_), outlier.ejected_until));
  }
  return std::max(now, began + health_.next_check(endpoint.health, outlier.awaits_check, random_));
}

bool Service::sweeps() const {
  const std::lock_guard lock(mutex_);
  return outlier_.sweeps() && !view_->removed;
}

Duration Service::sweep_every() const {
  const std::lock_guard lock(mutex_);
  return outlier_.config().window / static_cast<int>(OutlierWindow::kSlices);
}

std::vector<OutlierFinding> Service::sweep(MonotonicTime now) {
  const std::lock_guard lock(mutex_);
  const bool with_latency = outlier_.config().latency.has_value();
  for (const EndpointSlot& slot : view_->endpoints.slots) {
    OutlierState& state = slot.endpoint->outlier;
    state.window.advance(slot.endpoint->statistics, with_latency, !state.ejected(now));
  }
  std::vector<OutlierFinding> found = outlier_.sweep(outlier_states_, now, random_);
  for (const OutlierFinding& finding : found) {
    if (finding.verdict == OutlierVerdict::eject) mirror(*view_->endpoints.slots[finding.index].endpoint);
  }
  return found;
}

EndpointStatus Service::status_of(const EndpointSlot& slot, MonotonicTime now) const {
  const Endpoint& endpoint = *slot.endpoint;
  EndpointStatus one;
  one.id = endpoint.id;
  one.address = endpoint.text;
  one.weight = slot.weight;
  one.state = "usable";
  if (endpoint.outlier.ejected(now)) {
    one.state = enforced() ? "ejected" : "would_be_ejected";
    one.returns_in = std::max(Duration(0), endpoint.outlier.ejected_until - now);
    one.awaits_check = endpoint.outlier.awaits_check;
  }
  if (endpoint.health.health == Health::unhealthy) {
    if (checks_in(FilterMode::enforce)) one.state = "unhealthy";
    if (checks_in(FilterMode::shadow) && one.state != "ejected") one.state = "would_be_unhealthy";
  }
  if (endpoint.outlier.ejections > 0) one.ejected_for = to_word(endpoint.outlier.sign);
  one.active = endpoint.active.load(std::memory_order_relaxed);
  one.consecutive_failures = endpoint.outlier.consecutive;
  one.ejections = endpoint.outlier.ejections;
  one.attempts = endpoint.attempts.load(std::memory_order_relaxed);
  one.failures = endpoint.failures.load(std::memory_order_relaxed);
  one.health = endpoint.health;
  return one;
}

ServiceStatus Service::status(MonotonicTime now) const {
  ServiceStatus status;
  status.name = name_;
  status.pending = {pending_.used(), pending_.limit()};
  status.requests = {requests_.used(), requests_.limit()};
  const std::lock_guard lock(mutex_);
  status.retry_budget_remaining = const_cast<ServiceRetryBudget&>(retry_budget_).remaining(now);
  status.retries_taken = retry_budget_.taken();
  status.connections = {slots_.used(), slots_.limit()};
  status.waiting = view_->waiting;
  status.removed = view_->removed;
  status.checked = checked();
  status.panic = panic_reason(view_->endpoints, view_->config.panic_below, now);
  status.annotations = view_->config.annotations;
  for (const EndpointSlot& slot : view_->endpoints.slots) status.endpoints.push_back(status_of(slot, now));
  return status;
}

}  // namespace weir
