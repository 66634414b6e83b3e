// The demo's load: open-loop requests at a fixed rate through the proxy, on a loop of its own, with their outcomes counted.
// The demo owns it; it uses weir's own client codec. Bounded: at most kConnections at a time, what cannot be sent then is counted as missed.
// It never retries: what it counts is what an application behind weir would see.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "proxy/cli/demo_service.h"
#include "proxy/http/codec.h"
#include "proxy/net/tcp_stream.h"

namespace weir::demo {

struct LoadCounts {                                                              // written by the load's thread, read by main
  std::atomic<std::uint64_t> sent{0}, ok{0}, rejected{0}, failed{0}, missed{0};  // rejected: 429 and 503 by weir itself
  std::array<std::atomic<std::uint32_t>, 40> latency{};                          // since the last look: powers of sqrt 2 from 0.1 ms
};

class Load {
 public:
  static constexpr std::size_t kConnections = 256;
  Load(LoopThread& thread, const Address& target, LoadCounts& counts);
  ~Load();                               // after the thread has stopped
  void start(std::uint32_t per_second);  // before the thread starts

 private:
  class Client;
  void on_tick();
  void done(Client& client);

  WorkerContext& worker_;
  TcpConnector connector_;
  Address target_;
  LoadCounts& counts_;
  Duration interval_{};
  MonotonicTime next_{};
  IntrusiveList<Client> idle_;
  IntrusiveList<Client> busy_;
  std::size_t clients_ = 0;
  Timer tick_;
};

// Median and 99th percentile of the latencies since the last call, in milliseconds; 0 without any.
void take_latency(LoadCounts& counts, double& p50_ms, double& p99_ms);

}  // namespace weir::demo
