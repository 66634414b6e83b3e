// ServiceDirectory: main's side of all services: makes them from the configuration, keeps their endpoints found, tells the workers.
// main owns it; it outlives every WorkerServices. apply() and status() are main's; find() is for any thread.
// It never touches a connection: those belong to the workers (worker_services.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/runtime/event_loop.h"
#include "proxy/runtime/name_resolver.h"
#include "proxy/upstream/discovery.h"
#include "proxy/upstream/service.h"

namespace weir {

class Connector;
class Log;
class MetricsRegistry;
class MetricsShard;

// What main's side of services needs beside loop and names; all outlive the directory.
struct DirectoryParts {
  Connector* connector = nullptr;   // on main's loop, for health checks; null: nothing is probed
  MetricsShard* metrics = nullptr;  // main's; null: nothing is probed nor counted
  Log* log = nullptr;               // null: nothing is said
};

class ServiceDirectory {
 public:
  ServiceDirectory(EventLoop& main_loop, NameResolver& resolver, std::uint64_t seed, const DirectoryParts& parts = {});
  ~ServiceDirectory();
  ServiceDirectory(const ServiceDirectory&) = delete;
  ServiceDirectory& operator=(const ServiceDirectory&) = delete;

  // What discovery may use beside the resolver; before the first apply().
  void equip(DiscoveryTools tools) { tools_ = std::move(tools); }

  // The services of a configuration. Those that stay keep their state, endpoints and connections and take the new parameters;
  // those that are gone serve the exchanges that still know them, and their idle connections close. To be called before the
  // workers build chains of that configuration.
  void apply(const std::map<std::string, ServiceConfig>& services, const UpstreamOptions& options = {});

  // Null when the configuration has no such service. Its retry budget is for Chain::build. A Service lives as long as the directory.
  Service* find(std::string_view name) const;

  std::vector<ServiceStatus> status() const;  // by name, for the admin page

  // weir_endpoints, weir_retry_budget_remaining and the limits are read at scrape, which must happen on main's thread.
  [[nodiscard]] std::shared_ptr<void> publish_metrics(MetricsRegistry& registry);

 private:
  struct Entry;
  struct Prober;  // the memory that probes use; empty until the first one
  Entry& obtain(const std::string& name);

  EventLoop& loop_;
  NameResolver& resolver_;
  Random random_;
  DiscoveryTools tools_;
  const DirectoryParts parts_;
  std::unique_ptr<Prober> prober_;
  std::atomic<std::uint32_t> last_endpoint_id_{0};
  mutable std::mutex mutex_;  // guards the map, which only main changes
  std::map<std::string, std::unique_ptr<Entry>, std::less<>> entries_;
};

}  // namespace weir
