// What the tests of retry share: the filter over a scripted link, with a budget that counts.
// Each test owns one; it outlives the exchanges. It decides nothing and asserts nothing.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "filters/retry/retry_filter.h"
#include "proxy/chain/causes_type.h"
#include "proxy/chain/retry_budget.h"
#include "tests/support/chain_world.h"
#include "tests/support/fake_link.h"

namespace weir::test {

struct CountingBudget final : RetryBudget {
  double left = 1e9;
  int requests = 0, taken = 0, refunded = 0;
  void on_request(MonotonicTime) override { ++requests; }
  bool try_take(MonotonicTime) override {
    if (left < 1) return false;
    left -= 1;
    ++taken;
    return true;
  }
  void refund(MonotonicTime) override {
    left += 1;
    ++refunded;
  }
  double remaining(MonotonicTime) override { return left; }
};

inline RetryConfig usual_retry() {
  RetryConfig config;
  config.max_attempts = 3;
  config.causes = causes_of({"connect_failure", "reset", "refused_stream", "timeout", "gateway_error"});
  return config;
}

struct RetrySetup {
  explicit RetrySetup(RetryConfig c = usual_retry(), bool shadow = false) : config(std::move(c)), fixture(world, "retry", shadow) {
    fixture.budget = &budget;
    link = std::make_unique<RetryLink>(config, fixture.context(), fake);
  }
  ChainWorld world;
  RetryConfig config;
  CountingBudget budget;
  FilterFixture fixture;
  FakeLink fake;
  std::unique_ptr<RetryLink> link;
};

using Words = std::vector<std::string>;

inline FakeAnswer reset() { return FakeAnswer::fails(FailureKind::reset, true); }

inline FakeAnswer after_body(FakeAnswer answer) {
  answer.waits_for_body = true;
  return answer;
}

}  // namespace weir::test
