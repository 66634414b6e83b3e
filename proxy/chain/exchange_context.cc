#include "proxy/chain/exchange_context.h"

namespace weir {

void ExchangeContext::read_grpc() {
  grpc = is_grpc(head);
  if (!grpc) return;
  if (const auto timeout = parse_grpc_timeout(head.headers.value(HeaderId::grpc_timeout))) client_deadline = started + *timeout;
}

AttemptRecord& ExchangeContext::add_attempt(std::string_view endpoint) {
  auto* record = arena.make<AttemptRecord>();
  record->endpoint = endpoint;
  record->started = now();
  (last_attempt == nullptr ? first_attempt : last_attempt->next) = record;
  last_attempt = record;
  ++attempts;
  return *record;
}

void ExchangeContext::add_decision(const LinkIdentity& by, std::string_view decision, std::string_view reason) {
  auto* record = arena.make<DecisionRecord>();
  *record = DecisionRecord{decisions, &by, decision, reason, now()};
  decisions = record;
  decided = true;
}

}  // namespace weir
