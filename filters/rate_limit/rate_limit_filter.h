// rate_limit: so many requests a second, in all or for each key; what is over is answered 429 with the time to come back.
// The StateStore owns the state, which all workers share; the chain owns the link, a GateLink like any other.
// It never delays a request.
#pragma once

#include "config/section.h"
#include "filters/rate_limit/rate_limit_policy.h"
#include "proxy/chain/admission_link.h"
#include "proxy/chain/filter.h"

namespace weir {

const config::Section<RateLimitConfig>& rate_limit_section();
const FilterFactory& rate_limit_filter();

class RateLimitState final : public SharedPolicy {
 public:
  RateLimitState(const RateLimitConfig& config, std::uint64_t seed);
  void set_config(const RateLimitConfig& config);
};

}  // namespace weir
