#include "proxy/upstream/upstream_call.h"

#include <algorithm>
#include <charconv>

#include "proxy/upstream/grpc_request.h"

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
    : Call(exchange, caller), link_(link), request_(std::move(request)), request_body_(request_.body.pipe()) {}

UpstreamCall::Waiting::Waiting(UpstreamCall& call)
    : later(call.exchange().loop(), Callback::to<&UpstreamCall::on_later>(&call)),
      too_long(call.exchange().loop(), Callback::to<&UpstreamCall::on_waited_too_long>(&call)),
      second(call) {}

UpstreamCall::Waiting& UpstreamCall::waiting() {
  if (!waiting_) waiting_.reset(exchange().arena.make<Waiting>(*this));
  return *waiting_;
}

UpstreamCall::Second::Second(UpstreamCall& call) : delay(call.exchange().loop(), Callback::to<&Second::on_delay>(this)), call_(call) {}

// Of whoever runs into it: the client's own, or the policy's.
FailureKind UpstreamCall::deadline_kind() const {
  return request_.deadline == exchange().client_deadline ? FailureKind::deadline_exceeded : FailureKind::total_timeout;
}

// ---- towards a connection ----

void UpstreamCall::begin() {
  attempt_ = &exchange().add_attempt({});
  link_.metrics().in_flight.add(1);
  if (request_.deadline <= now()) {
    return fail_later(deadline_kind(), "no time left for another try");
  }
  const HostLimit::Taken taken = link_.service().requests().take();
  if (taken == HostLimit::Taken::no) return fail_later(FailureKind::pool_overflow, "the service's limit of requests is reached");
  if (taken == HostLimit::Taken::over) link_.metrics().limit_over("requests");
  counted_ = true;
  pick();
}

void UpstreamCall::pick() {
  if (link_.hashes_by_key()) request_.pick.hash = link_.key_hash(request_);
  EndpointPool* pool = link_.pick(request_.pick);
  if (pool == nullptr) {
    if (!link_.view().waiting) return fail_later(FailureKind::no_endpoint, "the service has no endpoint");
    if (!may_wait()) return;
    state_ = State::endpoints;
    return link_.wait_for_endpoints(*this);
  }
  picked_at_ = now();
  generation_ = pool->endpoint->generation.load(std::memory_order_relaxed);
  choose(*pool);
  PooledConnection* const connection = link_.pool().take(*pool);
  if (connection == nullptr && !may_wait()) return;
  // What is refused here never goes to an endpoint, and earns no retries.
  if (request_.attempt == 1) link_.service().retry_budget().on_request(now());
  pool->endpoint->attempts.fetch_add(1, std::memory_order_relaxed);
  if (connection != nullptr) return send(*connection);
  state_ = State::connection;
  link_.pool().wait(*pool, *this);
  if (link_.view().endpoints.dual_stack) waiting_->second.delay.arm(HappyEyeballs::kAttemptDelay);
}

// The try is at this endpoint now.
void UpstreamCall::choose(EndpointPool& pool) {
  Endpoint& endpoint = *pool.endpoint;
  if (pool_ != nullptr) pool_->endpoint->active.fetch_sub(1, std::memory_order_relaxed);
  pool_ = &pool;
  attempt_->endpoint = exchange().arena.copy(endpoint.text);  // the exchange may outlive the endpoint
  attempt_->endpoint_id = endpoint.id;
  endpoint.active.fetch_add(1, std::memory_order_relaxed);
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
  waiting().too_long.arm(link_.view().config.pending_timeout);
  return true;
}

void UpstreamCall::wait_is_over() {
  if (!waiting_) return;
  waiting_->too_long.disarm();
  waiting_->second.delay.disarm();
  if (!pending_) return;
  pending_ = false;
  link_.service().pending().give_back();
}

void UpstreamCall::on_endpoints() {
  state_ = State::picking;
  waiting_->later.schedule();
}

