#include "filters/concurrency_limit/concurrency_limit_filter.h"

#include <utility>

namespace weir {

// --- ConcurrencyLimitState: the queue across workers ------------------------------------------------------------------

ConcurrencyLimitState::ConcurrencyLimitState(const ConcurrencyLimitConfig& config)
    : SharedPolicy(std::make_unique<ConcurrencyLimitPolicy>(config)) {
  if (config.queue) places_.reserve(config.queue->size);
}

void ConcurrencyLimitState::record(MonotonicTime now, const Ticket& ticket, const Outcome& outcome, Random& random) {
  const std::lock_guard<std::mutex> lock(mutex_);
  policy_->record(now, ticket, outcome, random);
  hand_out(now, &random);
}

Duration ConcurrencyLimitState::await(MonotonicTime now, Waiter waiter, GrantReceiver& receiver) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (places_.size() <= waiter.slot) places_.resize(waiter.slot + 1);
  places_[waiter.slot] = Place{waiter.serial, &receiver};
  // Another worker may have granted it since admit().
  if (limit().granted(waiter)) deliver(waiter, &receiver.worker_);
  return limit().patience(now);
}

std::optional<Ticket> ConcurrencyLimitState::accept(MonotonicTime now, Waiter waiter) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::optional<Ticket> ticket = limit().accept(now, waiter);
  if (ticket) places_[waiter.slot] = Place{};
  return ticket;
}

void ConcurrencyLimitState::leave(MonotonicTime now, Waiter waiter, Why why, const Random& worker) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const ConcurrencyLimitPolicy::Left left = limit().leave(now, waiter);
  if (left == ConcurrencyLimitPolicy::Left::unknown) return;
  if (why == Why::timed_out) limit().note_timeout();
  places_[waiter.slot] = Place{};
  if (left == ConcurrencyLimitPolicy::Left::granted) hand_out(now, &worker);
}

void ConcurrencyLimitState::set_config(const ConcurrencyLimitConfig& config) {
  const std::lock_guard<std::mutex> lock(mutex_);
  limit().set_config(config);
  if (config.queue) places_.reserve(config.queue->size);
  hand_out(limit().last_seen(), nullptr);  // a higher limit is for those who wait, too
}

void ConcurrencyLimitState::hand_out(MonotonicTime now, const Random* worker) {
  while (const std::optional<Waiter> waiter = limit().grant_next(now)) deliver(*waiter, worker);
}

GrantReceiver* ConcurrencyLimitState::receiver_of(Waiter waiter) {
  if (waiter.slot >= places_.size() || places_[waiter.slot].serial != waiter.serial) return nullptr;
  return places_[waiter.slot].receiver;
}

void ConcurrencyLimitState::deliver(Waiter waiter, const Random* worker) {
  GrantReceiver* receiver = receiver_of(waiter);
  if (receiver == nullptr) return;  // it is about to await(), and will see its grant there
  if (&receiver->worker_ == worker) {
    receiver->wake_.schedule();
    return;
  }
  // Posted under the lock: only so is the other worker's loop sure to be there, since its waiter cannot leave meanwhile. If the
  // task is dropped or comes too late, the permit is still the slot's, and the waiter's leave() gives it back.
  receiver->loop_.post([state = shared_from_this(), waiter] { state->wake(waiter); });
}

void ConcurrencyLimitState::wake(Waiter waiter) {
  GrantReceiver* receiver = nullptr;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (limit().granted(waiter)) receiver = receiver_of(waiter);
  }
  // It lives on this thread, so it cannot have gone since.
  if (receiver != nullptr) receiver->on_granted();
}

// --- The link and its waiting calls -----------------------------------------------------------------------------------

namespace {

using Waiter = ConcurrencyLimitPolicy::Waiter;

class ConcurrencyLimitLink final : public AdmissionLink {
 public:
  ConcurrencyLimitLink(const LinkContext& context, ConcurrencyLimitState& state, Link& next)
      : AdmissionLink(context, state, next), state_(state) {}

  CallPtr start(Request&& request, Caller& caller) override;

 protected:
  CallPtr wait(Request&& request, Caller& caller, const Admission& admission) override;

 private:
  friend class QueuedCall;
  friend class ShadowQueuedCall;
  ConcurrencyLimitState& state_;
};

// Enforced: holds the request until its turn has come.
class QueuedCall final : public AdmittedCall, private GrantReceiver {
 public:
  QueuedCall(ExchangeContext& exchange, Caller& caller, ConcurrencyLimitLink& link, Request&& request, Waiter waiter)
      : AdmittedCall(exchange, caller, link.state_),
        GrantReceiver(exchange.loop(), exchange.worker.random),
        link_(link),
        request_(std::move(request)),
        waiter_(waiter),
        timer_(exchange.loop(), Callback::to<&QueuedCall::on_timer>(this)) {
    timer_.arm(link.state_.await(exchange.now(), waiter, *this));
  }

 protected:
  void silence() noexcept override {
    timer_.disarm();
    cancel_wake();
    if (waiting_) {
      waiting_ = false;
      request_.body.drop();
      link_.state_.leave(exchange().now(), waiter_, ConcurrencyLimitState::Why::gone, exchange().worker.random);
    }
    AdmittedCall::silence();
  }

