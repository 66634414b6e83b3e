// Metered: wraps each link of a chain, and the innermost one, with the same metrics: how calls ended, and how long they took.
// The chain owns it; the common handles are resolved when the chain is built. It adds no call of its own: it attaches a meter to the call
// that the link returned, which counts when that call tells its end or is dropped. It never changes what passes.
#pragma once

#include <array>

#include "proxy/chain/link.h"
#include "proxy/metrics/metrics.h"

namespace weir {

class Metered final : public Link {
 public:
  // How a call ended; the label `outcome`.
  enum class Ending : std::uint8_t { s1xx, s2xx, s3xx, s4xx, s5xx, connected, broken, failed, rejected, cancelled, count_ };

  Metered(Link& next, const LinkIdentity& identity, MetricsShard& shard);
  CallPtr start(Request&& request, Caller& caller) override;

 private:
  friend class Call;
  void ended(Ending ending, Duration took, std::size_t bucket) {
    const Counter& requests = requests_[static_cast<std::size_t>(ending)];
    if (!requests) resolve(ending);
    requests.add();
    duration_.observe(took, bucket);
  }
  void resolve(Ending ending);

  Link& next_;
  const LinkIdentity& identity_;
  MetricsShard& shard_;
  std::array<Counter, static_cast<std::size_t>(Ending::count_)> requests_;  // the rare ones get their series when they first happen
  Histogram duration_;
};

}  // namespace weir
