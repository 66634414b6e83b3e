#include "proxy/upstream/worker_services.h"

#include "proxy/base/check.h"
#include "proxy/upstream/upstream_link.h"

namespace weir {

WorkerServices::WorkerServices(WorkerContext& worker, Connector& connector, ServiceDirectory& directory, const ClientMakers& makers)
    : worker_(worker), connector_(connector), directory_(directory), makers_(makers) {}

WorkerServices::~WorkerServices() = default;

Link& WorkerServices::link(std::string_view service) {
  const auto found = links_.find(service);
  if (found != links_.end()) return *found->second;
  Service* known = directory_.find(service);
  CHECK(known != nullptr);
  auto made = std::make_unique<UpstreamLink>(worker_, connector_, *known, makers_);
  if (draining_) made->pool().drain();
  return *links_.emplace(std::string(service), std::move(made)).first->second;
}

void WorkerServices::drain() {
  draining_ = true;
  for (const auto& [name, link] : links_) link->pool().drain();
}

std::size_t WorkerServices::connections() const {
  std::size_t count = 0;
  for (const auto& [name, link] : links_) count += link->pool().connections();
  return count;
}

}  // namespace weir
