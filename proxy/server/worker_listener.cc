#include "proxy/server/worker_listener.h"

#include <algorithm>
#include <cmath>

namespace weir {
namespace {

const MetricFamily kConnections{"weir_listener_connections", "Open connections of clients.", MetricKind::gauge, {"listener"}};
const MetricFamily kAccepted{"weir_listener_accepted_total", "Connections of clients accepted.", MetricKind::counter, {"listener"}};
const MetricFamily kRefused{"weir_listener_refused_total",
                            "Connections of clients closed at once because the listener's limit was reached.",
                            MetricKind::counter,
                            {"listener"}};
const MetricFamily kPauses{
    "weir_listener_accept_pauses_total", "How often accepting paused because descriptors had run out.", MetricKind::counter, {"listener"}};
const MetricFamily kBadRequests{
    "weir_bad_requests_total", "Requests that the framing rules refused, by rule.", MetricKind::counter, {"listener", "rule"}};

}  // namespace

WorkerListener::WorkerListener(WorkerContext& worker, std::string name, Log& log)
    : name_(std::move(name)),
      host_(worker, name_),
      gate_(worker, name_, log, *this),
      leave_timer_(worker.loop, Callback::to<&WorkerListener::close_idle>(this)),
      open_(worker.metrics.gauge(kConnections, {name_})),
      accepted_(worker.metrics.counter(kAccepted, {name_})),
      refused_(worker.metrics.counter(kRefused, {name_})),
      pauses_(worker.metrics.counter(kPauses, {name_})) {}

WorkerListener::~WorkerListener() {
  close_all();
  if (host_.snapshot != nullptr) host_.snapshot->release();
}

void WorkerListener::apply(Snapshot& snapshot, const RouteTable& routes, AccessLog* access_log) {
  snapshot.retain();
  Snapshot* const old = std::exchange(host_.snapshot, &snapshot);
  host_.routes = &routes;
  host_.access_log = access_log;
  const ListenerConfig& config = routes.listener();
  host_.inbound = config.direction == Direction::inbound;
  limit_ = config.limits.connections;
  options_.limits.header_bytes = config.limits.header_bytes;
  options_.limits.headers = config.limits.headers;
  options_.limits.streams = config.limits.streams;
  options_.limits.resets = static_cast<std::uint32_t>(std::clamp(std::ceil(config.limits.resets.per_second()), 1.0, 10'000.0));
  options_.http2 = true;
  options_.limits.request_headers = config.timeouts.request_headers;
  options_.limits.idle = config.timeouts.idle;
  options_.half_close = config.half_close;
  options_.scheme = config.tls ? "https" : "http";
  TlsGateRules rules;
  if (config.tls) rules.context = config.tls->context;
  rules.timeout = config.timeouts.tls_handshake;
  rules.at_once = config.limits.handshakes;
  gate_.configure(std::move(rules));
  if (old != nullptr) old->release();
}

void WorkerListener::use_socket(const std::shared_ptr<ListenerShare>& share, const std::shared_ptr<SharedListener>& socket) {
  if (socket == socket_) return;
  if (share_ != nullptr) {
    stop_accepting();
    // The limit is the listener's, not the socket's: what is open counts on.
    share->connections.fetch_add(connections_, std::memory_order_relaxed);
    share_->connections.fetch_sub(connections_, std::memory_order_relaxed);
  }
  share_ = share;
  socket_ = socket;
  pauses_seen_ = 0;
  acceptor_ = socket_->accept_on(host_.worker.loop, *this);
}

// Whoever was let into the queue before the socket closes is served: closing would reset them. The last worker to come here closes it.
void WorkerListener::stop_accepting() {
  if (acceptor_ == nullptr) return;
  acceptor_->accept_waiting();
  note_pauses();
  acceptor_.reset();
  socket_.reset();
}

// Connections in use hear Connection: close with their next answer. Closing an idle one at once could cross its next request.
void WorkerListener::leave() {
  host_.draining = true;
  stop_accepting();
  leave_timer_.arm(kLeaveGrace);
}

void WorkerListener::on_accept(std::unique_ptr<ByteStream> stream) {
  if (share_->connections.fetch_add(1, std::memory_order_relaxed) >= limit_) {
    share_->connections.fetch_sub(1, std::memory_order_relaxed);
    refused_.add();
    return;  // dropping the stream closes it
  }
  accepted_.add();
  open_.add(1);
  ++connections_;
  if (gate_.stands()) return gate_.admit(std::move(stream), share_->handshakes);
  open(std::move(stream));
}

void WorkerListener::open(std::unique_ptr<ByteStream> stream) {
  ConnectionOwner& owner = *this;
  auto connection = std::make_unique<Connection>(host_, owner, std::move(stream), options_);
  list_.push_back(*connection);
  connection.release()->start();  // it buries itself when it is closed
}

void WorkerListener::on_connection_closed(Connection&) { forget_connection(); }

void WorkerListener::forget_connection() {
  share_->connections.fetch_sub(1, std::memory_order_relaxed);
  open_.add(-1);
  --connections_;
}

void WorkerListener::on_bad_request(std::string_view rule) {
  auto found = bad_requests_.find(rule);
  if (found == bad_requests_.end()) {
    found = bad_requests_.emplace(rule, host_.worker.metrics.counter(kBadRequests, {name_, rule})).first;
  }
  found->second.add();
}

void WorkerListener::close_idle() {
  host_.draining = true;
  gate_.close_all();
  Connection* next = nullptr;
  for (Connection* one = list_.first(); one != nullptr; one = next) {
    next = list_.next(*one);  // draining an idle connection closes it, and takes it off the list
    one->drain();
  }
}

void WorkerListener::close_all() {
  gate_.close_all();
  while (Connection* one = list_.first()) one->close();
  while (Exchange* one = host_.orphans.first()) one->end_now();
}

void WorkerListener::note_pauses() {
  if (acceptor_ == nullptr) return;
  const std::uint64_t pauses = acceptor_->pauses();
  pauses_.add(pauses - pauses_seen_);
  pauses_seen_ = pauses;
}

}  // namespace weir
