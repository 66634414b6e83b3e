// `srv:` endpoints: targets, weights and priorities as RFC 2782 has them.
#include <catch2/catch.hpp>

#include "proxy/upstream/discovery_srv.h"
#include "tests/upstream/upstream_world.h"

using namespace weir;
using namespace weir::test;

namespace {

const std::string kName = "_http._tcp.shop";
const ServiceConfig kService = UpstreamWorld::config({"srv:" + kName});

// "address*weight", in order
std::vector<std::string> endpoints(UpstreamWorld& world) {
  std::vector<std::string> found;
  for (const EndpointStatus& endpoint : world.status().endpoints) {
    found.push_back(endpoint.address + "*" + std::to_string(endpoint.weight));
  }
  return found;
}

using List = std::vector<std::string>;
std::string trouble(UpstreamWorld& world) { return world.directory.status()[0].discovery_error; }

}  // namespace

TEST_CASE("the targets of SRV records are endpoints, with their ports and weights") {
  UpstreamWorld world;
  world.apply(kService);
  CHECK(world.resolver.last == kName);
  CHECK(world.status().waiting);
  world.resolver.answer_srv({{"b.shop", 8081, 0, 30}, {"a.shop", 8080, 0, 10}}, 60s);
  CHECK(world.status().waiting);
  CHECK(world.resolver.waiting("a.shop") == 1);
  world.resolver.answer({"10.0.0.1:8080"}, 60s, "a.shop");
  world.resolver.answer({"10.0.0.2:8081"}, 60s, "b.shop");
  CHECK(endpoints(world) == List{"10.0.0.1:8080*10", "10.0.0.2:8081*30"});
  CHECK(trouble(world).empty());
}

TEST_CASE("a target's weight is that of all its addresses together; zero is the least, unless all are") {
  using Targets = std::vector<std::pair<std::uint16_t, std::size_t>>;
  using Weights = std::vector<std::uint32_t>;
  CHECK(spread_srv_weights(Targets{{10, 1}, {20, 2}}) == Weights{10, 10});
  CHECK(spread_srv_weights(Targets{{0, 1}, {0, 1}}) == Weights{1, 1});
  CHECK(spread_srv_weights(Targets{{0, 1}, {0, 2}}) == Weights{1000, 500});
  CHECK(spread_srv_weights(Targets{{0, 1}, {5, 1}}) == Weights{1, 1000});
  CHECK(spread_srv_weights(Targets{{10, 3}, {10, 1}}) == Weights{333, 1000});
  CHECK(spread_srv_weights(Targets{{65535, 1}, {1, 1}}) == Weights{1000, 1});
  CHECK(spread_srv_weights({}).empty());
}

TEST_CASE("a higher priority value serves only while the lower ones have no address") {
  UpstreamWorld world;
  world.apply(kService);
  world.resolver.answer_srv({{"far", 80, 20, 0}, {"near", 80, 10, 0}}, 60s);
  world.resolver.answer({"10.0.2.1:80"}, 60s, "far");
  CHECK(world.status().waiting);  // the near ones are not known yet
  SECTION("the lower has one") {
    world.resolver.answer({"10.0.1.1:80"}, 60s, "near");
    CHECK(endpoints(world) == List{"10.0.1.1:80*1"});
  }
  SECTION("the lower has none, until it has") {
    world.resolver.answer({}, 60s, "near");
    CHECK(endpoints(world) == List{"10.0.2.1:80*1"});
    CHECK(trouble(world) == "dns:near: no addresses");
    world.advance(2s);
    world.resolver.answer({"10.0.1.1:80"}, 60s, "near");
    CHECK(endpoints(world) == List{"10.0.1.1:80*1"});
    CHECK(trouble(world).empty());
  }
}

TEST_CASE("every record is asked for again when its own time is over") {
  UpstreamWorld world;
  world.apply(kService);
  world.resolver.answer_srv({{"a", 80, 0, 0}}, 10s);
  world.resolver.answer({"10.0.0.1:80"}, 3s, "a");
  world.advance(3s);
  CHECK(world.resolver.waiting("a") == 1);
  world.resolver.answer({"10.0.0.2:80"}, 60s, "a");
  CHECK(endpoints(world) == List{"10.0.0.2:80*1"});
  world.advance(6999ms);
  CHECK(world.resolver.waiting() == 0);
  world.advance(1ms);
  CHECK(world.resolver.waiting(kName) == 1);
}