void UpstreamCall::on_waited_too_long() {
  if (state_ == State::endpoints) {
    unlink();
    return fail({.kind = FailureKind::no_endpoint, .detail = "the service's names were not resolved in time"});
  }
  if (state_ != State::connection) return;
  const bool connecting = note_connecting();
  leave_pools(true);
  if (connecting) note_latency(true);
  // Its connect goes on without it where slots allow, and is counted against the endpoint if it fails.
  if (connecting) return fail({.kind = FailureKind::connect_timeout, .detail = "no connection in time"});
  fail({.kind = FailureKind::pool_timeout, .detail = "no connection became free in time"});
}

// Whether connections are being made as the wait ends. Where it is two, a retry is to avoid both.
bool UpstreamCall::note_connecting() {
  const Second& second = waiting_->second;
  if (!second.has_connect()) return has_connect();
  if (has_connect()) attempt_->passed_over_id = second.pool->endpoint->id;
  return true;
}

// The endpoint's connect failed, and is counted so; but the request is not lost while the other family of addresses may serve it.
void UpstreamCall::on_no_connection(FailureKind kind, std::string_view detail) {
  if (!shares_failure()) link_.pool().record_failure(*pool_, generation_, kind);
  if (facts(kind).blames_upstream) note_latency(true);
  if (second_waits()) return move_to_second();
  if (!go_beside()) return fail_to_connect(kind, detail);
  move_to_second();
  if (PooledConnection* idle = link_.pool().take(*pool_)) return send(*idle);
  link_.pool().wait(*pool_, waiting_->second);
}

void UpstreamCall::on_no_second_connection(FailureKind kind, std::string_view detail) {
  const Second& second = waiting_->second;
  if (!second.shares_failure()) link_.pool().record_failure(*second.pool, second.generation, kind);
  if (link_.weighs_latency() && facts(kind).blames_upstream) second.pool->endpoint->latency.observe_failure(now() - picked_at_, now());
  if (!linked()) return fail_to_connect(kind, detail);
  attempt_->passed_over_id = second.pool->endpoint->id;  // the first one may still be made
}

void UpstreamCall::fail_to_connect(FailureKind kind, std::string_view detail) {
  judged_ = true;
  if (!facts(kind).blames_upstream) return fail({.kind = kind, .detail = "this host has no descriptor or memory for a connection"});
  const bool late = kind == FailureKind::connect_timeout;
  std::string_view said = late ? "connecting took too long" : "connecting failed";
  if (was_mute() || waiting_->second.was_mute())
    said = late ? "connected, but no HTTP/2 was spoken in time" : "connected, but HTTP/2 was not spoken";
  if (!detail.empty()) said = exchange().arena.copy(detail);
  fail({.kind = kind, .detail = said});
}

void UpstreamCall::on_connect_is_slow() {
  if (state_ != State::connection || !linked()) return;
  Second& second = waiting_->second;
  if (!has_connect()) return second.delay.arm(HappyEyeballs::kAttemptDelay);  // it waits for room, not for an answer
  if (!go_beside()) return;
  if (PooledConnection* idle = link_.pool().take(*second.pool)) return on_second_connection(*idle);
  link_.pool().wait(*second.pool, second);
}

// Finds the second endpoint, once a try. False: there is none.
bool UpstreamCall::go_beside() {
  if (beside_) return false;
  Second& second = waiting_->second;
  second.pool = link_.pick_beside(*pool_, request_.pick);
  if (second.pool == nullptr) return false;
  beside_ = true;
  second.pool->endpoint->attempts.fetch_add(1, std::memory_order_relaxed);
  second.generation = second.pool->endpoint->generation.load(std::memory_order_relaxed);
  return true;
}

void UpstreamCall::move_to_second() {
  const Second& second = waiting_->second;
  if (pool_ == second.pool) return;
  attempt_->passed_over_id = attempt_->endpoint_id;
  choose(*second.pool);
  generation_ = second.generation;
  picked_at_ = now();
}

void UpstreamCall::on_second_connection(PooledConnection& connection) {
  if (linked()) {
    link_.pool().leave(*this);  // its connect goes on, and is kept if it is made
    link_.pool().overtaken(*pool_);
  }
  move_to_second();
  send(connection);
}

