#include "proxy/server/route_table.h"

#include <algorithm>

#include "proxy/server/request_target.h"
#include "proxy/upstream/directory.h"
#include "proxy/upstream/worker_services.h"

namespace weir {
namespace {

std::string lower_case(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return out;
}

}  // namespace

CompiledEdits CompiledEdits::compile(const HeaderEdits& edits) {
  CompiledEdits made;
  for (const auto& [name, value] : edits.set) {
    made.set.push_back({lower_case(name), value});
  }
  for (const std::string& name : edits.remove) made.remove.push_back(lower_case(name));
  return made;
}

void CompiledEdits::apply(Headers& headers) const {
  for (const std::string& name : remove) headers.remove(name);
  for (const Set& one : set) {
    headers.remove(one.name);
    headers.add(one.name, one.value);  // a copy: a head outlives the configuration that it was edited by
  }
}

std::size_t first_match(const std::vector<RouteConfig>& routes, const RequestHead& head) {
  std::size_t index = 0;
  while (index < routes.size() && !routes[index].match.unconditional() && !routes[index].match.matches(head)) ++index;
  return index;
}

void edit_request(const RouteConfig& route, const CompiledEdits& edits, Arena& arena, RequestHead& head) {
  if (route.rewrite_prefix && head.target != "*") {
    head.target = rewrite_prefix(arena, head.target, route.match.path_prefix, *route.rewrite_prefix);
  }
  edits.apply(head.headers);
}

const RouteTarget& Route::pick(std::uint64_t hash) const {
  if (targets.size() == 1) return targets.front();
  // Mixed, so that a split does not follow the same bits of the id as ramps and samples do.
  const std::uint64_t mixed = ((hash ^ 0x73706c6974U) * 0x9e3779b97f4a7c15U) >> 16;
  const std::uint64_t point = mixed % targets.back().weight_end;
  for (const RouteTarget& target : targets) {
    if (point < target.weight_end) return target;
  }
  return targets.back();
}

RouteTable::RouteTable(const ListenerConfig& listener, const RouteTableParts& parts)
    : listener_(listener), unrouted_(parts.worker.metrics, listener.name, "", "", "") {
  routes_.reserve(listener.routes.size());
  for (const RouteConfig& config : listener.routes) {
    Route& route = routes_.emplace_back();
    route.config = &config;
    route.request_edits = CompiledEdits::compile(config.request_headers);
    route.response_edits = CompiledEdits::compile(config.response_headers);
    std::uint64_t weight = 0;
    for (const SplitTarget& split : config.targets) {
      if (split.weight == 0) continue;
      RouteTarget& target = route.targets.emplace_back();
      target.service = split.service;
      target.policy = &parts.config.policy_for(listener, config, split.service);
      target.weight_end = weight += split.weight;
      Service* service = parts.directory.find(split.service);
      CHECK(service != nullptr);  // the loader has checked every name
      const ChainNames names{split.service, target.policy->name, config.name, listener.name};
      target.chain = Chain::build(*target.policy, names, parts.worker, parts.states, &service->retry_budget(), parts.pressure,
                                  parts.services.link(split.service));
      target.metrics = RequestMetrics(parts.worker.metrics, listener.name, config.name, split.service, target.policy->name);
    }
    if (route.targets.empty()) {
      CHECK(config.respond.has_value());
      route.direct_edits = CompiledEdits::compile({config.respond->headers, {}});
      route.direct_metrics = RequestMetrics(parts.worker.metrics, listener.name, config.name, "", "");
    }
  }
}

const Route* RouteTable::match(const RequestHead& head) const {
  const std::size_t index = first_match(listener_.routes, head);
  return index < routes_.size() ? &routes_[index] : nullptr;
}

}  // namespace weir
