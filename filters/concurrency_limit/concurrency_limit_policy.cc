#include "filters/concurrency_limit/concurrency_limit_policy.h"

#include <algorithm>

#include "proxy/base/check.h"

namespace weir {

namespace {

// While the queue stands, a newcomer waits for a twentieth of the time only: with Facebook's "Fail at scale" 5 ms where it is 100 ms.
constexpr int kStandingPart = 20;
constexpr Duration kLeastPatience = std::chrono::milliseconds(1);

Limiter limiter_of(const ConcurrencyLimitConfig& config) {
  return config.adaptive ? Limiter(*config.adaptive) : Limiter(config.limit.value_or(1));
}

bool is_timeout(FailureKind kind) {
  return kind == FailureKind::connect_timeout || kind == FailureKind::response_timeout || kind == FailureKind::idle_timeout;
}

}  // namespace

ConcurrencyLimitPolicy::ConcurrencyLimitPolicy(const ConcurrencyLimitConfig& config) : queue_(config.queue), limiter_(limiter_of(config)) {
  DCHECK(config.limit.has_value() != config.adaptive.has_value());
  if (queue_) slots_.reserve(queue_->size);
}

void ConcurrencyLimitPolicy::set_config(const ConcurrencyLimitConfig& config) {
  queue_ = config.queue;
  if (config.adaptive) {
    limiter_.set_adaptive(*config.adaptive);
  } else {
    limiter_.set_fixed(config.limit.value_or(1));
  }
  if (queue_) slots_.reserve(queue_->size);
}

Ticket ConcurrencyLimitPolicy::take_permit(MonotonicTime now) {
  ++in_flight_;
  Ticket ticket;
  ticket.admitted = now;
  ticket.slot = in_flight_;  // what its sample will say was in flight
  return ticket;
}

Admission ConcurrencyLimitPolicy::admit(MonotonicTime now, const AdmissionFacts& /*facts*/, Random& /*random*/) {
  last_seen_ = now;
  Admission admission;
  if (in_flight_ < limiter_.limit() && queued_ == 0) {
    admission.ticket = take_permit(now);
    return admission;
  }
  if (queue_ && queued_ < queue_->size) {
    const Waiter waiter = enqueue(now);
    admission.verdict = Admission::Verdict::wait;
    admission.reason = "limit_reached";
    admission.ticket.slot = waiter.slot;
    admission.ticket.generation = waiter.serial;
    return admission;
  }
  admission.verdict = Admission::Verdict::reject;
  admission.kind = queue_ ? FailureKind::queue_full : FailureKind::limit_reached;
  admission.reason = queue_ ? "queue_full" : "limit_reached";
  return admission;
}

void ConcurrencyLimitPolicy::record(MonotonicTime now, const Ticket& ticket, const Outcome& outcome, Random& random) {
  DCHECK(in_flight_ > 0);
  last_seen_ = now;
  --in_flight_;
  learn(now, ticket, outcome, random);
}

void ConcurrencyLimitPolicy::learn(MonotonicTime now, const Ticket& ticket, const Outcome& outcome, Random& random) {
  if (!limiter_.adaptive()) return;
  LimitSample sample;
  sample.admitted = ticket.admitted;
  sample.in_flight = ticket.slot;
  switch (outcome.cls) {
    case Outcome::Class::answered:
      // Errors and "too many requests" tend to be quick; taken for fast answers they would raise the limit of a failing service.
      if (outcome.to_headers < Duration{0} || outcome.status >= 500 || outcome.status == 429) return;
      if (is_grpc_server_trouble(outcome.grpc_status)) return;
      sample.rtt = outcome.to_headers;
      break;
    case Outcome::Class::failed:
      if (!is_timeout(outcome.failure)) return;
      sample.rtt = outcome.total;
      sample.dropped = true;
      break;
    case Outcome::Class::ignored:
      // Given up before the answer: it would have taken longer still, so it counts where even that is long.
      if (!outcome.cut_short || outcome.to_headers >= Duration{0}) return;
      if (limiter_.usual_rtt() == Duration{0} || outcome.total <= limiter_.usual_rtt()) return;
      sample.rtt = outcome.total;
      sample.given_up = true;
      break;
  }
  limiter_.add(now, sample, random);
}

ConcurrencyLimitPolicy::Waiter ConcurrencyLimitPolicy::enqueue(MonotonicTime now) {
  std::uint32_t slot = first_free_;
  if (slot == kNone) {
    slot = static_cast<std::uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    first_free_ = slots_[slot].next;
  }
  slots_[slot] = Slot{++last_serial_, tail_, kNone, Status::waiting};
  if (tail_ == kNone) {
    head_ = slot;
    queue_since_ = now;
  } else {
    slots_[tail_].next = slot;
  }
  tail_ = slot;
  ++queued_;
  return Waiter{slot, last_serial_};
}

void ConcurrencyLimitPolicy::unlink(std::uint32_t slot) {
  Slot& gone = slots_[slot];
  (gone.previous == kNone ? head_ : slots_[gone.previous].next) = gone.next;
  (gone.next == kNone ? tail_ : slots_[gone.next].previous) = gone.previous;
  gone.previous = gone.next = kNone;
  --queued_;
}

void ConcurrencyLimitPolicy::free_slot(std::uint32_t slot) {
  slots_[slot] = Slot{0, kNone, first_free_, Status::free};
  first_free_ = slot;
}

const ConcurrencyLimitPolicy::Slot* ConcurrencyLimitPolicy::find(Waiter waiter) const {
  if (waiter.slot >= slots_.size()) return nullptr;
  const Slot& slot = slots_[waiter.slot];
  return slot.status != Status::free && slot.serial == waiter.serial ? &slot : nullptr;
}

bool ConcurrencyLimitPolicy::standing(MonotonicTime now) const {
  return queue_ && queue_->order == QueueConfig::Order::codel && queued_ > 0 && now - queue_since_ > queue_->timeout;
}

Duration ConcurrencyLimitPolicy::patience(MonotonicTime now) const {
  if (!queue_) return kLeastPatience;
  return standing(now) ? std::max(queue_->timeout / kStandingPart, kLeastPatience) : queue_->timeout;
}

std::optional<ConcurrencyLimitPolicy::Waiter> ConcurrencyLimitPolicy::grant_next(MonotonicTime now) {
  if (queued_ == 0 || in_flight_ >= limiter_.limit()) return std::nullopt;
  // In a standing queue the newest is the one whose client still waits.
  const std::uint32_t slot = standing(now) ? tail_ : head_;
  unlink(slot);
  slots_[slot].status = Status::granted;
  ++in_flight_;
  ++granted_;
  return Waiter{slot, slots_[slot].serial};
}

std::optional<Ticket> ConcurrencyLimitPolicy::accept(MonotonicTime now, Waiter waiter) {
  if (!granted(waiter)) return std::nullopt;
  free_slot(waiter.slot);
  --in_flight_;  // the grant's permit becomes the ticket's
  return take_permit(now);
}

ConcurrencyLimitPolicy::Left ConcurrencyLimitPolicy::leave(MonotonicTime /*now*/, Waiter waiter) {
  const Slot* slot = find(waiter);
  if (slot == nullptr) return Left::unknown;
  const bool had_grant = slot->status == Status::granted;
  if (had_grant) {
    --in_flight_;
  } else {
    unlink(waiter.slot);
  }
  free_slot(waiter.slot);
  return had_grant ? Left::granted : Left::waiting;
}

bool ConcurrencyLimitPolicy::granted(Waiter waiter) const {
  const Slot* slot = find(waiter);
  return slot != nullptr && slot->status == Status::granted;
}

void ConcurrencyLimitPolicy::describe(MonotonicTime /*now*/, std::vector<StateFact>& facts) const {
  facts.push_back(StateFact{"concurrency_limit", static_cast<double>(limiter_.limit()), {}});
  facts.push_back(StateFact{"in_flight", static_cast<double>(in_flight_), {}});
  facts.push_back(StateFact{"queue_length", static_cast<double>(queued_), {}});
  if (!queue_) return;
  facts.push_back(StateFact{"queue_grants_total", static_cast<double>(granted_), {}});
  facts.push_back(StateFact{"queue_timeouts_total", static_cast<double>(timeouts_), {}});
}

}  // namespace weir