TEST_CASE("old endpoints stay beside the known ones while new targets are being resolved") {
  UpstreamWorld world;
  world.apply(kService);
  world.resolver.answer_srv({{"a", 80, 0, 1}, {"b", 80, 0, 1}}, 10s);
  world.resolver.answer({"10.0.0.1:80"}, 60s, "a");
  world.resolver.answer({"10.0.0.2:80"}, 60s, "b");
  const std::uint32_t id = world.status().endpoints[0].id;
  world.advance(10s);
  world.resolver.answer_srv({{"a", 80, 0, 1}, {"c", 80, 0, 1}}, 10s);
  CHECK(endpoints(world) == List{"10.0.0.1:80*1", "10.0.0.2:80*1"});
  world.resolver.answer({"10.0.0.3:80"}, 60s, "c");
  CHECK(endpoints(world) == List{"10.0.0.1:80*1", "10.0.0.3:80*1"});
  CHECK(world.status().endpoints[0].id == id);
  world.advance(60s);
  CHECK(world.resolver.waiting("b") == 0);  // nobody leads there any more
}

TEST_CASE("a target is known with its first family: the other may be slow") {
  UpstreamWorld world;
  world.apply(kService);
  world.resolver.answer_srv({{"a", 80, 0, 0}}, 10s);
  world.resolver.answer({"10.0.0.1:80"}, 1h, "a");
  world.advance(10s);
  world.resolver.answer_srv({{"b", 80, 0, 0}}, 10s);
  NameAnswer first;
  first.outcome = LookupOutcome::found;
  first.addresses = {*Address::parse("10.0.0.2:80")};
  first.ttl = 10s;
  world.resolver.answer_family(first);
  CHECK(endpoints(world) == List{"10.0.0.2:80*1"});
}

TEST_CASE("the last good records stay whatever goes wrong, and it shows") {
  UpstreamWorld world;
  world.apply(kService);
  world.resolver.answer_srv({{"a", 80, 0, 0}}, 1s);
  world.resolver.answer({"10.0.0.1:80"}, 1h, "a");
  world.advance(1s);
  std::string expected;
  SECTION("no records") {
    world.resolver.answer_srv({}, 1s);
    expected = "srv:" + kName + ": no records";
  }
  SECTION("the root: no such service here") {
    world.resolver.answer_srv({{"", 0, 0, 0}}, 1s);
    expected = "srv:" + kName + ": the records name no target";
  }
  SECTION("no server") {
    world.resolver.fail("timed out");
    expected = "srv:" + kName + ": timed out";
  }
  SECTION("targets that do not exist") {
    world.resolver.answer_srv({{"gone", 80, 0, 0}}, 1h);
    world.resolver.answer({}, 1s, "gone");
    expected = "dns:gone: no addresses";
  }
  CHECK(endpoints(world) == List{"10.0.0.1:80*1"});
  CHECK(trouble(world) == expected);
  CHECK(world.directory.status()[0].discovery->errors == 1);
}

TEST_CASE("thousands of targets are not thousands of lookups") {
  UpstreamWorld world;
  world.apply(kService);
  std::vector<SrvTarget> targets;
  for (int i = 0; i < 3000; ++i) targets.push_back({"t" + std::to_string(10'000 + i), 80, 0, 0});
  world.resolver.answer_srv(targets, 60s);
  CHECK(world.resolver.waiting() == 100);
  std::vector<std::string> many;
  for (int i = 0; i < 50; ++i) many.push_back("10.0.0." + std::to_string(i) + ":80");
  for (int i = 0; i < 100; ++i) {
    const std::string host = "t" + std::to_string(10'000 + i);
    for (std::string& address : many) address.replace(0, address.find('.', 3), "10." + std::to_string(i));
    world.resolver.answer(many, 60s, host);
  }
  CHECK(world.status().endpoints.size() == 1000);
  CHECK(trouble(world).find("too many targets or addresses") != std::string::npos);
}

TEST_CASE("requests wait for the first records, and fail when there are none") {
  UpstreamWorld world;
  world.apply(kService);
  TestRequest request(world);
  CHECK(world.status().pending.used == 1);
  world.resolver.answer_srv({}, 1s);
  REQUIRE(request.failed);
  CHECK(request.failure.kind == FailureKind::no_endpoint);
}

TEST_CASE("a service that is gone asks no more, and comes back") {
  UpstreamWorld world;
  world.apply(kService);
  world.resolver.answer_srv({{"a", 80, 0, 0}}, 10s);
  world.resolver.answer({"10.0.0.1:80"}, 10s, "a");
  world.directory.apply({}, {});
  world.advance(1h);
  CHECK(world.resolver.waiting() == 0);
  world.apply(kService);
  CHECK(world.resolver.waiting(kName) == 1);
  CHECK(world.resolver.waiting("a") == 1);
}
