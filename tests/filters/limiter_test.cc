#include "filters/concurrency_limit/limiter.h"

#include <catch2/catch.hpp>

namespace weir {
namespace {

using Algorithm = AdaptiveLimitConfig::Algorithm;

struct Bench {
  explicit Bench(Algorithm algorithm, std::uint32_t initial = 20, std::uint32_t min = 5, std::uint32_t max = 1000)
      : limiter(AdaptiveLimitConfig{algorithm, initial, min, max}) {}

  // One window: its samples, spread so that the last one completes it.
  void window(Duration rtt, std::uint32_t in_flight, bool dropped = false, int samples = 10) {
    for (int i = 0; i < samples; ++i) {
      limiter.add(now, LimitSample{now, rtt, in_flight, dropped && i == 0}, random);
      if (i == samples - 2) now += Limiter::kWindow;
    }
    now += 1ms;
  }

  Limiter limiter;
  Random random{5};
  MonotonicTime now{1h};
};

TEST_CASE("a fixed limit learns nothing") {
  Limiter limiter(7);
  Random random(1);
  for (int i = 0; i < 100; ++i) limiter.add(MonotonicTime{i * 1s}, LimitSample{MonotonicTime{i * 1s}, 10s, 7, true}, random);
  CHECK(limiter.limit() == 7);
  CHECK_FALSE(limiter.adaptive());
}

TEST_CASE("a window ends after a second and ten samples, both") {
  Bench bench(Algorithm::aimd);
  const LimitSample sample{bench.now, 10ms, 20, false};
  for (int i = 0; i < 100; ++i) bench.limiter.add(bench.now, sample, bench.random);
  CHECK(bench.limiter.limit() == 20);  // no second has passed
  bench.limiter.add(bench.now + 1s, sample, bench.random);
  CHECK(bench.limiter.limit() == 21);
  for (int i = 1; i < 10; ++i) bench.limiter.add(bench.now + (1 + i) * 1s, sample, bench.random);
  CHECK(bench.limiter.limit() == 21);  // nine samples
  bench.limiter.add(bench.now + 20s, sample, bench.random);
  CHECK(bench.limiter.limit() == 22);
}

TEST_CASE("answers quicker than 100 microseconds are no samples") {
  Bench bench(Algorithm::aimd);
  bench.window(99us, 20);
  bench.window(99us, 20);
  CHECK(bench.limiter.limit() == 20);
}

TEST_CASE("gradient2 grows by a fifth of its allowance while latency is steady and the limit is used") {
  Bench bench(Algorithm::gradient2, 100);
  bench.window(10ms, 100);
  // 100 * 0.8 + (100 * 1 + 4) * 0.2
  CHECK(bench.limiter.limit() == 100);
  for (int i = 0; i < 4; ++i) bench.window(10ms, bench.limiter.limit());
  CHECK(bench.limiter.limit() == 104);
}

TEST_CASE("gradient2 does not grow while the limit is not what limits") {
  Bench bench(Algorithm::gradient2, 100);
  for (int i = 0; i < 50; ++i) bench.window(10ms, 49);
  CHECK(bench.limiter.limit() == 100);
}

TEST_CASE("gradient2 tolerates half as much latency again, and falls beyond") {
  Bench tolerant(Algorithm::gradient2, 100);
  for (int i = 0; i < 20; ++i) tolerant.window(10ms, 1);
  tolerant.window(14ms, 100);
  CHECK(tolerant.limiter.limit() >= 100);

  Bench bench(Algorithm::gradient2, 100);
  for (int i = 0; i < 20; ++i) bench.window(10ms, 1);
  bench.window(100ms, 100);  // the gradient is held at a half: 100 * 0.8 + (50 + 4) * 0.2
  CHECK(bench.limiter.limit() == 90);
}

TEST_CASE("gradient2 comes down to its minimum under lasting overload, and back afterwards") {
  Bench bench(Algorithm::gradient2, 100, 10, 200);
  for (int i = 0; i < 20; ++i) bench.window(10ms, 1);
  for (int i = 0; i < 20; ++i) bench.window(1s, bench.limiter.limit());
  const std::uint32_t low = bench.limiter.limit();
  CHECK(low < 30);
  CHECK(low >= 10);
  for (int i = 0; i < 400; ++i) bench.window(10ms, bench.limiter.limit());
  CHECK(bench.limiter.limit() == 200);
}

TEST_CASE("gradient2 forgets an overload that had begun to look usual") {
  Bench bench(Algorithm::gradient2, 100);
  for (int i = 0; i < 600; ++i) bench.window(1s, 1);
  CHECK(bench.limiter.usual_rtt() > 900ms);
  for (int i = 0; i < 60; ++i) bench.window(10ms, 1);
  CHECK(bench.limiter.usual_rtt() < 100ms);  // a plain average over 600 would still be near 900 ms
}

TEST_CASE("vegas grows while the queue it computes is short, stays between, and shrinks when it is long") {
  struct Row {
    Duration rtt;
    std::uint32_t limit;
  };
  // At 100: the step is 2, alpha 6, beta 12; the queue is ceil(100 * (1 - 100 ms / rtt)).
  for (const Row row : {Row{102ms, 112}, Row{105ms, 102}, Row{110ms, 100}, Row{120ms, 98}}) {
    Bench bench(Algorithm::vegas, 100);
    bench.window(100ms, 100);
    REQUIRE(bench.limiter.limit() == 100);  // the first window is the least rtt
    bench.window(row.rtt, 100);
    CHECK(bench.limiter.limit() == row.limit);
  }
}

TEST_CASE("vegas shrinks on a timeout, even when hardly used") {
  Bench bench(Algorithm::vegas, 100);
  bench.window(100ms, 100);
  bench.window(100ms, 10, true);
  CHECK(bench.limiter.limit() == 98);
}

TEST_CASE("vegas renews the least rtt from live traffic and leaves the limit alone") {
  Bench bench(Algorithm::vegas, 20, 5, 20);
  bench.window(100ms, 1);
  std::uint32_t windows = 0;
  while (bench.limiter.usual_rtt() == 100ms) {
    bench.window(200ms, 1);
    REQUIRE(bench.limiter.limit() == 20);
    REQUIRE(++windows <= 60);  // at most 1 x 30 x 20 samples, ten a window
  }
  CHECK(windows >= 30);
  CHECK(bench.limiter.usual_rtt() == 200ms);
}

TEST_CASE("aimd adds one while used and takes a tenth on a timeout") {
  Bench bench(Algorithm::aimd, 100);
  bench.window(10ms, 50);
  CHECK(bench.limiter.limit() == 101);
  bench.window(10ms, 50);
  CHECK(bench.limiter.limit() == 101);  // 2 x 50 is below 101
  bench.window(10ms, 50, true);
  CHECK(bench.limiter.limit() == 90);
}

TEST_CASE("no algorithm leaves its bounds") {
  for (const Algorithm algorithm : {Algorithm::gradient2, Algorithm::vegas, Algorithm::aimd}) {
    Random random(11);
    Bench bench(algorithm, 20, 15, 40);
    for (int i = 0; i < 3000; ++i) {
      const Duration rtt{static_cast<std::int64_t>(random.below(random.chance(0.5) ? 2'000'000'000 : 20'000'000))};
      bench.window(rtt, static_cast<std::uint32_t>(random.below(60)), random.chance(0.1));
      REQUIRE(bench.limiter.limit() >= 15);
      REQUIRE(bench.limiter.limit() <= 40);
    }
  }
}

// A service of fixed speed that is not overloaded: whatever the algorithm does in order to learn, it does not go below what the traffic
// needs, though latencies scatter.
TEST_CASE("healthy traffic is never shed in order to measure") {
  for (const Algorithm algorithm : {Algorithm::gradient2, Algorithm::vegas, Algorithm::aimd}) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      Bench bench(algorithm, 40, 5, 1000);
      Random random(seed);
      for (int i = 0; i < 2000; ++i) {
        const Duration rtt = 50ms + Duration{static_cast<std::int64_t>(random.below(20'000'000))};
        bench.window(rtt, 20, false, 20);
        REQUIRE(bench.limiter.limit() >= 20);
      }
    }
  }
}

// Calls that are admitted now and end after `rtt`: so many time out, the rest is answered.
void round_of(Bench& bench, int answered, int timed_out, Duration rtt) {
  const MonotonicTime admitted = bench.now;
  bench.now += rtt;
  for (int i = 0; i < answered + timed_out; ++i) {
    bench.limiter.add(bench.now, LimitSample{admitted, rtt, bench.limiter.limit(), i >= answered}, bench.random);
  }
}

TEST_CASE("when a round of calls times out the limit falls to its minimum at once, whatever the algorithm") {
  for (const Algorithm algorithm : {Algorithm::gradient2, Algorithm::vegas, Algorithm::aimd}) {
    Bench bench(algorithm, 100, 7, 1000);
    for (int i = 0; i < 20; ++i) bench.window(10ms, 1);
    round_of(bench, 10, 99, 100ms);
    CHECK(bench.limiter.limit() == 100);  // one less than a round
    round_of(bench, 0, 1, 100ms);
    CHECK(bench.limiter.limit() == 7);
  }
}

TEST_CASE("where one call in ten is answered nothing has collapsed") {
  Bench bench(Algorithm::gradient2, 20, 7, 1000);
  for (int i = 0; i < 20; ++i) bench.window(10ms, 1);
  for (int i = 0; i < 9; ++i) round_of(bench, 1, 9, 100ms);
  CHECK(bench.limiter.limit() == 20);
  round_of(bench, 0, 11, 100ms);  // nine of the last ones are in this run, too
  CHECK(bench.limiter.limit() == 7);
}

TEST_CASE("a service of which one endpoint in two does not answer has not collapsed") {
  for (const Algorithm algorithm : {Algorithm::gradient2, Algorithm::vegas, Algorithm::aimd}) {
    Bench bench(algorithm, 100, 7, 1000);
    for (int i = 0; i < 20; ++i) bench.window(10ms, 1);
    const std::uint32_t before = bench.limiter.limit();
    for (int i = 0; i < 5; ++i) round_of(bench, 50, 50, 100ms);  // half a second: no window ends
    CHECK(bench.limiter.limit() == before);
  }
}

TEST_CASE("after a collapse the limit doubles with every round that goes well, to half of what it was") {
  Bench bench(Algorithm::gradient2, 200, 5, 1000);
  for (int i = 0; i < 20; ++i) bench.window(10ms, 1);
  round_of(bench, 0, 200, 100ms);
  REQUIRE(bench.limiter.limit() == 5);
  for (const std::uint32_t expected : {10U, 20U, 40U, 80U, 100U, 100U}) {
    round_of(bench, 80, 0, 10ms);
    CHECK(bench.limiter.limit() == expected);
  }
}

TEST_CASE("calls that were under way when the limit changed have no say in the next change") {
  Bench bench(Algorithm::gradient2, 200, 5, 1000);
  for (int i = 0; i < 20; ++i) bench.window(10ms, 1);
  round_of(bench, 0, 200, 100ms);
  round_of(bench, 10, 0, 10ms);
  REQUIRE(bench.limiter.limit() == 10);
  const LimitSample late{bench.now - 50ms, 50ms, 200, true};
  for (int i = 0; i < 200; ++i) bench.limiter.add(bench.now, late, bench.random);
  CHECK(bench.limiter.limit() == 10);
  round_of(bench, 10, 0, 10ms);
  CHECK(bench.limiter.limit() == 20);
}

TEST_CASE("after a collapse the limit is not restored while the answers are slow, nor by the collapses that follow lowered further") {
  Bench bench(Algorithm::gradient2, 200, 5, 1000);
  for (int i = 0; i < 20; ++i) bench.window(10ms, 1);
  for (int i = 0; i < 5; ++i) round_of(bench, 0, 200, 100ms);
  round_of(bench, 10, 0, 16ms);
  CHECK(bench.limiter.limit() == 5);
  for (int i = 0; i < 6; ++i) round_of(bench, 80, 0, 14ms);
  CHECK(bench.limiter.limit() == 100);
}

TEST_CASE("new bounds hold at once and what was learned stays") {
  Bench bench(Algorithm::gradient2, 100);
  for (int i = 0; i < 20; ++i) bench.window(10ms, 1);
  bench.limiter.set_adaptive(AdaptiveLimitConfig{Algorithm::gradient2, 20, 5, 60});
  CHECK(bench.limiter.limit() == 60);
  CHECK(bench.limiter.usual_rtt() == 10ms);
  bench.limiter.set_adaptive(AdaptiveLimitConfig{Algorithm::vegas, 33, 5, 60});
  CHECK(bench.limiter.limit() == 33);  // another algorithm starts anew
  bench.limiter.set_fixed(12);
  CHECK(bench.limiter.limit() == 12);
  CHECK_FALSE(bench.limiter.adaptive());
}

}  // namespace
}  // namespace weir
