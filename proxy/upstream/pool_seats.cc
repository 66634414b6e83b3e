// Who gets a connection, and who has a seat on one that is being made: the part of ServicePool that knows of many requests a connection.
#include "proxy/base/check.h"
#include "proxy/upstream/pool.h"

namespace weir {

std::unique_ptr<ClientConnection> ServicePool::make_client(PooledConnection& connection) {
  const Http2Config& http2 = view_->config.http2;
  ClientConnectionOptions options;
  if (connection.stream_->tls() != nullptr) options.scheme = "https";
  options.http2.max_streams = http2.max_streams;
  options.http2.ping_interval = http2.ping_interval;
  options.http2.ping_timeout = http2.ping_timeout;
  const MakeClientConnection make = connection.protocol_ == Protocol::http2 ? makers_.http2 : makers_.http1;
  return make(worker_, std::move(connection.stream_), connection, options);
}

// The oldest waiting request gets the connection, whoever it was made for.
void ServicePool::serve(PooledConnection& connection) {
  EndpointPool& pool = connection.pool_;
  PoolWaiter& first = pool.waiters.front();
  PooledConnection* freed = first.connecting_;  // a connect that `first` needs no more
  if (freed == &connection) {
    --connection.seated_;
    freed = nullptr;
  } else {
    // One that has a seat here finds no room: it takes over what `first` had, a seat elsewhere or none.
    PoolWaiter* robbed = connection.seated_ >= connection.client_->room() ? last_seated(connection) : nullptr;
    if (robbed != nullptr) {
      robbed->connecting_ = freed;
      --connection.seated_;
      freed = nullptr;
    } else if (freed == nullptr) {
      remove_starved(pool);
    }
  }
  first.connecting_ = nullptr;
  remove_waiter(first);
  if (freed != nullptr) leave_seat(*freed);
  lend(connection);
  first.on_connection(connection);
}

// Serves those who wait, in order, as far as there is room. Who had a seat and finds none looks elsewhere.
void ServicePool::fill(PooledConnection& connection) {
  EndpointPool& pool = connection.pool_;
  do serve(connection);
  while (pool.waiting > 0 && !connection.closed_ && !connection.retired_ && connection.client_->available());
  seat_elsewhere(connection);
}

void ServicePool::seat_elsewhere(PooledConnection& connection) {
  EndpointPool& pool = connection.pool_;
  while (PoolWaiter* waiter = last_seated(connection)) {
    waiter->connecting_ = nullptr;
    --connection.seated_;
    if (take_seat(pool, *waiter)) continue;
    if (find_slot()) {
      connect(pool, *waiter);
    } else {
      add_starved(pool);
    }
  }
}

// Found by take() from now on, or no more.
void ServicePool::keep_open(PooledConnection& connection) {
  if (!connection.carries_many() || connection.users_ == 0) return;
  if (!connection.client_->available()) {
    connection.unlink();
  } else if (!connection.linked()) {
    connection.pool_.open.push_front(connection);
  }
}

bool ServicePool::take_seat(EndpointPool& pool, PoolWaiter& waiter) {
  if (pool.unbound == 0 && !carries_many()) return false;
  for (const auto& connection : pool.connections) {
    if (!connection->connecting_ || connection->seated_ == connection->seats_ || of_another_kind(*connection)) continue;
    if (connection->seated_++ == 0) --pool.unbound;
    waiter.connecting_ = connection.get();
    return true;
  }
  return false;
}

// A seat is free: it goes to who has none. A connect that has nobody any more is given up where a slot is wanted, or becomes a spare.
void ServicePool::leave_seat(PooledConnection& connection) {
  EndpointPool& pool = connection.pool_;
  --connection.seated_;
  if (!connection.connecting_ || connection.retired_) return;
  if (PoolWaiter* waiter = first_starved(pool)) {
    ++connection.seated_;
    waiter->connecting_ = &connection;
    remove_starved(pool);
  } else if (connection.seated_ > 0) {
    return;
  } else if (starved_ > 0 || service_.connections_contended()) {
    retire(connection);
  } else {
    ++pool.unbound;
  }
}

void ServicePool::seat_starved(PooledConnection& connection) {
  EndpointPool& pool = connection.pool_;
  while (connection.seated_ < connection.seats_) {
    PoolWaiter* waiter = first_starved(pool);
    if (waiter == nullptr) return;
    ++connection.seated_;
    waiter->connecting_ = &connection;
    remove_starved(pool);
  }
}

PoolWaiter* ServicePool::last_seated(PooledConnection& connection) {
  if (connection.seated_ == 0) return nullptr;
  PoolWaiter* last = nullptr;
  IntrusiveList<PoolWaiter>& waiters = connection.pool_.waiters;
  for (PoolWaiter* waiter = waiters.first(); waiter != nullptr; waiter = waiters.next(*waiter)) {
    if (waiter->connecting_ == &connection) last = waiter;
  }
  WEIR_CHECK(last != nullptr);
  return last;
}

// All that had a seat are told, in order. They may ask anew meanwhile, or leave; the connection is found by nobody any more.
void ServicePool::fail_seated(PooledConnection& connection, FailureKind kind, std::string_view detail) {
  bool told = false;
  while (connection.seated_ > 0) {
    IntrusiveList<PoolWaiter>& waiters = connection.pool_.waiters;
    PoolWaiter* waiter = waiters.first();
    while (waiter->connecting_ != &connection) waiter = waiters.next(*waiter);
    waiter->connecting_ = nullptr;
    waiter->shares_failure_ = std::exchange(told, true);
    waiter->was_mute_ = connection.client_ != nullptr;
    --connection.seated_;
    remove_waiter(*waiter);
    waiter->on_no_connection(kind, detail);
  }
}

}  // namespace weir
