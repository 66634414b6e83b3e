#include "proxy/server/state_metrics.h"

#include <map>

#include "proxy/base/text.h"

namespace weir {
namespace {

struct KnownFact {
  std::string_view fact;
  const char* name;
  const char* help;
};

// Those of the metrics table in the design by their names there; the rest as weir_<fact>.
constexpr KnownFact kKnown[] = {
    {"breaker_state", "weir_breaker_state", "Circuit breakers: 0 closed, 1 open, 2 half-open, 3 recovering."},
    {"breaker_control", "weir_breaker_control", "What an operator ordered: 0 automatic, 1 forced open, 2 forced closed, 3 disabled."},
    {"breaker_transitions_total", "weir_breaker_transitions_total", "How often a breaker went into each state."},
    {"concurrency_limit", "weir_concurrency_limit", "The present limit of calls at once."},
    {"in_flight", "weir_limit_in_flight", "Calls that hold a permit of a concurrency limit."},
    {"queue_length", "weir_queue_length", "Calls that wait for a permit."},
    {"queue_grants_total", "weir_queue_grants_total", "Calls that waited and were let in."},
    {"queue_timeouts_total", "weir_queue_timeouts_total", "Calls that waited too long."},
    {"rate_limit_keys", "weir_rate_limit_keys", "Keys that a keyed rate limit keeps a bucket for."},
};

constexpr std::size_t kKeyLabels = 5;

bool is_total(std::string_view name) { return name.size() > 6 && name.substr(name.size() - 6) == "_total"; }

MetricsRegistry::Snapshot empty_row(const StateFact& fact) {
  MetricsRegistry::Snapshot row;
  row.name = concat("weir_", fact.name);
  row.help = "Of a filter's host-wide state.";
  for (const KnownFact& known : kKnown) {
    if (known.fact != fact.name) continue;
    row.name = known.name;
    row.help = known.help;
  }
  row.kind = is_total(fact.name) ? MetricKind::counter : MetricKind::gauge;
  row.label_names = {"service", "policy", "filter", "listener", "route"};
  if (is_total(fact.name) && !fact.text.empty()) row.label_names.push_back("state");  // counted apart by that word
  return row;
}

}  // namespace

void collect_states(const StateStore& states, MonotonicTime now, std::vector<MetricsRegistry::Snapshot>& rows) {
  std::map<std::string, MetricsRegistry::Snapshot> by_name;
  states.visit([&](const StateKey& key, FilterState& state) {
    std::vector<StateFact> facts;
    state.describe(now, facts);
    for (const StateFact& fact : facts) {
      MetricsRegistry::Snapshot& row = by_name.emplace(std::string(fact.name), empty_row(fact)).first->second;
      MetricsRegistry::Sample sample;
      sample.labels = {key.service, key.policy, key.filter, key.listener, key.route};
      if (row.label_names.size() > kKeyLabels) sample.labels.push_back(fact.text);
      sample.value = fact.value;
      row.samples.push_back(std::move(sample));
    }
  });
  for (auto& [name, row] : by_name) rows.push_back(std::move(row));
}

}  // namespace weir
