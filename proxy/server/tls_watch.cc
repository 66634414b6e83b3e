#include "proxy/server/tls_watch.h"

#include <algorithm>

namespace weir {

TlsWatch::TlsWatch(EventLoop& loop, Log& log) : loop_(loop), log_(log), timer_(loop, Callback::to<&TlsWatch::on_period>(this)) {}

void TlsWatch::apply(const Config& config) {
  certificates_.clear();
  for (const ListenerConfig& listener : config.listeners) {
    if (!listener.tls) continue;
    if (tickets_ == nullptr) tickets_ = std::make_shared<TlsTicketKeys>();
    const ListenerTlsConfig& tls = *listener.tls;
    tls.context->use_tickets(tickets_);
    const auto& identities = tls.context->settings().identities;
    for (std::size_t i = 0; i < identities.size(); ++i) {
      const std::string& file = tls.certificates.empty() ? tls.certificate : tls.certificates[i].certificate;
      add(listener.name, {}, file, identities[i]->facts().not_after);
    }
  }
  for (const auto& [name, service] : config.services) {
    if (!service.tls || service.tls->context->settings().identity == nullptr) continue;
    add({}, name, service.tls->certificate, service.tls->context->settings().identity->facts().not_after);
  }
  if (certificates_.empty()) return timer_.disarm();
  if (!timer_.armed()) timer_.arm(TlsTicketKeys::kPeriod);
  warn();
}

void TlsWatch::add(const std::string& listener, const std::string& service, const std::string& file, WallTime expires) {
  const auto same = [&](const Certificate& one) { return one.listener == listener && one.service == service && one.file == file; };
  if (std::none_of(certificates_.begin(), certificates_.end(), same)) certificates_.push_back({listener, service, file, expires});
}

void TlsWatch::on_period() {
  timer_.arm(TlsTicketKeys::kPeriod);
  if (tickets_ != nullptr) tickets_->rotate();
  if (++periods_ % kPeriodsBetweenWarnings == 0) warn();
}

void TlsWatch::warn() const {
  const WallTime now = loop_.wall_now();
  for (const Certificate& one : certificates_) {
    if (one.expires > now + kWarnBefore) continue;
    const bool of_listener = !one.listener.empty();
    const LogField whose(of_listener ? "listener" : "service", of_listener ? one.listener : one.service);
    const std::string expires = format_time(one.expires);
    if (one.expires <= now) {
      log_.error("a certificate has expired: peers will refuse it", {whose, {"file", one.file}, {"expired", expires}});
    } else {
      const auto days = std::chrono::duration_cast<std::chrono::hours>(one.expires - now).count() / 24;
      log_.warning("a certificate expires soon", {whose, {"file", one.file}, {"expires", expires}, {"days", days}});
    }
  }
}

void TlsWatch::collect(std::vector<MetricsRegistry::Snapshot>& rows) const {
  if (certificates_.empty()) return;
  MetricsRegistry::Snapshot row{"weir_tls_certificate_expiry_timestamp_seconds",
                                "When a certificate of weir's own expires.",
                                MetricKind::gauge,
                                {"listener", "service", "file"},
                                {}};
  for (const Certificate& one : certificates_) {
    auto& sample = row.samples.emplace_back();
    sample.labels = {one.listener, one.service, one.file};
    sample.value = static_cast<double>(one.expires.time_since_epoch().count()) * 1e-9;
  }
  rows.push_back(std::move(row));
}

}  // namespace weir
