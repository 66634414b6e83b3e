// ring_hash and maglev: what moves when endpoints come and go, how even the shares are, and the bound on load.
#include <catch2/catch.hpp>
#include <numeric>
#include <set>

#include "tests/upstream/balancer_world.h"

using namespace weir;
using namespace weir::test;

namespace {

constexpr int kKeys = 20000;

std::vector<std::string> homes(BalancerWorld& world) {
  std::vector<std::string> found;
  for (int key = 0; key < kKeys; ++key) found.push_back(world.at(world.pick_for(static_cast<std::uint64_t>(key)).index).text);
  return found;
}

BalancerWorld uniform(std::size_t count, Balance balance) {
  return BalancerWorld(std::vector<std::uint32_t>(count, 1), {.balance = balance, .hash_max_load = kUnboundedLoad});
}

void drop(BalancerWorld& world, std::size_t index) {
  std::vector<EndpointSlot> slots = world.set.slots;
  slots.erase(slots.begin() + static_cast<std::ptrdiff_t>(index));
  world.set = BalancerWorld::with_circle(std::move(slots), world.options.balance);
  world.balancer.reset(world.set, world.random);
}

}  // namespace

TEST_CASE("when one of ten endpoints leaves, its keys move and hardly any other") {
  const auto balance = GENERATE(Balance::ring_hash, Balance::maglev);
  BalancerWorld world = uniform(10, balance);
  const std::vector<std::string> before = homes(world);
  const std::string gone = world.at(4).text;
  drop(world, 4);
  const std::vector<std::string> after = homes(world);
  int needless = 0;
  int moved = 0;
  std::set<std::string> heirs;
  for (int key = 0; key < kKeys; ++key) {
    const auto k = static_cast<std::size_t>(key);
    if (before[k] == gone) {
      ++moved;
      heirs.insert(after[k]);
    } else if (before[k] != after[k]) {
      ++needless;
    }
  }
  CHECK(std::abs(moved - kKeys / 10) < kKeys / 40);
  CHECK(heirs.size() == 9);  // the load of one is not thrown upon its neighbor
  if (balance == Balance::ring_hash) CHECK(needless == 0);
  CHECK(needless < kKeys * 3 / 100);
}

TEST_CASE("an endpoint that comes takes its share evenly from all and moves nothing between the others") {
  BalancerWorld world = uniform(11, Balance::ring_hash);
  const std::string newcomer = world.at(10).text;
  const std::vector<std::string> with = homes(world);
  drop(world, 10);
  const std::vector<std::string> without = homes(world);
  int taken = 0;
  for (std::size_t key = 0; key < kKeys; ++key) {
    if (with[key] == newcomer) ++taken;
    CHECK((with[key] == newcomer || with[key] == without[key]));
  }
  CHECK(std::abs(taken - kKeys / 11) < kKeys / 40);
}

TEST_CASE("the order of the endpoints does not matter, so that all weirs agree") {
  const auto balance = GENERATE(Balance::ring_hash, Balance::maglev);
  BalancerWorld world = uniform(7, balance);
  const std::vector<std::string> before = homes(world);
  std::vector<EndpointSlot> slots(world.set.slots.rbegin(), world.set.slots.rend());
  world.set = BalancerWorld::with_circle(std::move(slots), balance);
  CHECK(homes(world) == before);
}

TEST_CASE("the shares of maglev are nearly even, those of a ring to one in five") {
  const auto balance = GENERATE(Balance::ring_hash, Balance::maglev);
  const EndpointSet set = BalancerWorld::make(std::vector<std::uint32_t>(20, 1), balance);
  constexpr int kSamples = 200000;
  std::vector<double> counts(20);
  for (int i = 0; i < kSamples; ++i) {
    counts[set.circle->owner(set.circle->place_of(BalancerWorld::scattered(static_cast<std::uint64_t>(i))))] += 1;
  }
  const double even = kSamples / 20.0;
  for (const double count : counts) CHECK(std::abs(count / even - 1) < (balance == Balance::maglev ? 0.04 : 0.2));
}

