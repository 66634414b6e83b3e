// AdminServer: the two admin listeners, served on main's loop by weir's own HTTP codec; what they say is in admin_pages.h.
// The Server owns it. A new address is opened before a configuration is taken, the old one closed after: a reload may move them.
// What is being answered on an old one (the reload's own answer, say) is answered first.
// It never runs on a worker, and never holds more than a few connections.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/schema/config.h"
#include "proxy/http/codec.h"
#include "proxy/metrics/metrics.h"
#include "proxy/server/admin_pages.h"
#include "proxy/server/platform.h"

namespace weir {

class AdminListener;

class AdminServer {
 public:
  static constexpr std::uint32_t kMaxConnections = 64;
  static constexpr Duration kSweep = std::chrono::seconds(1);  // how often a listener that is gone is looked after

  AdminServer(Platform& platform, MetricsRegistry& metrics, Server& server);
  ~AdminServer();
  AdminServer(const AdminServer&) = delete;
  AdminServer& operator=(const AdminServer&) = delete;

  Result<void> prepare(const AdminConfig& config);  // opens what is new; changes nothing that is served
  void commit();                                    // serves what was prepared, closes what is gone
  std::optional<Address> address(bool changes) const;

 private:
  struct Slot {
    std::string wanted;  // the configured address; empty: none
    std::unique_ptr<AdminListener> listener;
  };
  void sweep();
  Result<Slot> open(const std::optional<Address>& at, bool changes, Slot& present);

  Platform& platform_;
  AdminPages pages_;
  BufferPool buffers_;
  ArenaPool arenas_;
  Random random_;
  WorkerContext context_;
  Slot slots_[2];  // read-only, full
  std::optional<Slot> next_[2];
  std::vector<std::unique_ptr<AdminListener>> leaving_;  // until their connections are closed
  Timer sweep_;
};

}  // namespace weir
