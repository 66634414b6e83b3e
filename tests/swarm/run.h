// run(): plays a plan in a simulated world and checks it against the invariants; the outcome is a value.
// A run owns its world, its actors and its ledger; nothing outlives it but the Outcome.
// Equal plans give equal outcomes, hash included.
#pragma once

#include <string>
#include <vector>

#include "tests/swarm/plan.h"

namespace weir::test {

struct Outcome {
  std::uint64_t hash = 0;
  std::uint64_t events = 0;
  std::uint64_t exchanges = 0;
  std::uint64_t attempts = 0;
  std::vector<std::string> problems;  // empty: every invariant held
  std::vector<std::string> trail;     // what happened, when it was asked for
  bool ok() const { return problems.empty(); }
};

Outcome run(const Plan& plan, bool keep_trail = false);

}  // namespace weir::test
