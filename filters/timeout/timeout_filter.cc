#include "filters/timeout/timeout_filter.h"

#include <algorithm>

#include "proxy/base/text.h"

namespace weir {

class TimeoutCall final : public FilterCall {
 public:
  TimeoutCall(ExchangeContext& exchange, Caller& caller, const TimeoutLink& link, const Request& request)
      : FilterCall(exchange, caller),
        link_(link),
        started_(exchange.now()),
        last_told_(started_),
        request_body_(request.body.pipe()),
        attempts_before_(exchange.attempts),
        tunnel_(request.kind == RequestKind::stream),
        timer_(exchange.loop(), Callback::to<&TimeoutCall::on_timer>(this)) {
    const TimeoutConfig& config = link.config_;
    if (config.total) total_at_ = link.total_at(exchange);
    deadline_ = std::min(request.deadline, total_at_);
    if (config.response_headers) expect_headers_by(started_ + *config.response_headers);
    if (config.idle) idle_at_ = started_ + *config.idle;
    rearm();
  }

  void on_informational(const ResponseHead& head) override {
    last_told_ = exchange().now();
    tell_informational(head);
  }

  void on_response(Response&& response) override {
    answered_ = true;
    headers_at_ = kNever;
    last_told_ = exchange().now();
    response_body_ = response.body.pipe();
    if (begins_tunnel(response)) {
      tunnel_ = true;
      total_at_ = kNever;
    }
    // The timer stays armed for what no longer counts: it looks and goes on, which is cheaper than moving it.
    tell_response(std::move(response));
  }

  void on_end(const End& end) override {
    timer_.disarm();
    tell_end(end);
  }

  void on_failure(const Failure& failure) override {
    timer_.disarm();
    tell_failure(failure);
  }

 private:
  void silence() noexcept override {
    timer_.disarm();
    FilterCall::silence();
  }

  bool begins_tunnel(const Response& response) const {
    if (tunnel_) return true;
    if (response.head == nullptr) return false;
    const int status = response.head->status;
    return status == 101 || (exchange().head.method == Method::connect && status >= 200 && status < 300);
  }

  // Where a deadline of the whole exchange comes first, it is that one which speaks.
  void expect_headers_by(MonotonicTime at) { headers_at_ = at < deadline_ ? at : kNever; }

  void rearm() { timer_.arm_at(std::min({total_at_, headers_at_, idle_at_})); }

  void on_timer() {
    const MonotonicTime now = exchange().now();
    if (now >= total_at_) return expire(link_.total_kind(exchange()));
    if (now >= headers_at_) {
      const MonotonicTime due = headers_due();
      if (now >= due) return expire(FailureKind::response_timeout);
      expect_headers_by(due);
    }
    if (now >= idle_at_) {
      const Duration idle = *link_.config_.idle;
      if (!upstream_owes()) {
        idle_at_ = now + idle;  // whoever is slow now has a timer of its own; the silence counts from here
      } else if (const MonotonicTime last = last_progress(); now - last < idle) {
        idle_at_ = last + idle;
      } else {
        return expire(FailureKind::idle_timeout);
      }
    }
    rearm();
  }

  // An answer that waits for the client's body is not late. A tunnel has no end of a request: there the start of the try counts.
  MonotonicTime headers_due() const {
    const Duration limit = *link_.config_.response_headers;
    if (request_body_ == nullptr || tunnel_) return started_ + limit;
    if (client_owes()) return exchange().now() + limit;
    const bool was_there = request_body_->finished() && request_body_->last_write() <= started_;
    return (was_there ? started_ : std::max(started_, request_body_->last_progress())) + limit;
  }

  MonotonicTime last_progress() const {
    MonotonicTime last = last_told_;
    if (request_body_ != nullptr) last = std::max(last, request_body_->last_progress());
    if (response_body_ != nullptr) last = std::max(last, response_body_->last_progress());
    return last;
  }

  // In a tunnel both sides speak when they like: silence is silence, whoever causes it. Otherwise a client that does not send its
  // body, and one that does not take the answer, are not the upstream's doing.
  bool upstream_owes() const {
    if (response_body_ != nullptr && response_body_->blocked_by() == BlockedBy::reader) return false;
    return tunnel_ || !client_owes();
  }

  // Not so while it waits to be asked for its body, which is done once there is a connection.
  bool client_owes() const {
    if (request_body_ == nullptr || request_body_->blocked_by() != BlockedBy::writer) return false;
    return request_body_->wanted() || !exchange().head.expects_continue;
  }

  // False only when it is certain: no try began, or the one that did has no connection yet.
  bool request_sent() const {
    if (exchange().attempts == attempts_before_) return false;
    return exchange().last_attempt->connected != MonotonicTime{};
  }

  void expire(FailureKind kind) {
    if (link_.shadow_) {  // said once; the rest is the call's own affair
      link_.decisions_.note(exchange(), "would_time_out", facts(kind).name);
      return;
    }
    link_.decisions_.note(exchange(), "timed_out", facts(kind).name);
    Failure failure;
    failure.kind = kind;
    failure.request_sent = request_sent();
    failure.decided_by = &link_.identity_;
    inner_.reset();
    if (answered_) return tell_end(End{nullptr, &failure});
    tell_failure(failure);
  }

