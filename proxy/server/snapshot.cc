#include "proxy/server/snapshot.h"

namespace weir {

Snapshot::Snapshot(std::shared_ptr<const Config> config, std::uint64_t generation, const RouteTableParts& parts, Callback unused)
    : config_(std::move(config)), generation_(generation), unused_(unused) {
  for (const ListenerConfig& listener : config_->listeners) tables_.push_back(std::make_unique<RouteTable>(listener, parts));
}

const RouteTable* Snapshot::table(std::string_view listener) const {
  for (const auto& table : tables_) {
    if (table->listener().name == listener) return table.get();
  }
  return nullptr;
}

}  // namespace weir
