// Service: what all workers share of one service: its parameters and endpoints, host-wide limits, retry budget, outlier detection.
// ServiceDirectory owns it for its whole life; workers' links attach to it and borrow it. Thread-safe but for configure() and
// set_endpoints(), which are main's.
// It opens no connection and resolves no name; a reload changes it in place, so that nothing is counted twice.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/random.h"
#include "proxy/runtime/event_loop.h"
#include "proxy/upstream/endpoint.h"
#include "proxy/upstream/limits.h"
#include "proxy/upstream/retry_budget.h"
#include "proxy/upstream/service_config.h"

namespace weir {

struct UpstreamOptions {
  bool endpoint_labels = false;  // metrics.endpoint_labels: also count by endpoint
};

// What a worker goes by; immutable, replaced as a whole.
struct ServiceView {
  std::uint64_t version = 0;
  ServiceConfig config;
  EndpointSet endpoints;
  bool waiting = true;   // discovery has not answered yet: an empty set means "not yet", not "none"
  bool removed = false;  // not in the configuration any more: keep nothing open
  UpstreamOptions options;
};

// A worker's link, as Service sees it. Called on the worker's own thread.
class ServiceWorker {
 public:
  virtual void on_view(std::shared_ptr<const ServiceView> view) = 0;
  virtual void on_connection_granted() = 0;  // a slot is ours (already counted): use it or give it back
  virtual void on_connection_wanted() = 0;   // another worker waits at the cap: close an idle connection, if there is one

 protected:
  ~ServiceWorker() = default;
};

struct EndpointStatus {
  std::uint32_t id = 0;
  std::string address;
  std::uint32_t weight = 1;
  std::string_view state;        // usable | unhealthy | ejected; in shadow mode would_be_unhealthy | would_be_ejected
  Duration returns_in{0};        // while (or would be) ejected
  bool awaits_check = false;     // the ejection's time is over, or will be: it ends when a check passes
  std::string_view ejected_for;  // the sign of the last ejection; empty: there was none
  std::uint32_t active = 0;
  std::uint32_t consecutive_failures = 0;
  std::uint32_t ejections = 0;
  std::uint64_t attempts = 0;
  std::uint64_t failures = 0;
  HealthState health;  // while the service has checks
};

struct LimitStatus {
  std::uint32_t used = 0;
  std::uint32_t limit = 0;  // HostLimit::kUnlimited: none
};

struct DiscoveryStatus {
  std::uint64_t updates = 0;    // changes of the endpoints
  std::uint64_t errors = 0;     // lookups and readings that gave nothing usable
  std::optional<Duration> age;  // of the oldest answer that is relied on; none: there was no good one yet
};

struct ServiceStatus {
  std::string name;
  std::vector<EndpointStatus> endpoints;
  LimitStatus connections, pending, requests;
  double retry_budget_remaining = 0;
  std::uint64_t retries_taken = 0;  // from the budget, since the start
  bool waiting = false;
  bool removed = false;
  bool checked = false;                      // its endpoints' health is asked for
  PanicReason panic = PanicReason::none;     // all endpoints are used, because too few are usable
  std::string discovery_error;               // empty when all is well
  std::optional<DiscoveryStatus> discovery;  // of a service whose endpoints are found by name or file
  std::vector<std::pair<std::string, std::string>> annotations;
};

// Main, as Service sees it. Called on main's thread.
class ServiceObserver {
 public:
  virtual void on_ejected() = 0;  // a worker has ejected endpoints

 protected:
  ~ServiceObserver() = default;
};

class Service {
 public:
  Service(std::string name, std::atomic<std::uint32_t>& last_endpoint_id, std::uint64_t seed);
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;
  const std::string& name() const { return name_; }

  // ---- main ----
  struct FoundEndpoint {
    Address address;
    std::uint32_t weight = 1;
  };
  void configure(const ServiceConfig& config, const UpstreamOptions& options);
  // An address that stays keeps its Endpoint; one that joins others that stay begins its slow start at `now`.
  void set_endpoints(const std::vector<FoundEndpoint>& found, MonotonicTime now);
  void set_removed();  // until the next configure()
  ServiceStatus status(MonotonicTime now) const;
  EndpointSet endpoints() const;
  void observe(EventLoop& main, ServiceObserver* observer);  // null: no more