  const TimeoutLink& link_;
  MonotonicTime started_;
  MonotonicTime last_told_;
  MonotonicTime total_at_ = kNever;
  MonotonicTime deadline_ = kNever;  // the nearest of the whole exchange, those of filters further out included
  MonotonicTime headers_at_ = kNever;
  MonotonicTime idle_at_ = kNever;
  const BodyPipe* request_body_;  // facts of both stay readable while the arena lives
  const BodyPipe* response_body_ = nullptr;
  std::uint16_t attempts_before_;
  bool tunnel_;
  bool answered_ = false;
  Timer timer_;
};

TimeoutLink::TimeoutLink(const TimeoutConfig& config, const LinkContext& context, Link& next)
    : config_(config), identity_(context.identity), decisions_(context.decisions), next_(next), shadow_(context.shadow) {
  const std::string_view decision = shadow_ ? "would_time_out" : "timed_out";
  if (config.total) decisions_.declare(decision, facts(FailureKind::total_timeout).name);
  if (config.response_headers) decisions_.declare(decision, facts(FailureKind::response_timeout).name);
  if (config.idle) decisions_.declare(decision, facts(FailureKind::idle_timeout).name);
}

MonotonicTime TimeoutLink::total_at(const ExchangeContext& exchange) const {
  return std::min(exchange.started + *config_.total, exchange.client_deadline);
}

FailureKind TimeoutLink::total_kind(const ExchangeContext& exchange) const {
  return exchange.client_deadline < exchange.started + *config_.total ? FailureKind::deadline_exceeded : FailureKind::total_timeout;
}

CallPtr TimeoutLink::start(Request&& request, Caller& caller) {
  ExchangeContext& exchange = *request.exchange;
  if (config_.total && !shadow_ && exchange.now() >= total_at(exchange)) {
    // Whatever it waited for further out took all the time there was: nothing is sent that cannot be answered.
    const FailureKind kind = total_kind(exchange);
    decisions_.note(exchange, "timed_out", facts(kind).name);
    Failure failure;
    failure.kind = kind;
    failure.decided_by = &identity_;
    return fail_later(exchange, caller, failure);
  }
  auto* call = make_call<TimeoutCall>(exchange, caller, *this, request);
  CallPtr owner(call);
  if (config_.total && !shadow_) request.deadline = std::min(request.deadline, total_at(exchange));
  call->adopt(next_.start(std::move(request), *call));
  return owner;
}

const config::Section<TimeoutConfig>& timeout_section() {
  using config::duration;
  static const auto section =
      config::Section<TimeoutConfig>("timeout", "Bounds how long an exchange, a try or a silence may last.")
          .field("total", &TimeoutConfig::total, duration(),
                 "The whole exchange, tries and waits included: from the complete request head to the end of the answer. Stops at an "
                 "upgrade or CONNECT. Of a gRPC call it is this or the client's grpc-timeout, whichever is shorter, and the upstream is "
                 "told with every try how much of grpc-timeout is left.")
          .example("2s")
          .field(
              "response_headers", &TimeoutConfig::response_headers, duration(),
              "One try: from its start to the response headers; of a body that comes later, from its last byte on the way to the upstream. "
              "A client that sends nothing meanwhile has a timer of its own. Place it inside a retry.")
          .example("500ms")
          .field("idle", &TimeoutConfig::idle, duration(),
                 "The longest silence in either direction while it is the upstream's turn; the client's own slowness does not count.")
          .example("5s")
          .check([](const TimeoutConfig& config, const config::Value& value, config::Reader& reader) {
            if (config.total || config.response_headers || config.idle) return true;
            reader.error(value.place, "expected at least one of total, response_headers and idle");
            return false;
          });
  return section;
}

namespace {

class TimeoutFactory final : public FilterFactory {
 public:
  std::string_view kind() const override { return "timeout"; }
  const config::SectionBase& section() const override { return timeout_section(); }
  FilterFacts facts(const void* config) const override {
    const auto& timeout = *static_cast<const TimeoutConfig*>(config);
    FilterFacts facts;
    facts.total = timeout.total.value_or(Duration::zero());
    facts.try_limit = timeout.response_headers.value_or(Duration::zero());
    facts.idle = timeout.idle.value_or(Duration::zero());
    return facts;
  }
  void explain(const void* config, const RequestHead& head, std::vector<FilterNote>& notes) const override {
    const auto& timeout = *static_cast<const TimeoutConfig*>(config);
    if (timeout.total) {
      const auto clients = is_grpc(head) ? parse_grpc_timeout(head.headers.value(HeaderId::grpc_timeout)) : std::nullopt;
      const bool shorter = clients && *clients < *timeout.total;
      notes.push_back({"total", concat(format_duration(shorter ? *clients : *timeout.total), shorter ? " (the client's grpc-timeout)" : "",
                                       ", the whole exchange, tries and waits included")});
      if (clients) notes.push_back({"grpc_timeout", "what is left of it is sent on with every try"});
    }
    if (timeout.response_headers)
      notes.push_back({"response_headers", concat(format_duration(*timeout.response_headers), ", from the start of a try to its answer",
                                                  head.has_body ? "; a body that comes later moves it" : "")});
    if (timeout.idle) notes.push_back({"idle", concat(format_duration(*timeout.idle), ", a silence while it is the upstream's turn")});
  }
  std::unique_ptr<Link> build(const void* config, const LinkContext& context, Link& next) const override {
    return std::make_unique<TimeoutLink>(*static_cast<const TimeoutConfig*>(config), context, next);
  }
};

}  // namespace

const FilterFactory& timeout_filter() {
  static const TimeoutFactory factory;
  return factory;
}

}  // namespace weir
