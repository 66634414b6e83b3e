// ServiceWatch: main's eye on one service: runs its health checks, sweeps its outlier statistics, and says in the log what became of
// its endpoints, and when so few are usable that all are used.
// ServiceDirectory owns one for each service, on main's loop; Service, loop and log outlive it.
// It decides nothing: Service does (health_check.h, outlier_detection.h). It looks when something has happened, not by the clock.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string_view>

#include "proxy/base/log.h"
#include "proxy/runtime/worker_context.h"
#include "proxy/upstream/health_checker.h"
#include "proxy/upstream/service.h"
#include "proxy/upstream/service_connector.h"
#include "proxy/upstream/upstream_metrics.h"

namespace weir {

struct WatchParts {
  EventLoop& loop;
  WorkerContext* main = nullptr;    // null: nothing can be probed
  Connector* connector = nullptr;   // likewise
  MetricsShard* metrics = nullptr;  // null: nothing is counted
  Log* log = nullptr;               // null: nothing is said
};

class ServiceWatch final : private ServiceObserver, private HealthCheckListener {
 public:
  ServiceWatch(const WatchParts& parts, Service& service);
  ~ServiceWatch();
  ServiceWatch(const ServiceWatch&) = delete;
  ServiceWatch& operator=(const ServiceWatch&) = delete;

  // After the service itself has taken these.
  void configure(const ServiceConfig& config);
  void endpoints_changed();
  void stop();  // the service is removed: until the next configure()

 private:
  void on_ejected() override;
  void on_checked(CheckResult result, bool changed) override;
  void sweep();
  void look();
  void say(const EndpointStatus& endpoint, std::string_view before);
  void say_panic(PanicReason panic, const ServiceStatus& status);
  MonotonicTime now() const { return parts_.loop.now(); }

  const WatchParts parts_;
  Service& service_;
  WatchMetrics metrics_;
  std::unique_ptr<ServiceConnector> connector_;       // of the checks; goes after them
  std::unique_ptr<HealthChecker> checker_;            // while there are checks
  bool shadow_ = false;                               // outlier detection only watches
  std::map<std::uint32_t, std::string_view> states_;  // by endpoint id, as the log knows them
  PanicReason panic_ = PanicReason::none;
  MonotonicTime panic_began_{};
  Timer sweep_timer_;
  Duration sweep_every_{0};  // as it was armed
  Timer return_timer_;       // when the next ejection ends
  Deferred look_;
};

}  // namespace weir
