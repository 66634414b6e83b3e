#include "proxy/server/exchange.h"

#include <algorithm>

#include "proxy/base/hash.h"
#include "proxy/chain/local_reply.h"
#include "proxy/http/hop_headers.h"
#include "proxy/server/request_target.h"

namespace weir {
namespace {

FailureKind kind_of(StreamError error) {
  switch (error) {
    case StreamError::bad_body: return FailureKind::client_body;
    case StreamError::timeout: return FailureKind::client_timeout;
    case StreamError::response_aborted: return FailureKind::truncated;
    case StreamError::client_closed:
    case StreamError::client_reset:
    case StreamError::write_failed: return FailureKind::client_gone;
  }
  return FailureKind::client_gone;
}

}  // namespace

Exchange& Exchange::make(ExchangeHost& host, const Address& client, const TlsInfo* tls, ServerStream& stream, Arena& arena,
                         RequestHead& head) {
  return *arena.make<Exchange>(host, client, tls, stream, arena, head);
}

Exchange::Exchange(ExchangeHost& host, const Address& client, const TlsInfo* tls, ServerStream& stream, Arena& arena, RequestHead& head)
    : host_(host),
      stream_(&stream),
      context_(*arena.make<ExchangeContext>(host.worker, arena, head)),
      snapshot_(*host.snapshot),
      metrics_(&host.routes->unrouted()),
      original_target_(head.target),
      original_authority_(head.authority) {
  snapshot_.retain();
  ++host_.in_flight;
  ++host_.exchanges;
  host_.last_activity = host.worker.loop.now();
  context_.started = host.worker.loop.now();
  context_.client = &client;
  context_.tls = tls;
  context_.listener = host.routes->listener().name;
  context_.inbound = host.inbound;
  stream.set_handler(this);
}

void Exchange::free_buried() noexcept {
  Arena& arena = context_.arena;
  Snapshot& snapshot = snapshot_;
  this->~Exchange();
  arena.release();
  snapshot.release();
}

void Exchange::start(BodyPipe::Reader body) {
  RequestHead& head = context_.head;
  request_pipe_ = body.pipe();
  context_.request_id = set_request_id(head, true, context_.worker.random);
  context_.id_hash = hash_text(context_.request_id);
  context_.read_grpc();
  Failure failure;
  if (const std::string_view refused = normalize_request(context_.arena, head); !refused.empty()) {
    failure.kind = FailureKind::bad_request;
    failure.detail = refused;
  } else if ((route_ = host_.routes->match(head)) == nullptr) {
    failure.kind = FailureKind::no_route;
  } else {
    context_.route = route_->config->name;
    if (!route_->targets.empty()) return forward(*route_, std::move(body));
    metrics_ = &route_->direct_metrics;
    metrics_->begin();
    return respond(*route_);
  }
  metrics_->begin();
  reply(failure);
}

void Exchange::refuse(const BadMessage& bad) {
  metrics_->begin();
  failure_.kind = FailureKind::bad_request;
  failure_.detail = bad.rule;
  context_.decided = true;
  ended_ = true;
  const LocalReply made = make_local_reply(context_.arena, bad.status, facts(FailureKind::bad_request).proxy_status, bad.rule);
  send(*made.head, body_of(made.body));
}

void Exchange::forward(const Route& route, BodyPipe::Reader body) {
  RequestHead& head = context_.head;
  const RouteTarget& target = route.pick(context_.id_hash);
  context_.service = target.service;
  policy_ = target.policy;
  metrics_ = &target.metrics;
  metrics_->begin();
  prepare_request();
  edit_request(*route.config, route.request_edits, context_.arena, head);
  Request request;
  request.exchange = &context_;
  request.head = &head;
  request.body = std::move(body);
  request.pick.hash = context_.id_hash;
  call_ = target.chain->outermost().start(std::move(request), *this);
}

// What this hop says of itself. Inbound, the peer is not believed what it says of the hops before it; outbound the service's own
// X-Forwarded-* pass, and the service, on this host, is nobody's client address.
void Exchange::prepare_request() {
  RequestHead& head = context_.head;
  add_via(head.headers, head.version);
  if (!host_.inbound) return;
  ForwardedFacts facts;
  if (context_.client->family() != Address::Family::unix_path) facts.client = context_.client->host();
  facts.tls = context_.tls;
  facts.proto = context_.tls != nullptr ? "https" : "http";
  set_forwarded_fields(head, facts);
}

void Exchange::respond(const Route& route) {
  const RespondConfig& config = *route.config->respond;
  auto* head = context_.arena.make<ResponseHead>(context_.arena);
  head->status = config.status;
  const bool bodiless = config.status == 204 || config.status == 304;
  head->has_body = !bodiless && context_.head.method != Method::head;
  if (context_.grpc) grpc_status_ = grpc_status_at_head(*head);
  if (!bodiless) head->content_length = static_cast<std::int64_t>(config.body.size());
  route.direct_edits.apply(head->headers);
  route.response_edits.apply(head->headers);
  ended_ = true;
  send(*head, head->has_body ? body_of(config.body) : BodyPipe::Reader());
}

// The answer that weir gives itself.
void Exchange::reply(const Failure& failure) {
  failure_ = failure;  // its detail is static or in the arena
  context_.decided = true;
  ended_ = true;
  call_.reset();
  const LocalReply made = make_local_reply(context_, failure_);
  if (route_ != nullptr) route_->response_edits.apply(made.head->headers);
  send(*made.head, body_of(made.body));
}

BodyPipe::Reader Exchange::body_of(std::string_view text) {
  if (text.empty()) return {};
  BodyPipe::Ends ends = BodyPipe::make(context_.arena, context_.loop(), context_.worker.buffers);
  ends.writer.write(as_bytes(text));
  ends.writer.finish();
  return std::move(ends.reader);
}

// The last act of its caller: the stream may tell its end inside.
void Exchange::send(ResponseHead& head, BodyPipe::Reader body) {
  if (!head.headers.has(HeaderId::date)) {  // RFC 9110 6.6.1: who has a clock dates what it makes, and what it passes on undated
    head.headers.add_view("date", host_.dates.text(context_.loop().wall_now()), HeaderId::date);
  }
  status_ = head.status;
  head_sent_at_ = context_.now();
  response_pipe_ = body.pipe();
  if (host_.draining) stream_->close_after_response();
  stream_->send_response(head, std::move(body));
}

void Exchange::on_informational(const ResponseHead& head) {
  if (stream_ != nullptr && status_ == 0) stream_->send_informational(head);
}

void Exchange::on_response(Response&& response) {
  if (context_.grpc) grpc_status_ = grpc_status_at_head(*response.head);
  route_->response_edits.apply(response.head->headers);
  send(*response.head, std::move(response.body));
}

void Exchange::on_end(const End& end) {
  if (over_) return;
  ended_ = true;
  if (context_.grpc && end.clean() && grpc_status_ == GrpcStatus::none) grpc_status_ = grpc_status_at_end(end.trailers);
  const bool whole = sent_ || (stream_ != nullptr && stream_->response_is_whole());
  if (end.failure != nullptr && !whole) {
    failure_ = *end.failure;
    ServerStream* stream = stream_;
    if (stream != nullptr) bytes_sent_ = stream->response_bytes();
    stream_ = nullptr;
    finish();
    if (stream != nullptr) stream->reset();  // so that nobody takes the answer for whole
    return;
  }
  if (sent_ || stream_ == nullptr) finish();
}

void Exchange::on_failure(const Failure& failure) {
  if (!over_) reply(failure);
}

void Exchange::on_stream_error(StreamError error, int answered) {
  if (over_) return;
  if (answered != 0) {
    status_ = answered;
    head_sent_at_ = context_.now();
    context_.decided = true;
  }
  if (stream_ != nullptr) bytes_sent_ = stream_->response_bytes();
  stream_ = nullptr;
  if (failure_.kind == FailureKind::none) failure_.kind = kind_of(error);
  // A client whose deadline is over takes back its request a moment before our own clock says so.
  if (failure_.kind == FailureKind::client_gone && context_.is_clients_deadline(GrpcStatus::deadline_exceeded)) {
    failure_.kind = FailureKind::deadline_exceeded;
  }
  // The answer broke off above the codec: on_end is under way, and knows why.
  if (error == StreamError::response_aborted && !ended_) return;
  finish();
}

void Exchange::on_response_sent() {
  if (over_) return;
  bytes_sent_ = stream_->response_bytes();
  stream_ = nullptr;
  sent_ = true;
  if (ended_) finish();
}

void Exchange::abandon() {
  if (over_) return;
  if (stream_ != nullptr || ended_) return end_now();
  // The client's side is done, only the chain's end is outstanding: it says how the try went, so it is waited for.
  unlink();
  host_.orphans.push_back(*this);
  if (context_.client != nullptr) client_text_ = context_.arena.copy(context_.client->text());
  context_.client = nullptr;  // it was the connection's, as is the next
  if (context_.tls != nullptr) {
    kept_tls_ = context_.tls->shared_from_this();
    context_.tls = kept_tls_.get();
  }
}

void Exchange::end_now() {
  if (over_) return;
  ServerStream* stream = std::exchange(stream_, nullptr);
  if (stream != nullptr) bytes_sent_ = stream->response_bytes();
  if (failure_.kind == FailureKind::none && !sent_) failure_.kind = FailureKind::client_gone;
  finish();
  if (stream != nullptr) stream->reset();
}

// What weir added until the answer's head: everything but the time in which a try was under way.
Duration Exchange::added_until(MonotonicTime head_at) const {
  Duration tries{0};
  for (const AttemptRecord* one = context_.first_attempt; one != nullptr; one = one->next) {
    MonotonicTime end = one->response_at != MonotonicTime{} ? one->response_at : one->ended;
    if (end == MonotonicTime{} || end > head_at) end = head_at;
    if (end > one->started) tries += end - one->started;
  }
  return std::max(Duration(0), head_at - context_.started - tries);
}

// What the client was told; where it was told nothing whole, what its library makes of what it saw.
GrpcStatus Exchange::grpc_outcome() const {
  if (!context_.grpc) return GrpcStatus::none;
  if (failure_.kind != FailureKind::none) return static_cast<GrpcStatus>(failure_.facts().grpc_status);
  return grpc_status_ == GrpcStatus::none ? GrpcStatus::unknown : grpc_status_;
}

// One outcome, once; then nothing of it is left but memory.
void Exchange::finish() {
  over_ = true;
  const MonotonicTime now = context_.now();
  RequestOutcome outcome;
  outcome.status = status_;
  outcome.failure = failure_.kind;
  outcome.grpc_status = grpc_outcome();
  outcome.duration = now - context_.started;
  if (status_ != 0) outcome.added = added_until(head_sent_at_);
  outcome.bytes_received = request_pipe_ == nullptr ? 0 : request_pipe_->bytes_written();
  outcome.bytes_sent = bytes_sent_;
  call_.reset();  // before the line is written: the tries that it cancels are in it
  metrics_->end(outcome);
  if (host_.access_log != nullptr) {
    AccessRecord record;
    if (policy_ != nullptr) record.policy = policy_->name;
    record.client = context_.client == nullptr ? client_text_ : context_.client->text();
    record.target = original_target_;
    record.authority = original_authority_;
    record.status = outcome.status;
    record.grpc_status = outcome.grpc_status;
    record.bytes_received = outcome.bytes_received;
    record.bytes_sent = outcome.bytes_sent;
    record.duration = outcome.duration;
    record.failure = outcome.failure;
    record.detail = failure_.detail;
    record.decided_by = failure_.decided_by;
    host_.access_log->record(context_, record);
  }
  --host_.in_flight;
  host_.last_activity = now;
  unlink();
  context_.loop().bury(*this);
}

}  // namespace weir
