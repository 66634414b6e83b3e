// ServicePool: one worker's connections to one service, a LIFO pool for each endpoint, and the requests that wait for a connection.
// The worker's UpstreamLink owns it. The host-wide limit on connections is Service's; here is who gets one, and who gives one up.
// It never hands a waiting request a connection before an older one of the same endpoint, and begins at most one connect for each.
//
// At the limit: a request that finds no slot first takes over that of an idle connection of this worker; else it is "starved" and the
// worker enlists with Service, which has other workers close idle connections and passes on every slot that is given back. A
// connection that becomes free is kept by its endpoint unless another endpoint or worker is worse off (should_yield in limits.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "proxy/chain/failure.h"
#include "proxy/runtime/worker_context.h"
#include "proxy/upstream/pooled_connection.h"
#include "proxy/upstream/service.h"
#include "proxy/upstream/upstream_metrics.h"

namespace weir {

using MakeClientConnection = std::unique_ptr<ClientConnection> (*)(WorkerContext&, std::unique_ptr<ByteStream>,
                                                                   ClientConnectionHandler&, const ClientConnectionOptions&);

// A request that waits: for a connection, or for the first endpoints. A member of its call; at most one of these is told.
class PoolWaiter : public ListNode {
 public:
  virtual void on_connection(PooledConnection& connection) = 0;  // lent to it until ServicePool::release()
  virtual void on_no_connection(FailureKind kind) = 0;           // the connect that was its own failed
  virtual void on_endpoints() = 0;                               // discovery has answered; act later, not now

  bool has_connect() const { return connecting_ != nullptr; }

 protected:
  ~PoolWaiter() = default;

 private:
  friend class ServicePool;
  EndpointPool* pool_ = nullptr;
  PooledConnection* connecting_ = nullptr;  // null: starved
  MonotonicTime since_{};
};

struct EndpointPool {
  EndpointPool(ServicePool& owner, EventLoop& loop, std::shared_ptr<Endpoint> endpoint_);
  void on_idle_timer();

  ServicePool& owner;
  std::shared_ptr<Endpoint> endpoint;
  std::vector<std::unique_ptr<PooledConnection>> connections;
  IntrusiveList<PooledConnection> idle;  // the last used first
  IntrusiveList<PoolWaiter> waiters;     // the oldest first
  std::uint32_t waiting = 0;
  std::uint32_t starved = 0;             // of these, without a connect of their own
  std::uint32_t unbound = 0;             // connects whose request was served otherwise
  bool retired = false;                  // its endpoint is gone: it ends with its last connection
  bool labelled = false;
  EndpointCounters counters;
  Timer idle_timer;
};

class ServicePool {
 public:
  ServicePool(WorkerContext& worker, Connector& connector, Service& service, UpstreamMetrics& metrics,
              MakeClientConnection make_client);
  ~ServicePool();
  ServicePool(const ServicePool&) = delete;
  ServicePool& operator=(const ServicePool&) = delete;

  void set_view(const ServiceView& view);  // lives until the next one
  EndpointPool& at(std::size_t index) { return *by_index_[index]; }  // index into the view's endpoints

  PooledConnection* take(EndpointPool& pool);          // an idle one, lent to the caller, or null
  void wait(EndpointPool& pool, PoolWaiter& waiter);   // answers later, never inside
  void leave(PoolWaiter& waiter);                      // it waits no more (dropped)
  void opened(PooledConnection& connection);           // a request was begun on it: counts against its cap
  void release(PooledConnection& connection);          // the call is done with it, well or badly

  void on_connection_granted();
  void on_connection_wanted();
  void drain();
  void trim(Duration unused_for);
  void close_all();  // the end: nothing waits or runs any more
  std::size_t connections() const;

  // What a try says about its endpoint; what says nothing is left out here.
  void record_answer(EndpointPool& pool, std::uint32_t generation, int status);
  void record_failure(EndpointPool& pool, std::uint32_t generation, FailureKind kind);
  bool counts_as_failure(int status) const { return view_->config.outlier_detection.causes.matches_status(status); }

 private:
  friend class PooledConnection;
  friend struct EndpointPool;
  void connected(PooledConnection& connection, int error);
  void connect_failed(PooledConnection& connection, FailureKind kind);
  void ready(PooledConnection& connection);
  void closed(PooledConnection& connection);
  void serve(PooledConnection& connection);
  void lend(PooledConnection& connection);
  void make_idle(PooledConnection& connection);
  bool worn_out(const PooledConnection& connection) const;
  bool unwanted(const EndpointPool& pool) const;
  bool yields(const EndpointPool& pool);
  void retire(PooledConnection& connection);
  void expire_idle(EndpointPool& pool, Duration unused_for);
  void sweep();

  bool find_slot();
  bool reclaim_idle();
  PooledConnection* oldest_idle();
  void use_slot();
  EndpointPool* neediest();
  void connect(EndpointPool& pool, PoolWaiter& waiter);
  bool adopt_unbound(EndpointPool& pool, PoolWaiter& waiter);
  void unbind(PooledConnection& connection);
  PoolWaiter* first_starved(EndpointPool& pool);
  void add_starved(EndpointPool& pool);
  void remove_starved(EndpointPool& pool);
  void remove_waiter(PoolWaiter& waiter);
  void record_failed(EndpointPool& pool, std::uint32_t generation);
  MonotonicTime oldest_waiting();
  MonotonicTime now() const { return worker_.loop.now(); }

  WorkerContext& worker_;
  Connector& connector_;
  Service& service_;
  UpstreamMetrics& metrics_;
  MakeClientConnection make_client_;
  const ServiceView* view_ = nullptr;
  std::vector<EndpointPool*> by_index_;
  std::vector<std::unique_ptr<EndpointPool>> pools_;
  std::vector<std::unique_ptr<PooledConnection>> retired_;
  EndpointPool* preferred_ = nullptr;  // for the next slot: who a connection was given up for
  std::uint32_t waiting_ = 0;
  std::uint32_t starved_ = 0;
  bool draining_ = false;
  Deferred sweep_;
};

}  // namespace weir
