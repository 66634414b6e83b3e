#include "proxy/upstream/upstream_metrics.h"

#include <utility>

namespace weir {
namespace {

const MetricFamily kAttempts{
    "weir_attempts_total",
    "Tries at a service, by how they ended: the class of the answer's status, grpc_ and the status of a gRPC call that "
    "failed, the failure, or cancelled",
    MetricKind::counter,
    {"service", "outcome"}};
const MetricFamily kDuration{"weir_attempt_duration_seconds", "From the start of a try to its end", MetricKind::histogram, {"service"}};
const MetricFamily kInFlight{
    "weir_attempts_in_flight", "Tries in progress, waiting for a connection included", MetricKind::gauge, {"service"}};
const MetricFamily kPending{"weir_upstream_pending", "Tries that wait for a connection", MetricKind::gauge, {"service"}};
const MetricFamily kConnections{
    "weir_upstream_connections", "Connections to a service: connecting, idle, active", MetricKind::gauge, {"service", "state"}};
const MetricFamily kStreams{
    "weir_upstream_streams", "Requests on connections to a service; HTTP/2 has many on one", MetricKind::gauge, {"service"}};
const MetricFamily kConnects{"weir_upstream_connects_total",
                             "Connections tried, by result: connected, connect_failure, connect_timeout, tls_failure",
                             MetricKind::counter,
                             {"service", "result"}};
const MetricFamily kOvertaken{"weir_upstream_overtaken_connects_total",
                              "Connects that one to the other family of addresses, begun later, overtook",
                              MetricKind::counter,
                              {"service", "family"}};
const MetricFamily kHandshakes{"weir_upstream_tls_handshakes_total",
                               "TLS handshakes with a service's endpoints that succeeded.",
                               MetricKind::counter,
                               {"service", "version", "resumed"}};
const MetricFamily kHandshakeFailures{
    "weir_upstream_tls_handshake_failures_total", "TLS handshakes that failed, by reason.", MetricKind::counter, {"service", "reason"}};
const MetricFamily kConnectTime{"weir_upstream_connect_seconds", "How long connecting took", MetricKind::histogram, {"service"}};
const MetricFamily kStale{"weir_upstream_stale_connections_total",
                          "Reused connections that broke before any byte of an answer",
                          MetricKind::counter,
                          {"service"}};
const MetricFamily kPanic{
    "weir_balancer_panic_total", "Picks among all endpoints because too few were usable", MetricKind::counter, {"service", "reason"}};
const MetricFamily kPassedFull{"weir_balancer_passed_full_total",
                               "Picks that went on from the endpoint of their hash because it had its bound of load",
                               MetricKind::counter,
                               {"service"}};
const MetricFamily kChecks{
    "weir_health_checks_total", "Active checks of endpoints that have ended, by result", MetricKind::counter, {"service", "result"}};
const MetricFamily kWouldRefuse{
    "weir_upstream_limit_would_reject_total", "What limits in shadow mode would have refused", MetricKind::counter, {"service", "limit"}};
const MetricFamily kOutlier{"weir_outlier_decisions_total",
                            "Endpoints ejected, or not although they failed enough, and why",
                            MetricKind::counter,
                            {"service", "sign", "decision", "mode"}};
const MetricFamily kEndpoint{"weir_endpoint_attempts_total",
                             "Tries by endpoint, as outlier detection counts them",
                             MetricKind::counter,
                             {"service", "endpoint", "result"}};

constexpr std::string_view kClasses[] = {"other", "1xx", "2xx", "3xx", "4xx", "5xx"};

void count_outlier(MetricsShard& shard, std::string_view service, OutlierSign sign, OutlierVerdict verdict, bool shadow) {
  std::string_view decision;
  switch (verdict) {
    case OutlierVerdict::none: return;
    case OutlierVerdict::eject: decision = shadow ? "would_eject" : "eject"; break;
    case OutlierVerdict::last_usable: decision = "held_back_last_usable"; break;
    case OutlierVerdict::max_ejected: decision = "held_back_max_ejected"; break;
    case OutlierVerdict::all_fail_alike: decision = "held_back_all_fail_alike"; break;
  }
  shard.counter(kOutlier, {service, to_word(sign), decision, shadow ? "shadow" : "enforce"}).add();
}

}  // namespace

UpstreamMetrics::UpstreamMetrics(MetricsShard& shard, std::string_view service)
    : in_flight(shard.gauge(kInFlight, {service})),
      pending(shard.gauge(kPending, {service})),
      connecting(shard.gauge(kConnections, {service, "connecting"})),
      idle(shard.gauge(kConnections, {service, "idle"})),
      active(shard.gauge(kConnections, {service, "active"})),
      streams(shard.gauge(kStreams, {service})),
      connects(shard.counter(kConnects, {service, "connected"})),
      connects_failed(shard.counter(kConnects, {service, "connect_failure"})),
      connects_timeout(shard.counter(kConnects, {service, "connect_timeout"})),
      connects_insecure(shard.counter(kConnects, {service, "tls_failure"})),
      connect_time(shard.histogram(kConnectTime, {service})),
      passed_full(shard.counter(kPassedFull, {service})),
      stale(shard.counter(kStale, {service})),
      shard_(shard),
      service_(service),
      duration_(shard.histogram(kDuration, {service})) {
  for (std::size_t i = 2; i < by_class_.size(); ++i) by_class_[i] = outcome(kClasses[i]);
  for (const PanicReason reason : {PanicReason::ejected, PanicReason::unhealthy}) {
    panics_[static_cast<std::size_t>(reason)] = shard.counter(kPanic, {service, to_word(reason)});
  }
}

void UpstreamMetrics::connect_failed(FailureKind kind) {
  switch (kind) {
    case FailureKind::connect_timeout: return connects_timeout.add();
    case FailureKind::tls_failure:
    case FailureKind::tls_certificate: return connects_insecure.add();
    default: return connects_failed.add();
  }
}

// Once a connection, beside a handshake: these may be looked up.
void UpstreamMetrics::secured(const TlsInfo& tls) {
  shard_.counter(kHandshakes, {service_, tls.version, tls.resumed ? "true" : "false"}).add();
}

void UpstreamMetrics::insecure(std::string_view reason) { shard_.counter(kHandshakeFailures, {service_, reason}).add(); }

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

void UpstreamMetrics::attempt_grpc_failed(GrpcStatus status, Duration took) {
  Counter& counter = by_grpc_[static_cast<std::size_t>(status)];
  if (!counter) counter = outcome(grpc_cause_name(status));
  counter.add();
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

void UpstreamMetrics::overtaken(Address::Family family) {
  shard_.counter(kOvertaken, {service_, family == Address::Family::ipv6 ? "ipv6" : "ipv4"}).add();
}

void UpstreamMetrics::limit_over(std::string_view limit) { shard_.counter(kWouldRefuse, {service_, limit}).add(); }

void UpstreamMetrics::outlier(OutlierSign sign, OutlierVerdict verdict, bool shadow) {
  count_outlier(shard_, service_, sign, verdict, shadow);
}

// By the time of asking why, the last one may have returned: it was an ejection then, as those end by themselves.
void UpstreamMetrics::panic(PanicReason reason) {
  panics_[static_cast<std::size_t>(reason == PanicReason::none ? PanicReason::ejected : reason)].add();
}

void WatchMetrics::outlier(OutlierSign sign, OutlierVerdict verdict, bool shadow) {
  if (shard_ != nullptr) count_outlier(*shard_, service_, sign, verdict, shadow);
}

void WatchMetrics::check(CheckResult result) {
  if (shard_ == nullptr) return;
  Counter& counter = checks_[static_cast<std::size_t>(result)];
  if (!counter) counter = shard_->counter(kChecks, {service_, to_word(result)});
  counter.add();
}

EndpointCounters UpstreamMetrics::endpoint(std::string_view address) {
  return {shard_.counter(kEndpoint, {service_, address, "success"}), shard_.counter(kEndpoint, {service_, address, "failure"})};
}

void collect_services(const std::vector<ServiceStatus>& services, std::vector<MetricsRegistry::Snapshot>& out) {
  MetricsRegistry::Snapshot endpoints{"weir_endpoints",
                                      "Endpoints of a service by state: usable, unhealthy, ejected, would_be_unhealthy, would_be_ejected",
                                      MetricKind::gauge,
                                      {"service", "state"},
                                      {}};
  MetricsRegistry::Snapshot panic{"weir_balancer_in_panic",
                                  "1 while all endpoints of a service are used because too few are usable, by reason",
                                  MetricKind::gauge,
                                  {"service", "reason"},
                                  {}};
  MetricsRegistry::Snapshot budget{"weir_retry_budget_remaining", "Retries that could be taken now", MetricKind::gauge, {"service"}, {}};
  MetricsRegistry::Snapshot used{
      "weir_upstream_limit_used", "Used of a service's host-wide limits", MetricKind::gauge, {"service", "limit"}, {}};
  MetricsRegistry::Snapshot limit{"weir_upstream_limit",
                                  "A service's host-wide limits; those that are not set are missing",
                                  MetricKind::gauge,
                                  {"service", "limit"},
                                  {}};
  MetricsRegistry::Snapshot updates{"weir_discovery_updates_total",
                                    "Changes of a service's endpoints, where they are found by name or file",
                                    MetricKind::counter,
                                    {"service"},
                                    {}};
  MetricsRegistry::Snapshot errors{
      "weir_discovery_errors_total", "Lookups and readings of files that gave nothing usable", MetricKind::counter, {"service"}, {}};
  MetricsRegistry::Snapshot age{"weir_discovery_age_seconds",
                                "How long ago the oldest answer came that a service's endpoints rely on",
                                MetricKind::gauge,
                                {"service"},
                                {}};
  const auto add = [](MetricsRegistry::Snapshot& to, std::vector<std::string> labels, double value) {
    MetricsRegistry::Sample sample;
    sample.labels = std::move(labels);
    sample.value = value;
    to.samples.push_back(std::move(sample));
  };
  for (const ServiceStatus& service : services) {
    for (const PanicReason reason : {PanicReason::ejected, PanicReason::unhealthy}) {
      add(panic, {service.name, std::string(to_word(reason))}, service.panic == reason ? 1 : 0);
    }
    for (const char* state : {"usable", "unhealthy", "ejected", "would_be_unhealthy", "would_be_ejected"}) {
      double count = 0;
      for (const EndpointStatus& endpoint : service.endpoints) count += endpoint.state == state ? 1 : 0;
      add(endpoints, {service.name, state}, count);
    }
    add(budget, {service.name}, service.retry_budget_remaining);
    if (service.discovery) {
      add(updates, {service.name}, static_cast<double>(service.discovery->updates));
      add(errors, {service.name}, static_cast<double>(service.discovery->errors));
      if (service.discovery->age) add(age, {service.name}, seconds(*service.discovery->age));
    }
    const std::pair<const char*, const LimitStatus&> limits[] = {
        {"connections", service.connections}, {"pending", service.pending}, {"requests", service.requests}};
    for (const auto& [name, status] : limits) {
      add(used, {service.name, name}, status.used);
      if (status.limit != HostLimit::kUnlimited) add(limit, {service.name, name}, status.limit);
    }
  }
  for (auto* snapshot : {&endpoints, &panic, &budget, &used, &limit, &updates, &errors, &age}) out.push_back(std::move(*snapshot));
}

}  // namespace weir
