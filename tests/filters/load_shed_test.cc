#include <catch2/catch.hpp>

#include "filters/load_shed/load_shed_filter.h"
#include "filters/load_shed/load_shed_policy.h"
#include "tests/support/chain_world.h"
#include "tests/support/fake_link.h"

namespace weir {
namespace {

using namespace test;

LoadShedConfig memory_at(std::uint32_t percent) {
  LoadShedConfig config;
  config.memory = Ratio::percent(percent);
  return config;
}

TEST_CASE("nothing is shed up to the threshold, everything at the end, and a growing share between") {
  struct Row {
    std::uint32_t thousandths;
    double share;
  };
  for (const Row row : {Row{1, 0}, Row{800, 0}, Row{850, 0.25}, Row{900, 0.5}, Row{950, 0.75}, Row{1000, 1}, Row{1500, 1}}) {
    HostPressure pressure;
    LoadShedPolicy policy(memory_at(80), &pressure);
    pressure.memory = row.thousandths;
    CHECK(policy.share(MonotonicTime{1h}).probability == Approx(row.share).margin(1e-9));
  }
}

TEST_CASE("a threshold of everything sheds only at everything") {
  HostPressure pressure;
  LoadShedPolicy policy(memory_at(100), &pressure);
  pressure.memory = 999;
  CHECK(policy.share(MonotonicTime{1h}).probability == 0);
  pressure.memory = 1000;
  CHECK(policy.share(MonotonicTime{1h}).probability == 1);
}

TEST_CASE("what is not known is never a reason to shed") {
  LoadShedConfig config = memory_at(1);
  config.cpu = config.open_files = Ratio::percent(1);
  config.loop_delay = 1ms;
  HostPressure pressure;
  LoadShedPolicy policy(config, &pressure);
  CHECK(policy.share(MonotonicTime{1h}).probability == 0);
  LoadShedPolicy blind(config, nullptr);
  CHECK(blind.share(MonotonicTime{1h}).probability == 0);
  // Nor is what was known before.
  pressure.memory = 1000;
  CHECK(policy.share(MonotonicTime{1h}).probability == 1);
  pressure.memory = 0;
  CHECK(policy.share(MonotonicTime{1h} + 1ms).probability == 0);
}

TEST_CASE("a resource without a threshold is not looked at") {
  HostPressure pressure;
  LoadShedPolicy policy(memory_at(80), &pressure);
  pressure.cpu = 1000;
  pressure.open_files = 1000;
  pressure.loop_delay_us = 10'000'000;
  CHECK(policy.share(MonotonicTime{1h}).probability == 0);
}

TEST_CASE("the worst resource decides, and is named") {
  LoadShedConfig config = memory_at(80);
  config.open_files = Ratio::percent(90);
  HostPressure pressure;
  LoadShedPolicy policy(config, &pressure);
  pressure.memory = 820;
  pressure.open_files = 950;
  const LoadShedPolicy::Share share = policy.share(MonotonicTime{1h});
  CHECK(share.resource == "open_files");
  CHECK(share.probability == Approx(0.5));
}

TEST_CASE("a late loop sheds from its threshold to twice that") {
  LoadShedConfig config;
  config.loop_delay = 50ms;
  HostPressure pressure;
  LoadShedPolicy policy(config, &pressure);
  pressure.loop_delay_us = 50'000;
  CHECK(policy.share(MonotonicTime{1h}).probability == 0);
  pressure.loop_delay_us = 75'000;
  CHECK(policy.share(MonotonicTime{1h}).probability == Approx(0.5));
  pressure.loop_delay_us = 200'000;
  CHECK(policy.share(MonotonicTime{1h}).probability == 1);
}

TEST_CASE("shedding rises at once and falls over two seconds") {
  HostPressure pressure;
  LoadShedPolicy policy(memory_at(80), &pressure);
  MonotonicTime now{1h};
  pressure.memory = 700;
  CHECK(policy.share(now).probability == 0);
  pressure.memory = 1000;
  CHECK(policy.share(now += 1ms).probability == 1);
  pressure.memory = 700;
  CHECK(policy.share(now += 500ms).probability == Approx(0.75));
  CHECK(policy.share(now += 500ms).probability == Approx(0.5));
  CHECK(policy.share(now += 1s).probability == Approx(0).margin(1e-9));
  CHECK(policy.share(now += 1s).probability == 0);
}

TEST_CASE("a reading that swings around the threshold does not make shedding flap") {
  HostPressure pressure;
  LoadShedPolicy policy(memory_at(80), &pressure);
  MonotonicTime now{1h};
  for (int i = 0; i < 50; ++i) {
    pressure.memory = i % 2 == 0 ? 860 : 780;
    const double share = policy.share(now += 100ms).probability;
    CHECK(share >= 0.25 - 1e-9);
    CHECK(share <= 0.3 + 1e-9);
  }
}

TEST_CASE("the link sheds the policy's share of the requests") {
  LoadShedConfig config = memory_at(80);
  HostPressure pressure;
  pressure.memory = 900;
  ChainWorld world;
  FakeLink fake;
  FilterFixture fixture(world, "load_shed");
  fixture.pressure = &pressure;
  const std::unique_ptr<Link> link = load_shed_filter().build(&config, fixture.context(), fake);
  int shed = 0;
  for (int i = 0; i < 2000; ++i) {
    TestExchange exchange(world);
    exchange.start(*link);
    world.loop.run_ready();
    if (!exchange.failure) continue;
    ++shed;
    REQUIRE(exchange.failure->kind == FailureKind::shed);
    REQUIRE(exchange.failure->retry_after == 1s);
    REQUIRE(exchange.decisions() == std::vector<std::string>{"rejected/memory"});
  }
  CHECK(shed == Approx(1000).margin(100));
  CHECK(fake.seen.size() == static_cast<std::size_t>(2000 - shed));
}

TEST_CASE("in shadow the host is not spared, only counted") {
  LoadShedConfig config = memory_at(80);
  HostPressure pressure;
  pressure.memory = 1000;
  ChainWorld world;
  FakeLink fake;
  FilterFixture fixture(world, "load_shed", true);
  fixture.pressure = &pressure;
  const std::unique_ptr<Link> link = load_shed_filter().build(&config, fixture.context(), fake);
  TestExchange exchange(world);
  exchange.start(*link);
  world.loop.run_ready();
  CHECK(exchange.status == 200);
  CHECK(exchange.decisions() == std::vector<std::string>{"would_reject/memory"});
}

}  // namespace
}  // namespace weir
