// AdmissionLink: the one link around every admission policy (breaker, concurrency limit, rate limit, load shedding): it only translates.
// The chain owns the link, the StateStore the SharedPolicy; both outlive the calls, whose exchange keeps its snapshot.
// It never decides: admit and record do, and mode shadow is done here, once for all of them.
//
// Enforce: admit -> the inner call, watched until exactly one Outcome is recorded for the ticket; reject -> fail_later with the policy's
// kind, reason and retry_after; wait -> wait(), for policies with a queue.
// Shadow: the same questions to a state of its own, which is charged only for what it would have admitted (a shadow rejection consumes
// nothing, its outcome is not recorded), counts would_reject or would_queue, and lets every call through.
#pragma once

#include <memory>
#include <mutex>
#include <utility>

#include "proxy/chain/filter.h"
#include "proxy/chain/filter_call.h"
#include "proxy/chain/policy.h"

namespace weir {

// A pure policy behind its lock, on cache lines of its own. Host-wide: all workers share it. What runs under the lock is short and
// never logs, tells or allocates (hotpath rule 8). A filter whose waiters must be woken derives and overrides record().
class alignas(64) SharedPolicy : public FilterState {
 public:
  explicit SharedPolicy(std::unique_ptr<AdmissionPolicy> policy) : policy_(std::move(policy)) {}

  virtual Admission admit(MonotonicTime now, const AdmissionFacts& facts, Random& random) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return policy_->admit(now, facts, random);
  }
  virtual void record(MonotonicTime now, const Ticket& ticket, const Outcome& outcome, Random& random) {
    const std::lock_guard<std::mutex> lock(mutex_);
    policy_->record(now, ticket, outcome, random);
  }
  void describe(MonotonicTime now, std::vector<StateFact>& facts) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    policy_->describe(now, facts);
  }
  // with<BreakerPolicy>([&](BreakerPolicy& p) { p.set_config(...); }): anything else, under the lock (reload, admin). T is the true type.
  template <class T, class Use>
  decltype(auto) with(Use&& use) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return std::forward<Use>(use)(static_cast<T&>(*policy_));
  }

 protected:
  std::mutex mutex_;
  const std::unique_ptr<AdmissionPolicy> policy_;
};

// The call of an admitted request. A queueing filter derives: it waits without a ticket, then says admitted() and adopt()s the inner call.
class AdmittedCall : public FilterCall {
 public:
  AdmittedCall(ExchangeContext& exchange, Caller& caller, SharedPolicy& policy) : FilterCall(exchange, caller), policy_(policy) {}

  // From here on exactly one Outcome is recorded for `ticket`. `request` is about to be handed to the inner link.
  void admitted(const Ticket& ticket, const Request& request);

  void on_response(Response&& response) override;
  void on_end(const End& end) override;
  void on_failure(const Failure& failure) override;

 protected:
  void silence() noexcept override;
  bool has_ticket() const { return has_ticket_; }
  SharedPolicy& policy() const { return policy_; }

 private:
  void record(Outcome outcome) noexcept;
  // The request went out whole, or would have but for a connect that takes its time: what is missing is the upstream's. Not so where a
  // call waits in weir, for a permit or for room in a pool.
  bool upstream_owes() const;

  SharedPolicy& policy_;
  Ticket ticket_;
  MonotonicTime started_{};
  Duration to_headers_{-1};
  const BodyPipe* request_body_ = nullptr;  // readable while the arena lives
  int status_ = 0;
  GrpcStatus grpc_status_ = GrpcStatus::none;
  std::uint16_t attempts_before_ = 0;
  bool local_answer_ = false;
  bool has_ticket_ = false;
};

// How a failure is classified for policies: Outcome::failed when it blames the upstream, ignored otherwise (acceptance/README "Rules").
Outcome outcome_of(const Failure& failure);

class AdmissionLink : public Link {
 public:
  // context.state is not read: `policy` is given by the filter, which knows its type.
  AdmissionLink(const LinkContext& context, SharedPolicy& policy, Link& next)
      : next_(next),
        policy_(policy),
        identity_(context.identity),
        decisions_(context.decisions),
        random_(context.worker.random),
        shadow_(context.shadow) {}

  CallPtr start(Request&& request, Caller& caller) override;

 protected:
  // Verdict wait, enforced. The default refuses with limit_reached: only a policy with a queue says wait.
  virtual CallPtr wait(Request&& request, Caller& caller, const Admission& admission);

  // A call that fails with what `admission` says; notes the decision (rejected/<reason>).
  CallPtr reject(ExchangeContext& exchange, Caller& caller, const Admission& admission);
  Failure failure_of(const Admission& admission) const;  // for a queueing call that refuses later; the decision is the caller's to note

  static AdmissionFacts facts_of(const Request& request);
  Link& next() const { return next_; }
  SharedPolicy& policy() const { return policy_; }
  const LinkIdentity& identity() const { return identity_; }
  Decisions& decisions() const { return decisions_; }
  Random& random() const { return random_; }
  bool shadow() const { return shadow_; }

 private:
  Link& next_;
  SharedPolicy& policy_;
  const LinkIdentity& identity_;
  Decisions& decisions_;
  Random& random_;
  bool shadow_;
};

}  // namespace weir
