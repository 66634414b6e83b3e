// The metric families of the chain: what metered and Decisions count, in one place with their label names.
// Constants; handles are resolved when chains are built.
// Nothing else in the chain or in a filter declares a family.
#pragma once

#include "proxy/metrics/metrics.h"

namespace weir {

inline const MetricFamily& filter_requests_family() {
  static const MetricFamily family{"weir_filter_requests_total",
                                   "Calls that a filter (or the upstream) answered, by how they ended",
                                   MetricKind::counter,
                                   {"service", "policy", "filter", "outcome"}};
  return family;
}

inline const MetricFamily& filter_duration_family() {
  static const MetricFamily family{"weir_filter_duration_seconds",
                                   "From a filter's start to the end of its answer",
                                   MetricKind::histogram,
                                   {"service", "policy", "filter"}};
  return family;
}

inline const MetricFamily& filter_decisions_family() {
  static const MetricFamily family{"weir_filter_decisions_total",
                                   "What filters did, or in shadow mode would have done, and why",
                                   MetricKind::counter,
                                   {"service", "policy", "filter", "mode", "decision", "reason"}};
  return family;
}

}  // namespace weir
