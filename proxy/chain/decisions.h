// Decisions: where a link notes what it decided (retried, rejected, would_reject ...): one note is counted and kept for the access log.
// The chain owns one for each of its links, on one worker; links borrow it through their LinkContext.
// It never allocates per request: a pair of words gets its counter the first time it is seen, or ahead of time by declare().
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "proxy/chain/failure.h"
#include "proxy/metrics/metrics.h"

namespace weir {

struct ExchangeContext;

class Decisions {
 public:
  static constexpr std::size_t kPairs = 24;  // of (decision, reason), bounded; the rest are counted as other/other

  // `shard` may be null: then it only keeps notes. Both outlive this.
  Decisions(const LinkIdentity& identity, MetricsShard* shard);

  // Both words are static text. Also sets exchange.decided.
  void note(ExchangeContext& exchange, std::string_view decision, std::string_view reason);
  // Makes the series appear with 0 before it first happens, so that rates over it are right.
  void declare(std::string_view decision, std::string_view reason) { slot(decision, reason); }

  const LinkIdentity& identity() const { return identity_; }
  std::uint64_t count(std::string_view decision, std::string_view reason) const;  // of this worker; for tests and virtual worlds

 private:
  struct Slot {
    std::string_view decision, reason;
    std::uint64_t count = 0;
    Counter counter;
  };
  Slot& slot(std::string_view decision, std::string_view reason);
  Slot& fill(Slot& slot, std::string_view decision, std::string_view reason);

  const LinkIdentity& identity_;
  MetricsShard* shard_;
  std::array<Slot, kPairs> slots_{};
  std::size_t used_ = 0;
  Slot other_;
};

}  // namespace weir
