// circuit_breaker: refuses calls to a service that fails or is slow, and probes it until it has recovered.
// The StateStore owns the state, which all workers share; the chain owns the link, an AdmissionLink like any other.
// It never judges an endpoint (that is outlier detection) and never repeats a call.
#pragma once

#include "config/section.h"
#include "filters/circuit_breaker/circuit_breaker_policy.h"
#include "proxy/chain/admission_link.h"
#include "proxy/chain/filter.h"

namespace weir {

const config::Section<CircuitBreakerConfig>& circuit_breaker_section();
const FilterFactory& circuit_breaker_filter();

// What StateStore::visit() finds for a breaker; admin reads it and may give it orders. Any thread.
class CircuitBreakerState final : public SharedPolicy {
 public:
  explicit CircuitBreakerState(const CircuitBreakerConfig& config);
  void set_config(const CircuitBreakerConfig& config);
  void set_control(MonotonicTime now, CircuitBreakerPolicy::Control control);
  CircuitBreakerPolicy::View view(MonotonicTime now);
};

}  // namespace weir
