#include "proxy/chain/exchange_context.h"

namespace weir {

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
