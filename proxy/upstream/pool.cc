#include "proxy/upstream/pool.h"

#include <algorithm>

#include "proxy/base/check.h"

namespace weir {

EndpointPool::EndpointPool(ServicePool& owner_, EventLoop& loop, std::shared_ptr<Endpoint> endpoint_)
    : owner(owner_), endpoint(std::move(endpoint_)), idle_timer(loop, Callback::to<&EndpointPool::on_idle_timer>(this)) {}

void EndpointPool::on_idle_timer() { owner.expire_idle(*this, owner.view_->config.keep_alive.idle); }

ServicePool::ServicePool(WorkerContext& worker, Connector& connector, Service& service, UpstreamMetrics& metrics,
                         MakeClientConnection make_client)
    : worker_(worker),
      connector_(connector),
      service_(service),
      metrics_(metrics),
      make_client_(make_client),
      sweep_(worker.loop, Callback::to<&ServicePool::sweep>(this)) {}

ServicePool::~ServicePool() = default;

void ServicePool::set_view(const ServiceView& view) {
  view_ = &view;
  by_index_.clear();
  for (const auto& pool : pools_) pool->retired = true;
  for (const EndpointSlot& slot : view.endpoints.slots) {
    const auto same = [&](const std::unique_ptr<EndpointPool>& pool) { return pool->endpoint == slot.endpoint; };
    auto found = std::find_if(pools_.begin(), pools_.end(), same);
    if (found == pools_.end()) {
      pools_.push_back(std::make_unique<EndpointPool>(*this, worker_.loop, slot.endpoint));
      found = pools_.end() - 1;
    }
    EndpointPool& pool = **found;
    pool.retired = false;
    if (view.options.endpoint_labels && !pool.labelled) pool.counters = metrics_.endpoint(slot.endpoint->text);
    pool.labelled = view.options.endpoint_labels;
    by_index_.push_back(&pool);
  }
  for (const auto& pool : pools_) {
    if (unwanted(*pool)) expire_idle(*pool, Duration(0));
  }
  on_connection_wanted();
  sweep_.schedule();  // pools that are empty and whose endpoint is gone
}

// ---- connections that exist ----

PooledConnection* ServicePool::take(EndpointPool& pool) {
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
  ++connection.users_;
  metrics_.active.add(1);
}

void ServicePool::opened(PooledConnection& connection) {
  const std::uint64_t cap = view_->config.keep_alive.max_requests;
  if (cap != 0 && connection.client_->streams_opened() >= cap) connection.client_->close_when_idle();
}

void ServicePool::release(PooledConnection& connection) {
  DCHECK(connection.users_ > 0);
  --connection.users_;
  metrics_.active.add(-1);
  if (connection.closed_ && connection.users_ == 0 && !connection.retired_) retire(connection);
}

void ServicePool::closed(PooledConnection& connection) {
  connection.closed_ = true;
  if (connection.users_ > 0) return;  // a call still holds its stream: release() ends it
  if (connection.linked()) {
    connection.unlink();
    metrics_.idle.add(-1);
  }
  retire(connection);
}

bool ServicePool::worn_out(const PooledConnection& connection) const {
  const KeepAliveConfig& keep = view_->config.keep_alive;
  if (!connection.client_->available()) return true;
  if (keep.max_requests != 0 && connection.client_->streams_opened() >= keep.max_requests) return true;
  return keep.max_age > Duration(0) && now() - connection.began_ >= keep.max_age;
}

bool ServicePool::unwanted(const EndpointPool& pool) const {
  return draining_ || pool.retired || view_->removed || view_->config.keep_alive.idle <= Duration(0);
}

// The connection can take a request: it has just connected, or its last one is over.
void ServicePool::ready(PooledConnection& connection) {
  EndpointPool& pool = connection.pool_;
  if (worn_out(connection)) return retire(connection);
  if ((service_.connections_contended() || starved_ > pool.starved) && yields(pool)) return retire(connection);
  if (pool.waiting > 0) return serve(connection);
  if (unwanted(pool)) return retire(connection);
  make_idle(connection);
}

void ServicePool::serve(PooledConnection& connection) {
  EndpointPool& pool = connection.pool_;
  PoolWaiter& first = pool.waiters.front();
  PooledConnection* freed = first.connecting_;  // a connect that `first` needs no more
  if (freed != &connection) {
    PoolWaiter* robbed = connection.waiter_;  // whose own connect this was: it takes over what `first` had
    if (robbed != nullptr) robbed->connecting_ = freed;
    if (freed != nullptr) freed->waiter_ = robbed;
    if (robbed == nullptr && freed == nullptr) remove_starved(pool);
    // Else whatever was starved still is: `robbed` in the place of `first`, or nobody.
    first.connecting_ = nullptr;
    remove_waiter(first);
    if (robbed == nullptr && freed != nullptr) unbind(*freed);
  } else {
    first.connecting_ = nullptr;
    remove_waiter(first);
  }
  connection.waiter_ = nullptr;
  lend(connection);
  first.on_connection(connection);
}

void ServicePool::make_idle(PooledConnection& connection) {
  EndpointPool& pool = connection.pool_;
  connection.idle_since_ = now();
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
  if (adopt_unbound(pool, waiter)) return;
  if (find_slot()) return connect(pool, waiter);
  add_starved(pool);
}

void ServicePool::leave(PoolWaiter& waiter) {
  EndpointPool& pool = *waiter.pool_;
  PooledConnection* connecting = waiter.connecting_;
  waiter.connecting_ = nullptr;
  remove_waiter(waiter);
  if (connecting == nullptr) {
    remove_starved(pool);
  } else {
    connecting->waiter_ = nullptr;
    unbind(*connecting);
  }
}

void ServicePool::remove_waiter(PoolWaiter& waiter) {
  waiter.unlink();
  --waiter.pool_->waiting;
  --waiting_;
  metrics_.pending.add(-1);
}

bool ServicePool::adopt_unbound(EndpointPool& pool, PoolWaiter& waiter) {
  if (pool.unbound == 0) return false;
  for (const auto& connection : pool.connections) {
    if (!connection->connecting_ || connection->waiter_ != nullptr) continue;
    --pool.unbound;
    connection->waiter_ = &waiter;
    waiter.connecting_ = connection.get();
    return true;
  }
  return false;
}

// A connect has nobody any more: it goes to who has none, is given up where a slot is wanted, or becomes a spare.
void ServicePool::unbind(PooledConnection& connection) {
  EndpointPool& pool = connection.pool_;
  if (PoolWaiter* waiter = first_starved(pool)) {
    connection.waiter_ = waiter;
    waiter->connecting_ = &connection;
    remove_starved(pool);
  } else if (starved_ > 0 || service_.connections_contended()) {
    retire(connection);
  } else {
    ++pool.unbound;
  }
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
  return service_.connections_contended() &&
         service_.must_yield_connection(worker_.index, {0, waiting_, oldest_waiting()});
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
      if (!connection->connecting_ || connection->waiter_ != nullptr) continue;
      --pool->unbound;
      return retire(*connection);
    }
  }
}

