#include "proxy/server/request_metrics.h"

namespace weir {
namespace {

const MetricFamily kRequests{"weir_requests_total",
                             "Requests of clients that ended, by the class of the status sent; none: no answer was begun.",
                             MetricKind::counter,
                             {"listener", "route", "service", "policy", "code"}};
const MetricFamily kGrpc{"weir_grpc_requests_total",
                         "gRPC calls of clients that ended, by the status that the client was told, or what tells it best.",
                         MetricKind::counter,
                         {"listener", "route", "service", "grpc_status"}};
const MetricFamily kFailures{"weir_request_failures_total",
                             "Requests of clients that ended without a whole answer of the upstream, by what ended them.",
                             MetricKind::counter,
                             {"listener", "route", "service", "policy", "failure"}};
const MetricFamily kDuration{"weir_request_duration_seconds",
                             "From the request's whole head to the last byte of the answer.",
                             MetricKind::histogram,
                             {"listener", "route", "service"}};
const MetricFamily kAdded{"weir_proxy_added_seconds",
                          "From the request's whole head to the answer's head, without the time that tries took: waits and work of weir.",
                          MetricKind::histogram,
                          {"listener", "route", "service"}};
const MetricFamily kInFlight{"weir_in_flight", "Requests of clients in progress.", MetricKind::gauge, {"listener", "route", "service"}};
const MetricFamily kReceived{
    "weir_request_body_bytes_total", "Body bytes received from clients.", MetricKind::counter, {"listener", "route", "service"}};
const MetricFamily kSent{
    "weir_response_body_bytes_total", "Body bytes sent to clients.", MetricKind::counter, {"listener", "route", "service"}};

constexpr std::string_view kClasses[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};

}  // namespace

RequestMetrics::RequestMetrics(MetricsShard& shard, std::string_view listener, std::string_view route, std::string_view service,
                               std::string_view policy)
    : shard_(&shard),
      listener_(listener),
      route_(route),
      service_(service),
      policy_(policy),
      duration_(shard.histogram(kDuration, {listener, route, service})),
      added_(shard.histogram(kAdded, {listener, route, service})),
      received_(shard.counter(kReceived, {listener, route, service})),
      sent_(shard.counter(kSent, {listener, route, service})),
      in_flight_(shard.gauge(kInFlight, {listener, route, service})) {
  // Present with 0 from the start, so that rates and error ratios are right. What no route takes is only ever refused.
  static_cast<void>(by_class(route.empty() ? 400 : 200));
  if (!route.empty()) static_cast<void>(by_class(500));
}

Counter& RequestMetrics::by_class(int status) {
  const std::size_t at = status >= 100 && status < 600 ? static_cast<std::size_t>(status / 100) : 0;
  if (!class_known_.test(at) && shard_ != nullptr) {
    classes_[at] = shard_->counter(kRequests, {listener_, route_, service_, policy_, kClasses[at]});
    class_known_.set(at);
  }
  return classes_[at];
}

void RequestMetrics::count_grpc(GrpcStatus status) {
  if (shard_ == nullptr) return;
  Counter& counter = grpc_[static_cast<std::size_t>(status)];
  if (!counter) {  // the first call of the route: from now on failures have a whole to be a share of
    Counter& ok = grpc_[static_cast<std::size_t>(GrpcStatus::ok)];
    if (!ok) ok = shard_->counter(kGrpc, {listener_, route_, service_, grpc_status_name(GrpcStatus::ok)});
    counter = shard_->counter(kGrpc, {listener_, route_, service_, grpc_status_name(status)});
  }
  counter.add();
}

void RequestMetrics::end(const RequestOutcome& outcome) {
  in_flight_.add(-1);
  by_class(outcome.status).add();
  if (outcome.grpc_status != GrpcStatus::none) count_grpc(outcome.grpc_status);
  duration_.observe(outcome.duration);
  if (outcome.status != 0) added_.observe(outcome.added);
  if (outcome.bytes_received != 0) received_.add(outcome.bytes_received);
  if (outcome.bytes_sent != 0) sent_.add(outcome.bytes_sent);
  if (outcome.failure == FailureKind::none || shard_ == nullptr) return;
  const auto at = static_cast<std::size_t>(outcome.failure);
  if (!failure_known_.test(at)) {
    failures_[at] = shard_->counter(kFailures, {listener_, route_, service_, policy_, facts(outcome.failure).name});
    failure_known_.set(at);
  }
  failures_[at].add();
}

}  // namespace weir
