#include "filters/retry/retry_filter.h"

#include <memory>

#include "filters/retry/held_answer.h"
#include "filters/retry/replay_body.h"
#include "proxy/chain/filter_call.h"
#include "proxy/chain/local_reply.h"
#include "proxy/chain/retry_budget.h"

namespace weir {
namespace {

using Verdict = RetryDecision::Verdict;

TryEnd end_of(const Response& response, const ExchangeContext& exchange) {
  TryEnd end;
  end.answered = true;
  if (response.head == nullptr) return end;  // a stream: connected
  const ResponseHead& head = *response.head;
  const WallTime now = exchange.loop().wall_now();
  end.status = head.status;
  if (exchange.grpc) {
    end.grpc_status = grpc_status_at_head(head);
    end.pushback = grpc_pushback_of(head.headers);
  }
  if (head.headers.has(HeaderId::proxy_status)) end.failure = kind_of_local_reply(head);
  if (head.headers.has(HeaderId::retry_after)) end.retry_after = parse_retry_after(head.headers.value(HeaderId::retry_after), now);
  return end;
}

TryEnd end_of(const Failure& failure) {
  TryEnd end;
  end.failure = failure.kind;
  end.request_sent = failure.request_sent && failure.facts().origin != FailureOrigin::connect;
  end.stale_connection = failure.stale_connection;
  return end;
}

// Of a gRPC answer without a message.
TryEnd end_of(const Headers* trailers) {
  TryEnd end;
  end.answered = true;
  end.status = 200;
  end.grpc_status = grpc_status_at_end(trailers);
  if (trailers != nullptr) end.pushback = grpc_pushback_of(*trailers);
  return end;
}

// Whether the trailers of this answer may say that it is to be tried again. A length announces a message.
bool may_fail_in_trailers(const Causes& causes, const Response& response, const ExchangeContext& exchange) {
  if (!exchange.grpc || !causes.any_grpc() || response.head == nullptr || !response.body) return false;
  return grpc_status_at_head(*response.head) == GrpcStatus::none && response.body.pipe()->expected_length() <= 0;
}

bool method_allowed(const RetryMethods& methods, const Request& request) {
  return request.head == nullptr ? methods.rule == RetryMethods::Rule::any : methods.allow(*request.head);
}

}  // namespace

class RetryCall final : public Call, public Caller {
 public:
  RetryCall(ExchangeContext& exchange, Caller& caller, const RetryLink& link, Request&& request)
      : Call(exchange, caller), link_(link), request_(std::move(request)) {
    if (request_.body) {
      replay_.reset(exchange.arena.make<ReplayBody>(exchange, std::move(request_.body), link.config_.max_replay));
    }
  }

  void start_try() {
    charged_ = false;
    attempts_before_ = exchange().attempts;
    Request request;
    request.exchange = request_.exchange;
    request.head = request_.head;
    request.kind = request_.kind;
    request.attempt = request_.attempt;
    request.deadline = request_.deadline;
    request.pick = request_.pick;
    if (replay_) request.body = replay_->start_try();
    inner_ = link_.next_.start(std::move(request), *this);
  }

  void on_informational(const ResponseHead& head) override {
    if (head.status == 100 && std::exchange(continued_, true)) return;  // a second try says it again: the client was told
    tell_informational(head);
  }

  void on_response(Response&& response) override {
    if (shall_hold(response)) return hold(std::move(response));
    const RetryDecision decision = decide(end_of(response, exchange()));
    if (decision.verdict == Verdict::pass) return release(std::move(response));
    const std::uint32_t endpoint = response.endpoint;
    {
      const Response discarded = std::move(response);  // the reader goes first: the upstream may drain what is left
    }
    again(decision, endpoint);
  }

