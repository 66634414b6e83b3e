// The invariants: each an independent checker that compares what the proxy says of itself with what its clients and upstreams saw.
// A run calls them: `watch` now and then while everything is under way, the others once, when all has come to rest.
// They add sentences to `problems` and change nothing.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/world.h"
#include "tests/swarm/ledger.h"

namespace weir::test {

struct Evidence {
  const Plan& plan;
  const Ledger& ledger;
  World& world;
  std::vector<nlohmann::json> lines;               // of the access log
  std::vector<MetricsRegistry::Snapshot> metrics;  // at rest
  Duration lasted{0};                              // until then
  std::vector<std::string>& problems;

  void broken(const std::string& what) const { problems.push_back(what); }
  // The sum of a family's samples that have all of these labels; of a histogram, its count.
  double sum(std::string_view family, const std::map<std::string, std::string>& labels = {}) const;
};

// While it runs: limits are never exceeded, and what was begun has ended or is in flight.
void watch(const Evidence& evidence);

// At rest: nothing is held any more, anywhere.
void check_rest(const Evidence& evidence);
// One outcome an exchange: metrics, access log and clients tell the same story.
void check_sums(const Evidence& evidence);
void check_stories(const Evidence& evidence);
// Tries, budgets and deadlines within what the configuration allows.
void check_bounds(const Evidence& evidence);
// Each filter: what came in went on, was refused, or was dropped.
void check_filters(const Evidence& evidence);

}  // namespace weir::test
