// The latency estimate, and peak_ewma's picks by it.
#include "proxy/upstream/latency_estimate.h"

#include <catch2/catch.hpp>

#include "tests/upstream/balancer_world.h"

using namespace weir;
using namespace weir::test;

namespace {

const MonotonicTime kStart{std::chrono::hours(1)};

BalancerWorld world_of(const std::vector<Duration>& latencies) {
  BalancerWorld world(std::vector<std::uint32_t>(latencies.size(), 1), {.balance = Balance::peak_ewma});
  for (std::size_t i = 0; i < latencies.size(); ++i) world.at(i).latency.observe(latencies[i], world.now);
  return world;
}

}  // namespace

TEST_CASE("an estimate jumps to a peak and comes down by the average of ten seconds") {
  LatencyEstimate estimate;
  CHECK(estimate.cost(kStart) == 0);
  estimate.observe(10ms, kStart);
  CHECK(estimate.cost(kStart) == Approx(0.010));
  estimate.observe(200ms, kStart + 1s);
  CHECK(estimate.cost(kStart + 1s) == Approx(0.200));
  MonotonicTime now = kStart + 1s;
  for (int i = 0; i < 1000; ++i) estimate.observe(10ms, now += 10ms);
  CHECK(estimate.cost(now) == Approx(0.010 + 0.190 * std::exp(-1)).epsilon(0.02));
  for (int i = 0; i < 5000; ++i) estimate.observe(10ms, now += 10ms);
  CHECK(estimate.cost(now) == Approx(0.010).epsilon(0.06));
}

TEST_CASE("observations closer together than a tick still move the average") {
  LatencyEstimate estimate;
  estimate.observe(200ms, kStart);
  MonotonicTime now = kStart;
  for (int i = 0; i < 1'000'000; ++i) estimate.observe(10ms, now += std::chrono::microseconds(20));
  CHECK(estimate.cost(now) == Approx(0.010 + 0.190 * std::exp(-2)).epsilon(0.05));
}

TEST_CASE("what is not observed is forgotten in time, be it for days") {
  LatencyEstimate estimate;
  estimate.observe(1s, kStart);
  CHECK(estimate.cost(kStart + 10s) == Approx(std::exp(-1)).epsilon(0.01));
  CHECK(estimate.cost(kStart + 1h) < 1e-6);
  for (const Duration later : {Duration(30h), Duration(50h), Duration(77h), Duration(400h)}) {
    estimate.observe(1s, kStart);
    estimate.observe(20ms, kStart + later);
    CHECK(estimate.cost(kStart + later) < 1.01);
    for (int i = 1; i <= 6000; ++i) estimate.observe(20ms, kStart + later + i * 10ms);
    CHECK(estimate.cost(kStart + later + 60s) == Approx(0.020).epsilon(0.2));  // whatever it read before, it follows
  }
}

TEST_CASE("a failure counts as the penalty, or as what it took") {
  LatencyEstimate estimate;
  estimate.observe_failure(1ms, kStart);
  CHECK(estimate.cost(kStart) == Approx(5.0));
  estimate.observe_failure(8s, kStart);
  CHECK(estimate.cost(kStart) == Approx(8.0));
  LatencyEstimate other;
  other.observe(100ms, kStart);
  other.observe_at_least(50ms, kStart);
  CHECK(other.cost(kStart) == Approx(0.1));
  other.observe_at_least(300ms, kStart);
  CHECK(other.cost(kStart) == Approx(0.3));
}

TEST_CASE("a slow endpoint is left alone until the others are as busy as it is slow") {
  BalancerWorld world = world_of({10ms, 10ms, 100ms});
  CHECK(world.picks(1000).count(2) == 0);
  world.at(0).active = 20;
  world.at(1).active = 20;
  CHECK(world.picks(1000)[2] > 500);
}

TEST_CASE("endpoints that are about as fast share the load, though one is always the fastest") {
  BalancerWorld world = world_of({10ms, 11ms});
  auto counts = world.picks(2000);
  CHECK(std::abs(counts[0] - 1000) < 100);
}

TEST_CASE("an endpoint that nothing is known of is tried at once, once") {
  BalancerWorld world = world_of({10ms, 10ms, 10ms});
  world.set.slots.push_back({BalancerWorld::endpoint(3), 1});
  world.set = EndpointSet(world.set.slots);
  world.balancer.reset(world.set, world.random);
  int until_tried = 0;
  while (world.pick().index != 3) ++until_tried;
  CHECK(until_tried < 20);
  ++world.at(3).active;
  CHECK(world.picks(1000).count(3) == 0);
  world.at(3).active = 0;
  world.at(3).latency.observe(10ms, world.now);
  CHECK(std::abs(world.picks(4000)[3] - 1000) < 150);
}

TEST_CASE("one that keeps failing is asked about once a minute, one that recovers gets its share again") {
  BalancerWorld world = world_of({10ms, 10ms, 10ms});
  int asked = 0;
  const auto run = [&](Duration length, bool failing) {
    for (const MonotonicTime end = world.now + length; world.now < end; world.now += 5ms) {
      const std::size_t index = world.pick().index;
      if (index == 2) ++asked;
      if (index == 2 && failing) {
        world.at(2).latency.observe_failure(1ms, world.now);
      } else {
        world.at(index).latency.observe(10ms, world.now);
      }
    }
  };
  run(300s, true);
  CHECK(asked >= 3);
  CHECK(asked <= 8);  // of 60,000
  run(70s, false);
  asked = 0;
  run(30s, false);
  CHECK(asked > 1600);  // of 6000
}