 private:
  void on_granted() override {
    if (!waiting_) return;
    const std::optional<Ticket> ticket = link_.state_.accept(exchange().now(), waiter_);
    if (!ticket) return;
    waiting_ = false;
    timer_.disarm();
    cancel_wake();
    admitted(*ticket, request_);
    adopt(link_.next().start(std::move(request_), *this));
  }

  void on_timer() {
    on_granted();  // a grant that is still under way counts
    if (!waiting_) return;
    waiting_ = false;
    link_.state_.leave(exchange().now(), waiter_, ConcurrencyLimitState::Why::timed_out, exchange().worker.random);
    request_.body.drop();
    Admission refused;
    refused.kind = FailureKind::queue_timeout;
    refused.reason = "queue_timeout";
    link_.decisions().note(exchange(), "rejected", refused.reason);
    tell_failure(link_.failure_of(refused));
  }

  ConcurrencyLimitLink& link_;
  Request request_;
  const Waiter waiter_;
  Timer timer_;
  bool waiting_ = true;
};

// Shadow: the request has gone on, but its place in the queue is kept, as enforcement would have kept it: until its turn comes (then
// it holds a permit to the end), its time is over, or the call ends.
class ShadowQueuedCall final : public FilterCall, private GrantReceiver {
 public:
  ShadowQueuedCall(ExchangeContext& exchange, Caller& caller, ConcurrencyLimitLink& link, Waiter waiter)
      : FilterCall(exchange, caller),
        GrantReceiver(exchange.loop(), exchange.worker.random),
        link_(link),
        waiter_(waiter),
        timer_(exchange.loop(), Callback::to<&ShadowQueuedCall::on_timer>(this)) {
    timer_.arm(link.state_.await(exchange.now(), waiter, *this));
  }

  void on_end(const End& end) override {
    let_go();
    tell_end(end);
  }
  void on_failure(const Failure& failure) override {
    let_go();
    tell_failure(failure);
  }

 protected:
  void silence() noexcept override {
    FilterCall::silence();
    let_go();
  }

 private:
  enum class Holds : std::uint8_t { place, permit, nothing };

  void on_granted() override {
    if (holds_ != Holds::place) return;
    const std::optional<Ticket> ticket = link_.state_.accept(exchange().now(), waiter_);
    if (!ticket) return;
    ticket_ = *ticket;
    holds_ = Holds::permit;
    timer_.disarm();
  }

  void on_timer() {
    on_granted();
    if (holds_ != Holds::place) return;
    holds_ = Holds::nothing;
    link_.state_.leave(exchange().now(), waiter_, ConcurrencyLimitState::Why::timed_out, exchange().worker.random);
    link_.decisions().note(exchange(), "would_reject", "queue_timeout");
  }

  void let_go() noexcept {
    timer_.disarm();
    cancel_wake();
    const Holds held = std::exchange(holds_, Holds::nothing);
    const MonotonicTime now = exchange().now();
    Random& random = exchange().worker.random;
    if (held == Holds::place) link_.state_.leave(now, waiter_, ConcurrencyLimitState::Why::gone, random);
    // Ignored: it was not started when its turn came, so its latency is no sample of anything.
    if (held == Holds::permit) link_.state_.record(now, ticket_, Outcome{}, random);
  }

