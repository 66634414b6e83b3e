// WorkerListener: one listener on one worker: it accepts connections, holds them, and knows the routes that their exchanges go by.
// The worker owns it; it stays, accepting nothing, until the last connection of a listener that is gone has closed.
// It never binds a socket: main does, once for all workers; whoever drops the last hold on one closes it.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>

#include "proxy/base/intrusive_list.h"
#include "proxy/server/connection.h"
#include "proxy/server/platform.h"
#include "proxy/server/tls_gate.h"

namespace weir {

// What all workers share of one listener: its count of connections, so that the limit is exact, and its socket. Main owns it.
struct ListenerShare {
  std::shared_ptr<SharedListener> socket;  // main's hold; a worker has its own, as long as it accepts
  std::atomic<std::uint32_t> connections{0};
  // TLS handshakes under way; each holds it until it is over.
  std::shared_ptr<std::atomic<std::uint32_t>> handshakes = std::make_shared<std::atomic<std::uint32_t>>(0);
};

class WorkerListener final : private AcceptHandler, private ConnectionOwner, private TlsGate::Owner {
 public:
  // How long clients of a listener that is gone are told Connection: close before those that ask nothing are cut off.
  static constexpr Duration kLeaveGrace = std::chrono::seconds(5);

  WorkerListener(WorkerContext& worker, std::string name, Log& log);
  ~WorkerListener();

  // The listener's part of a new generation; connections that are open keep their own limits and timeouts.
  void apply(Snapshot& snapshot, const RouteTable& routes, AccessLog* access_log);
  void use_log(AccessLog* access_log) { host_.access_log = access_log; }
  // Accepts there; at another address before: what waits at the old one is taken, and its connections stay.
  void use_socket(const std::shared_ptr<ListenerShare>& share, const std::shared_ptr<SharedListener>& socket);
  void stop_accepting();  // what waits is taken; lets go of the socket
  void leave();           // not in the configuration any more: finish what runs, then close
  void begin_drain() { host_.draining = true; }
  void close_idle();   // and every other connection as soon as it is idle
  void close_all();    // at once
  void note_pauses();  // copies the acceptor's count into the metrics

  const std::string& name() const { return name_; }
  bool inbound() const { return host_.inbound; }
  std::uint32_t connections() const { return connections_; }
  std::uint32_t in_flight() const { return host_.in_flight; }
  std::uint64_t exchanges() const { return host_.exchanges; }
  MonotonicTime last_activity() const { return host_.last_activity; }

 private:
  void on_accept(std::unique_ptr<ByteStream> stream) override;
  void on_secured(std::unique_ptr<ByteStream> stream) override { open(std::move(stream)); }
  void on_insecure() override { forget_connection(); }
  void open(std::unique_ptr<ByteStream> stream);
  void forget_connection();
  void on_connection_closed(Connection& connection) override;
  void on_bad_request(std::string_view rule) override;

  const std::string name_;
  ExchangeHost host_;
  std::shared_ptr<ListenerShare> share_;
  std::shared_ptr<SharedListener> socket_;  // outlives the acceptor
  ServerConnectionOptions options_;
  std::uint32_t limit_ = 0;
  IntrusiveList<Connection> list_;
  std::uint32_t connections_ = 0;  // handshakes included
  TlsGate gate_;
  std::unique_ptr<Acceptor> acceptor_;
  std::uint64_t pauses_seen_ = 0;
  Timer leave_timer_;
  Gauge open_;
  Counter accepted_, refused_, pauses_;
  std::map<std::string_view, Counter> bad_requests_;  // by rule; the names are static
};

}  // namespace weir
