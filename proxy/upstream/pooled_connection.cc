#include "proxy/upstream/pooled_connection.h"

#include "proxy/upstream/pool.h"

namespace weir {

PooledConnection::PooledConnection(ServicePool& owner, EndpointPool& pool, EventLoop& loop, Protocol protocol, std::uint32_t seats)
    : owner_(owner),
      pool_(pool),
      protocol_(protocol),
      seats_(seats),
      began_(loop.now()),
      generation_(pool.endpoint->generation.load(std::memory_order_relaxed)),
      timeout_(loop, Callback::to<&PooledConnection::on_connect_timeout>(this)) {}

void PooledConnection::connect(Connector& connector, Duration timeout) {
  timeout_.arm(timeout);
  stream_ = connector.connect(pool_.endpoint->address, *this);
}

void PooledConnection::on_connected(int error) {
  if (!retired_) owner_.connected(*this, error);
}

void PooledConnection::on_connect_timeout() {
  if (!retired_) owner_.connect_failed(*this, FailureKind::connect_timeout);
}

void PooledConnection::on_available() {
  if (retired_ || closed_) return;
  if (!connecting_) return owner_.ready(*this);
  if (client_->settled()) owner_.settled(*this);
}

void PooledConnection::on_closed() {
  if (retired_) return;
  connecting_ ? owner_.connect_failed(*this, FailureKind::connect_failure) : owner_.closed(*this);
}

}  // namespace weir