  ConcurrencyLimitLink& link_;
  const Waiter waiter_;
  Ticket ticket_;
  Timer timer_;
  Holds holds_ = Holds::place;
};

CallPtr ConcurrencyLimitLink::start(Request&& request, Caller& caller) {
  if (!shadow()) return AdmissionLink::start(std::move(request), caller);
  ExchangeContext& exchange = *request.exchange;
  const Admission admission = state_.admit(exchange.now(), facts_of(request), random());
  if (admission.verdict == Admission::Verdict::admit) {
    auto* call = make_call<AdmittedCall>(exchange, caller, state_);
    CallPtr owner(call);
    call->admitted(admission.ticket, request);
    call->adopt(next().start(std::move(request), *call));
    return owner;
  }
  if (admission.verdict == Admission::Verdict::reject) {
    decisions().note(exchange, "would_reject", admission.reason);
    return next().start(std::move(request), caller);
  }
  decisions().note(exchange, "would_queue", admission.reason);
  auto* call = make_call<ShadowQueuedCall>(exchange, caller, *this, ConcurrencyLimitPolicy::waiter_of(admission.ticket));
  CallPtr owner(call);
  call->adopt(next().start(std::move(request), *call));
  return owner;
}

CallPtr ConcurrencyLimitLink::wait(Request&& request, Caller& caller, const Admission& admission) {
  ExchangeContext& exchange = *request.exchange;
  return CallPtr(make_call<QueuedCall>(exchange, caller, *this, std::move(request), ConcurrencyLimitPolicy::waiter_of(admission.ticket)));
}

// --- Configuration and factory ----------------------------------------------------------------------------------------

using config::duration;
using config::enumeration;
using config::integer;
using config::object;
using config::Reader;
using config::Section;
using config::Value;

constexpr std::int64_t kMaxLimit = 1'000'000;
constexpr std::int64_t kMaxQueue = 100'000;

const Section<AdaptiveLimitConfig>& adaptive_section() {
  using Config = AdaptiveLimitConfig;
  using Algorithm = Config::Algorithm;
  static const Section<Config> section =
      Section<Config>("adaptive", "Learns the limit from live traffic; it never lowers it in order to measure.")
          .field("algorithm", &Config::algorithm,
                 enumeration<Algorithm>({{"gradient2", Algorithm::gradient2}, {"vegas", Algorithm::vegas}, {"aimd", Algorithm::aimd}}),
                 "gradient2 compares latency with its long average, vegas with the least seen; aimd looks at timeouts only.")
          .field("initial", &Config::initial, integer(1, kMaxLimit), "The limit at the start.")
          .field("min", &Config::min, integer(1, kMaxLimit), "The limit is never lower.")
          .field("max", &Config::max, integer(1, kMaxLimit), "The limit is never higher.")
          .check([](const Config& limit, const Value& value, Reader& reader) {
            if (limit.min <= limit.initial && limit.initial <= limit.max) return true;
            reader.error(value.place, concat("expected min <= initial <= max, got ", limit.min, ", ", limit.initial, ", ", limit.max));
            return false;
          });
  return section;
}

const Section<QueueConfig>& queue_section() {
  using Order = QueueConfig::Order;
  static const Section<QueueConfig> section =
      Section<QueueConfig>("queue", "Where requests wait for their turn. Without it, what is over the limit is refused at once.")
          .field("size", &QueueConfig::size, integer(1, kMaxQueue), "At most so many wait, over all workers.")
          .field("timeout", &QueueConfig::timeout, duration(1ms, 1min), "None waits longer.")
          .field("order", &QueueConfig::order, enumeration<Order>({{"fifo", Order::fifo}, {"codel", Order::codel}}),
                 "fifo: first come, first served. codel: while the queue has not been empty for as long as timeout, newcomers wait a "
                 "twentieth of it only, and the newest goes first.");
  return section;
}

class ConcurrencyLimitFactory final : public FilterFactory {
 public:
  std::string_view kind() const override { return "concurrency_limit"; }
  const config::SectionBase& section() const override { return concurrency_limit_section(); }

  FilterFacts facts(const void* config) const override {
    const ConcurrencyLimitConfig& limit = config_of(config);
    FilterFacts facts;
    facts.keeps_state = true;
    facts.rejects = true;
    if (limit.queue) facts.longest_wait = limit.queue->timeout;
    return facts;
  }

  void explain(const void* config, const RequestHead& /*head*/, std::vector<FilterNote>& notes) const override {
    const ConcurrencyLimitConfig& limit = config_of(config);
    if (limit.limit) notes.push_back({"in flight", concat("at most ", *limit.limit)});
    if (limit.adaptive)
      notes.push_back({"in flight", concat("a limit that is learned, ", limit.adaptive->min, " to ", limit.adaptive->max, ", at first ",
                                           limit.adaptive->initial)});
    notes.push_back({"over it", limit.queue
                                    ? concat("up to ", limit.queue->size, " wait, each up to ", format_duration(limit.queue->timeout))
                                    : std::string("refused at once")});
  }

  std::shared_ptr<FilterState> make_state(const void* config, std::shared_ptr<FilterState> old, std::uint64_t /*seed*/) const override {
    if (old == nullptr) return std::make_shared<ConcurrencyLimitState>(config_of(config));
    static_cast<ConcurrencyLimitState&>(*old).set_config(config_of(config));
    return old;
  }

  std::unique_ptr<Link> build(const void* /*config*/, const LinkContext& context, Link& next) const override {
    return std::make_unique<ConcurrencyLimitLink>(context, static_cast<ConcurrencyLimitState&>(*context.state), next);
  }

 private:
  static const ConcurrencyLimitConfig& config_of(const void* config) { return Section<ConcurrencyLimitConfig>::as(config); }
};

}  // namespace

const Section<ConcurrencyLimitConfig>& concurrency_limit_section() {
  using Config = ConcurrencyLimitConfig;
  static const Section<Config> section =
      Section<Config>("concurrency_limit",
                      "Bounds the requests in flight, exactly and over all workers. Either limit or adaptive is given.")
          .field("limit", &Config::limit, integer(1, kMaxLimit), "A fixed limit.")
          .example("100")
          .field("adaptive", &Config::adaptive, object(adaptive_section()), "A limit that is learned.")
          .field("queue", &Config::queue, object(queue_section()), "Requests over the limit wait here.")
          .check([](const Config& limit, const Value& value, Reader& reader) {
            if (limit.limit.has_value() != limit.adaptive.has_value()) return true;
            reader.error(value.place, limit.limit ? "limit and adaptive exclude each other" : "expected limit or adaptive");
            return false;
          });
  return section;
}

const FilterFactory& concurrency_limit_filter() {
  static const ConcurrencyLimitFactory factory;
  return factory;
}

}  // namespace weir
