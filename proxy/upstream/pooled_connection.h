// PooledConnection: one connection of a pool, from the first SYN to its end: connecting (with HTTP/2 until the upstream's SETTINGS have
// come: then it is known how much it may carry, and that it speaks HTTP/2 at all), then lent out, to as many calls as its codec has
// room for, or idle.
// Its EndpointPool owns it; calls that it is lent to borrow it until they release it. It is freed by the pool's sweep, never inside
// a callback of its own.
// It takes no decision: each event goes to the ServicePool.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "proxy/base/cache_line.h"
#include "proxy/base/intrusive_list.h"
#include "proxy/http/codec.h"
#include "proxy/runtime/byte_stream.h"
#include "proxy/runtime/event_loop.h"
#include "proxy/upstream/service_config.h"

namespace weir {

class ServicePool;
class PoolWaiter;
struct EndpointPool;

class alignas(kCacheLine) PooledConnection final : public ListNode, private ByteStreamHandler, private ClientConnectionHandler {
 public:
  PooledConnection(ServicePool& owner, EndpointPool& pool, EventLoop& loop, Protocol protocol, std::uint32_t seats);

  ClientConnection& client() { return *client_; }
  bool reused() const { return client_->streams_opened() > 0; }
  bool rested() const { return rested_; }  // it lay idle, and has answered nothing since: the upstream may have closed it meanwhile
  void answered() { rested_ = false; }

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
  bool carries_many() const { return protocol_ == Protocol::http2; }

  const Protocol protocol_;
  const std::uint32_t seats_;  // how many may wait for it while it connects: the first is who the connect was begun for
  std::uint32_t seated_ = 0;   // how many do; 0 when all were served otherwise
  MonotonicTime began_;        // connecting
  MonotonicTime idle_since_{};
  std::size_t index_ = 0;         // in pool_.connections
  std::uint32_t users_ = 0;       // calls it is lent to
  std::uint32_t security_ = 0;    // ServicePool::security_ when connecting began
  std::uint32_t generation_ = 0;  // of the endpoint when connecting began
  bool connecting_ = true;
  bool closed_ = false;   // takes no more requests
  bool retired_ = false;  // awaits the sweep: deaf
  bool rested_ = false;
  Timer timeout_;
};

}  // namespace weir
