#include "proxy/upstream/balancer.h"

#include <catch2/catch.hpp>

#include <map>

using namespace weir;

namespace {

struct World {
  explicit World(std::vector<std::uint32_t> weights, Balance balance = Balance::round_robin, double panic_below = 0.5)
      : set(make(weights)) {
    balancer.configure(balance, panic_below);
    balancer.reset(set, random);
  }
  static EndpointSet make(const std::vector<std::uint32_t>& weights) {
    std::vector<EndpointSlot> slots;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const auto address = Address::parse("127.0.0.1:" + std::to_string(9000 + i));
      slots.push_back({std::make_shared<Endpoint>(static_cast<std::uint32_t>(i + 1), *address), weights[i]});
    }
    return EndpointSet(std::move(slots));
  }
  Balancer::Pick pick() { return balancer.pick(set, context, any_ejected, now, random); }
  std::map<std::size_t, int> picks(int count, bool busy = false) {
    std::map<std::size_t, int> found;
    for (int i = 0; i < count; ++i) {
      const std::size_t index = pick().index;
      ++found[index];
      if (busy) ++set.slots[index].endpoint->active;
    }
    return found;
  }
  void eject(std::size_t index) {
    any_ejected = true;
    set.slots[index].endpoint->ejected_until = (now + 5s).time_since_epoch().count();
  }
  void tried(std::uint32_t id) { context.tried[context.tried_count++] = id; }

  EndpointSet set;
  Balancer balancer;
  Random random{3};
  PickContext context;
  bool any_ejected = false;
  MonotonicTime now{std::chrono::hours(1)};
};

}  // namespace

TEST_CASE("without endpoints nothing is picked") {
  World world({});
  CHECK(world.pick().index == Balancer::kNone);
}

TEST_CASE("round robin visits everybody in turn") {
  World world({1, 1, 1});
  for (const auto& [index, count] : world.picks(300)) CHECK(count == 100);
}

TEST_CASE("weighted round robin is exact and smooth") {
  World world({5, 1, 1});
  std::vector<std::size_t> order;
  for (int i = 0; i < 14; ++i) order.push_back(world.pick().index);
  std::map<std::size_t, int> counts;
  int longest = 0;
  int run = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    ++counts[order[i]];
    run = i > 0 && order[i] == order[i - 1] ? run + 1 : 1;
    longest = std::max(longest, run);
  }
  CHECK(counts[0] == 10);
  CHECK(counts[1] == 2);
  CHECK(counts[2] == 2);
  CHECK(longest <= 4);  // not 5 in a row
}

TEST_CASE("workers begin their rounds at different places") {
  std::map<std::size_t, int> first;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    World world({1, 1, 1, 1});
    Random random(seed);
    world.balancer.reset(world.set, random);
    ++first[world.pick().index];
  }
  CHECK(first.size() == 4);
}

TEST_CASE("the less busy of two is picked") {
  World world({1, 1}, Balance::least_request);
  world.set.slots[0].endpoint->active = 3;
  CHECK(world.picks(100)[1] == 100);
}

TEST_CASE("least request spreads load over an even set") {
  World world({1, 1, 1, 1, 1}, Balance::least_request);
  for (const auto& [index, count] : world.picks(1000, true)) CHECK(std::abs(count - 200) <= 10);
}

TEST_CASE("least request on an idle service follows the weights") {
  World world({1, 3}, Balance::least_request);
  auto counts = world.picks(10000);
  CHECK(std::abs(counts[1] - 7500) < 200);
}

TEST_CASE("least request under load evens out the load per weight") {
  World world({1, 2, 5}, Balance::least_request);
  auto counts = world.picks(8000, true);
  CHECK(std::abs(counts[0] - 1000) < 100);
  CHECK(std::abs(counts[1] - 2000) < 200);
  CHECK(std::abs(counts[2] - 5000) < 400);
}

TEST_CASE("the ejected are skipped until their time is over") {
  const auto balance = GENERATE(Balance::round_robin, Balance::least_request);
  World world({1, 1, 1}, balance);
  world.eject(1);
  CHECK(world.picks(300).count(1) == 0);
  world.now += 5s;
  CHECK(world.picks(300)[1] > 50);
}

TEST_CASE("weights hold among those that are left") {
  World world({1, 2, 7}, Balance::round_robin);
  world.eject(2);
  auto counts = world.picks(300);
  CHECK(counts[0] == 100);
  CHECK(counts[1] == 200);
}

TEST_CASE("another endpoint than those tried before is picked while there is one") {
  const auto balance = GENERATE(Balance::round_robin, Balance::least_request);
  World world({1, 1, 1}, balance);
  world.tried(1);
  CHECK(world.picks(100).count(0) == 0);
  world.tried(3);
  CHECK(world.picks(100)[1] == 100);
  world.tried(2);
  CHECK(world.picks(300).size() == 3);
}

TEST_CASE("a tried endpoint is used again rather than an ejected one") {
  World world({1, 1, 1}, Balance::least_request, 0);
  world.tried(1);
  world.eject(1);
  world.eject(2);
  auto counts = world.picks(50);
  CHECK(counts[0] == 50);
}

TEST_CASE("below the panic threshold all are used, and it says so") {
  World world({1, 1, 1, 1}, Balance::round_robin, 0.5);
  world.eject(0);
  world.eject(1);
  CHECK_FALSE(world.pick().panic);  // exactly half is not below half
  world.eject(2);
  CHECK(world.pick().panic);
  CHECK(world.picks(400).size() == 4);
}

TEST_CASE("in a panic the tried are still avoided") {
  World world({1, 1, 1}, Balance::least_request, 0.9);
  world.eject(0);
  world.eject(1);
  world.tried(3);
  auto counts = world.picks(100);
  CHECK(counts.count(2) == 0);
  CHECK(counts.size() == 2);
}

TEST_CASE("a threshold of zero never panics while one is usable") {
  World world({1, 1, 1}, Balance::least_request, 0);
  world.eject(0);
  world.eject(1);
  CHECK_FALSE(world.pick().panic);
  CHECK(world.picks(50)[2] == 50);
}

TEST_CASE("the only endpoint is used whatever is known of it") {
  World world({1}, Balance::least_request);
  world.eject(0);
  world.tried(1);
  const auto picked = world.pick();
  CHECK(picked.index == 0);
  CHECK(picked.panic);
}
