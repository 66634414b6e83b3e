// TlsWatch: what main does about TLS as time passes: it changes the keys of session tickets, and says in time when certificates expire.
// The Server owns it, on main's loop; contexts share the ticket keys, which stay over reloads.
// It never reads a file: certificates that change come with a new configuration.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "config/schema/config.h"
#include "proxy/base/log.h"
#include "proxy/metrics/metrics.h"
#include "proxy/net/tls_tickets.h"
#include "proxy/runtime/event_loop.h"

namespace weir {

class TlsWatch {
 public:
  static constexpr Duration kWarnBefore = std::chrono::hours(14 * 24);
  static constexpr int kPeriodsBetweenWarnings = 12;  // of TlsTicketKeys::kPeriod

  TlsWatch(EventLoop& loop, Log& log);

  // Equips the contexts of a configuration that is about to be served, and looks at their certificates.
  void apply(const Config& config);
  void stop() { timer_.disarm(); }
  void collect(std::vector<MetricsRegistry::Snapshot>& rows) const;

 private:
  struct Certificate {
    std::string listener, service;  // one of the two
    std::string file;
    WallTime expires;
  };
  void add(const std::string& listener, const std::string& service, const std::string& file, WallTime expires);
  void on_period();
  void warn() const;

  EventLoop& loop_;
  Log& log_;
  std::shared_ptr<TlsTicketKeys> tickets_;  // made when they are first needed
  std::vector<Certificate> certificates_;
  int periods_ = 0;
  Timer timer_;
};

}  // namespace weir
