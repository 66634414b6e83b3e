#include "proxy/upstream/retry_budget.h"

#include <catch2/catch.hpp>

#include "proxy/base/random.h"

using namespace weir;

namespace {

RetryBudgetConfig budget_of(double ratio, double floor, Duration window = 10s) {
  RetryBudgetConfig made;
  made.ratio = ratio;
  made.min_rate_per_second = floor;
  made.window = window;
  return made;
}

MonotonicTime at(Duration since) { return MonotonicTime(std::chrono::hours(1)) + since; }

}  // namespace

TEST_CASE("a ratio of 20% lets one retry through for every five requests") {
  WindowedRetryBudget budget(budget_of(0.2, 0));
  for (int i = 0; i < 4; ++i) budget.on_request(at(0s));
  CHECK_FALSE(budget.try_take(at(0s)));
  budget.on_request(at(0s));
  CHECK(budget.remaining(at(0s)) == 1);
  CHECK(budget.try_take(at(0s)));
  CHECK_FALSE(budget.try_take(at(0s)));
  CHECK(budget.remaining(at(0s)) == 0);
}

TEST_CASE("the floor gives a quiet service its retries, as many as fit the window") {
  WindowedRetryBudget budget(budget_of(0.2, 1));
  int taken = 0;
  while (budget.try_take(at(0s))) ++taken;
  CHECK(taken == 10);
  CHECK_FALSE(budget.try_take(at(8s)));
  CHECK(budget.try_take(at(11s)));  // the first ones have left the window
}

TEST_CASE("without a floor and without requests there is no retry") {
  WindowedRetryBudget budget(budget_of(0.2, 0));
  CHECK_FALSE(budget.try_take(at(0s)));
  CHECK(budget.remaining(at(5s)) == 0);
}

TEST_CASE("requests pay for retries only while they are within the window") {
  WindowedRetryBudget budget(budget_of(0.5, 0));
  for (int i = 0; i < 10; ++i) budget.on_request(at(0s));
  CHECK(budget.remaining(at(9s)) == 5);
  CHECK(budget.remaining(at(10s)) == 0);
}

TEST_CASE("a refund can be taken again, and refunds never exceed what was taken") {
  WindowedRetryBudget budget(budget_of(0.2, 0));
  for (int i = 0; i < 5; ++i) budget.on_request(at(0s));
  REQUIRE(budget.try_take(at(0s)));
  budget.refund(at(3s));
  CHECK(budget.remaining(at(3s)) == 1);
  budget.refund(at(3s));
  CHECK(budget.remaining(at(3s)) == 1);
}

TEST_CASE("a worker whose clock reading is a little older does no harm") {
  WindowedRetryBudget budget(budget_of(1.0, 0));
  budget.on_request(at(5s));
  budget.on_request(at(3s));
  CHECK(budget.remaining(at(4s)) == 2);
}

TEST_CASE("a reload changes the ratio and keeps what was counted") {
  WindowedRetryBudget budget(budget_of(0.2, 0));
  for (int i = 0; i < 10; ++i) budget.on_request(at(0s));
  REQUIRE(budget.try_take(at(0s)));
  budget.configure(budget_of(0.5, 0));
  CHECK(budget.remaining(at(0s)) == 4);
  budget.configure(budget_of(0.1, 0));
  CHECK(budget.remaining(at(0s)) == 0);
}

TEST_CASE("over any outage, however it goes, tries per request stay within 1.2 at 20% and no floor") {
  const auto seed = GENERATE(1, 2, 3, 4, 5, 6, 7, 8);
  Random random(static_cast<std::uint64_t>(seed));
  WindowedRetryBudget budget(budget_of(0.2, 0, std::chrono::seconds(1 + random.below(20))));
  std::uint64_t requests = 0;
  std::uint64_t tries = 0;
  MonotonicTime now = at(0s);
  for (int step = 0; step < 20000; ++step) {
    // Bursts and pauses: everything fails, and every failure is tried again as long as the budget allows.
    now += random.chance(0.01) ? std::chrono::milliseconds(random.below(15000)) : std::chrono::milliseconds(random.below(20));
    if (random.chance(0.7)) {
      budget.on_request(now);
      ++requests;
      ++tries;
    }
    while (random.chance(0.8) && budget.try_take(now)) {
      if (random.chance(0.1)) {
        budget.refund(now);
      } else {
        ++tries;
      }
    }
    REQUIRE(static_cast<double>(tries) <= 1.2 * static_cast<double>(requests) + 1e-6);
  }
  CHECK(static_cast<double>(tries) > 1.15 * static_cast<double>(requests));  // and the budget is really there to be used
}
