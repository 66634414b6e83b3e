// State metrics: what filter states say of themselves (breaker state, limits, queues), as metric rows at scrape.
// A free function; main calls it on its own thread, off the data path.
// It knows no filter: every state describes itself in StateFacts.
#pragma once

#include <vector>

#include "proxy/chain/chain.h"
#include "proxy/metrics/metrics.h"

namespace weir {

void collect_states(const StateStore& states, MonotonicTime now, std::vector<MetricsRegistry::Snapshot>& rows);

}  // namespace weir
