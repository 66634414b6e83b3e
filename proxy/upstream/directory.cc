#include "proxy/upstream/directory.h"

#include "proxy/metrics/metrics.h"
#include "proxy/upstream/service_watch.h"
#include "proxy/upstream/upstream_metrics.h"

namespace weir {

struct ServiceDirectory::Prober {
  Prober(EventLoop& loop, std::uint64_t seed, MetricsShard& metrics) : random(seed), context{loop, buffers, arenas, random, metrics, 0} {}
  BufferPool buffers;
  ArenaPool arenas;
  Random random;
  WorkerContext context;
};

struct ServiceDirectory::Entry final : DiscoveryListener {
  Entry(ServiceDirectory& directory, const std::string& name)
      : loop(directory.loop_),
        service(name, directory.last_endpoint_id_, directory.random_.next()),
        watch({directory.loop_, directory.prober_ == nullptr ? nullptr : &directory.prober_->context, directory.parts_.connector,
               directory.parts_.metrics, directory.parts_.log},
              service),
        discovery(directory.loop_, directory.resolver_, directory.random_, directory.tools_, name, *this) {}
  void on_endpoints(const std::vector<Service::FoundEndpoint>& endpoints) override {
    service.set_endpoints(endpoints, loop.now());
    watch.endpoints_changed();
  }

  EventLoop& loop;
  Service service;
  ServiceWatch watch;
  Discovery discovery;
  bool configured = false;  // by the present configuration
};

ServiceDirectory::ServiceDirectory(EventLoop& main_loop, NameResolver& resolver, std::uint64_t seed, const DirectoryParts& parts)
    : loop_(main_loop), resolver_(resolver), random_(seed), parts_(parts) {
  if (parts.connector != nullptr && parts.metrics != nullptr) prober_ = std::make_unique<Prober>(main_loop, random_.next(), *parts.metrics);
}

ServiceDirectory::~ServiceDirectory() {
  entries_.clear();
  loop_.settle();  // what probes dropped is freed before their memory
}

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
    entry.watch.configure(config);
    entry.discovery.configure(config.endpoints, config.dns);
  }
  const std::lock_guard lock(mutex_);
  for (auto& [name, entry] : entries_) {
    if (!entry->configured || services.count(name) != 0) continue;
    entry->configured = false;
    entry->discovery.stop();
    entry->watch.stop();
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
    all.back().discovery = entry->discovery.status();
  }
  return all;
}

std::shared_ptr<void> ServiceDirectory::publish_metrics(MetricsRegistry& registry) {
  return registry.add_collector([this](std::vector<MetricsRegistry::Snapshot>& out) { collect_services(status(), out); });
}

}  // namespace weir
