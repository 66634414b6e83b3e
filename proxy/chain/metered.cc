#include "proxy/chain/metered.h"

#include "proxy/chain/chain_metrics.h"

namespace weir {
namespace {

constexpr const char* kEndingNames[] = {"1xx", "2xx", "3xx", "4xx", "5xx", "connected", "broken", "failed", "rejected", "cancelled"};
static_assert(sizeof(kEndingNames) / sizeof(kEndingNames[0]) == static_cast<std::size_t>(Metered::Ending::count_));

}  // namespace

class MeteredCall final : public FilterCall {
 public:
  MeteredCall(ExchangeContext& exchange, Caller& caller, Metered& link)
      : FilterCall(exchange, caller), link_(link), started_(exchange.now()) {}

  void start_returned() { in_start_ = false; }

  void on_informational(const ResponseHead& head) override {
    DCHECK(!in_start_ && !answered_ && !ended_);
    tell_informational(head);
  }
  void on_response(Response&& response) override {
    DCHECK(!in_start_ && !answered_ && !ended_);
    answered_ = true;
    if (response.head != nullptr) {
      const int hundreds = response.head->status / 100;
      ending_ = static_cast<Metered::Ending>(hundreds < 1 || hundreds > 5 ? 4 : hundreds - 1);
    }
    tell_response(std::move(response));
  }
  void on_end(const End& end) override {
    DCHECK(!in_start_ && answered_ && !ended_);
    count(end.clean() ? ending_ : Metered::Ending::broken);
    tell_end(end);
  }
  void on_failure(const Failure& failure) override {
    DCHECK(!in_start_ && !answered_ && !ended_);
    count(failure.rejected() ? Metered::Ending::rejected : Metered::Ending::failed);
    tell_failure(failure);
  }

 private:
  void silence() noexcept override {
    if (!ended_) count(Metered::Ending::cancelled);
    FilterCall::silence();
  }
  void count(Metered::Ending ending) {
    ended_ = true;
    link_.ended(ending, exchange().now() - started_);
  }

  Metered& link_;
  MonotonicTime started_;
  Metered::Ending ending_ = Metered::Ending::connected;  // a stream has no status
  bool in_start_ = true;
  bool answered_ = false;
  bool ended_ = false;
};

Metered::Metered(Link& next, const LinkIdentity& identity, MetricsShard& shard)
    : next_(next), identity_(identity), shard_(shard) {
  for (const Ending common : {Ending::s2xx, Ending::s4xx, Ending::s5xx, Ending::failed, Ending::cancelled}) resolve(common);
  duration_ = shard.histogram(filter_duration_family(), {identity.service, identity.policy, identity.filter});
}

void Metered::resolve(Ending ending) {
  const auto index = static_cast<std::size_t>(ending);
  requests_[index].counter =
      shard_.counter(filter_requests_family(), {identity_.service, identity_.policy, identity_.filter, kEndingNames[index]});
  requests_[index].resolved = true;
}

CallPtr Metered::start(Request&& request, Caller& caller) {
  auto* call = make_call<MeteredCall>(*request.exchange, caller, *this);
  CallPtr owner(call);
  call->adopt(next_.start(std::move(request), *call));
  call->start_returned();
  return owner;
}

}  // namespace weir
