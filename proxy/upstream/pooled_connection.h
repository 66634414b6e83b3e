// PooledConnection: one connection of a pool, from the first SYN to its end: connecting, then lent out or idle.
// Its EndpointPool owns it; calls that it is lent to borrow it until they release it. It is freed by the pool's sweep, never inside
// a callback of its own.
// It takes no decision: each event goes to the ServicePool.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "proxy/base/intrusive_list.h"
#include "proxy/http/codec.h"
#include "proxy/runtime/byte_stream.h"
#include "proxy/runtime/event_loop.h"

namespace weir {

class ServicePool;
class PoolWaiter;
struct EndpointPool;

class PooledConnection final : public ListNode, private ByteStreamHandler, private ClientConnectionHandler {
 public:
  PooledConnection(ServicePool& owner, EndpointPool& pool, EventLoop& loop);

  ClientConnection& client() { return *client_; }
  bool reused() const { return client_->streams_opened() > 0; }

 private:
  friend class ServicePool;
  void connect(Connector& connector, Duration timeout);

  void on_connected(int error) override;
  void on_readable() override {}  // not asked for before the codec has the stream
  void on_writable() override {}
  void on_available() override;
  void on_closed() override;
  void on_connect_timeout();

  ServicePool& owner_;
  EndpointPool& pool_;
  std::unique_ptr<ByteStream> stream_;        // while connecting
  std::unique_ptr<ClientConnection> client_;  // afterwards
  PoolWaiter* waiter_ = nullptr;              // whom the connect was begun for; null when it was served otherwise
  MonotonicTime began_;                       // connecting
  MonotonicTime idle_since_{};
  std::size_t index_ = 0;          // in pool_.connections
  std::uint32_t users_ = 0;        // calls it is lent to
  std::uint32_t generation_ = 0;   // of the endpoint when connecting began
  bool connecting_ = true;
  bool closed_ = false;   // takes no more requests
  bool retired_ = false;  // awaits the sweep: deaf
  Timer timeout_;
};

}  // namespace weir
