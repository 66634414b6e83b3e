#include "proxy/upstream/balancer.h"

#include <catch2/catch.hpp>

#include "tests/upstream/balancer_world.h"

using namespace weir;
using namespace weir::test;

namespace {

struct World : BalancerWorld {
  explicit World(const std::vector<std::uint32_t>& weights, Balance balance = Balance::round_robin, double panic_below = 0.5)
      : BalancerWorld(weights, {.balance = balance, .panic_below = panic_below}) {}
};

constexpr Balance kAll[] = {Balance::round_robin, Balance::least_request, Balance::peak_ewma,
                            Balance::random,      Balance::ring_hash,     Balance::maglev};

// Picks of requests that all differ in their hash.
std::map<std::size_t, int> spread(BalancerWorld& world, int count) {
  std::map<std::size_t, int> found;
  for (int i = 0; i < count; ++i) ++found[world.pick_for(static_cast<std::uint64_t>(i)).index];
  return found;
}

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
  world.at(0).active = 3;
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

TEST_CASE("whatever the balance, the ejected are skipped until their time is over") {
  const auto balance = GENERATE(from_range(std::begin(kAll), std::end(kAll)));
  World world({1, 1, 1}, balance);
  world.eject(1);
  CHECK(spread(world, 300).count(1) == 0);
  world.now += 5s;
  CHECK(spread(world, 300)[1] > 50);
}

TEST_CASE("whatever the balance, an idle service is used by weight") {
  const auto balance = GENERATE(from_range(std::begin(kAll), std::end(kAll)));
  World world({1, 2, 5}, balance);
  if (balance == Balance::peak_ewma) {
    for (std::size_t i = 0; i < 3; ++i) world.at(i).latency.observe(10ms, world.now);
  }
  auto counts = spread(world, 16000);
  const bool rough = balance == Balance::ring_hash;
  CHECK(std::abs(counts[0] - 2000) < (rough ? 400 : 200));
  CHECK(std::abs(counts[1] - 4000) < (rough ? 600 : 300));
  CHECK(std::abs(counts[2] - 10000) < (rough ? 800 : 400));
}

TEST_CASE("whatever the balance, one and two endpoints do") {
  const auto balance = GENERATE(from_range(std::begin(kAll), std::end(kAll)));
  World one({3}, balance);
  CHECK(spread(one, 20)[0] == 20);
  World two({1, 1}, balance);
  CHECK(spread(two, 200).size() == 2);
  two.tried(1);
  CHECK(spread(two, 100)[1] == 100);
  two.tried(2);
  CHECK(spread(two, 200).size() == 2);
  two.context.tried = nullptr;
  two.eject(0);
  CHECK(spread(two, 100)[1] == 100);
  two.eject(1);
  CHECK(spread(two, 200).size() == 2);  // a panic
  CHECK(two.pick().panic);
}

TEST_CASE("whatever the balance, 10,000 endpoints are shared out among workers at once") {
  const auto balance = GENERATE(from_range(std::begin(kAll), std::end(kAll)));
  World world(std::vector<std::uint32_t>(10000, 1), balance);
  const auto counts = spread(world, 20000);
  // By chance 8647 are expected to be met; the ring's shares are the most uneven.
  CHECK(counts.size() > (balance == Balance::ring_hash ? 8300U : 8500U));
  int most = 0;
  for (const auto& [index, count] : counts) most = std::max(most, count);
  CHECK(most < 16);
}

TEST_CASE("weights hold among those that are left") {
  World world({1, 2, 7}, Balance::round_robin);
  world.eject(2);
  auto counts = world.picks(300);
  CHECK(counts[0] == 100);
  CHECK(counts[1] == 200);
}

TEST_CASE("another endpoint than those tried before is picked while there is one") {
  const auto balance = GENERATE(Balance::round_robin, Balance::least_request, Balance::random);
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
