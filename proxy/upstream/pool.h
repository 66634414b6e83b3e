// ServicePool: one worker's connections to one service, a LIFO pool for each endpoint, and the requests that wait for a connection.
// The worker's UpstreamLink owns it. The host-wide limit on connections is Service's; here is who gets one, and who gives one up.
// It never hands a waiting request a connection before an older one of the same endpoint, and begins at most one connect for each wait.
//
// A connection of HTTP/2 carries many requests: those in use that have room are filled first, the last used one before the others, so
// that the rest may end. While one connects, so many requests wait for it (have a seat) as it may carry, and begin no connect of their own.
//
// At the limit: a request that finds no slot first takes over that of an idle connection of this worker; else it is "starved" and the
// worker enlists with Service, which has other workers close idle connections and passes on every slot that is given back. A
// connection that becomes free is kept by its endpoint unless another endpoint or worker is worse off (should_yield in limits.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "proxy/chain/failure.h"
#include "proxy/runtime/worker_context.h"
#include "proxy/upstream/happy_eyeballs.h"
#include "proxy/upstream/pooled_connection.h"
#include "proxy/upstream/service.h"
#include "proxy/upstream/service_connector.h"
#include "proxy/upstream/upstream_metrics.h"

namespace weir {

// Codecs by protocol; tests have one for both.
using MakeClientConnection = std::unique_ptr<ClientConnection> (*)(WorkerContext&, std::unique_ptr<ByteStream>, ClientConnectionHandler&,
                                                                   const ClientConnectionOptions&);
struct ClientMakers {
  ClientMakers() = default;
  ClientMakers(MakeClientConnection both) : http1(both), http2(both) {}
  MakeClientConnection http1 = &make_h1_client;
  MakeClientConnection http2 = &make_h2_client;
};

// A request that waits: for a connection, or for the first endpoints. A member of its call; at most one of these is told.
class PoolWaiter : public ListNode {
 public:
  virtual void on_connection(PooledConnection& connection) = 0;  // lent to it until ServicePool::release()
  // The connect that was its own failed; `detail` is valid during the call, and empty where the kind says all.
  virtual void on_no_connection(FailureKind kind, std::string_view detail) = 0;
  virtual void on_endpoints() = 0;  // discovery has answered; act later, not now

  bool has_connect() const { return connecting_ != nullptr; }
  bool shares_failure() const { return shares_failure_; }  // of its connect, which another waiter has been told of
  bool was_mute() const { return was_mute_; }              // the connect that failed: it was made, but the protocol was not spoken

 protected:
  ~PoolWaiter() = default;

 private:
  friend class ServicePool;
  EndpointPool* pool_ = nullptr;
  PooledConnection* connecting_ = nullptr;  // where it has a seat; null: starved
  bool shares_failure_ = false;
  bool was_mute_ = false;
  MonotonicTime since_{};
};

struct EndpointPool {
  EndpointPool(ServicePool& owner, EventLoop& loop, std::shared_ptr<Endpoint> endpoint_);
  void on_idle_timer();

  ServicePool& owner;
  std::shared_ptr<Endpoint> endpoint;
  std::vector<std::unique_ptr<PooledConnection>> connections;
  IntrusiveList<PooledConnection> idle;  // the last used first
  IntrusiveList<PooledConnection> open;  // in use, and with room for more: HTTP/2
  IntrusiveList<PoolWaiter> waiters;     // the oldest first
  std::uint32_t waiting = 0;
  std::uint32_t starved = 0;       // of these, without a connect of their own
  std::uint32_t usual_room = 100;  // of a connection of HTTP/2: as the last one that was made
  std::uint32_t unbound = 0;       // connects whose request was served otherwise
  bool retired = false;            // its endpoint is gone: it ends with its last connection
  bool labelled = false;
  EndpointCounters counters;
  Timer idle_timer;
};

class ServicePool {
 public:
  ServicePool(WorkerContext& worker, Connector& connector, Service& service, UpstreamMetrics& metrics, const ClientMakers& makers);
  ~ServicePool();
  ServicePool(const ServicePool&) = delete;
  ServicePool& operator=(const ServicePool&) = delete;

  void set_view(const ServiceView& view);                            // lives until the next one
  EndpointPool& at(std::size_t index) { return *by_index_[index]; }  // index into the view's endpoints

