// timeout: bounds how long an exchange, a try, or a silence may last: `total`, `response_headers`, `idle`.
// One call a request, one timer at a time where it can be; the chain owns the link, the exchange the call.
// It never blames an upstream for a client that stalls or does not read, and never cuts a tunnel by `total`.
//
// total: from the complete request head to the end of the answer; it also becomes the request's deadline, which shrinks inward. A gRPC
// client's own grpc-timeout shortens it; a deadline of the client's that passes is nobody's failure (deadline_exceeded).
// response_headers: from the start of this try to the response head. A body that comes later moves it with each byte on the way to the
// upstream; while the client owes the next one, the client's own timer runs and this one does not. Left to total where total would come
// first.
// idle: between bytes in either direction, while it is the upstream's turn. Re-armed lazily: one look per idle period.
// Once the response head was told, expiry is an on_end with a Failure: what the client has is cut off visibly.
#pragma once

#include <optional>

#include "config/section.h"
#include "proxy/chain/filter.h"
#include "proxy/chain/filter_call.h"

namespace weir {

struct TimeoutConfig {
  std::optional<Duration> total;
  std::optional<Duration> response_headers;
  std::optional<Duration> idle;
};

const config::Section<TimeoutConfig>& timeout_section();
const FilterFactory& timeout_filter();

class TimeoutLink final : public Link {
 public:
  TimeoutLink(const TimeoutConfig& config, const LinkContext& context, Link& next);
  CallPtr start(Request&& request, Caller& caller) override;

 private:
  friend class TimeoutCall;
  MonotonicTime total_at(const ExchangeContext& exchange) const;  // only with a total
  FailureKind total_kind(const ExchangeContext& exchange) const;  // what it is when that time has come
  const TimeoutConfig& config_;
  const LinkIdentity& identity_;
  Decisions& decisions_;
  Link& next_;
  bool shadow_;
};

}  // namespace weir
