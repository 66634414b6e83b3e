#include "proxy/upstream/upstream_call.h"

#include <charconv>

namespace weir {
namespace {

constexpr std::string_view kAttemptHeader = "x-weir-attempt";

FailureKind kind_of(ClientError error, bool responded) {
  switch (error) {
    case ClientError::connect_failed: return FailureKind::connect_failure;
    case ClientError::reset:
    case ClientError::closed: return responded ? FailureKind::truncated : FailureKind::reset;
    case ClientError::refused_stream: return FailureKind::refused_stream;
    case ClientError::protocol_error:
    case ClientError::head_too_large: return FailureKind::upstream_protocol;
    case ClientError::request_aborted: return FailureKind::client_body;
  }
  return FailureKind::internal;
}

std::string_view detail_of(const ClientFailure& failure) {
  switch (failure.error) {
    case ClientError::connect_failed: return "connecting failed";
    case ClientError::reset: return "the upstream reset the connection";
    case ClientError::closed: return "the upstream closed the connection too early";
    case ClientError::refused_stream: return "the upstream refused the stream";
    case ClientError::protocol_error: return failure.rule;
    case ClientError::head_too_large: return "the head of the answer is too large";
    case ClientError::request_aborted: return "the request's body broke off";
  }
  return {};
}

}  // namespace

UpstreamCall::UpstreamCall(ExchangeContext& exchange, Caller& caller, UpstreamLink& link, Request&& request)
    : Call(exchange, caller),
      link_(link),
      request_(std::move(request)),
      later_(exchange.loop(), Callback::to<&UpstreamCall::on_later>(this)),
      too_long_(exchange.loop(), Callback::to<&UpstreamCall::on_waited_too_long>(this)) {}

// ---- towards a connection ----

void UpstreamCall::begin() {
  attempt_ = &exchange().add_attempt({});
  link_.metrics().in_flight.add(1);
  if (request_.deadline <= now()) return fail_later(FailureKind::total_timeout, "no time left for another try");
  const HostLimit::Taken taken = link_.service().requests().take();
  if (taken == HostLimit::Taken::no) return fail_later(FailureKind::pool_overflow, "the service's limit of requests is reached");
  if (taken == HostLimit::Taken::over) link_.metrics().limit_over("requests");
  counted_ = true;
  pick();
}

void UpstreamCall::pick() {
  EndpointPool* pool = link_.pick(request_.pick);
  if (pool == nullptr) {
    if (!link_.view().waiting) return fail_later(FailureKind::no_endpoint, "the service has no endpoint");
    if (!may_wait()) return;
    state_ = State::endpoints;
    return link_.wait_for_endpoints(*this);
  }
  pool_ = pool;
  if (request_.attempt == 1) link_.service().retry_budget().on_request(now());
  Endpoint& endpoint = *pool->endpoint;
  attempt_->endpoint = exchange().arena.copy(endpoint.text);  // the exchange may outlive the endpoint
  attempt_->endpoint_id = endpoint.id;
  endpoint.active.fetch_add(1, std::memory_order_relaxed);
  endpoint.attempts.fetch_add(1, std::memory_order_relaxed);
  generation_ = endpoint.generation.load(std::memory_order_relaxed);
  if (PooledConnection* connection = link_.pool().take(*pool)) return send(*connection);
  if (!may_wait()) return;
  state_ = State::connection;
  link_.pool().wait(*pool, *this);
}

bool UpstreamCall::may_wait() {
  if (pending_) return true;
  const HostLimit::Taken taken = link_.service().pending().take();
  if (taken == HostLimit::Taken::no) {
    fail_later(FailureKind::pool_overflow, "too many requests wait for a connection");
    return false;
  }
  if (taken == HostLimit::Taken::over) link_.metrics().limit_over("pending");
  pending_ = true;
  too_long_.arm(link_.view().config.pending_timeout);
  return true;
}

void UpstreamCall::wait_is_over() {
  too_long_.disarm();
  if (!pending_) return;
  pending_ = false;
  link_.service().pending().give_back();
}

void UpstreamCall::on_endpoints() {
  state_ = State::picking;
  later_.schedule();
}

void UpstreamCall::on_waited_too_long() {
  if (state_ == State::endpoints) {
    unlink();
    return fail({.kind = FailureKind::no_endpoint, .detail = "the service's names were not resolved in time"});
  }
  if (state_ != State::connection) return;
  const bool connecting = has_connect();
  link_.pool().leave(*this);
  // Its connect goes on without it, and is counted against the endpoint if it fails.
  if (connecting) return fail({.kind = FailureKind::connect_timeout, .detail = "no connection in time"});
  fail({.kind = FailureKind::pool_timeout, .detail = "no connection became free in time"});
}

void UpstreamCall::on_no_connection(FailureKind kind) {
  judge(kind);
  fail({.kind = kind,
        .detail = kind == FailureKind::connect_timeout ? std::string_view("connecting took too long")
                                                       : std::string_view("connecting failed")});
}

void UpstreamCall::fail_later(FailureKind kind, std::string_view detail) {
  failure_kind_ = kind;
  failure_detail_ = detail;
  end_attempt(kind, false);
  state_ = State::failing;
  later_.schedule();
}

void UpstreamCall::on_later() {
  if (state_ == State::picking) return pick();
  if (state_ == State::failing) fail({.kind = failure_kind_, .detail = failure_detail_});
}

void UpstreamCall::fail(const Failure& failure) {
  if (state_ != State::failing) end_attempt(failure.kind, false);
  tell_failure(failure);
}

// ---- on a connection ----

void UpstreamCall::on_connection(PooledConnection& connection) {
  send(connection);
}

void UpstreamCall::send(PooledConnection& connection) {
  wait_is_over();
  state_ = State::streaming;
  connection_ = &connection;
  attempt_->connected = now();
  attempt_->reused_connection = connection.reused();
  char digits[8];
  HeaderField extra;
  std::size_t extra_count = 0;
  if (request_.attempt > 1) {
    const auto written = std::to_chars(digits, digits + sizeof(digits), request_.attempt);
    extra = {kAttemptHeader, {digits, static_cast<std::size_t>(written.ptr - digits)}, HeaderId::other};
    extra_count = 1;
  }
  stream_ = connection.client().open(exchange().arena, *request_.head, {&extra, extra_count}, std::move(request_.body), *this);
  link_.pool().opened(connection);
}

void UpstreamCall::on_informational(const ResponseHead& head) { tell_informational(head); }

void UpstreamCall::on_response(ResponseHead& head, BodyPipe::Reader body) {
  responded_ = true;
  attempt_->response_at = now();
  attempt_->status = head.status;
  // A failing status is known now, and a retry will drop this call before its end; a good one may still be cut short.
  if (link_.pool().counts_as_failure(head.status)) {
    judged_ = true;
    link_.pool().record_answer(*pool_, generation_, head.status);
  }
  Response response;
  response.head = &head;
  response.body = std::move(body);
  response.endpoint = pool_->endpoint->id;
  tell_response(std::move(response));
}

void UpstreamCall::on_end(const Headers* trailers) {
  if (!judged_) {
    judged_ = true;
    link_.pool().record_answer(*pool_, generation_, attempt_->status);
  }
  end_attempt(FailureKind::none, false);
  let_go();
  tell_end({.trailers = trailers, .failure = nullptr});
}

void UpstreamCall::on_failure(const ClientFailure& client_failure) {
  Failure failure;
  failure.kind = kind_of(client_failure.error, responded_);
  failure.request_sent = client_failure.anything_sent;
  failure.stale_connection = client_failure.reused && !client_failure.anything_received &&
                             (client_failure.error == ClientError::reset || client_failure.error == ClientError::closed);
  failure.detail = detail_of(client_failure);
  if (failure.stale_connection) {
    link_.metrics().stale.add();  // an idle connection that the upstream may close when it likes: no sign of ill health
  } else {
    judge(failure.kind);
  }
  end_attempt(failure.kind, false);
  let_go();
  if (responded_) return tell_end({.trailers = nullptr, .failure = &failure});
  tell_failure(failure);
}

// ---- the end ----

void UpstreamCall::judge(FailureKind kind) {
  if (judged_ || pool_ == nullptr) return;
  judged_ = true;
  link_.pool().record_failure(*pool_, generation_, kind);
}

// Once: books the try and gives the permits back.
void UpstreamCall::end_attempt(FailureKind kind, bool cancelled) {
  wait_is_over();
  if (state_ == State::over) return;
  state_ = State::over;
  attempt_->ended = now();
  if (kind != FailureKind::none) attempt_->failure = kind;
  const Duration took = attempt_->ended - attempt_->started;
  exchange().upstream_time += took;
  UpstreamMetrics& metrics = link_.metrics();
  metrics.in_flight.add(-1);
  if (cancelled) {
    metrics.attempt_cancelled(took);
  } else if (kind != FailureKind::none) {
    metrics.attempt_failed(kind, took);
  } else {
    metrics.attempt_answered(attempt_->status, took);
  }
  if (counted_) link_.service().requests().give_back();
  if (pool_ != nullptr) pool_->endpoint->active.fetch_sub(1, std::memory_order_relaxed);
}

void UpstreamCall::let_go() {
  stream_.reset();
  if (connection_ != nullptr) link_.pool().release(*std::exchange(connection_, nullptr));
}

// Why this try is being dropped: a timeout filter notes its decision just before; every other drop says nothing about the endpoint
// (the client went away, a better answer was found).
FailureKind UpstreamCall::dropped_for() const {
  const DecisionRecord* newest = exchange().decisions;
  if (newest == nullptr || newest->at != now() || newest->decision != "timed_out") return FailureKind::none;
  for (const FailureKind kind : {FailureKind::response_timeout, FailureKind::idle_timeout, FailureKind::total_timeout}) {
    if (newest->reason == facts(kind).name) return kind;
  }
  return FailureKind::none;
}

void UpstreamCall::silence() noexcept {
  later_.cancel();
  const State state = state_;
  if (state == State::connection) link_.pool().leave(*this);
  if (state == State::endpoints) unlink();
  if (state != State::over && state != State::failing) {
    const FailureKind why = dropped_for();
    // Without a connection the endpoint has not been asked anything: if its connect fails, that will be counted by itself.
    if (state == State::streaming) judge(why);
    end_attempt(why, why == FailureKind::none);
  }
  let_go();
  request_.body.drop();
}

}  // namespace weir
