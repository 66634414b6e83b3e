// GateLink: the admission link of policies that do not care what becomes of the calls they admit: rate limit, load shedding.
// It borrows its policy as AdmissionLink does; an admitted request goes on without an object of its own.
// It never records an outcome: the policy's record() is not called.
#pragma once

#include <utility>

#include "proxy/chain/admission_link.h"

namespace weir {

class GateLink : public AdmissionLink {
 public:
  using AdmissionLink::AdmissionLink;

  CallPtr start(Request&& request, Caller& caller) override {
    ExchangeContext& exchange = *request.exchange;
    const Admission admission = policy().admit(exchange.now(), facts_of(request), random());
    DCHECK(admission.verdict != Admission::Verdict::wait);
    if (admission.verdict == Admission::Verdict::admit) return next().start(std::move(request), caller);
    if (!shadow()) return reject(exchange, caller, admission);
    decisions().note(exchange, "would_reject", admission.reason);
    return next().start(std::move(request), caller);
  }
};

}  // namespace weir
