// The metric families of the upstream side, and the handles that one worker's link of one service resolves once.
// Each UpstreamLink owns an UpstreamMetrics; collect_services() is the host-wide part, read at scrape from the services' status.
// It never looks up a label per request: an outcome gets its counter the first time it happens.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/chain/failure.h"
#include "proxy/metrics/metrics.h"
#include "proxy/runtime/tls_info.h"
#include "proxy/upstream/outlier_detection.h"
#include "proxy/upstream/service.h"

namespace weir {

struct EndpointCounters {  // only with metrics.endpoint_labels
  Counter success, failure;
};

class UpstreamMetrics {
 public:
  UpstreamMetrics(MetricsShard& shard, std::string_view service);

  void attempt_answered(int status, Duration took);
  void attempt_grpc_failed(GrpcStatus status, Duration took);  // answered, with a status that is not ok
  void attempt_failed(FailureKind kind, Duration took);
  void attempt_cancelled(Duration took);
  void connect_failed(FailureKind kind);
  void secured(const TlsInfo& tls);        // a handshake is over
  void insecure(std::string_view reason);  // one failed
  void overtaken(Address::Family family);
  void limit_over(std::string_view limit);  // shadow mode: would have been refused
  void outlier(OutlierSign sign, OutlierVerdict verdict, bool shadow);
  void panic(PanicReason reason);  // a pick among all endpoints
  EndpointCounters endpoint(std::string_view address);

  Gauge in_flight;                 // tries
  Gauge pending;                   // waiting for a connection
  Gauge connecting, idle, active;  // connections
  Gauge streams;                   // requests on them
  Counter connects, connects_failed, connects_timeout, connects_insecure;
  Histogram connect_time;
  Counter passed_full;
  Counter stale;  // reused connections that broke before any byte of an answer

 private:
  static constexpr std::size_t kKinds = static_cast<std::size_t>(FailureKind::count_);
  Counter outcome(std::string_view name);

  MetricsShard& shard_;
  std::string service_;
  std::array<Counter, 6> by_class_;  // [2] is 2xx
  std::array<Counter, kGrpcStatuses> by_grpc_;
  std::array<Counter, kKinds + 1> by_failure_;  // the last: cancelled
  std::array<bool, kKinds + 1> resolved_{};
  Histogram duration_;
  std::array<Counter, 3> panics_;  // by PanicReason
};

// Of one service, on main: what its checks and its sweeps find. Owned by its ServiceWatch.
class WatchMetrics {
 public:
  WatchMetrics(MetricsShard* shard, std::string_view service) : shard_(shard), service_(service) {}  // null: counts nothing
  void check(CheckResult result);
  void outlier(OutlierSign sign, OutlierVerdict verdict, bool shadow);

 private:
  MetricsShard* shard_;
  std::string service_;
  std::array<Counter, static_cast<std::size_t>(CheckResult::count_)> checks_;
};

void collect_services(const std::vector<ServiceStatus>& services, std::vector<MetricsRegistry::Snapshot>& out);

}  // namespace weir