  void on_end(const End& end) override {
    if (!held_ || !held_->holding()) return tell_end(end);
    if (!held_->message_began()) {
      const RetryDecision decision = decide(end.clean() ? end_of(end.trailers) : end_of(*end.failure));
      if (decision.verdict != Verdict::pass) {
        held_->drop();
        return again(decision, held_->endpoint());
      }
      if (!end.clean()) {  // nothing was told: a failure it can still be
        held_->drop();
        return tell_failure(*end.failure);
      }
    }
    Response response = held_->take();
    held_->keep_end(end);
    release(std::move(response));
  }

  void on_failure(const Failure& failure) override {
    const RetryDecision decision = decide(end_of(failure));
    if (decision.verdict == Verdict::pass) return tell_failure(failure);
    again(decision, 0);
  }

 private:
  void silence() noexcept override {
    if (backoff_) backoff_->disarm();
    inner_.reset();
    if (held_) held_->drop();
    if (replay_) replay_->drop();
    if (charged_ && link_.budget_ != nullptr) link_.budget_->refund(exchange().now());
  }

  // A stream whose client still sends is never kept waiting, and nothing is that could not be tried again anyway.
  bool shall_hold(const Response& response) const {
    const RetryConfig& config = link_.config_;
    if (config.grpc_hold == Duration::zero() || tries_ >= config.max_attempts) return false;
    if (!may_fail_in_trailers(config.causes, response, exchange())) return false;
    if (replay_ && (!replay_->ended() || replay_->broke() || !replay_->replayable())) return false;
    return method_allowed(config.methods, request_);
  }

  void hold(Response&& response) {
    if (!held_) held_.reset(exchange().arena.make<HeldAnswer>(exchange(), Callback::to<&RetryCall::on_due>(this)));
    held_->hold(std::move(response), link_.config_.grpc_hold);
  }

  void on_due() {
    if (!held_->holding()) return tell_end(held_->end());
    if (!held_->message_began()) link_.decisions_.note(exchange(), "released", "grpc_hold");
    release(held_->take());
  }

  void release(Response&& response) {
    if (replay_) replay_->commit();
    tell_response(std::move(response));
  }

  // The policy's decision, with the budget charged last; noted.
  RetryDecision decide(const TryEnd& end) {
    RetryState state;
    state.tries = tries_;
    state.resent = resent_;
    state.method_allowed = method_allowed(link_.config_.methods, request_);
    state.replayable = !replay_ || replay_->replayable();
    state.client_broke = replay_ && replay_->broke();
    state.now = exchange().now();
    state.deadline = request_.deadline;
    RetryDecision decision = decide_retry(link_.config_, end, state, exchange().worker.random);
    if (decision.verdict == Verdict::retry && link_.budget_ != nullptr) {
      charged_ = link_.budget_->try_take(state.now);
      if (!charged_) decision = {Verdict::pass, "budget", Duration::zero()};
    }
    const std::string_view word = decision.verdict == Verdict::retry    ? "retried"
                                  : decision.verdict == Verdict::resend ? "resent"
                                                                        : "not_retried";
    if (!decision.reason.empty()) link_.decisions_.note(exchange(), word, decision.reason);
    return decision;
  }

  void again(const RetryDecision& decision, std::uint32_t endpoint) {
    remember_endpoint(endpoint);
    if (decision.verdict == Verdict::resend) {
      resent_ = true;
    } else {
      ++tries_;
    }
    ++request_.attempt;
    inner_.reset();
    if (replay_) replay_->end_try();
    if (!backoff_) backoff_.reset(exchange().arena.make<Timer>(exchange().loop(), Callback::to<&RetryCall::start_try>(this)));
    backoff_->arm(decision.delay);
  }

  void remember_endpoint(std::uint32_t endpoint) {
    if (exchange().attempts != attempts_before_) {
      const AttemptRecord& attempt = *exchange().last_attempt;
      if (endpoint == 0) endpoint = attempt.endpoint_id;
      avoid(attempt.passed_over_id);
    }
    avoid(endpoint);
  }