  PooledConnection* take(EndpointPool& pool);         // one that has room, lent to the caller, or null
  void wait(EndpointPool& pool, PoolWaiter& waiter);  // answers later, never inside
  // It waits no more (dropped). Where its connect was given up with it, as others want the slot: how long that had taken; else less than 0.
  Duration leave(PoolWaiter& waiter);
  void opened(PooledConnection& connection);   // a request was begun on it: counts against its cap
  void release(PooledConnection& connection);  // the call is done with it, well or badly

  // A connect to this pool's endpoint was overtaken by one to the other family of addresses.
  void overtaken(const EndpointPool& pool);
  const HappyEyeballs& eyeballs() const { return eyeballs_; }

  void on_connection_granted();
  void on_connection_wanted();
  void drain();
  void close_all();  // the end: nothing waits or runs any more
  std::size_t connections() const;

  // What a try says about its endpoint; what says nothing is left out here.
  // `latency`: from sending the request, or the end of a body that the client sent later, to the response head; of one that was abandoned
  // without: so far.
  void record_answer(EndpointPool& pool, std::uint32_t generation, int status, GrpcStatus grpc_status, Duration latency);
  void record_abandoned(EndpointPool& pool, std::uint32_t generation, Duration latency);
  void record_failure(EndpointPool& pool, std::uint32_t generation, FailureKind kind);
  bool counts_as_failure(int status, GrpcStatus grpc_status) const {
    const Causes& causes = view_->config.outlier_detection.causes;
    return causes.matches_status(status) || causes.matches_grpc(grpc_status);
  }

 private:
  friend class PooledConnection;
  friend struct EndpointPool;
  void connected(PooledConnection& connection, int error);
  void settled(PooledConnection& connection);
  void connect_failed(PooledConnection& connection, FailureKind kind, std::string_view detail = {});
  void ready(PooledConnection& connection);
  void closed(PooledConnection& connection);
  void serve(PooledConnection& connection);
  void fill(PooledConnection& connection);
  void seat_elsewhere(PooledConnection& connection);
  void keep_open(PooledConnection& connection);
  void lend(PooledConnection& connection);
  void make_idle(PooledConnection& connection);
  void leave_idle(PooledConnection& connection);
  void give_up(PooledConnection& connection);
  bool of_another_kind(const PooledConnection& connection) const;
  bool spent(const PooledConnection& connection) const;
  bool worn_out(const PooledConnection& connection) const { return spent(connection) || !connection.client_->available(); }
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
  bool carries_many() const { return view_->config.protocol == Protocol::http2; }
  std::unique_ptr<ClientConnection> make_client(PooledConnection& connection);
  bool take_seat(EndpointPool& pool, PoolWaiter& waiter);
  void leave_seat(PooledConnection& connection);
  PoolWaiter* last_seated(PooledConnection& connection);
  void seat_starved(PooledConnection& connection);
  void fail_seated(PooledConnection& connection, FailureKind kind, std::string_view detail);
  PoolWaiter* first_starved(EndpointPool& pool);
  void add_starved(EndpointPool& pool);
  void remove_starved(EndpointPool& pool);
  void remove_waiter(PoolWaiter& waiter);
  void record_failed(EndpointPool& pool, std::uint32_t generation);
  MonotonicTime oldest_waiting();
  bool any_open(Address::Family family) const;
  MonotonicTime now() const { return worker_.loop.now(); }

  WorkerContext& worker_;
  ServiceConnector connector_;
  std::uint32_t security_ = 0;  // changes with how connections are secured: those of before are used up
  Service& service_;
  UpstreamMetrics& metrics_;
  const ClientMakers makers_;
  const ServiceView* view_ = nullptr;
  std::vector<EndpointPool*> by_index_;
  std::vector<std::unique_ptr<EndpointPool>> pools_;
  std::vector<std::unique_ptr<PooledConnection>> retired_;
  EndpointPool* preferred_ = nullptr;  // for the next slot: who a connection was given up for
  std::uint32_t waiting_ = 0;
  std::uint32_t starved_ = 0;
  bool draining_ = false;
  HappyEyeballs eyeballs_;
  Deferred sweep_;
};

}  // namespace weir
