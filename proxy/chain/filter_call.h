// FilterCall: the base of calls that watch an inner call: it owns it, hears it as its Caller, and forwards by default.
// A filter of size (b), "watch", overrides one or two methods and ends each with the base's forwarding call (telling is last).
// It never starts the inner call itself: the filter's start() does, with adopt().
#pragma once

#include "proxy/chain/link.h"

namespace weir {

class FilterCall : public Call, public Caller {
 public:
  using Call::Call;
  void adopt(CallPtr inner) { inner_ = std::move(inner); }

  void on_informational(const ResponseHead& head) override { tell_informational(head); }
  void on_response(Response&& response) override { tell_response(std::move(response)); }
  void on_end(const End& end) override { tell_end(end); }
  void on_failure(const Failure& failure) override { tell_failure(failure); }

 protected:
  void silence() noexcept override { inner_.reset(); }
  CallPtr inner_;
};

}  // namespace weir
