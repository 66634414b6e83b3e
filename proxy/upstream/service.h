// Service: what all workers share of one service: its parameters and endpoints, host-wide limits, retry budget, outlier detection.
// ServiceDirectory owns it for its whole life; workers' links attach to it and borrow it. Thread-safe but for configure() and
// set_endpoints(), which are main's.
// It opens no connection and resolves no name; a reload changes it in place, so that nothing is counted twice.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
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
  std::string_view state;  // usable | ejected | would_be_ejected (shadow)
  Duration returns_in{0};  // while (or would be) ejected
  std::uint32_t active = 0;
  std::uint32_t consecutive_failures = 0;
  std::uint32_t ejections = 0;
  std::uint64_t attempts = 0;
  std::uint64_t failures = 0;
};

struct LimitStatus {
  std::uint32_t used = 0;
  std::uint32_t limit = 0;  // HostLimit::kUnlimited: none
};

struct ServiceStatus {
  std::string name;
  std::vector<EndpointStatus> endpoints;
  LimitStatus connections, pending, requests;
  double retry_budget_remaining = 0;
  bool waiting = false;
  bool removed = false;
  std::string discovery_error;  // the last one, empty when all is well
  std::vector<std::pair<std::string, std::string>> annotations;
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
  void set_endpoints(const std::vector<FoundEndpoint>& found);  // an address that stays keeps its Endpoint
  void set_removed();                                           // until the next configure()
  ServiceStatus status(MonotonicTime now) const;

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
  bool any_ejected(MonotonicTime now) const {
    return now.time_since_epoch().count() < ejected_until_.load(std::memory_order_relaxed);
  }

 private:
  struct Mailbox;  // reaches a worker's link by posting, as long as it is there
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
  bool enforced() const { return outlier_.config().mode == FilterMode::enforce; }

  const std::string name_;
  std::atomic<std::uint32_t>& last_endpoint_id_;
  ServiceRetryBudget retry_budget_;
  HostLimit requests_;
  HostLimit pending_;
  alignas(64) std::atomic<std::int64_t> ejected_until_{0};  // the latest of all endpoints
  std::atomic<bool> contended_{false};

  mutable std::mutex mutex_;
  std::shared_ptr<const ServiceView> view_;
  std::vector<Member> members_;
  ConnectionSlots slots_;
  OutlierDetector outlier_;
  std::vector<OutlierState*> outlier_states_;  // of the present set
  Random random_;
};

}  // namespace weir
