#include "tests/upstream/upstream_world.h"

#include <catch2/catch.hpp>

using namespace weir;
using namespace weir::test;

namespace {

std::vector<std::string> addresses(UpstreamWorld& world) {
  std::vector<std::string> found;
  for (const EndpointStatus& endpoint : world.status().endpoints) found.push_back(endpoint.address);
  return found;
}

using Addresses = std::vector<std::string>;
const ServiceConfig kNamed = UpstreamWorld::config({"dns:a.test:80"});

}  // namespace

TEST_CASE("fixed addresses and unix paths are there at once") {
  UpstreamWorld world;
  world.apply(UpstreamWorld::config({"127.0.0.1:9001", "unix:/run/app.sock"}));
  CHECK(addresses(world) == Addresses{"127.0.0.1:9001", "unix:/run/app.sock"});
  CHECK(world.resolver.asked == 0);
}

TEST_CASE("every address of a name is an endpoint, whatever its family") {
  UpstreamWorld world;
  world.apply(kNamed);
  CHECK(world.resolver.last == "a.test:80");
  CHECK(world.status().waiting);
  world.resolver.answer({"[::1]:80", "10.0.0.2:80", "10.0.0.1:80"}, 30s);
  CHECK(addresses(world) == Addresses{"10.0.0.1:80", "10.0.0.2:80", "[::1]:80"});
  CHECK_FALSE(world.status().waiting);
}

TEST_CASE("a name is asked for again when its answer's time is over, within the bounds") {
  const auto [ttl, again] = GENERATE(std::pair<Duration, Duration>{5s, 5s}, std::pair<Duration, Duration>{0s, 1s},
                                     std::pair<Duration, Duration>{1h, 60s});
  UpstreamWorld world;
  world.apply(kNamed);
  world.resolver.answer({"10.0.0.1:80"}, ttl);
  world.advance(again - 1ms);
  CHECK(world.resolver.asked == 1);
  world.advance(1ms);
  CHECK(world.resolver.asked == 2);
}

TEST_CASE("the last good answer is kept while lookups fail, which back off") {
  UpstreamWorld world;
  world.apply(kNamed);
  world.resolver.answer({"10.0.0.1:80"}, 1s);
  const std::uint32_t id = world.status().endpoints[0].id;
  for (int i = 0; i < 10; ++i) {
    world.advance(60s);
    if (world.resolver.waiting() > 0) world.resolver.fail("timed out");
  }
  REQUIRE(addresses(world) == Addresses{"10.0.0.1:80"});
  CHECK(world.status().endpoints[0].id == id);
  CHECK(world.directory.status()[0].discovery_error == "dns:a.test: timed out");
  const std::size_t asked = world.resolver.asked;
  world.advance(44s);
  CHECK(world.resolver.asked == asked);
  world.advance(16s);
  CHECK(world.resolver.asked == asked + 1);
  world.resolver.answer({"10.0.0.1:80"}, 1s);
  CHECK(world.directory.status()[0].discovery_error.empty());
}

TEST_CASE("an answer without addresses is no answer") {
  UpstreamWorld world;
  world.apply(kNamed);
  world.resolver.answer({"10.0.0.1:80"}, 1s);
  world.advance(1s);
  world.resolver.answer({}, 1s);
  CHECK(addresses(world) == Addresses{"10.0.0.1:80"});
}

TEST_CASE("addresses that stay keep their endpoint; a mere change of order is none") {
  UpstreamWorld world;
  world.apply(kNamed);
  world.resolver.answer({"10.0.0.1:80", "10.0.0.2:80"}, 1s);
  const auto before = world.status().endpoints;
  world.advance(1s);
  world.resolver.answer({"10.0.0.2:80", "10.0.0.1:80"}, 1s);
  CHECK(world.status().endpoints[0].id == before[0].id);
  world.advance(1s);
  world.resolver.answer({"10.0.0.2:80", "10.0.0.3:80"}, 1s);
  CHECK(addresses(world) == Addresses{"10.0.0.2:80", "10.0.0.3:80"});
  CHECK(world.status().endpoints[0].id == before[1].id);
}

TEST_CASE("requests wait for the first answer") {
  UpstreamWorld world;
  world.apply(kNamed);
  world.net.conditions().delay = 1ms;
  SimServer server(world.net, world.main, *Address::parse("10.0.0.1:80"));
  TestRequest request(world);
  world.advance(100ms);
  CHECK_FALSE(request.told());
  CHECK(world.status().pending.used == 1);
  world.resolver.answer({"10.0.0.1:80"}, 10s);
  world.advance(10ms);
  world.only_busy().answer(200);
  CHECK(request.status == 200);
  CHECK(request.attempt().endpoint == "10.0.0.1:80");
}

TEST_CASE("requests fail when the first answer is bad, or too late") {
  UpstreamWorld world;
  world.apply(kNamed);
  TestRequest first(world);
  SECTION("bad") {
    world.resolver.fail("no such name");
    REQUIRE(first.failed);
    CHECK(first.failure.kind == FailureKind::no_endpoint);
    TestRequest second(world);  // and the next ones at once
    CHECK(second.failure.kind == FailureKind::no_endpoint);
    world.advance(2s);
    world.resolver.answer({"127.0.0.1:9001"}, 10s);
    world.listen(9001);
    TestRequest third(world);
    world.run();
    world.only_busy().answer(200);
    CHECK(third.ended);
  }
  SECTION("late") {
    world.advance(2999ms);
    CHECK_FALSE(first.told());
    world.advance(1ms);
    REQUIRE(first.failed);
    CHECK(first.failure.kind == FailureKind::no_endpoint);
    CHECK(world.status().pending.used == 0);
  }
}

TEST_CASE("one name of several that answers is enough to begin with") {
  UpstreamWorld world;
  world.apply(UpstreamWorld::config({"dns:a.test:80", "127.0.0.1:9001"}));
  CHECK(addresses(world) == Addresses{"127.0.0.1:9001"});
  CHECK_FALSE(world.status().waiting);
  world.resolver.answer({"10.0.0.1:80"}, 10s);
  CHECK(addresses(world) == Addresses{"10.0.0.1:80", "127.0.0.1:9001"});
}

TEST_CASE("a reload keeps a name's answer and its time; a removed service asks no more") {
  UpstreamWorld world;
  world.apply(kNamed);
  world.resolver.answer({"10.0.0.1:80"}, 10s);
  world.advance(5s);
  world.apply(kNamed);
  CHECK(world.resolver.asked == 1);
  CHECK(addresses(world) == Addresses{"10.0.0.1:80"});
  world.advance(5s);
  CHECK(world.resolver.asked == 2);
  world.directory.apply({}, {});
  world.advance(1h);
  CHECK(world.resolver.asked == 2);
  world.apply(kNamed);
  CHECK(world.resolver.asked == 3);
}
