// Slow start: the share of an endpoint that came, and how it grows; for each balance that takes part in it.
#include <catch2/catch.hpp>

#include "proxy/upstream/service.h"
#include "tests/upstream/balancer_world.h"

using namespace weir;
using namespace weir::test;

namespace {

constexpr Balance kDrawn[] = {Balance::round_robin, Balance::least_request, Balance::peak_ewma, Balance::random};

BalancerWorld world_of(const std::vector<std::uint32_t>& weights, Balance balance) {
  BalancerWorld world(weights, {.balance = balance, .slow_start = 30s});
  for (std::size_t i = 0; i < weights.size(); ++i) world.at(i).latency.observe(10ms, world.now);
  return world;
}

double share(BalancerWorld& world, std::size_t index, int count = 8000) { return world.picks(count)[index] / static_cast<double>(count); }

}  // namespace

TEST_CASE("an endpoint that came begins with a tenth of its share and grows evenly to all of it") {
  const auto balance = GENERATE(from_range(std::begin(kDrawn), std::end(kDrawn)));
  BalancerWorld world = world_of({1, 1, 1, 1}, balance);
  world.warm(3);
  CHECK(share(world, 3) == Approx(0.1 / 3.1).margin(0.015));
  world.now += 3s;
  CHECK(share(world, 3) == Approx(0.1 / 3.1).margin(0.015));
  world.now += 12s;
  CHECK(share(world, 3) == Approx(0.5 / 3.5).margin(0.02));
  world.now += 9s;
  CHECK(share(world, 3) == Approx(0.8 / 3.8).margin(0.02));
  world.now += 6s;
  CHECK(share(world, 3) == Approx(0.25).margin(0.02));
}

TEST_CASE("a weight that warms up is a part of that weight") {
  const auto balance = GENERATE(from_range(std::begin(kDrawn), std::end(kDrawn)));
  BalancerWorld world = world_of({1, 3}, balance);
  world.warm(1);
  world.now += 15s;
  CHECK(share(world, 1) == Approx(1.5 / 2.5).margin(0.03));
}

TEST_CASE("an endpoint is warmed up after an ejection too, without anybody saying so") {
  const auto balance = GENERATE(from_range(std::begin(kDrawn), std::end(kDrawn)));
  BalancerWorld world = world_of({1, 1, 1, 1}, balance);
  world.eject(0, 5s);
  world.around.any_warming = true;
  CHECK(world.picks(1000).count(0) == 0);
  world.now += 5s;
  CHECK(share(world, 0) == Approx(0.1 / 3.1).margin(0.015));
  world.now += 30s;
  CHECK(share(world, 0) == Approx(0.25).margin(0.02));
}

TEST_CASE("where all are new, all are used alike, and one alone gets everything") {
  const auto balance = GENERATE(from_range(std::begin(kDrawn), std::end(kDrawn)));
  BalancerWorld world = world_of({1, 1, 1}, balance);
  for (std::size_t i = 0; i < 3; ++i) world.warm(i);
  for (std::size_t i = 0; i < 3; ++i) CHECK(share(world, i) == Approx(1.0 / 3).margin(0.03));
  world.tried(1);
  world.tried(2);
  CHECK(share(world, 2, 500) == 1);
}

TEST_CASE("a busy service sends a cold endpoint few requests at once, though it seems idle") {
  BalancerWorld world({1, 1}, {.balance = Balance::least_request, .slow_start = 30s});
  world.at(0).active = 100;
  world.warm(1);
  world.picks(2000, true);
  CHECK(world.at(1).active < world.at(0).active / 5);
}

TEST_CASE("a cold endpoint is not flooded because it is the idle one of two, or because nothing is known of it") {
  const auto balance = GENERATE(Balance::least_request, Balance::peak_ewma);
  BalancerWorld world({1, 1}, {.balance = balance, .slow_start = 30s});
  world.at(0).latency.observe(10ms, world.now);
  world.at(0).active = 1;
  world.warm(1);
  CHECK(share(world, 1) == Approx(0.1 / 1.1 + 0.1 * 1 / 1.1).margin(0.02));  // drawn first, or second and let in
  world.now += 30s;
  CHECK(share(world, 1) == 1);
}

TEST_CASE("without slow_start nobody is cold") {
  BalancerWorld world({1, 1}, {.balance = Balance::random});
  world.warm(1);
  CHECK(share(world, 1) == Approx(0.5).margin(0.02));
}

TEST_CASE("hashing takes no part in slow start: keys stay where they belong") {
  BalancerWorld world({1, 1, 1}, {.balance = Balance::maglev, .slow_start = 30s});
  const std::size_t home = world.pick_for(5).index;
  world.warm(home);
  for (int i = 0; i < 50; ++i) CHECK(world.pick_for(5).index == home);
}

TEST_CASE("an endpoint that joins others is new; those of the start, those that stay and a whole new set are not") {
  std::atomic<std::uint32_t> last_id{0};
  const MonotonicTime start{std::chrono::hours(1)};
  const auto found = [](std::initializer_list<int> ports) {
    std::vector<Service::FoundEndpoint> all;
    for (const int port : ports) all.push_back({*Address::parse("10.0.0.1:" + std::to_string(port)), 1});
    return all;
  };
  Service service("s", last_id, 1);
  service.configure(ServiceConfig{}, {});
  service.set_endpoints(found({1}), start);
  service.set_endpoints(found({1, 2}), start + 1s);  // another name answered
  CHECK_FALSE(service.any_warming(start + 1s, 30s));
  service.set_endpoints(found({2, 1}), start + 60s);
  CHECK_FALSE(service.any_warming(start + 60s, 30s));
  service.set_endpoints(found({8, 9}), start + 70s);
  CHECK_FALSE(service.any_warming(start + 70s, 30s));
  service.set_endpoints(found({8, 9, 10}), start + 80s);
  CHECK(service.any_warming(start + 80s, 30s));
  CHECK(service.any_warming(start + 109s, 30s));
  CHECK_FALSE(service.any_warming(start + 110s, 30s));
  Endpoint other(99, *Address::parse("10.0.0.1:11"));
  service.begin_slow_start(other, start + 200s);
  CHECK(service.any_warming(start + 201s, 30s));
}
