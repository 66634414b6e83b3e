// HealthChecker: the active checks of one service: each endpoint is probed once for the whole host, in its own rhythm.
// ServiceWatch owns it, on main's loop; results go to Service, which decides. Service and the loop outlive it.
// It has at most one probe for an endpoint and kMaxInFlight for a service under way; what is due meanwhile waits, the longest due first.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "proxy/upstream/health_probe.h"
#include "proxy/upstream/service.h"

namespace weir {

class HealthCheckListener {
 public:
  virtual void on_checked(CheckResult result, bool changed) = 0;  // `changed`: health, or the end of an ejection

 protected:
  ~HealthCheckListener() = default;
};

class HealthChecker {
 public:
  static constexpr std::size_t kMaxInFlight = 64;

  HealthChecker(WorkerContext& main, Connector& connector, Service& service, HealthCheckListener& listener);
  ~HealthChecker();
  HealthChecker(const HealthChecker&) = delete;
  HealthChecker& operator=(const HealthChecker&) = delete;

  void configure(const HealthCheckConfig& config, Protocol protocol);  // probes under way end by the old one
  void set_endpoints(const EndpointSet& set);                          // those that come are probed at once, those that are gone no more
  void reschedule();                                                   // an endpoint was ejected: it may be due at another time
  std::size_t in_flight() const { return in_flight_; }

 private:
  struct Target;
  using Due = std::map<std::pair<MonotonicTime, std::uint64_t>, Target*>;  // the number tells equal times apart, in order
  void run();
  void begin(Target& target);
  void checked(Target& target, CheckResult result, int status);
  void plan(Target& target, MonotonicTime due);
  void unplan(Target& target);
  void drop_finished() { finished_.clear(); }
  MonotonicTime now() const { return main_.loop.now(); }

  WorkerContext& main_;
  Connector& connector_;
  Service& service_;
  HealthCheckListener& listener_;
  HealthCheckConfig config_;
  Protocol protocol_ = Protocol::http1;
  std::map<std::uint32_t, std::unique_ptr<Target>> targets_;  // by endpoint id
  Due due_;
  std::uint64_t planned_ = 0;
  std::size_t in_flight_ = 0;
  std::vector<std::unique_ptr<HealthProbe>> finished_;  // until their callback is over
  Timer timer_;
  Deferred sweep_;
};

}  // namespace weir