  // The result of an active check that began then. True: the endpoint's health has changed, or its ejection ended.
  bool record_check(Endpoint& endpoint, CheckResult result, int status, MonotonicTime began, MonotonicTime now);
  // When its next check should begin, counted from the last; sooner where an ejection is waiting for one.
  MonotonicTime next_check(const Endpoint& endpoint, MonotonicTime began, MonotonicTime now);
  bool sweeps() const;                                   // whether sweep() has anything to look at ...
  Duration sweep_every() const;                          // ... and how often
  std::vector<OutlierFinding> sweep(MonotonicTime now);  // moves the windows on and judges them

  // ---- workers ----
  std::shared_ptr<const ServiceView> attach(std::uint32_t worker, EventLoop& loop, ServiceWorker& handler);
  void detach(std::uint32_t worker);  // on the worker's thread, or when that has ended; its connections are closed by then

  RetryBudget& retry_budget() { return retry_budget_; }
  HostLimit& requests() { return requests_; }
  HostLimit& pending() { return pending_; }

  HostLimit::Taken take_connection(std::uint32_t worker);
  bool give_back_connection(std::uint32_t worker);  // true: granted to this very worker again
  void want_connection(std::uint32_t worker, std::uint32_t waiting, MonotonicTime oldest);
  void want_no_connection(std::uint32_t worker);
  bool connections_contended() const { return contended_.load(std::memory_order_relaxed); }  // others wait, or the limit fell
  bool must_yield_connection(std::uint32_t worker, const ConnectionDemand& mine);
  LimitStatus connection_limit() const;

  // How a try at an endpoint went; `generation` is endpoint.generation when it began. Neither for what says nothing about it.
  void record_success(Endpoint& endpoint, std::uint32_t generation, MonotonicTime now);
  OutlierVerdict record_failure(Endpoint& endpoint, std::uint32_t generation, MonotonicTime now);
  // The endpoint comes (back): it was added beside others, or became healthy. Back from an ejection it needs no call: that time is known.
  void begin_slow_start(Endpoint& endpoint, MonotonicTime now);
  // Whether an endpoint may be in a slow start that lasts `window`; false is certain.
  bool any_warming(MonotonicTime now, Duration window) const {
    const std::int64_t newest = std::max(warm_since_.load(std::memory_order_relaxed), unusable_until_.load(std::memory_order_relaxed));
    return newest != 0 && now.time_since_epoch().count() - window.count() < newest;
  }
  // False promises that every endpoint is usable.
  bool any_unusable(MonotonicTime now) const { return now.time_since_epoch().count() < unusable_until_.load(std::memory_order_relaxed); }

 private:
  struct Mailbox;      // reaches a worker's link by posting, as long as it is there
  struct MainMailbox;  // the same for main's observer
  struct Member {
    std::uint32_t worker;
    EventLoop* loop;
    std::shared_ptr<Mailbox> mailbox;
  };
  using Tell = void (*)(ServiceWorker&);
  void publish();  // the lock is held, as in all that follow
  void post(const Member& member, Tell tell);
  void tell_granted(std::uint32_t worker);
  void note_contention() { contended_.store(slots_.starving() || slots_.over(), std::memory_order_relaxed); }
  void grant_all();
  void mirror(Endpoint& endpoint);
  void mirror_all();
  void tell_ejected();
  EndpointStatus status_of(const EndpointSlot& slot, MonotonicTime now) const;
  bool enforced() const { return outlier_.config().mode == FilterMode::enforce; }
  bool checks_in(FilterMode mode) const { return view_->config.health_check && view_->config.health_check->mode == mode; }
  bool checked() const { return view_->config.health_check && !checks_in(FilterMode::disabled); }

  const std::string name_;
  std::atomic<std::uint32_t>& last_endpoint_id_;
  ServiceRetryBudget retry_budget_;
  HostLimit requests_;
  HostLimit pending_;
  alignas(64) std::atomic<std::int64_t> unusable_until_{0};  // the latest of all endpoints
  std::atomic<std::int64_t> warm_since_{0};                  // the same
  std::atomic<bool> contended_{false};

  MonotonicTime began_{};  // of the first endpoints; main's

  mutable std::mutex mutex_;
  std::shared_ptr<const ServiceView> view_;
  std::vector<Member> members_;
  ConnectionSlots slots_;
  OutlierDetector outlier_;
  HealthPolicy health_;
  EventLoop* main_ = nullptr;
  std::shared_ptr<MainMailbox> observer_;
  std::vector<OutlierState*> outlier_states_;  // of the present set
  Random random_;
};

}  // namespace weir
