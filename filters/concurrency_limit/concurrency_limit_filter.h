// concurrency_limit: bounds how many calls are in flight, exactly and over all workers; the rest wait in a queue or are refused.
// The StateStore owns the state, which all workers share; the chain owns each worker's link, an exchange owns its waiting call.
// It never passes a pointer between workers: a grant travels as (slot, serial), and stays the slot's until its waiter takes it.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "config/section.h"
#include "filters/concurrency_limit/concurrency_limit_policy.h"
#include "proxy/chain/admission_link.h"
#include "proxy/chain/filter.h"

namespace weir {

const config::Section<ConcurrencyLimitConfig>& concurrency_limit_section();
const FilterFactory& concurrency_limit_filter();

// A call that waits for a permit, on its own worker.
class GrantReceiver {
 public:
  // A grant is there for the waiter (accept() it) or was. On the receiver's thread, from its loop.
  virtual void on_granted() = 0;

 protected:
  GrantReceiver(EventLoop& loop, const Random& worker)
      : loop_(loop), worker_(worker), wake_(loop, Callback::to<&GrantReceiver::on_granted>(this)) {}
  ~GrantReceiver() = default;
  void cancel_wake() { wake_.cancel(); }

 private:
  friend class ConcurrencyLimitState;
  EventLoop& loop_;
  const Random& worker_;  // each worker has one Random: it stands for the worker
  Deferred wake_;
};

class ConcurrencyLimitState final : public SharedPolicy, public std::enable_shared_from_this<ConcurrencyLimitState> {
 public:
  using Waiter = ConcurrencyLimitPolicy::Waiter;

  explicit ConcurrencyLimitState(const ConcurrencyLimitConfig& config);

  void record(MonotonicTime now, const Ticket& ticket, const Outcome& outcome, Random& random) override;
  // The receiver is told when its waiter is granted, until accept() or leave(), one of which has to come before it goes. Returns how
  // long it may wait.
  Duration await(MonotonicTime now, Waiter waiter, GrantReceiver& receiver);
  std::optional<Ticket> accept(MonotonicTime now, Waiter waiter);
  // A grant that was under way goes to the next. `worker`: the caller's.
  enum class Why : std::uint8_t { gone, timed_out };
  void leave(MonotonicTime now, Waiter waiter, Why why, const Random& worker);
  void set_config(const ConcurrencyLimitConfig& config);

 private:
  struct Place {
    std::uint64_t serial = 0;
    GrantReceiver* receiver = nullptr;
  };

  ConcurrencyLimitPolicy& limit() { return static_cast<ConcurrencyLimitPolicy&>(*policy_); }
  void hand_out(MonotonicTime now, const Random* worker);  // locked
  void deliver(Waiter waiter, const Random* worker);       // locked
  GrantReceiver* receiver_of(Waiter waiter);               // locked; null when nobody awaits it (yet, or any more)
  void wake(Waiter waiter);                                // posted, on the receiver's thread

  std::vector<Place> places_;  // by the waiters' slots
};

}  // namespace weir
