// Worker: one thread's share of the proxy: its pools, its connections, its snapshot of the configuration, its side of the services.
// The server makes it before its loop runs and drops it after the loop has ended; everything else happens on the loop's thread.
// It shares nothing with other workers but what main owns: sockets, service state, filter state, metric cells.
#pragma once

#include <memory>
#include <vector>

#include "proxy/metrics/metrics.h"
#include "proxy/server/worker_listener.h"
#include "proxy/upstream/worker_services.h"

namespace weir {

struct WorkerParts {  // all outlive the worker
  EventLoop& loop;
  Connector& connector;
  ServiceDirectory& directory;
  StateStore& states;
  MetricsRegistry& metrics;
  const HostPressure& pressure;
  Log& log;
  std::uint32_t index = 0;
  std::uint64_t seed = 0;
  SplicePipeMaker splice_pipes = make_kernel_pipe;
};

// One generation, as main hands it to every worker.
struct WorkerPlan {
  struct Listener {
    std::string name;
    std::shared_ptr<ListenerShare> share;
    std::shared_ptr<SharedListener> socket;  // the share's, which is main's to read
  };
  std::shared_ptr<const Config> config;
  std::uint64_t generation = 0;
  std::vector<Listener> listeners;
  std::shared_ptr<LogSink> access_log;  // null: none
  AccessLogRules access_log_rules;
};

struct WorkerStatus {
  std::uint32_t inbound_connections = 0, inbound_in_flight = 0;
  std::uint32_t outbound_connections = 0, outbound_in_flight = 0;
  std::uint64_t exchanges = 0;        // begun so far
  MonotonicTime outbound_activity{};  // when the last outbound exchange began or ended
};

class Worker {
 public:
  explicit Worker(const WorkerParts& parts);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  EventLoop& loop() { return context_.loop; }  // post() to it, from any thread

  // On the loop's thread:
  void apply(const WorkerPlan& plan);  // builds the chains and swaps; running exchanges keep what they started with
  void stop_accepting(Direction direction);
  void begin_drain(Direction direction);  // answers say Connection: close
  void close_idle(Direction direction);   // and the others as soon as they are idle
  void close_all();                       // at once, whatever runs; flushes the log
  void tidy();                            // once in a while: gives back what a burst left behind, copies counts
  WorkerStatus status() const;
  std::size_t snapshots() const { return snapshots_.size(); }  // more than one while old exchanges run
  // What exchanges hold at this moment: at rest, nothing.
  std::size_t arenas_in_use() const { return arenas_.in_use(); }
  std::size_t chunks_in_use() const { return buffers_.chunks_in_use(); }
  std::size_t splice_pipes_in_use() const { return context_.splice_pipes.lent(); }

 private:
  template <class F>
  void each(Direction direction, const F& apply);
  void use_access_log(const WorkerPlan& plan);
  void free_unused();
  void drop_left();

  BufferPool buffers_;
  ArenaPool arenas_;
  Random random_;
  WorkerContext context_;
  ServiceDirectory& directory_;
  StateStore& states_;
  const HostPressure& pressure_;
  Log& log_;
  std::shared_ptr<LogSink> log_sink_;
  std::unique_ptr<AccessLog> access_log_;
  std::unique_ptr<WorkerServices> services_;
  std::vector<std::unique_ptr<Snapshot>> snapshots_;  // the last is current
  Deferred free_unused_;
  std::vector<std::unique_ptr<WorkerListener>> listeners_;
  std::vector<std::unique_ptr<WorkerListener>> leaving_;  // until their connections are closed
  std::uint64_t exchanges_of_gone_ = 0;                   // begun by listeners that are not there any more
};

}  // namespace weir
