#include "proxy/chain/metered.h"

#include "proxy/chain/chain_metrics.h"

namespace weir {
namespace {

constexpr const char* kEndingNames[] = {"1xx", "2xx", "3xx", "4xx", "5xx", "connected", "broken", "failed", "rejected", "cancelled"};
static_assert(sizeof(kEndingNames) / sizeof(kEndingNames[0]) == static_cast<std::size_t>(Metered::Ending::count_));

}  // namespace

void Call::count(Ending ending) noexcept {
  Metered::Ending counted = Metered::Ending::connected;  // a stream has no status
  switch (ending) {
    case Ending::clean:
      if (status_ != 0) counted = static_cast<Metered::Ending>(status_ >= 100 && status_ < 600 ? status_ / 100 - 1 : 4);
      break;
    case Ending::broken: counted = Metered::Ending::broken; break;
    case Ending::failed: counted = Metered::Ending::failed; break;
    case Ending::rejected: counted = Metered::Ending::rejected; break;
    case Ending::cancelled: counted = Metered::Ending::cancelled; break;
  }
  const MonotonicTime now = exchange_.now();
  MonotonicTime started = kNever;
  std::size_t bucket = 0;
  for (Meter* meter = std::exchange(meters_, nullptr); meter != nullptr; meter = meter->next) {
    if (meter->started != started) {  // most of a chain starts within one callback
      started = meter->started;
      bucket = Histogram::bucket_of(now - started);
    }
    meter->link->ended(counted, now - started, bucket);
  }
}

Metered::Metered(Link& next, const LinkIdentity& identity, MetricsShard& shard) : next_(next), identity_(identity), shard_(shard) {
  for (const Ending common : {Ending::s2xx, Ending::s4xx, Ending::s5xx, Ending::failed, Ending::cancelled}) resolve(common);
  duration_ = shard.histogram(filter_duration_family(), {identity.service, identity.policy, identity.filter});
}

void Metered::resolve(Ending ending) {
  const auto index = static_cast<std::size_t>(ending);
  requests_[index] = shard_.counter(filter_requests_family(), {identity_.service, identity_.policy, identity_.filter, kEndingNames[index]});
}

CallPtr Metered::start(Request&& request, Caller& caller) {
  ExchangeContext& exchange = *request.exchange;
  ++exchange.starting;
  CallPtr call = next_.start(std::move(request), caller);
  --exchange.starting;
  auto* meter = exchange.arena.make<Call::Meter>();
  *meter = {call->meters_, this, exchange.now()};  // time stands still within a callback: it is that of the start
  call->meters_ = meter;
  return call;
}

}  // namespace weir
