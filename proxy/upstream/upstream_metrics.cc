#include "proxy/upstream/upstream_metrics.h"

#include <utility>

namespace weir {
namespace {

const MetricFamily kAttempts{"weir_attempts_total",
                             "Tries at a service, by how they ended: the class of the answer's status, the failure, or cancelled",
                             MetricKind::counter,
                             {"service", "outcome"}};
const MetricFamily kDuration{
    "weir_attempt_duration_seconds", "From the start of a try to its end", MetricKind::histogram, {"service"}};
const MetricFamily kInFlight{
    "weir_attempts_in_flight", "Tries in progress, waiting for a connection included", MetricKind::gauge, {"service"}};
const MetricFamily kPending{
    "weir_upstream_pending", "Tries that wait for a connection", MetricKind::gauge, {"service"}};
const MetricFamily kConnections{"weir_upstream_connections",
                                "Connections to a service: connecting, idle, active",
                                MetricKind::gauge,
                                {"service", "state"}};
const MetricFamily kConnects{"weir_upstream_connects_total",
                             "Connections tried, by result: connected, connect_failure, connect_timeout",
                             MetricKind::counter,
                             {"service", "result"}};
const MetricFamily kConnectTime{
    "weir_upstream_connect_seconds", "How long connecting took", MetricKind::histogram, {"service"}};
const MetricFamily kStale{"weir_upstream_stale_connections_total",
                          "Reused connections that broke before any byte of an answer",
                          MetricKind::counter,
                          {"service"}};
const MetricFamily kPanic{"weir_balancer_panic_total",
                          "Picks among all endpoints because too few were usable",
                          MetricKind::counter,
                          {"service"}};
const MetricFamily kWouldRefuse{"weir_upstream_limit_would_reject_total",
                                "What limits in shadow mode would have refused",
                                MetricKind::counter,
                                {"service", "limit"}};
const MetricFamily kOutlier{"weir_outlier_decisions_total",
                            "Endpoints ejected, or not although they failed enough, and why",
                            MetricKind::counter,
                            {"service", "decision", "mode"}};
const MetricFamily kEndpoint{"weir_endpoint_attempts_total",
                             "Tries by endpoint, as outlier detection counts them",
                             MetricKind::counter,
                             {"service", "endpoint", "result"}};

constexpr std::string_view kClasses[] = {"other", "1xx", "2xx", "3xx", "4xx", "5xx"};

}  // namespace

UpstreamMetrics::UpstreamMetrics(MetricsShard& shard, std::string_view service)
    : in_flight(shard.gauge(kInFlight, {service})),
      pending(shard.gauge(kPending, {service})),
      connecting(shard.gauge(kConnections, {service, "connecting"})),
      idle(shard.gauge(kConnections, {service, "idle"})),
      active(shard.gauge(kConnections, {service, "active"})),
      connects(shard.counter(kConnects, {service, "connected"})),
      connects_failed(shard.counter(kConnects, {service, "connect_failure"})),
      connects_timeout(shard.counter(kConnects, {service, "connect_timeout"})),
      connect_time(shard.histogram(kConnectTime, {service})),
      panic(shard.counter(kPanic, {service})),
      stale(shard.counter(kStale, {service})),
      shard_(shard),
      service_(service),
      duration_(shard.histogram(kDuration, {service})) {
  for (std::size_t i = 2; i < by_class_.size(); ++i) by_class_[i] = outcome(kClasses[i]);
}

Counter UpstreamMetrics::outcome(std::string_view name) { return shard_.counter(kAttempts, {service_, name}); }

void UpstreamMetrics::attempt_answered(int status, Duration took) {
  const int cls = status / 100;
  if (cls >= 2 && cls <= 5) {
    by_class_[static_cast<std::size_t>(cls)].add();
  } else {
    outcome(kClasses[cls == 1 ? 1 : 0]).add();  // a 101, or nonsense
  }
  duration_.observe(took);
}

void UpstreamMetrics::attempt_failed(FailureKind kind, Duration took) {
  const auto index = static_cast<std::size_t>(kind);
  if (!resolved_[index]) {
    by_failure_[index] = outcome(facts(kind).name);
    resolved_[index] = true;
  }
  by_failure_[index].add();
  duration_.observe(took);
}

void UpstreamMetrics::attempt_cancelled(Duration took) {
  if (!resolved_[kKinds]) {
    by_failure_[kKinds] = outcome("cancelled");
    resolved_[kKinds] = true;
  }
  by_failure_[kKinds].add();
  duration_.observe(took);
}

void UpstreamMetrics::limit_over(std::string_view limit) { shard_.counter(kWouldRefuse, {service_, limit}).add(); }

void UpstreamMetrics::outlier(OutlierVerdict verdict, bool shadow) {
  std::string_view decision;
  switch (verdict) {
    case OutlierVerdict::none: return;
    case OutlierVerdict::eject: decision = shadow ? "would_eject" : "eject"; break;
    case OutlierVerdict::last_usable: decision = "held_back_last_usable"; break;
    case OutlierVerdict::max_ejected: decision = "held_back_max_ejected"; break;
    case OutlierVerdict::all_fail_alike: decision = "held_back_all_fail_alike"; break;
  }
  shard_.counter(kOutlier, {service_, decision, shadow ? "shadow" : "enforce"}).add();
}

EndpointCounters UpstreamMetrics::endpoint(std::string_view address) {
  return {shard_.counter(kEndpoint, {service_, address, "success"}), shard_.counter(kEndpoint, {service_, address, "failure"})};
}

void collect_services(const std::vector<ServiceStatus>& services, std::vector<MetricsRegistry::Snapshot>& out) {
  MetricsRegistry::Snapshot endpoints{"weir_endpoints", "Endpoints of a service by state: usable, ejected, would_be_ejected",
                                      MetricKind::gauge, {"service", "state"}, {}};
  MetricsRegistry::Snapshot budget{"weir_retry_budget_remaining", "Retries that could be taken now", MetricKind::gauge,
                                   {"service"}, {}};
  MetricsRegistry::Snapshot used{"weir_upstream_limit_used", "Used of a service's host-wide limits", MetricKind::gauge,
                                 {"service", "limit"}, {}};
  MetricsRegistry::Snapshot limit{"weir_upstream_limit", "A service's host-wide limits; those that are not set are missing",
                                  MetricKind::gauge, {"service", "limit"}, {}};
  const auto add = [](MetricsRegistry::Snapshot& to, std::vector<std::string> labels, double value) {
    MetricsRegistry::Sample sample;
    sample.labels = std::move(labels);
    sample.value = value;
    to.samples.push_back(std::move(sample));
  };
  for (const ServiceStatus& service : services) {
    for (const char* state : {"usable", "ejected", "would_be_ejected"}) {
      double count = 0;
      for (const EndpointStatus& endpoint : service.endpoints) count += endpoint.state == state ? 1 : 0;
      add(endpoints, {service.name, state}, count);
    }
    add(budget, {service.name}, service.retry_budget_remaining);
    const std::pair<const char*, const LimitStatus&> limits[] = {
        {"connections", service.connections}, {"pending", service.pending}, {"requests", service.requests}};
    for (const auto& [name, status] : limits) {
      add(used, {service.name, name}, status.used);
      if (status.limit != HostLimit::kUnlimited) add(limit, {service.name, name}, status.limit);
    }
  }
  for (auto* snapshot : {&endpoints, &budget, &used, &limit}) out.push_back(std::move(*snapshot));
}

}  // namespace weir