// `blame`: a slow connect that is given up with it counts against its endpoint.
void UpstreamCall::leave_pools(bool blame) {
  const auto leave = [&](PoolWaiter& waiter, EndpointPool& pool, std::uint32_t generation) {
    const Duration connecting_for = link_.pool().leave(waiter);  // where it was given up
    const bool slow = connecting_for >= std::min(HappyEyeballs::kAttemptDelay, link_.view().config.connect_timeout);
    if (slow && blame) link_.pool().record_failure(pool, generation, FailureKind::connect_timeout);
  };
  if (linked()) leave(*this, *pool_, generation_);
  if (second_waits()) leave(waiting_->second, *waiting_->second.pool, waiting_->second.generation);
}

void UpstreamCall::fail_later(FailureKind kind, std::string_view detail) {
  failure_kind_ = kind;
  failure_detail_ = detail;
  end_attempt(kind, false);
  state_ = State::failing;
  waiting().later.schedule();
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
  leave_pools(false);  // the second one's connect, if there is one, goes on without us
  send(connection);
}

void UpstreamCall::send(PooledConnection& connection) {
  wait_is_over();
  state_ = State::streaming;
  connection_ = &connection;
  attempt_->connected = now();
  attempt_->reused_connection = connection.reused();
  char digits[8];
  HeaderField extra[2];
  std::size_t extra_count = 0;
  if (const std::string& host = link_.view().config.host; !host.empty()) extra[extra_count++] = {"host", host, HeaderId::host};
  if (request_.attempt > 1) {
    const auto written = std::to_chars(digits, digits + sizeof(digits), request_.attempt);
    extra[extra_count++] = {kAttemptHeader, {digits, static_cast<std::size_t>(written.ptr - digits)}, HeaderId::x_weir_attempt};
  }
  stream_ = connection.client().open(exchange().arena, head_of_try(request_, now()), {extra, extra_count}, std::move(request_.body), *this);
  link_.pool().opened(connection);
}

void UpstreamCall::on_informational(const ResponseHead& head) { tell_informational(head); }

void UpstreamCall::on_response(ResponseHead& head, BodyPipe::Reader body) {
  // The upstream was told the deadline, and its clock is a little ahead: the filter that keeps the deadline speaks within the margin, and
  // knows whose it was. This is only the echo.
  if (exchange().grpc && !body && request_.deadline != kNever && now() + ExchangeContext::kDeadlineMargin >= request_.deadline &&
      grpc_status_at_head(head) == GrpcStatus::deadline_exceeded) {
    return take_for_an_echo();
  }
  responded_ = true;
  connection_->answered();
  attempt_->response_at = now();
  to_head_ = owed_for(attempt_->connected);
  attempt_->status = head.status;
  if (exchange().grpc) attempt_->grpc_status = grpc_status_at_head(head);
  // An endpoint that refuses is quick, and must not seem fast.
  note_latency(head.status >= 500 || head.status == 429 || is_grpc_server_trouble(attempt_->grpc_status));
  // A failing status is known now, and a retry will drop this call before its end; a good one may still be cut short.
  if (link_.pool().counts_as_failure(head.status, attempt_->grpc_status)) judge_answer();
  Response response;
  response.head = &head;
  response.body = std::move(body);
  response.endpoint = pool_->endpoint->id;
  tell_response(std::move(response));
}

// Silent until the filter speaks. The connection goes back now, and with it what keeps an endpoint alive that has left the service: all
// that is to be said of the endpoint is said here.
void UpstreamCall::take_for_an_echo() {
  const FailureKind why = deadline_kind();
  note_given_up(why);
  link_.pool().record_abandoned(*pool_, generation_, owed_for(attempt_->connected));
  judge(why);
  std::exchange(pool_, nullptr)->endpoint->active.fetch_sub(1, std::memory_order_relaxed);
  let_go();
}