TEST_CASE("the circles of many or heavy endpoints are bounded, and everybody has a place") {
  std::vector<std::uint32_t> weights(10000, 1000);
  weights[17] = 1;
  for (const Balance balance : {Balance::ring_hash, Balance::maglev}) {
    const EndpointSet set = BalancerWorld::make(weights, balance);
    CHECK(set.circle->places() <= (std::size_t{1} << 19) + 10000);
    std::vector<int> places(10000);
    for (std::size_t place = 0; place < set.circle->places(); ++place) ++places[set.circle->owner(place)];
    CHECK(*std::min_element(places.begin(), places.end()) >= 1);
    CHECK(places[17] < places[18]);
  }
}

TEST_CASE("no endpoint gets more than its bound of what is in flight, however hot a key is") {
  const auto balance = GENERATE(Balance::ring_hash, Balance::maglev);
  const std::uint32_t weight = GENERATE(1U, 3U);
  BalancerWorld world({1, 1, 1, 1, weight}, {.balance = balance, .hash_max_load = 1.25});
  std::uint32_t passed = 0;
  for (std::uint32_t in_flight = 1; in_flight <= 400; ++in_flight) {
    world.around.in_flight = in_flight;
    const Balancer::Pick picked = world.pick_for(42);  // one key
    passed += picked.passed_full ? 1 : 0;
    ++world.at(picked.index).active;
    for (std::size_t i = 0; i < 5; ++i) {
      const double share = (i == 4 ? weight : 1.0) / (4.0 + weight);
      REQUIRE(world.at(i).active <= std::ceil(1.25 * in_flight * share));
    }
  }
  CHECK(passed > 200);
}

TEST_CASE("what overflows goes the same way each time, and home again when there is room") {
  BalancerWorld world({1, 1, 1, 1}, {.balance = Balance::ring_hash});
  world.around.in_flight = 8;
  const std::size_t home = world.pick_for(7).index;
  world.at(home).active = 8;
  const Balancer::Pick next = world.pick_for(7);
  CHECK(next.index != home);
  CHECK(next.passed_full);
  for (int i = 0; i < 20; ++i) CHECK(world.pick_for(7).index == next.index);
  world.at(home).active = 2;
  CHECK(world.pick_for(7).index == home);
  CHECK_FALSE(world.pick_for(7).passed_full);
}

TEST_CASE("without a bound a key stays at its endpoint whatever the load") {
  BalancerWorld world({1, 1, 1, 1}, {.balance = Balance::maglev, .hash_max_load = kUnboundedLoad});
  const std::size_t home = world.pick_for(7).index;
  world.at(home).active = 1000;
  world.around.in_flight = 1001;
  CHECK(world.pick_for(7).index == home);
}

TEST_CASE("a hash whose endpoint is ejected or was tried goes to the next, and only that one's keys do") {
  const auto balance = GENERATE(Balance::ring_hash, Balance::maglev);
  BalancerWorld world = uniform(5, balance);
  const std::vector<std::string> before = homes(world);
  world.eject(2);
  const std::vector<std::string> after = homes(world);
  for (std::size_t key = 0; key < kKeys; ++key) {
    CHECK((before[key] == after[key]) == (before[key] != world.at(2).text));
  }
  world.any_ejected = false;
  const std::size_t home = world.pick_for(1).index;
  world.tried(world.at(home).id);
  const std::size_t second = world.pick_for(1).index;
  CHECK(second != home);
  CHECK(world.pick_for(1).index == second);
}

TEST_CASE("the only usable one of very many is found, and always the same one of a few") {
  BalancerWorld world(std::vector<std::uint32_t>(9000, 1), {.balance = Balance::ring_hash, .panic_below = 0});
  for (std::size_t i = 0; i < 9000; ++i) {
    if (i != 777 && i != 888) world.eject(i);
  }
  std::set<std::size_t> found;
  for (std::uint64_t key = 0; key < 30; ++key) {
    const std::size_t first = world.pick_for(key).index;
    found.insert(first);
    CHECK(world.pick_for(key).index == first);
  }
  CHECK(found == std::set<std::size_t>{777, 888});
}