void ServicePool::connect(EndpointPool& pool, PoolWaiter& waiter) {
  auto made = std::make_unique<PooledConnection>(*this, pool, worker_.loop);
  PooledConnection& connection = *made;
  connection.index_ = pool.connections.size();
  connection.waiter_ = &waiter;
  waiter.connecting_ = &connection;
  pool.connections.push_back(std::move(made));
  metrics_.connecting.add(1);
  connection.connect(connector_, view_->config.connect_timeout);
}

void ServicePool::connected(PooledConnection& connection, int error) {
  if (error != 0) return connect_failed(connection, FailureKind::connect_failure);
  connection.timeout_.disarm();
  connection.connecting_ = false;
  if (connection.waiter_ == nullptr) --connection.pool_.unbound;
  metrics_.connecting.add(-1);
  metrics_.connects.add();
  metrics_.connect_time.observe(now() - connection.began_);
  ClientConnectionOptions options;
  connection.client_ = make_client_(worker_, std::move(connection.stream_), connection, options);
  if (connection.waiter_ != nullptr) return serve(connection);
  ready(connection);
}

void ServicePool::connect_failed(PooledConnection& connection, FailureKind kind) {
  EndpointPool& pool = connection.pool_;
  PoolWaiter* waiter = std::exchange(connection.waiter_, nullptr);
  metrics_.connect_failed(kind);
  if (waiter == nullptr) {
    // Whoever it was for has given up (a try's timeout, say): the endpoint failed to connect all the same.
    --pool.unbound;
    record_failure(pool, connection.generation_, kind);
    return retire(connection);
  }
  retire(connection);
  waiter->connecting_ = nullptr;
  remove_waiter(*waiter);
  waiter->on_no_connection(kind);
}

// ---- the rest ----

void ServicePool::drain() {
  draining_ = true;
  for (const auto& pool : pools_) expire_idle(*pool, Duration(0));
}

void ServicePool::trim(Duration unused_for) {
  for (const auto& pool : pools_) expire_idle(*pool, unused_for);
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

void ServicePool::record_answer(EndpointPool& pool, std::uint32_t generation, int status) {
  if (view_->config.outlier_detection.mode == FilterMode::disabled) return;
  if (counts_as_failure(status)) return record_failed(pool, generation);
  service_.record_success(*pool.endpoint, generation, now());
  pool.counters.success.add();
}

void ServicePool::record_failure(EndpointPool& pool, std::uint32_t generation, FailureKind kind) {
  if (view_->config.outlier_detection.causes.matches_failure(kind)) record_failed(pool, generation);
}

void ServicePool::record_failed(EndpointPool& pool, std::uint32_t generation) {
  const OutlierConfig& config = view_->config.outlier_detection;
  if (config.mode == FilterMode::disabled) return;
  pool.counters.failure.add();
  const OutlierVerdict verdict = service_.record_failure(*pool.endpoint, generation, now());
  metrics_.outlier(verdict, config.mode == FilterMode::shadow);
}

}  // namespace weir
