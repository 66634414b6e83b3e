#include "proxy/upstream/directory.h"

#include "proxy/metrics/metrics.h"
#include "proxy/upstream/upstream_metrics.h"

namespace weir {

struct ServiceDirectory::Entry final : DiscoveryListener {
  Entry(ServiceDirectory& directory, const std::string& name)
      : service(name, directory.last_endpoint_id_, directory.random_.next()),
        discovery(directory.loop_, directory.resolver_, directory.random_, *this) {}
  void on_endpoints(const std::vector<Service::FoundEndpoint>& endpoints) override { service.set_endpoints(endpoints); }

  Service service;
  Discovery discovery;
  bool configured = false;  // by the present configuration
};

ServiceDirectory::ServiceDirectory(EventLoop& main_loop, NameResolver& resolver, std::uint64_t seed)
    : loop_(main_loop), resolver_(resolver), random_(seed) {}

ServiceDirectory::~ServiceDirectory() = default;

ServiceDirectory::Entry& ServiceDirectory::obtain(const std::string& name) {
  const std::lock_guard lock(mutex_);
  auto& entry = entries_[name];
  if (entry == nullptr) entry = std::make_unique<Entry>(*this, name);
  entry->configured = true;
  return *entry;
}

void ServiceDirectory::apply(const std::map<std::string, ServiceConfig>& services, const UpstreamOptions& options) {
  for (const auto& [name, config] : services) {
    Entry& entry = obtain(name);
    entry.service.configure(config, options);
    entry.discovery.configure(config.endpoints, config.dns);
  }
  const std::lock_guard lock(mutex_);
  for (auto& [name, entry] : entries_) {
    if (!entry->configured || services.count(name) != 0) continue;
    entry->configured = false;
    entry->discovery.stop();
    entry->service.set_removed();
  }
}

Service* ServiceDirectory::find(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(name);
  return found == entries_.end() || !found->second->configured ? nullptr : &found->second->service;
}

std::vector<ServiceStatus> ServiceDirectory::status() const {
  std::vector<ServiceStatus> all;
  const std::lock_guard lock(mutex_);
  for (const auto& [name, entry] : entries_) {
    if (!entry->configured) continue;
    all.push_back(entry->service.status(loop_.now()));
    all.back().discovery_error = entry->discovery.error();
  }
  return all;
}

std::shared_ptr<void> ServiceDirectory::publish_metrics(MetricsRegistry& registry) {
  return registry.add_collector([this](std::vector<MetricsRegistry::Snapshot>& out) { collect_services(status(), out); });
}

}  // namespace weir
