// The demo's flaky service: an HTTP server on a loop of its own whose manners change with the scene of the demo.
// The demo owns it; it uses weir's own server codec. It is no part of the proxy and never runs outside `weir demo`.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>

#include "proxy/base/random.h"
#include "proxy/metrics/metrics.h"
#include "proxy/net/listener.h"
#include "proxy/runtime/libevent_loop.h"
#include "proxy/runtime/worker_context.h"

namespace weir::demo {

// How the service behaves now; written by the director (main thread), read by the service's thread.
struct Manners {
  std::atomic<std::uint32_t> work_ms{5};        // one answer's own work, with a slot held
  std::atomic<std::uint32_t> slots{16};         // answers worked on at the same time; the others queue, even if the caller has left
  std::atomic<std::uint32_t> error_percent{0};  // answered 503 at once
};

// A thread with a loop, pools and randomness of its own: what a WorkerContext needs. stop() ends and joins it.
class LoopThread {
 public:
  LoopThread(MetricsRegistry& metrics, std::size_t shard, std::uint64_t seed);
  ~LoopThread() { stop(); }
  void start();
  void stop();
  WorkerContext& worker() { return worker_; }
  EventLoop& loop() { return *loop_; }

 private:
  std::unique_ptr<EventLoop> loop_;
  BufferPool buffers_;
  ArenaPool arenas_;
  Random random_;
  WorkerContext worker_;
  std::thread thread_;
};

class Service final : public AcceptHandler {
 public:
  Service(LoopThread& thread, const ListenSocket& socket, const Manners& manners);
  ~Service();  // after the thread has stopped

 private:
  class Connection;
  class Answer;
  void on_accept(std::unique_ptr<ByteStream> stream) override;
  void work_on_next();
  void on_work_done();

  WorkerContext& worker_;
  const Manners& manners_;
  IntrusiveList<Connection> connections_;
  IntrusiveList<Answer> waiting_;  // for a slot
  IntrusiveList<Answer> busy_;     // worked on, or on its way
  std::uint32_t working_ = 0;
  std::unique_ptr<Listener> listener_;
};

}  // namespace weir::demo
