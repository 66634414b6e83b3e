#include "proxy/upstream/service.h"

#include <algorithm>

#include "proxy/base/check.h"

namespace weir {

// Written by attach() before any post and by detach(); read by posted tasks, all on the worker's thread.
struct Service::Mailbox {
  ServiceWorker* worker = nullptr;
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

  const std::lock_guard lock(mutex_);
  auto next = std::make_shared<ServiceView>(*view_);
  next->config = config;
  next->config.place = {};  // its file name lives with the configuration, which this view may outlive
  next->removed = false;
  next->options = options;
  slots_.configure(config.limits.connections, config.limits.mode);
  outlier_.configure(config.outlier_detection);
  for (const EndpointSlot& slot : next->endpoints.slots) {
    if (config.outlier_detection.mode == FilterMode::disabled) slot.endpoint->outlier = {};
    mirror(*slot.endpoint);
  }
  view_ = std::move(next);
  grant_all();
  publish();
}

void Service::set_endpoints(const std::vector<FoundEndpoint>& found) {
  const std::lock_guard lock(mutex_);
  std::vector<EndpointSlot> slots;
  for (const FoundEndpoint& one : found) {
    const auto same = [&](const EndpointSlot& slot) { return slot.endpoint->address == one.address; };
    const auto twice = std::find_if(slots.begin(), slots.end(), same);
    if (twice != slots.end()) {  // named twice: one endpoint that counts for both
      twice->weight += one.weight;
      continue;
    }
    const auto& old = view_->endpoints.slots;
    const auto kept = std::find_if(old.begin(), old.end(), same);
    if (kept != old.end()) {
      slots.push_back({kept->endpoint, one.weight});
      continue;
    }
    std::uint32_t id = 0;
    while (id == 0) id = last_endpoint_id_.fetch_add(1, std::memory_order_relaxed) + 1;
    slots.push_back({std::make_shared<Endpoint>(id, one.address), one.weight});
  }
  auto next = std::make_shared<ServiceView>(*view_);
  next->endpoints = EndpointSet(std::move(slots));
  next->waiting = false;
  outlier_states_.clear();
  for (const EndpointSlot& slot : next->endpoints.slots) outlier_states_.push_back(&slot.endpoint->outlier);
  view_ = std::move(next);
  publish();
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
  const auto gone =
      std::find_if(members_.begin(), members_.end(), [&](const Member& member) { return member.worker == worker; });
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

void Service::mirror(Endpoint& endpoint) {
  const OutlierState& state = endpoint.outlier;
  endpoint.consecutive.store(state.consecutive, std::memory_order_relaxed);
  endpoint.generation.store(state.generation, std::memory_order_relaxed);
  const std::int64_t until = enforced() ? state.ejected_until.time_since_epoch().count() : 0;
  endpoint.ejected_until.store(until, std::memory_order_relaxed);
  if (until > ejected_until_.load(std::memory_order_relaxed)) ejected_until_.store(until, std::memory_order_relaxed);
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
  const OutlierVerdict verdict = outlier_.record_failure(endpoint.outlier, generation, outlier_states_, now, random_);
  mirror(endpoint);
  return verdict;
}

ServiceStatus Service::status(MonotonicTime now) const {
  ServiceStatus status;
  status.name = name_;
  status.pending = {pending_.used(), pending_.limit()};
  status.requests = {requests_.used(), requests_.limit()};
  const std::lock_guard lock(mutex_);
  status.retry_budget_remaining = const_cast<ServiceRetryBudget&>(retry_budget_).remaining(now);
  status.connections = {slots_.used(), slots_.limit()};
  status.waiting = view_->waiting;
  status.removed = view_->removed;
  status.annotations = view_->config.annotations;
  for (const EndpointSlot& slot : view_->endpoints.slots) {
    const Endpoint& endpoint = *slot.endpoint;
    EndpointStatus one;
    one.id = endpoint.id;
    one.address = endpoint.text;
    one.weight = slot.weight;
    one.state = "usable";
    if (endpoint.outlier.ejected(now)) {
      one.state = enforced() ? "ejected" : "would_be_ejected";
      one.returns_in = endpoint.outlier.ejected_until - now;
    }
    one.active = endpoint.active.load(std::memory_order_relaxed);
    one.consecutive_failures = endpoint.outlier.consecutive;
    one.ejections = endpoint.outlier.ejections;
    one.attempts = endpoint.attempts.load(std::memory_order_relaxed);
    one.failures = endpoint.failures.load(std::memory_order_relaxed);
    status.endpoints.push_back(std::move(one));
  }
  return status;
}

}  // namespace weir
