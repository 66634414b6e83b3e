#include "proxy/chain/decisions.h"

#include "proxy/chain/chain_metrics.h"
#include "proxy/chain/exchange_context.h"

namespace weir {

Decisions::Decisions(const LinkIdentity& identity, MetricsShard* shard) : identity_(identity), shard_(shard) {}

void Decisions::note(ExchangeContext& exchange, std::string_view decision, std::string_view reason) {
  Slot& found = slot(decision, reason);
  ++found.count;
  found.counter.add();
  exchange.add_decision(identity_, decision, reason);
}

Decisions::Slot& Decisions::slot(std::string_view decision, std::string_view reason) {
  for (std::size_t i = 0; i < used_; ++i) {  // words are static: the address usually settles it
    if (slots_[i].decision.data() == decision.data() && slots_[i].reason.data() == reason.data()) return slots_[i];
  }
  for (std::size_t i = 0; i < used_; ++i) {
    if (slots_[i].decision == decision && slots_[i].reason == reason) return slots_[i];
  }
  if (used_ < kPairs) return fill(slots_[used_++], decision, reason);
  return other_.decision.empty() ? fill(other_, "other", "other") : other_;
}

Decisions::Slot& Decisions::fill(Slot& slot, std::string_view decision, std::string_view reason) {
  slot.decision = decision;
  slot.reason = reason;
  if (shard_ != nullptr) {
    slot.counter = shard_->counter(filter_decisions_family(), {identity_.service, identity_.policy, identity_.filter,
                                                               identity_.shadow ? "shadow" : "enforce", decision, reason});
  }
  return slot;
}

std::uint64_t Decisions::count(std::string_view decision, std::string_view reason) const {
  for (std::size_t i = 0; i < used_; ++i) {
    if (slots_[i].decision == decision && slots_[i].reason == reason) return slots_[i].count;
  }
  return 0;
}

}  // namespace weir
