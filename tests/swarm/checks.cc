#include "tests/swarm/checks.h"

#include <algorithm>
#include <functional>

#include "proxy/base/text.h"
#include "proxy/server/state_metrics.h"

namespace weir::test {
namespace {

using Labels = std::map<std::string, std::string>;

std::string say(double value) { return concat(static_cast<std::int64_t>(value)); }

// The most that any configuration of the plan allows; nothing where one of them allows it without a limit, or has no such thing.
template <class Find>
std::optional<std::uint32_t> most(const Plan& plan, const Find& find) {
  std::uint32_t least_upper = 0;
  for (const ConfigPlan* config : plan.configs()) {
    const std::optional<std::uint32_t> one = find(*config);
    if (!one) return std::nullopt;
    least_upper = std::max(least_upper, *one);
  }
  return least_upper;
}

const FilterPlan* find_filter_plan(const ConfigPlan& config, const std::string& policy, const std::string& filter) {
  const auto found = config.policies.find(policy);
  if (found == config.policies.end()) return nullptr;
  for (const FilterPlan& one : found->second.filters) {
    if (one.name == filter) return &one;
  }
  return nullptr;
}

void watch_limit_states(const Evidence& evidence) {
  const Plan& plan = evidence.plan;
  evidence.world.server->states().visit([&](const StateKey& key, FilterState& state) {
    std::vector<StateFact> facts;
    state.describe(evidence.world.sim.now(), facts);
    const auto limit = most(plan, [&](const ConfigPlan& config) -> std::optional<std::uint32_t> {
      const FilterPlan* filter = find_filter_plan(config, key.policy, key.filter);
      if (filter == nullptr || filter->kind != "concurrency_limit") return std::nullopt;
      return filter->limit != 0 ? filter->limit : 13;
    });
    const auto queue = most(plan, [&](const ConfigPlan& config) -> std::optional<std::uint32_t> {
      const FilterPlan* filter = find_filter_plan(config, key.policy, key.filter);
      if (filter == nullptr) return std::nullopt;
      return filter->queue;
    });
    for (const StateFact& fact : facts) {
      if (fact.name == "in_flight" && limit && fact.value > *limit) {
        evidence.broken(concat(key.text(), " lets ", say(fact.value), " through at once, its limit is at most ", *limit));
      }
      if (fact.name == "queue_length" && queue && fact.value > *queue) {
        evidence.broken(concat(key.text(), " lets ", say(fact.value), " wait, its queue is at most ", *queue));
      }
    }
  });
}

void watch_service_limits(const Evidence& evidence) {
  for (const ServiceStatus& service : evidence.world.server->directory().status()) {
    const auto upper = [&](std::uint32_t ServicePlan::*member) {
      return most(evidence.plan, [&](const ConfigPlan& config) -> std::optional<std::uint32_t> {
        const auto found = config.services.find(service.name);
        if (found == config.services.end() || !found->second.limits_mode.empty() || found->second.*member == 0) return std::nullopt;
        return found->second.*member;
      });
    };
    const auto check = [&](const char* what, const LimitStatus& status, std::uint32_t ServicePlan::*member) {
      const auto limit = upper(member);
      if (limit && status.used > *limit) evidence.broken(concat(service.name, " uses ", status.used, " ", what, ", its limit is ", *limit));
    };
    check("connections", service.connections, &ServicePlan::connections);
    check("pending places", service.pending, &ServicePlan::pending);
    check("requests", service.requests, &ServicePlan::requests);
  }
}

double begun(const Evidence& evidence) {
  double sum = 0;
  for (const auto& worker : evidence.world.server->workers()) sum += static_cast<double>(worker->status().exchanges);
  return sum;
}

}  // namespace

double Evidence::sum(std::string_view family, const Labels& labels) const {
  double sum = 0;
  for (const MetricsRegistry::Snapshot& one : metrics) {
    if (one.name != family) continue;
    for (const MetricsRegistry::Sample& sample : one.samples) {
      const bool wanted = std::all_of(labels.begin(), labels.end(), [&](const auto& label) {
        for (std::size_t i = 0; i < one.label_names.size(); ++i) {
          if (one.label_names[i] == label.first) return sample.labels[i] == label.second;
        }
        return false;
      });
      if (!wanted) continue;
      sum += sample.value;
      for (const std::uint64_t count : sample.buckets) sum += static_cast<double>(count);
    }
  }
  return sum;
}

void watch(const Evidence& evidence) {
  watch_limit_states(evidence);
  watch_service_limits(evidence);
  if (evidence.metrics.empty()) return;
  const double ended = evidence.sum("weir_requests_total");
  const double in_flight = evidence.sum("weir_in_flight");
  if (begun(evidence) != ended + in_flight) {
    evidence.broken(
        concat(say(begun(evidence)), " exchanges were begun, ", say(ended), " have ended and ", say(in_flight), " are in flight"));
  }
}

void check_rest(const Evidence& evidence) {
  for (const char* gauge :
       {"weir_in_flight", "weir_attempts_in_flight", "weir_upstream_pending", "weir_upstream_connections", "weir_limit_in_flight",
        "weir_queue_length", "weir_breaker_probes_out", "weir_upstream_limit_used", "weir_listener_connections", "weir_tls_handshakes"}) {
    for (const MetricsRegistry::Snapshot& one : evidence.metrics) {
      if (one.name != gauge) continue;
      for (const MetricsRegistry::Sample& sample : one.samples) {
        std::string labels;
        for (const std::string& label : sample.labels) labels += label + " ";
        if (sample.value != 0) evidence.broken(concat("at rest ", gauge, " of ", labels, "is ", say(sample.value)));
      }
    }
  }
  World& world = evidence.world;
  for (const auto& worker : world.server->workers()) {
    const WorkerStatus status = worker->status();
    const auto zero = [&](const char* what, std::size_t value) {
      if (value != 0) evidence.broken(concat("at rest a worker has ", value, " ", what));
    };
    zero("arenas in use", worker->arenas_in_use());
    zero("chunks in use", worker->chunks_in_use());
    zero("splice pipes in use", worker->splice_pipes_in_use());
    zero("exchanges in flight", status.inbound_in_flight + status.outbound_in_flight);
    zero("client connections", status.inbound_connections + status.outbound_connections);
    zero("timers or tasks pending", world.sim.pending(static_cast<SimLoop&>(worker->loop())));
    if (!world.finished && worker->snapshots() != 1) evidence.broken(concat("at rest a worker has ", worker->snapshots(), " snapshots"));
  }
  for (const ServiceStatus& service : world.server->directory().status()) {
    for (const EndpointStatus& one : service.endpoints) {
      if (one.active != 0) evidence.broken(concat("at rest endpoint ", one.address, " has ", one.active, " active requests"));
    }
  }
  if (world.platform.net.open_streams() != 0) evidence.broken(concat("at rest ", world.platform.net.open_streams(), " streams are open"));
}

}  // namespace weir::test
