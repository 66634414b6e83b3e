#include "proxy/chain/admission_link.h"

namespace weir {
namespace {

// By a deadline of the whole exchange: whose it was, does not matter to how long the upstream took.
bool is_deadline(FailureKind kind) { return kind == FailureKind::total_timeout || kind == FailureKind::deadline_exceeded; }

}  // namespace

Outcome outcome_of(const Failure& failure) {
  Outcome outcome;
  outcome.failure = failure.kind;
  outcome.clean = false;
  // A reused connection that broke before any byte of the answer is the keep-alive race, not a verdict on the upstream.
  if (failure.facts().blames_upstream && !failure.stale_connection) {
    outcome.cls = Outcome::Class::failed;
  } else {
    outcome.cls = Outcome::Class::ignored;
  }
  return outcome;
}

void AdmittedCall::admitted(const Ticket& ticket, const Request& request) {
  DCHECK(!has_ticket_);
  ticket_ = ticket;
  has_ticket_ = true;
  started_ = exchange().now();
  request_body_ = request.body.pipe();
  attempts_before_ = exchange().attempts;
}

bool AdmittedCall::upstream_owes() const {
  if (request_body_ != nullptr && !request_body_->finished()) return false;
  if (exchange().attempts == attempts_before_) return false;  // it waits for a filter further in
  const AttemptRecord& attempt = *exchange().last_attempt;
  if (attempt.ended != MonotonicTime{} && attempt.ended != exchange().now()) return false;  // the next try waits for its turn
  return attempt.connecting || attempt.connected != MonotonicTime{};
}

void AdmittedCall::record(Outcome outcome) noexcept {
  if (!has_ticket_) return;
  has_ticket_ = false;
  const MonotonicTime now = exchange().now();
  outcome.to_headers = to_headers_;
  outcome.total = now - owed_since(started_, request_body_);
  policy_.record(now, ticket_, outcome, exchange().worker.random);
}

void AdmittedCall::on_response(Response&& response) {
  to_headers_ = exchange().now() - owed_since(started_, request_body_);
  status_ = response.head == nullptr ? 0 : response.head->status;  // a stream has no head
  local_answer_ = response.endpoint == 0;
  if (exchange().grpc && response.head != nullptr) grpc_status_ = grpc_status_at_head(*response.head);
  tell_response(std::move(response));
}

void AdmittedCall::on_end(const End& end) {
  Outcome outcome;
  if (end.failure != nullptr) {
    outcome = outcome_of(*end.failure);
    outcome.cut_short = is_deadline(end.failure->kind) && upstream_owes();
  }
  // A whole answer, and one that broke off by the upstream's fault, are answers; what a client or a deadline broke off is neither.
  if (end.clean() && exchange().grpc && status_ != 0 && grpc_status_ == GrpcStatus::none) grpc_status_ = grpc_status_at_end(end.trailers);
  if (end.clean() || outcome.cls == Outcome::Class::failed) outcome.cls = Outcome::Class::answered;
  if (exchange().is_clients_deadline(grpc_status_)) {
    outcome.cls = Outcome::Class::ignored;
    outcome.cut_short = upstream_owes();
    grpc_status_ = GrpcStatus::none;  // else it would speak as that of a dropped answer does
  }
  if (local_answer_) outcome.cls = Outcome::Class::ignored;  // weir's own words say nothing about the upstream
  outcome.status = local_answer_ ? 0 : status_;
  outcome.grpc_status = local_answer_ ? GrpcStatus::none : grpc_status_;
  record(outcome);
  tell_end(end);
}

void AdmittedCall::on_failure(const Failure& failure) {
  Outcome outcome = outcome_of(failure);
  outcome.cut_short = is_deadline(failure.kind) && upstream_owes();
  record(outcome);
  tell_failure(failure);
}

void AdmittedCall::silence() noexcept {
  Outcome outcome;  // cancelled
  outcome.cls = Outcome::Class::ignored;
  outcome.status = local_answer_ ? 0 : status_;
  outcome.grpc_status = local_answer_ ? GrpcStatus::none : grpc_status_;
  outcome.clean = false;
  // The inner call goes first: what it holds is free again before a permit is, and a try says what it waited for.
  FilterCall::silence();
  outcome.cut_short = upstream_owes();
  record(outcome);
}

AdmissionFacts AdmissionLink::facts_of(const Request& request) {
  AdmissionFacts facts;
  facts.exchange = request.exchange;
  facts.head = request.head;
  facts.hash = request.exchange->id_hash;
  facts.attempt = request.attempt;
  return facts;
}

CallPtr AdmissionLink::start(Request&& request, Caller& caller) {
  ExchangeContext& exchange = *request.exchange;
  const Admission admission = policy_.admit(exchange.now(), facts_of(request), random_);
  if (admission.verdict == Admission::Verdict::admit) {
    auto* call = make_call<AdmittedCall>(exchange, caller, policy_);
    CallPtr owner(call);
    call->admitted(admission.ticket, request);
    call->adopt(next_.start(std::move(request), *call));
    return owner;
  }
  if (shadow_) {
    const bool queued = admission.verdict == Admission::Verdict::wait;
    decisions_.note(exchange, queued ? "would_queue" : "would_reject", admission.reason);
    return next_.start(std::move(request), caller);
  }
  if (admission.verdict == Admission::Verdict::wait) return wait(std::move(request), caller, admission);
  return reject(exchange, caller, admission);
}

CallPtr AdmissionLink::wait(Request&& request, Caller& caller, const Admission& admission) {
  Admission refused = admission;
  if (refused.kind == FailureKind::none) refused.kind = FailureKind::limit_reached;
  return reject(*request.exchange, caller, refused);
}

Failure AdmissionLink::failure_of(const Admission& admission) const {
  Failure failure;
  failure.kind = admission.kind;
  failure.retry_after = admission.retry_after;
  failure.detail = admission.reason;
  failure.decided_by = &identity_;
  return failure;
}

CallPtr AdmissionLink::reject(ExchangeContext& exchange, Caller& caller, const Admission& admission) {
  decisions_.note(exchange, "rejected", admission.reason);
  return fail_later(exchange, caller, failure_of(admission));
}

}  // namespace weir
