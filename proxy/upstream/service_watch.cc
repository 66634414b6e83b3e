#include "proxy/upstream/service_watch.h"

#include <algorithm>
#include <utility>

namespace weir {

ServiceWatch::ServiceWatch(const WatchParts& parts, Service& service)
    : parts_(parts),
      service_(service),
      metrics_(parts.metrics, service.name()),
      sweep_timer_(parts.loop, Callback::to<&ServiceWatch::sweep>(this)),
      return_timer_(parts.loop, Callback::to<&ServiceWatch::look>(this)),
      look_(parts.loop, Callback::to<&ServiceWatch::look>(this)) {
  service_.observe(parts.loop, this);
}

ServiceWatch::~ServiceWatch() { service_.observe(parts_.loop, nullptr); }

void ServiceWatch::configure(const ServiceConfig& config) {
  std::optional<HealthCheckConfig> check = config.health_check;
  if (check && check->http && check->http->host.empty()) check->http->host = config.host;
  if (check && check->grpc && check->grpc->host.empty()) check->grpc->host = config.host;
  shadow_ = config.outlier_detection.mode == FilterMode::shadow;
  if (connector_ == nullptr && parts_.main != nullptr && parts_.connector != nullptr) {
    connector_ = std::make_unique<ServiceConnector>(parts_.loop, parts_.main->buffers, *parts_.connector);
  }
  if (connector_ != nullptr) static_cast<void>(connector_->use(config));  // the next check is secured so
  const bool checks = config.health_check && config.health_check->mode != FilterMode::disabled;
  if (!checks || connector_ == nullptr) {
    checker_.reset();
  } else if (checker_ == nullptr) {
    HealthCheckListener& listener = *this;
    checker_ = std::make_unique<HealthChecker>(*parts_.main, *connector_, service_, listener);
    checker_->configure(*check, config.protocol);
    checker_->set_endpoints(service_.endpoints());
  } else {
    checker_->configure(*check, config.protocol);
  }
  if (service_.sweeps()) {
    const Duration before = std::exchange(sweep_every_, service_.sweep_every());
    if (!sweep_timer_.armed() || sweep_every_ < before) sweep_timer_.arm(sweep_every_);
  } else {
    sweep_timer_.disarm();
  }
  look_.schedule();
}

void ServiceWatch::endpoints_changed() {
  if (checker_ != nullptr) checker_->set_endpoints(service_.endpoints());
  look_.schedule();
}

void ServiceWatch::stop() {
  checker_.reset();
  sweep_timer_.disarm();
  return_timer_.disarm();
  look_.cancel();
  states_.clear();
  panic_ = PanicReason::none;
}

void ServiceWatch::on_ejected() {
  if (checker_ != nullptr) checker_->reschedule();
  look_.schedule();
}

void ServiceWatch::on_checked(CheckResult result, bool changed) {
  metrics_.check(result);
  if (changed) look_.schedule();
}

void ServiceWatch::sweep() {
  const std::vector<OutlierFinding> found = service_.sweep(now());
  bool ejected = false;
  for (const OutlierFinding& finding : found) {
    metrics_.outlier(finding.sign, finding.verdict, shadow_);
    ejected = ejected || finding.verdict == OutlierVerdict::eject;
  }
  if (ejected) on_ejected();
  sweep_timer_.arm(service_.sweep_every());
}

// Compares what is with what was said last. An ejection that ends by time makes no event of its own: the timer waits for it.
void ServiceWatch::look() {
  const ServiceStatus status = service_.status(now());
  std::map<std::uint32_t, std::string_view> states;
  MonotonicTime next = kNever;
  for (const EndpointStatus& endpoint : status.endpoints) {
    states.emplace(endpoint.id, endpoint.state);
    if (endpoint.returns_in > Duration(0)) next = std::min(next, now() + endpoint.returns_in);
    const auto before = states_.find(endpoint.id);
    const std::string_view was = before == states_.end() ? std::string_view("usable") : before->second;
    if (was != endpoint.state) say(endpoint, was);
  }
  states_ = std::move(states);
  return_timer_.arm_at(next);
  say_panic(status.panic, status);
}

void ServiceWatch::say(const EndpointStatus& endpoint, std::string_view before) {
  if (parts_.log == nullptr) return;
  const std::string_view service = service_.name();
  Log& log = *parts_.log;
  if (endpoint.state == "usable") {
    log.info("an endpoint is usable again", {{"service", service}, {"endpoint", endpoint.address}, {"was", before}});
  } else if (endpoint.state == "unhealthy" || endpoint.state == "would_be_unhealthy") {
    log.warning("an endpoint fails its health checks", {{"service", service},
                                                        {"endpoint", endpoint.address},
                                                        {"state", endpoint.state},
                                                        {"last_check", to_word(endpoint.health.last)},
                                                        {"status", endpoint.health.last_status},
                                                        {"failed_in_a_row", endpoint.health.in_a_row}});
  } else {
    log.warning("an endpoint is ejected", {{"service", service},
                                           {"endpoint", endpoint.address},
                                           {"state", endpoint.state},
                                           {"sign", endpoint.ejected_for},
                                           {"for_seconds", endpoint.returns_in},
                                           {"ejections_in_a_row", endpoint.ejections}});
  }
}

void ServiceWatch::say_panic(PanicReason panic, const ServiceStatus& status) {
  const PanicReason before = std::exchange(panic_, panic);
  if (before == panic) return;
  if (before == PanicReason::none) panic_began_ = now();
  if (parts_.log == nullptr) return;
  if (panic == PanicReason::none) {
    parts_.log->info("enough endpoints are usable again: the others are left out as they should be",
                     {{"service", service_.name()}, {"lasted_seconds", now() - panic_began_}});
    return;
  }
  std::size_t usable = 0;
  for (const EndpointStatus& endpoint : status.endpoints) usable += endpoint.state == "usable" || endpoint.state.substr(0, 6) == "would_";
  parts_.log->warning(
      "too few endpoints are usable: all of them are used",
      {{"service", service_.name()}, {"reason", to_word(panic)}, {"usable", usable}, {"endpoints", status.endpoints.size()}});
}

}  // namespace weir