void UpstreamCall::on_end(const Headers* trailers) {
  if (exchange().grpc && attempt_->grpc_status == GrpcStatus::none) {
    attempt_->grpc_status = grpc_status_at_end(trailers);
    if (is_grpc_server_trouble(attempt_->grpc_status)) note_latency(true);
  }
  if (!judged_) judge_answer();
  end_attempt(FailureKind::none, false);
  let_go();
  tell_end({.trailers = trailers, .failure = nullptr});
}

void UpstreamCall::on_failure(const ClientFailure& client_failure) {
  Failure failure;
  failure.kind = kind_of(client_failure.error, responded_);
  failure.request_sent = client_failure.anything_sent;
  failure.stale_connection = (client_failure.reused || connection_->rested()) && !client_failure.anything_received &&
                             (client_failure.error == ClientError::reset || client_failure.error == ClientError::closed);
  failure.detail = client_failure.detail.empty() ? detail_of(client_failure) : exchange().arena.copy(client_failure.detail);
  if (failure.stale_connection) {
    link_.metrics().stale.add();  // an idle connection that the upstream may close when it likes: no sign of ill health
  } else {
    judge(failure.kind);
    if (facts(failure.kind).blames_upstream) note_latency(true);
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

void UpstreamCall::judge_answer() {
  judged_ = true;
  const AttemptRecord& attempt = *attempt_;
  if (exchange().is_clients_deadline(attempt.grpc_status)) return;
  link_.pool().record_answer(*pool_, generation_, attempt.status, attempt.grpc_status, to_head_);
}

// For peak_ewma.
void UpstreamCall::note_latency(bool failed) {
  if (!link_.weighs_latency() || pool_ == nullptr) return;
  LatencyEstimate& latency = pool_->endpoint->latency;
  const Duration took = owed_for(picked_at_);
  failed ? latency.observe_failure(took, now()) : latency.observe(took, now());
}

// Dropped before its answer: a timeout of the try is a failure; what ended it otherwise (the client went, another answer won) says only
// that it would have taken longer. Waiting for a connection is the endpoint's doing only while one is being made.
void UpstreamCall::note_given_up(FailureKind why) {
  if (!link_.weighs_latency() || pool_ == nullptr) return;
  if (why == FailureKind::response_timeout || why == FailureKind::idle_timeout) return note_latency(true);
  if (!responded_) pool_->endpoint->latency.observe_at_least(owed_for(picked_at_), now());
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
  if (attempt_->grpc_status > GrpcStatus::ok) {
    metrics.attempt_grpc_failed(attempt_->grpc_status, took);  // also when a retry has dropped it for that
  } else if (cancelled) {
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
  for (const FailureKind kind :
       {FailureKind::response_timeout, FailureKind::idle_timeout, FailureKind::total_timeout, FailureKind::deadline_exceeded}) {
    if (newest->reason == facts(kind).name) return kind;
  }
  return FailureKind::none;
}

// Its answer was heard, and another try takes its place: it counts as what it was.
bool UpstreamCall::dropped_for_a_retry() const {
  const DecisionRecord* newest = exchange().decisions;
  return responded_ && newest != nullptr && newest->at == now() && newest->decision == "retried";
}

void UpstreamCall::silence() noexcept {
  if (waiting_) waiting_->later.cancel();
  const State state = state_;
  const bool asked = state == State::streaming || (state == State::connection && has_connect());
  const FailureKind why = dropped_for();
  if (state == State::connection) {
    attempt_->connecting = note_connecting();
    leave_pools(why == FailureKind::response_timeout);
  }
  if (state == State::endpoints) unlink();
  if (state != State::over && state != State::failing) {
    if (asked) note_given_up(why);
    // Without a connection the endpoint has not been asked anything: if its connect fails, that will be counted by itself.
    if (state == State::streaming && pool_ != nullptr) {
      if (!responded_) link_.pool().record_abandoned(*pool_, generation_, owed_for(attempt_->connected));
      judge(why);
    }
    end_attempt(why, why == FailureKind::none && !dropped_for_a_retry());
  }
  let_go();
  request_.body.drop();
}

}  // namespace weir
