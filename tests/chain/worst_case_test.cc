// The arithmetic of the worst case: retries in timeouts and timeouts in retries, by hand.
#include <catch2/catch.hpp>

#include "proxy/chain/worst_case.h"

namespace weir {
namespace {

using Steps = std::vector<ChainStep>;

ChainStep total(Duration limit) {
  ChainStep step;
  step.facts.total = limit;
  return step;
}
ChainStep per_try(Duration limit) {
  ChainStep step;
  step.facts.try_limit = limit;
  return step;
}
ChainStep idle(Duration limit) {
  ChainStep step;
  step.facts.idle = limit;
  return step;
}
ChainStep queue(Duration wait) {
  ChainStep step;
  step.facts.longest_wait = wait;
  return step;
}
ChainStep retry(std::uint32_t attempts, Duration base = 0ms, Duration max = 0ms, std::uint32_t resends = 0) {
  ChainStep step;
  step.facts.max_attempts = attempts;
  step.facts.base_backoff = base;
  step.facts.max_backoff = max;
  step.facts.free_resends = resends;
  step.facts.retries_connects = true;
  return step;
}
ChainStep passed_by(ChainStep step) {
  step.always = false;
  return step;
}
ChainStep idle_one(ChainStep step) {
  step.acts = false;
  return step;
}

constexpr UpstreamTimes kUpstream{250ms, 3s};

WorstCase of(const Steps& steps) { return worst_case(steps, kUpstream); }

TEST_CASE("without a timeout nothing is bounded but the time to fail to connect") {
  const WorstCase bare = of({});
  CHECK(bare.attempts == 1);
  CHECK(bare.free_resends == 0);
  CHECK_FALSE(bare.to_headers);
  CHECK_FALSE(bare.to_end);
  CHECK_FALSE(bare.tries);
  CHECK(bare.unreachable == Duration(250ms));
  CHECK(worst_case(Steps{}, {10s, 3s}).unreachable == Duration(3s));  // the wait is over before the connect is

  const WorstCase retried = of({retry(3, 25ms, 250ms)});
  CHECK(retried.attempts == 3);
  CHECK_FALSE(retried.to_headers);
  CHECK(retried.unreachable == Duration(3 * 250ms + 25ms + 50ms));
}

TEST_CASE("an answer that is held back adds its time to every try that was answered") {
  ChainStep holding = retry(3, 25ms, 250ms);
  holding.facts.holds_answer = 50ms;
  const WorstCase worst = of({holding, per_try(500ms)});
  CHECK(worst.to_headers == Duration(3 * 550ms + 25ms + 50ms));
  CHECK(worst.unreachable == Duration(3 * 250ms + 25ms + 50ms));
}

TEST_CASE("a silence is no bound, but it is known") {
  const WorstCase worst = of({idle(1h), idle(5s), retry(2)});
  CHECK_FALSE(worst.to_headers);
  CHECK_FALSE(worst.to_end);
  CHECK(worst.silence == 1);
}

TEST_CASE("a try's limit inside a retry counts once for each try, with the waits between") {
  const WorstCase worst = of({retry(3, 25ms, 250ms), per_try(500ms)});
  CHECK(worst.to_headers == Duration(3 * 500ms + 25ms + 50ms));
  CHECK(worst.tries == worst.to_headers);
  CHECK_FALSE(worst.to_end);  // the body has no end
  CHECK(worst.try_limits == std::vector<std::size_t>{1});
}

TEST_CASE("a try's limit outside a retry bounds all tries together") {
  CHECK(of({per_try(500ms), retry(3, 25ms, 250ms)}).to_headers == Duration(500ms));
  CHECK(of({per_try(500ms), retry(3), per_try(100ms)}).to_headers == Duration(300ms));
}

TEST_CASE("waits double up to their maximum") {
  CHECK(backoff_bound(25ms, 250ms, 1) == 25ms);
  CHECK(backoff_bound(25ms, 250ms, 4) == 200ms);
  CHECK(backoff_bound(25ms, 250ms, 5) == 250ms);
  CHECK(backoff_bound(1ns, Duration::max(), 200) == Duration::max());  // no overflow
  CHECK(of({retry(6, 25ms, 250ms), per_try(100ms)}).to_headers == Duration(6 * 100ms + 25ms + 50ms + 100ms + 200ms + 250ms));
}

TEST_CASE("a total outside bounds tries and body, and the tries alone are told beside it") {
  const WorstCase worst = of({total(2s), retry(5, 100ms, 100ms), per_try(500ms)});
  CHECK(worst.to_headers == Duration(2s));
  CHECK(worst.to_end == Duration(2s));
  CHECK(worst.tries == Duration(5 * 500ms + 4 * 100ms));
  CHECK(worst.total == 0);

  const WorstCase quick = of({total(10s), retry(2, 100ms, 100ms), per_try(500ms)});
  CHECK(quick.to_headers == Duration(1100ms));
  CHECK(quick.to_end == Duration(10s));
}

TEST_CASE("a total inside a retry counts from the request too, so that later tries find no time left") {
  const WorstCase worst = of({retry(3, 100ms, 100ms), total(2s)});
  CHECK(worst.to_headers == Duration(2s + 100ms + 100ms));
  CHECK(worst.to_end == worst.to_headers);
  CHECK(worst.total == 1);
}

TEST_CASE("the shortest total counts, wherever it is") {
  const Steps steps = {total(5s), retry(2), total(1s), total(3s)};
  CHECK(of(steps).total == 2);
  CHECK(of(steps).to_end == Duration(1s));
  CHECK(shortest_total(steps, 2) == 0);
  CHECK(shortest_total(steps, 0) == WorstCase::kNone);
}

TEST_CASE("retries inside retries multiply") {
  const WorstCase worst = of({retry(3, 10ms, 10ms), retry(2), per_try(100ms)});
  CHECK(worst.attempts == 6);
  CHECK(worst.to_headers == Duration(6 * 100ms + 2 * 10ms));
  CHECK(of({retry(3, 0ms, 0ms, 1), retry(2, 0ms, 0ms, 1)}).free_resends == 4 * 3 - 6);
}

TEST_CASE("a free resend is one more try, without a wait, of an upstream that was connected to") {
  const WorstCase worst = of({retry(2, 100ms, 100ms, 1), per_try(1s)});
  CHECK(worst.attempts == 2);
  CHECK(worst.free_resends == 1);
  CHECK(worst.to_headers == Duration(3s + 100ms));
  CHECK(worst.unreachable == Duration(2 * 250ms + 100ms));
}

TEST_CASE("an answer may ask for more time between tries, a connection that fails cannot") {
  ChainStep patient = retry(3, 100ms, 100ms);
  patient.facts.max_retry_after = 5s;
  const WorstCase worst = of({patient, per_try(1s)});
  CHECK(worst.to_headers == Duration(3s + 2 * 5100ms));
  CHECK(worst.unreachable == Duration(3 * 250ms + 2 * 100ms));
}

TEST_CASE("failures to connect are not repeated where they are no cause") {
  ChainStep step = retry(3, 100ms, 100ms);
  step.facts.retries_connects = false;
  CHECK(of({step}).unreachable == Duration(250ms));
}

TEST_CASE("a queue adds its wait, each time that it is passed") {
  CHECK(of({queue(100ms), retry(2), per_try(1s)}).to_headers == Duration(2100ms));
  CHECK(of({retry(2), queue(100ms), per_try(1s)}).to_headers == Duration(2200ms));
  CHECK(of({retry(2), per_try(1s), queue(100ms)}).to_headers == Duration(2s));
  CHECK(of({queue(100ms)}).unreachable == Duration(350ms));
}

TEST_CASE("what does not act counts for nothing; what some requests pass by bounds nothing, but adds") {
  CHECK_FALSE(of({idle_one(total(2s))}).to_end);
  CHECK(of({idle_one(retry(3)), per_try(1s)}).attempts == 1);
  CHECK_FALSE(of({passed_by(total(2s))}).to_end);
  CHECK_FALSE(of({passed_by(per_try(1s))}).to_headers);
  const WorstCase worst = of({total(9s), passed_by(retry(3)), per_try(1s)});
  CHECK(worst.attempts == 3);
  CHECK(worst.to_headers == Duration(3s));
  CHECK(of({passed_by(idle(1s)), idle(2s)}).silence == 1);
}

TEST_CASE("absurd chains end soon, in a bound or as unbounded") {
  Steps steps(20, retry(10, 1h, 1h, 1));
  steps.push_back(per_try(24h * 365));
  const WorstCase worst = of(steps);
  CHECK(worst.attempts == 1'000'000);
  CHECK_FALSE(worst.to_headers);
  steps.insert(steps.begin(), total(2s));
  CHECK(of(steps).to_headers == Duration(2s));
}

}  // namespace
}  // namespace weir
