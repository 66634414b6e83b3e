#include "proxy/upstream/pool.h"

#include <algorithm>
#include <unordered_map>

#include "proxy/base/check.h"

namespace weir {
namespace {

FailureKind kind_of_connect(int error) {
  if (is_shortage(error)) return FailureKind::pool_overflow;
  if (error == kTlsCertificateError) return FailureKind::tls_certificate;
  return error == kTlsProtocolError ? FailureKind::tls_failure : FailureKind::connect_failure;
}

}  // namespace

EndpointPool::EndpointPool(ServicePool& owner_, EventLoop& loop, std::shared_ptr<Endpoint> endpoint_)
    : owner(owner_), endpoint(std::move(endpoint_)), idle_timer(loop, Callback::to<&EndpointPool::on_idle_timer>(this)) {}

void EndpointPool::on_idle_timer() { owner.expire_idle(*this, owner.view_->config.keep_alive.idle); }

ServicePool::ServicePool(WorkerContext& worker, Connector& connector, Service& service, UpstreamMetrics& metrics,
                         const ClientMakers& makers)
    : worker_(worker),
      connector_(worker.loop, worker.buffers, connector),
      service_(service),
      metrics_(metrics),
      makers_(makers),
      sweep_(worker.loop, Callback::to<&ServicePool::sweep>(this)) {}

ServicePool::~ServicePool() = default;

void ServicePool::set_view(const ServiceView& view) {
  view_ = &view;
  const bool secured_anew = connector_.use(view.config);
  if (secured_anew) ++security_;
  by_index_.clear();
  std::unordered_map<const Endpoint*, EndpointPool*> known;  // a view of 10,000 endpoints must not hold the worker up
  for (const auto& pool : pools_) {
    pool->retired = true;
    known.emplace(pool->endpoint.get(), pool.get());
  }
  for (const EndpointSlot& slot : view.endpoints.slots) {
    EndpointPool*& found = known[slot.endpoint.get()];
    if (found == nullptr) {
      pools_.push_back(std::make_unique<EndpointPool>(*this, worker_.loop, slot.endpoint));
      found = pools_.back().get();
    }
    EndpointPool& pool = *found;
    pool.retired = false;
    if (view.options.endpoint_labels && !pool.labelled) pool.counters = metrics_.endpoint(slot.endpoint->text);
    pool.labelled = view.options.endpoint_labels;
    by_index_.push_back(&pool);
  }
  for (const auto& pool : pools_) {
    // Also when a reload has just made the time shorter.
    expire_idle(*pool, secured_anew || unwanted(*pool) ? Duration(0) : view.config.keep_alive.idle);
  }
  on_connection_wanted();
  sweep_.schedule();  // pools that are empty and whose endpoint is gone
}

// ---- connections that exist ----

PooledConnection* ServicePool::take(EndpointPool& pool) {
  while (PooledConnection* connection = pool.open.first()) {
    if (!worn_out(*connection)) {
      lend(*connection);
      return connection;
    }
    give_up(*connection);
  }
  while (PooledConnection* connection = pool.idle.pop_front()) {
    metrics_.idle.add(-1);
    const bool stale = now() - connection->idle_since_ >= view_->config.keep_alive.idle;
    if (!stale && !worn_out(*connection)) {
      lend(*connection);
      return connection;
    }
    retire(*connection);
  }
  return nullptr;
}

void ServicePool::lend(PooledConnection& connection) {
  if (++connection.users_ == 1) metrics_.active.add(1);
  metrics_.streams.add(1);
}

void ServicePool::opened(PooledConnection& connection) {
  const std::uint64_t cap = view_->config.keep_alive.max_requests;
  if (cap != 0 && connection.client_->streams_opened() >= cap) connection.client_->close_when_idle();
  keep_open(connection);
}

void ServicePool::release(PooledConnection& connection) {
  DCHECK(connection.users_ > 0);
  metrics_.streams.add(-1);
  if (--connection.users_ > 0) return;
  metrics_.active.add(-1);
  connection.unlink();
  if (connection.retired_) return;
  if (connection.closed_) return retire(connection);
  if (!connection.carries_many()) return;  // on_available or on_closed follows, when the rest has been read away
  // One of many streams leaves nothing behind: the connection can be used at once. For those who wait on_available follows.
  if (spent(connection) || (unwanted(connection.pool_) && connection.pool_.waiting == 0)) return retire(connection);
  make_idle(connection);
}

void ServicePool::closed(PooledConnection& connection) {
  connection.closed_ = true;
  if (connection.users_ > 0) return connection.unlink();  // a call still holds its stream: release() ends it
  leave_idle(connection);
  retire(connection);
}

bool ServicePool::of_another_kind(const PooledConnection& connection) const {
  return connection.protocol_ != view_->config.protocol || connection.security_ != security_;
}

// Too old, or of the wrong kind: it takes no more requests.
bool ServicePool::spent(const PooledConnection& connection) const {
  const KeepAliveConfig& keep = view_->config.keep_alive;
  if (of_another_kind(connection)) return true;
  if (keep.max_requests != 0 && connection.client_->streams_opened() >= keep.max_requests) return true;
  return keep.max_age > Duration(0) && now() - connection.began_ >= keep.max_age;
}

bool ServicePool::unwanted(const EndpointPool& pool) const {
  return draining_ || pool.retired || view_->removed || view_->config.keep_alive.idle <= Duration(0);
}

// The connection can take a request: it has just connected, or one is over.
void ServicePool::ready(PooledConnection& connection) {
  EndpointPool& pool = connection.pool_;
  leave_idle(connection);
  if (worn_out(connection)) return give_up(connection);
  if ((service_.connections_contended() || starved_ > pool.starved) && yields(pool)) return give_up(connection);
  if (pool.waiting > 0) return fill(connection);
  if (connection.users_ > 0) return keep_open(connection);
  if (unwanted(pool)) return retire(connection);
  make_idle(connection);
}

// It takes no more requests; those that it carries are finished.
void ServicePool::give_up(PooledConnection& connection) {
  if (connection.users_ == 0) return retire(connection);
  connection.unlink();
  if (spent(connection) || connection.client_->available()) connection.client_->close_when_idle();
}

void ServicePool::leave_idle(PooledConnection& connection) {
  if (connection.users_ > 0 || !connection.linked()) return;
  connection.unlink();
  metrics_.idle.add(-1);
}

void ServicePool::make_idle(PooledConnection& connection) {
  EndpointPool& pool = connection.pool_;
  connection.idle_since_ = now();
  connection.rested_ = true;
  pool.idle.push_front(connection);
  metrics_.idle.add(1);
  // One timer for the pool, moved only when it fires: nothing is armed for each request.
  if (!pool.idle_timer.armed()) pool.idle_timer.arm(view_->config.keep_alive.idle);
}

void ServicePool::expire_idle(EndpointPool& pool, Duration unused_for) {
  while (!pool.idle.empty()) {
    PooledConnection& oldest = pool.idle.back();
    if (now() - oldest.idle_since_ < unused_for) break;
    oldest.unlink();
    metrics_.idle.add(-1);
    retire(oldest);
  }
  if (!pool.idle.empty()) pool.idle_timer.arm_at(pool.idle.back().idle_since_ + view_->config.keep_alive.idle);
}

// Out of the pool; freed, and its slot given back, when the present callback is over.
void ServicePool::retire(PooledConnection& connection) {
  EndpointPool& pool = connection.pool_;
  connection.retired_ = true;
  connection.timeout_.disarm();
  if (connection.connecting_) metrics_.connecting.add(-1);
  auto& all = pool.connections;
  const std::size_t index = connection.index_;
  retired_.push_back(std::move(all[index]));
  if (index + 1 != all.size()) {
    all[index] = std::move(all.back());
    all[index]->index_ = index;
  }
  all.pop_back();
  sweep_.schedule();
}

void ServicePool::sweep() {
  std::size_t slots = retired_.size();
  retired_.clear();
  for (; slots > 0; --slots) {
    if (service_.give_back_connection(worker_.index)) use_slot();
  }
  const auto over = [&](const std::unique_ptr<EndpointPool>& pool) {
    return pool->retired && pool->connections.empty() && pool->waiting == 0;
  };
  pools_.erase(std::remove_if(pools_.begin(), pools_.end(), over), pools_.end());
}

// ---- connections to be ----

void ServicePool::wait(EndpointPool& pool, PoolWaiter& waiter) {
  waiter.pool_ = &pool;
  waiter.since_ = now();
  waiter.connecting_ = nullptr;
  pool.waiters.push_back(waiter);
  ++pool.waiting;
  ++waiting_;
  metrics_.pending.add(1);
  if (take_seat(pool, waiter)) return;
  if (find_slot()) return connect(pool, waiter);
  add_starved(pool);
}

Duration ServicePool::leave(PoolWaiter& waiter) {
  EndpointPool& pool = *waiter.pool_;
  PooledConnection* connecting = waiter.connecting_;
  waiter.connecting_ = nullptr;
  remove_waiter(waiter);
  if (connecting == nullptr) {
    remove_starved(pool);
    return Duration(-1);
  }
  const bool was_connecting = connecting->connecting_ && !connecting->retired_;
  leave_seat(*connecting);
  return was_connecting && connecting->retired_ ? now() - connecting->began_ : Duration(-1);
}

void ServicePool::remove_waiter(PoolWaiter& waiter) {
  waiter.unlink();
  --waiter.pool_->waiting;
  --waiting_;
  metrics_.pending.add(-1);
}

PoolWaiter* ServicePool::first_starved(EndpointPool& pool) {
  if (pool.starved == 0) return nullptr;
  for (PoolWaiter* waiter = pool.waiters.first(); waiter != nullptr; waiter = pool.waiters.next(*waiter)) {
    if (waiter->connecting_ == nullptr) return waiter;
  }
  return nullptr;
}

bool ServicePool::find_slot() {
  if (starved_ > 0) return false;  // nobody passes those who wait
  switch (service_.take_connection(worker_.index)) {
    case HostLimit::Taken::over: metrics_.limit_over("connections"); return true;
    case HostLimit::Taken::yes: return true;
    case HostLimit::Taken::no: break;
  }
  return reclaim_idle();
}

PooledConnection* ServicePool::oldest_idle() {
  PooledConnection* oldest = nullptr;
  for (const auto& pool : pools_) {
    if (pool->idle.empty()) continue;
    PooledConnection& candidate = pool->idle.back();
    if (oldest == nullptr || candidate.idle_since_ < oldest->idle_since_) oldest = &candidate;
  }
  return oldest;
}

// Closes an idle connection and takes over its slot: freed at once, so that the limit is exact to the socket. One that became idle
// within this very callback may be below us on the stack: it is left to the sweep, which passes its slot on.
bool ServicePool::reclaim_idle() {
  PooledConnection* oldest = oldest_idle();
  if (oldest == nullptr) return false;
  const bool may_free = oldest->idle_since_ < now();
  oldest->unlink();
  metrics_.idle.add(-1);
  retire(*oldest);
  if (may_free) retired_.pop_back();
  return may_free;
}

void ServicePool::add_starved(EndpointPool& pool) {
  ++pool.starved;
  ++starved_;
  service_.want_connection(worker_.index, starved_, oldest_waiting());
}

void ServicePool::remove_starved(EndpointPool& pool) {
  DCHECK(pool.starved > 0);
  --pool.starved;
  if (--starved_ == 0) service_.want_no_connection(worker_.index);
}

MonotonicTime ServicePool::oldest_waiting() {
  MonotonicTime oldest = kNever;
  for (const auto& pool : pools_) {
    if (!pool->waiters.empty()) oldest = std::min(oldest, pool->waiters.front().since_);
  }
  return oldest;
}

// Whether a free connection of this pool should rather be closed: another endpoint here, or another worker, is worse off.
bool ServicePool::yields(const EndpointPool& pool) {
  auto& mine = const_cast<EndpointPool&>(pool);
  const auto demand = [](EndpointPool& of) {
    return ConnectionDemand{static_cast<std::uint32_t>(of.connections.size()), of.waiting,
                            of.waiters.empty() ? kNever : of.waiters.front().since_};
  };
  for (const auto& other : pools_) {
    if (other.get() == &pool || other->starved == 0 || !should_yield(demand(mine), demand(*other))) continue;
    preferred_ = other.get();
    return true;
  }
  return service_.connections_contended() && service_.must_yield_connection(worker_.index, {0, waiting_, oldest_waiting()});
}

EndpointPool* ServicePool::neediest() {
  EndpointPool* preferred = std::exchange(preferred_, nullptr);
  EndpointPool* best = nullptr;
  for (const auto& pool : pools_) {
    if (pool->starved == 0) continue;
    if (pool.get() == preferred) return preferred;
    if (best == nullptr || pool->starved * (best->connections.size() + 1) > best->starved * (pool->connections.size() + 1)) {
      best = pool.get();
    }
  }
  return best;
}

// A slot is ours.
void ServicePool::use_slot() {
  EndpointPool* pool = neediest();
  if (pool == nullptr) {
    service_.want_no_connection(worker_.index);  // so it cannot come back to us
    static_cast<void>(service_.give_back_connection(worker_.index));
    return;
  }
  PoolWaiter* waiter = first_starved(*pool);
  WEIR_CHECK(waiter != nullptr);
  --pool->starved;
  --starved_;
  connect(*pool, *waiter);
  if (starved_ > 0) {
    service_.want_connection(worker_.index, starved_, oldest_waiting());
  } else {
    service_.want_no_connection(worker_.index);
  }
}

void ServicePool::on_connection_granted() { use_slot(); }

// Others wait at the limit, or it was lowered: gives up what is not in use, one by one for as long as that holds.
void ServicePool::on_connection_wanted() {
  while (service_.connections_contended() && oldest_idle() != nullptr) {
    if (!reclaim_idle()) return;  // the sweep gives it back
    if (service_.give_back_connection(worker_.index)) use_slot();
  }
  if (!service_.connections_contended()) return;
  for (const auto& pool : pools_) {
    if (pool->unbound == 0) continue;
    for (const auto& connection : pool->connections) {
      if (!connection->connecting_ || connection->seated_ > 0) continue;
      --pool->unbound;
      return retire(*connection);
    }
  }
}

void ServicePool::connect(EndpointPool& pool, PoolWaiter& waiter) {
  const std::uint32_t seats = carries_many() ? std::min(pool.usual_room, view_->config.http2.max_streams) : 1;
  auto made = std::make_unique<PooledConnection>(*this, pool, worker_.loop, view_->config.protocol, seats);
  PooledConnection& connection = *made;
  connection.index_ = pool.connections.size();
  connection.seated_ = 1;
  waiter.connecting_ = &connection;
  pool.connections.push_back(std::move(made));
  metrics_.connecting.add(1);
  connection.security_ = security_;
  connection.connect(connector_, view_->config.connect_timeout);
  if (seats > 1) seat_starved(connection);
}

void ServicePool::connected(PooledConnection& connection, int error) {
  if (error != 0) return connect_failed(connection, kind_of_connect(error), connection.stream_->failure());
  if (const TlsInfo* tls = connection.stream_->tls()) metrics_.secured(*tls);
  connection.client_ = make_client(connection);
  if (connection.client_->settled()) settled(connection);  // else it goes on to be made, within its time
}

void ServicePool::settled(PooledConnection& connection) {
  connection.timeout_.disarm();
  connection.connecting_ = false;
  if (connection.seated_ == 0) --connection.pool_.unbound;
  metrics_.connecting.add(-1);
  metrics_.connects.add();
  eyeballs_.trust(connection.pool_.endpoint->address.family());
  metrics_.connect_time.observe(now() - connection.began_);
  if (connection.carries_many()) connection.pool_.usual_room = std::max(connection.client_->room(), 1U);
  if (of_another_kind(connection)) {  // a reload came between: what waits asks for other security, or protocol
    seat_elsewhere(connection);
    return retire(connection);
  }
  if (connection.seated_ > 0) return fill(connection);
  ready(connection);
}

void ServicePool::connect_failed(PooledConnection& connection, FailureKind kind, std::string_view detail) {
  EndpointPool& pool = connection.pool_;
  metrics_.connect_failed(kind);
  if (!detail.empty()) metrics_.insecure(connection.stream_->failure_name());
  if (connection.seated_ == 0) {
    // Whoever it was for has given up (a try's timeout, say): the endpoint failed to connect all the same.
    --pool.unbound;
    record_failure(pool, connection.generation_, kind);
    return retire(connection);
  }
  retire(connection);
  fail_seated(connection, kind, detail);
}

void ServicePool::overtaken(const EndpointPool& pool) {
  const Address::Family family = pool.endpoint->address.family();
  metrics_.overtaken(family);
  if (!any_open(family)) eyeballs_.distrust(family, now());
}

bool ServicePool::any_open(Address::Family family) const {
  const auto open = [](const std::unique_ptr<PooledConnection>& one) { return !one->connecting_ && !one->closed_; };
  return std::any_of(pools_.begin(), pools_.end(), [&](const std::unique_ptr<EndpointPool>& pool) {
    return pool->endpoint->address.family() == family && std::any_of(pool->connections.begin(), pool->connections.end(), open);
  });
}

// ---- the rest ----

void ServicePool::drain() {
  draining_ = true;
  for (const auto& pool : pools_) expire_idle(*pool, Duration(0));
}

void ServicePool::close_all() {
  by_index_.clear();
  pools_.clear();
  retired_.clear();
}

std::size_t ServicePool::connections() const {
  std::size_t count = retired_.size();
  for (const auto& pool : pools_) count += pool->connections.size();
  return count;
}

void ServicePool::record_answer(EndpointPool& pool, std::uint32_t generation, int status, GrpcStatus grpc_status, Duration latency) {
  const OutlierConfig& config = view_->config.outlier_detection;
  if (config.mode == FilterMode::disabled) return;
  if (counts_as_failure(status, grpc_status)) return record_failed(pool, generation);
  Endpoint& endpoint = *pool.endpoint;
  if (generation == endpoint.generation.load(std::memory_order_relaxed)) {
    if (config.failure_ratio) endpoint.statistics.add_success();
    if (config.latency) endpoint.statistics.add_latency(latency);
  }
  service_.record_success(endpoint, generation, now());
  pool.counters.success.add();
}

// Nobody waited for its answer (a timeout, a client that went away): it takes at least so long. Left out while that is not slow yet, or
// the endpoint would look the faster the sooner its clients give up.
void ServicePool::record_abandoned(EndpointPool& pool, std::uint32_t generation, Duration latency) {
  const OutlierConfig& config = view_->config.outlier_detection;
  if (config.mode == FilterMode::disabled || !config.latency || latency < config.latency->min_latency) return;
  if (generation == pool.endpoint->generation.load(std::memory_order_relaxed)) pool.endpoint->statistics.add_latency(latency);
}

void ServicePool::record_failure(EndpointPool& pool, std::uint32_t generation, FailureKind kind) {
  if (view_->config.outlier_detection.causes.matches_failure(kind)) record_failed(pool, generation);
}

void ServicePool::record_failed(EndpointPool& pool, std::uint32_t generation) {
  const OutlierConfig& config = view_->config.outlier_detection;
  if (config.mode == FilterMode::disabled) return;
  pool.counters.failure.add();
  const OutlierVerdict verdict = service_.record_failure(*pool.endpoint, generation, now());
  metrics_.outlier(OutlierSign::consecutive_failures, verdict, config.mode == FilterMode::shadow);
}

}  // namespace weir
