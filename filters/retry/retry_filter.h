// retry: starts the next link again when a try failed for a configured cause: the link between the pure policy, the kept body and the
// budget of the service. The chain owns the link, the exchange the call, which owns the running try.
// It never repeats what was told outward, what weir rejected, or what may have been done when doing it twice would matter.
#pragma once

#include "config/section.h"
#include "filters/retry/retry_policy.h"
#include "proxy/chain/filter.h"

namespace weir {

const config::Section<RetryConfig>& retry_section();
const FilterFactory& retry_filter();

class RetryLink final : public Link {
 public:
  RetryLink(const RetryConfig& config, const LinkContext& context, Link& next);
  CallPtr start(Request&& request, Caller& caller) override;

 private:
  friend class RetryCall;
  friend class ShadowRetryCall;
  const RetryConfig& config_;
  Decisions& decisions_;
  RetryBudget* budget_;
  Link& next_;
  bool shadow_;
};

}  // namespace weir
