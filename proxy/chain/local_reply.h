// Local replies: turns a Failure into the answer that weir gives itself: status, body, Retry-After, Proxy-Status (RFC 9209). A gRPC call
// is answered in gRPC: grpc-status, grpc-message and grpc-retry-pushback-ms in a head that nothing follows.
// Filters never write HTTP replies; the exchange calls this once, for the failure that reached it.
// The head and body live in the exchange's arena; nothing is kept.
#pragma once

#include "proxy/chain/exchange_context.h"
#include "proxy/chain/failure.h"

namespace weir {

struct LocalReply {
  ResponseHead* head = nullptr;
  std::string_view body;  // short text ending in a line feed; empty for HEAD and gRPC
};

LocalReply make_local_reply(ExchangeContext& exchange, const Failure& failure);
// What another weir said in its Proxy-Status: the kind of its failure; none when the answer is not a weir's own. So that a hop
// does not repeat what the hop below has refused.
FailureKind kind_of_local_reply(const ResponseHead& head);
// For requests that never became an exchange (framing rules): status and rule.
LocalReply make_local_reply(Arena& arena, int status, std::string_view proxy_status_error, std::string_view detail);

}  // namespace weir
