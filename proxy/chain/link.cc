#include "proxy/chain/link.h"

namespace weir {
namespace {

class FailLater final : public Call {
 public:
  FailLater(ExchangeContext& exchange, Caller& caller, const Failure& failure)
      : Call(exchange, caller), failure_(failure), later_(exchange.loop(), Callback::to<&FailLater::tell>(this)) {
    later_.schedule();
  }

 private:
  void tell() { tell_failure(failure_); }
  void silence() noexcept override { later_.cancel(); }

  Failure failure_;
  Deferred later_;
};

}  // namespace

CallPtr fail_later(ExchangeContext& exchange, Caller& caller, const Failure& failure) {
  return CallPtr(make_call<FailLater>(exchange, caller, failure));
}

}  // namespace weir
