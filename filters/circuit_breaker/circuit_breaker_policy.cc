#include "filters/circuit_breaker/circuit_breaker_policy.h"

#include <algorithm>
#include <string>

#include "proxy/base/check.h"
#include "proxy/chain/causes_type.h"

namespace weir {

namespace {

// Between half and all of the computed open time, so that the breakers of many hosts do not probe in step.
constexpr std::uint64_t kJitterPart = 2;
// Rejections of a half-open breaker: the probes decide soon.
constexpr Duration kHalfOpenRetryAfter = std::chrono::seconds(1);
// A recovering breaker lets at least this share through, or a quiet service would wait for its first call.
constexpr double kLeastShare = 0.1;

// Exact: `part` of `whole` is at least `ratio`.
bool reaches(std::uint64_t part, std::uint64_t whole, Ratio ratio) { return part * Ratio::kWhole >= whole * ratio.millionths; }

Duration doubled(Duration base, std::uint32_t times, Duration max) {
  Duration value = base;
  for (std::uint32_t i = 0; i < times && value < max; ++i) value = value > max / 2 ? max : value * 2;
  return std::min(value, max);
}

}  // namespace

CircuitBreakerConfig::CircuitBreakerConfig() : causes(causes_of({"connect_failure", "reset", "timeout", "5xx"})) {}

// --- CallWindow ------------------------------------------------------------------------------------------------------

void CallWindow::advance(MonotonicTime now) {
  const std::int64_t number = now.time_since_epoch() / width_;
  if (number <= current_) return;
  if (number - current_ >= kBuckets) {
    buckets_.fill(Counts{});
    total_ = Counts{};
    current_ = number;
    return;
  }
  while (current_ < number) {
    Counts& oldest = buckets_[static_cast<std::size_t>(++current_ % kBuckets)];
    total_.calls -= oldest.calls;
    total_.failures -= oldest.failures;
    total_.slow -= oldest.slow;
    oldest = Counts{};
  }
}

void CallWindow::add(MonotonicTime now, bool failure, bool slow) {
  advance(now);
  for (Counts* counts : {&buckets_[static_cast<std::size_t>(current_ % kBuckets)], &total_}) {
    ++counts->calls;
    counts->failures += failure ? 1U : 0U;
    counts->slow += slow ? 1U : 0U;
  }
}

const CallWindow::Counts& CallWindow::counts(MonotonicTime now) {
  advance(now);
  return total_;
}

void CallWindow::set_window(Duration window) {
  const Duration width = width_of(window);
  if (width == width_) return;
  width_ = width;
  current_ = 0;
  clear();
}

void CallWindow::clear() {
  buckets_.fill(Counts{});
  total_ = Counts{};
}

// --- CircuitBreakerPolicy --------------------------------------------------------------------------------------------

CircuitBreakerPolicy::CircuitBreakerPolicy(const CircuitBreakerConfig& config)
    : config_(config), window_(config.window), probes_(config.half_open.probes) {
  DCHECK(config.half_open.successes >= 1 && config.half_open.successes <= config.half_open.probes);
}

void CircuitBreakerPolicy::set_config(const CircuitBreakerConfig& config) {
  config_ = config;
  window_.set_window(config.window);
  // Those under way are not forgotten, even where there are to be fewer from now on.
  probes_.resize(std::max<std::size_t>(config.half_open.probes, state_ == State::half_open ? probes_.size() : 0));
  if (state_ == State::open) open_until_ = std::min(open_until_, since_ + config.open_for.max);
}

void CircuitBreakerPolicy::set_control(MonotonicTime now, Control control) {
  if (control == control_) return;
  control_ = control;
  // Whatever was seen before or under orders says nothing about the state to begin with.
  window_.clear();
  consecutive_ = 0;
  opens_in_a_row_ = 0;
  last_open_ = Duration{0};
  closed_at_ = MonotonicTime::min();
  ++generation_;
  if (state_ != State::closed) enter(State::closed, now, to_word(control));
}

Admission CircuitBreakerPolicy::admit(MonotonicTime now, const AdmissionFacts& /*facts*/, Random& random) {
  Admission admission;
  admission.kind = FailureKind::breaker_open;
  if (control_ == Control::force_open) {
    admission.verdict = Admission::Verdict::reject;
    admission.reason = "forced_open";
    return admission;
  }
  if (control_ == Control::automatic) {
    if (state_ == State::open) {
      if (now < open_until_) return reject_open(now);
      half_open(now);
    }
    if (state_ == State::half_open) {
      settle(now, random);  // other parameters may have made it due, with no probe left to say so
      if (state_ == State::half_open) return admit_probe(now);
      if (state_ == State::open) return reject_open(now);
    }
    if (state_ == State::recovering) {
      const double share = recovered_share(now);
      if (share >= 1) {
        enter(State::closed, now, "recovered");
      } else if (!random.chance(share)) {
        admission.verdict = Admission::Verdict::reject;
        admission.reason = "recovering";
        admission.retry_after = since_ + *config_.recover_over - now;
        return admission;
      }
    }
  }
  admission.kind = FailureKind::none;
  admission.ticket.generation = generation_;
  admission.ticket.admitted = now;
  return admission;
}

Admission CircuitBreakerPolicy::reject_open(MonotonicTime now) const {
  Admission admission;
  admission.verdict = Admission::Verdict::reject;
  admission.kind = FailureKind::breaker_open;
  admission.reason = "open";
  admission.retry_after = open_until_ - now;
  return admission;
}

Admission CircuitBreakerPolicy::admit_probe(MonotonicTime now) {
  Admission admission;
  if (succeeded_ + failed_ + probes_out(now) < config_.half_open.probes) {
    for (std::size_t i = 0; i < probes_.size(); ++i) {
      Probe& probe = probes_[i];
      if (probe.out && now < probe.admitted + config_.half_open.expire_after) continue;
      probe = Probe{true, now};
      admission.ticket.generation = generation_;
      admission.ticket.admitted = now;
      admission.ticket.slot = static_cast<std::uint32_t>(i);
      admission.ticket.probe = true;
      return admission;
    }
  }
  admission.verdict = Admission::Verdict::reject;
  admission.kind = FailureKind::breaker_open;
  admission.reason = "half_open";
  admission.retry_after = kHalfOpenRetryAfter;
  return admission;
}

void CircuitBreakerPolicy::record(MonotonicTime now, const Ticket& ticket, const Outcome& outcome, Random& random) {
  if (ticket.generation != generation_) return;
  if (control_ == Control::disabled || control_ == Control::force_open) return;
  const Judgement judgement = judge(outcome);
  if (ticket.probe) {
    record_probe(now, ticket, judgement, random);
    return;
  }
  if (judgement == Judgement::nothing) return;
  const bool failure = judgement == Judgement::failure || judgement == Judgement::failure_and_slow;
  const bool slow = judgement == Judgement::slow || judgement == Judgement::failure_and_slow;
  window_.add(now, failure, slow);
  if (failure) {
    ++consecutive_;
  } else if (outcome.cls != Outcome::Class::ignored) {
    consecutive_ = 0;
  }
  if (control_ != Control::automatic) return;  // counted for the pages, but never tripped
  if (const std::string_view reason = trips(now); !reason.empty()) open(now, reason, random);
}

void CircuitBreakerPolicy::record_probe(MonotonicTime now, const Ticket& ticket, Judgement judgement, Random& random) {
  // The permit goes back first; an expired one may be another probe's by now.
  if (ticket.slot < probes_.size()) {
    Probe& probe = probes_[ticket.slot];
    if (probe.out && probe.admitted == ticket.admitted) probe.out = false;
  }
  if (judgement == Judgement::nothing) return;
  if (judgement == Judgement::good) {
    ++succeeded_;
  } else {
    ++failed_;
  }
  settle(now, random);
}

void CircuitBreakerPolicy::settle(MonotonicTime now, Random& random) {
  if (succeeded_ >= config_.half_open.successes) {
    close(now);
  } else if (failed_ + config_.half_open.successes > config_.half_open.probes) {
    open(now, "probes_failed", random);  // the successes that it needs cannot be reached any more
  }
}

CircuitBreakerPolicy::Judgement CircuitBreakerPolicy::judge(const Outcome& outcome) const {
  bool slow = false;
  if (config_.slow_call) {
    const Duration waited = outcome.to_headers >= Duration{0} ? outcome.to_headers : outcome.total;
    slow = waited > config_.slow_call->longer_than;
  }
  const bool bad_answer = config_.causes.matches_status(outcome.status) || config_.causes.matches_grpc(outcome.grpc_status);
  bool failure = false;
  switch (outcome.cls) {
    case Outcome::Class::ignored:
      // An answer that a retry dropped once it had seen the head never comes to its end, but its status has spoken.
      failure = outcome.status != 0 && bad_answer;
      if (failure) break;
      return slow && outcome.cut_short ? Judgement::slow : Judgement::nothing;
    case Outcome::Class::answered: failure = bad_answer || (!outcome.clean && config_.causes.matches_failure(outcome.failure)); break;
    case Outcome::Class::failed: failure = config_.causes.matches_failure(outcome.failure); break;
  }
  if (failure) return slow ? Judgement::failure_and_slow : Judgement::failure;
  return slow ? Judgement::slow : Judgement::good;
}

std::string_view CircuitBreakerPolicy::trips(MonotonicTime now) {
  if (config_.consecutive_failures && consecutive_ >= *config_.consecutive_failures) return "consecutive_failures";
  const CallWindow::Counts& counts = window_.counts(now);
  if (counts.calls < config_.min_calls) return {};
  if (config_.failure_ratio.millionths > 0 && reaches(counts.failures, counts.calls, config_.failure_ratio)) {
    return "failure_ratio";
  }
  if (config_.slow_call && reaches(counts.slow, counts.calls, config_.slow_call->ratio)) return "slow_ratio";
  return {};
}

Duration CircuitBreakerPolicy::healthy_period() const { return std::max(config_.window, 2 * last_open_); }

void CircuitBreakerPolicy::open(MonotonicTime now, std::string_view reason, Random& random) {
  const bool was_healthy = closed_at_ == MonotonicTime::min() || now - closed_at_ >= healthy_period();
  if (state_ != State::half_open && was_healthy) opens_in_a_row_ = 0;
  const Duration full = doubled(config_.open_for.base, opens_in_a_row_, config_.open_for.max);
  ++opens_in_a_row_;
  const auto part = static_cast<std::uint64_t>(full.count()) / kJitterPart;
  last_open_ = full - Duration{static_cast<std::int64_t>(random.below(part + 1))};
  open_until_ = now + last_open_;
  ++generation_;
  enter(State::open, now, reason);
}

void CircuitBreakerPolicy::half_open(MonotonicTime now) {
  probes_.assign(config_.half_open.probes, Probe{});
  succeeded_ = failed_ = 0;
  ++generation_;
  enter(State::half_open, now, "open_time_over");
}

void CircuitBreakerPolicy::close(MonotonicTime now) {
  window_.clear();
  consecutive_ = 0;
  closed_at_ = now;
  ++generation_;
  enter(config_.recover_over ? State::recovering : State::closed, now, "probes_succeeded");
}

void CircuitBreakerPolicy::enter(State state, MonotonicTime now, std::string_view reason) {
  state_ = state;
  since_ = now;
  reason_ = reason;
  ++transitions_[static_cast<std::size_t>(state)];
}

double CircuitBreakerPolicy::recovered_share(MonotonicTime now) const {
  if (!config_.recover_over) return 1;
  return std::max(kLeastShare, seconds(now - since_) / seconds(*config_.recover_over));
}

std::uint32_t CircuitBreakerPolicy::probes_out(MonotonicTime now) const {
  std::uint32_t out = 0;
  for (const Probe& probe : probes_) {
    if (probe.out && now < probe.admitted + config_.half_open.expire_after) ++out;
  }
  return out;
}

CircuitBreakerPolicy::View CircuitBreakerPolicy::view(MonotonicTime now) const {
  View view;
  view.state = control_ == Control::force_open ? State::open : state_;
  view.control = control_;
  CallWindow window = window_;  // a reader does not move the live one
  view.counts = window.counts(now);
  view.consecutive_failures = consecutive_;
  view.opens_in_a_row = opens_in_a_row_;
  view.probes_out = state_ == State::half_open ? probes_out(now) : 0;
  if (state_ == State::open) view.until_half_open = std::max(open_until_ - now, Duration{0});
  view.reason = reason_;
  view.transitions = transitions_;
  return view;
}

void CircuitBreakerPolicy::describe(MonotonicTime now, std::vector<StateFact>& facts) const {
  const View v = view(now);
  const auto number = [&facts](std::string_view name, double value, std::string_view text = {}) {
    facts.push_back(StateFact{name, value, std::string(text)});
  };
  number("breaker_state", static_cast<double>(v.state), to_word(v.state));
  number("breaker_control", static_cast<double>(v.control), to_word(v.control));
  number("breaker_calls", static_cast<double>(v.counts.calls));
  number("breaker_failures", static_cast<double>(v.counts.failures));
  number("breaker_slow_calls", static_cast<double>(v.counts.slow));
  number("breaker_consecutive_failures", v.consecutive_failures);
  number("breaker_opens_in_a_row", v.opens_in_a_row);
  number("breaker_probes_out", v.probes_out);
  number("breaker_seconds_until_half_open", seconds(v.until_half_open), v.reason);
  for (std::size_t i = 0; i < kStates; ++i) {
    number("breaker_transitions_total", static_cast<double>(v.transitions[i]), to_word(static_cast<State>(i)));
  }
}

std::string_view to_word(CircuitBreakerPolicy::State state) {
  switch (state) {
    case CircuitBreakerPolicy::State::closed: return "closed";
    case CircuitBreakerPolicy::State::open: return "open";
    case CircuitBreakerPolicy::State::half_open: return "half_open";
    case CircuitBreakerPolicy::State::recovering: return "recovering";
  }
  return "";
}

std::string_view to_word(CircuitBreakerPolicy::Control control) {
  switch (control) {
    case CircuitBreakerPolicy::Control::automatic: return "auto";
    case CircuitBreakerPolicy::Control::force_open: return "force_open";
    case CircuitBreakerPolicy::Control::force_closed: return "force_closed";
    case CircuitBreakerPolicy::Control::disabled: return "disabled";
  }
  return "";
}

}  // namespace weir
