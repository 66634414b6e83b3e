// RetryBudget: how many extra tries (retries, later hedges) a service may be given, host-wide, by all its policies together.
// The service owns it (its implementation is pure and locked, in proxy/upstream); retry filters borrow it.
// It never limits first tries.
#pragma once

#include "proxy/base/time.h"

namespace weir {

class RetryBudget {
 public:
  virtual ~RetryBudget() = default;
  virtual void on_request(MonotonicTime now) = 0;   // a first try goes to an endpoint (counted by the upstream link alone)
  virtual bool try_take(MonotonicTime now) = 0;     // charged when a retry is decided, before its back-off
  virtual void refund(MonotonicTime now) = 0;       // decided, but nothing was sent
  virtual double remaining(MonotonicTime now) = 0;  // whole retries that could be taken now; a gauge
};

}  // namespace weir