  void avoid(std::uint32_t endpoint) {
    if (endpoint == 0) return;
    if (tried_ == nullptr) {
      const TriedEndpoints* const outer = request_.pick.tried;  // of a retry around this one
      tried_ = exchange().arena.make<TriedEndpoints>(outer == nullptr ? TriedEndpoints() : *outer);
      request_.pick.tried = tried_;
    }
    tried_->add(endpoint);
  }

  const RetryLink& link_;
  Request request_;  // what each try is made from; its body is in replay_
  ArenaPtr<ReplayBody> replay_;
  ArenaPtr<HeldAnswer> held_;  // made when the first one is held
  CallPtr inner_;
  ArenaPtr<Timer> backoff_;          // made with the first retry
  TriedEndpoints* tried_ = nullptr;  // likewise
  std::uint32_t tries_ = 1;
  std::uint16_t attempts_before_ = 0;
  bool charged_ = false;  // for a retry that has not begun
  bool resent_ = false;
  bool continued_ = false;
};

// Watches one try and says what it would have done; nothing is kept, charged or changed.
class ShadowRetryCall final : public FilterCall {
 public:
  ShadowRetryCall(ExchangeContext& exchange, Caller& caller, const RetryLink& link, const Request& request)
      : FilterCall(exchange, caller),
        link_(link),
        body_(request.body.pipe()),
        deadline_(request.deadline),
        method_allowed_(method_allowed(link.config_.methods, request)) {}

  void on_response(Response&& response) override {
    const bool request_ended = body_ == nullptr || body_->finished();
    if (request_ended && may_fail_in_trailers(link_.config_.causes, response, exchange())) {
      answer_ = response.body.pipe();
      answered_at_ = exchange().now();
    } else {
      judge(end_of(response, exchange()));
    }
    tell_response(std::move(response));
  }
  void on_end(const End& end) override {
    const bool would_be_held = answer_ != nullptr && exchange().now() - answered_at_ <= link_.config_.grpc_hold;
    if (would_be_held && answer_->bytes_written() == 0) judge(end.clean() ? end_of(end.trailers) : end_of(*end.failure));
    tell_end(end);
  }
  void on_failure(const Failure& failure) override {
    judge(end_of(failure));
    tell_failure(failure);
  }

 private:
  void judge(const TryEnd& end) {
    RetryState state;
    state.method_allowed = method_allowed_;
    state.replayable = body_ == nullptr || body_->bytes_written() <= link_.config_.max_replay;
    state.client_broke =
        body_ != nullptr && !body_->finished() && body_->aborted() != BodyAbort::none && body_->aborted() != BodyAbort::cancelled;
    state.now = exchange().now();
    state.deadline = deadline_;
    const RetryDecision decision = decide_retry(link_.config_, end, state, exchange().worker.random);
    if (decision.verdict != Verdict::retry) return;
    if (link_.budget_ != nullptr && link_.budget_->remaining(state.now) < 1.0) return;
    link_.decisions_.note(exchange(), "would_retry", decision.reason);
  }

  const RetryLink& link_;
  const BodyPipe* body_;
  const BodyPipe* answer_ = nullptr;  // of which the trailers may say that it failed
  MonotonicTime answered_at_{};
  MonotonicTime deadline_;
  bool method_allowed_;
};

RetryLink::RetryLink(const RetryConfig& config, const LinkContext& context, Link& next)
    : config_(config), decisions_(context.decisions), budget_(context.retry_budget), next_(next), shadow_(context.shadow) {
  if (shadow_) return;
  decisions_.declare("not_retried", "budget");
  if (config.causes.any_grpc()) decisions_.declare("released", "grpc_hold");
}

CallPtr RetryLink::start(Request&& request, Caller& caller) {
  ExchangeContext& exchange = *request.exchange;
  if (shadow_) {
    auto* call = make_call<ShadowRetryCall>(exchange, caller, *this, request);
    CallPtr owner(call);
    call->adopt(next_.start(std::move(request), *call));
    return owner;
  }
  auto* call = make_call<RetryCall>(exchange, caller, *this, std::move(request));
  CallPtr owner(call);
  call->start_try();
  return owner;
}

}  // namespace weir
