#include "tests/upstream/upstream_world.h"

#include <algorithm>
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

NameAnswer found(const Addresses& texts, Address::Family family) {
  NameAnswer answer;
  answer.outcome = LookupOutcome::found;
  answer.family = family;
  for (const std::string& text : texts) answer.addresses.push_back(*Address::parse(text));
  answer.ttl = 1s;
  return answer;
}

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
  const auto [ttl, again] =
      GENERATE(std::pair<Duration, Duration>{5s, 5s}, std::pair<Duration, Duration>{0s, 1s}, std::pair<Duration, Duration>{1h, 60s});
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

TEST_CASE("only the families that are wanted are asked for") {
  const auto wanted = GENERATE(AddressFamilies::both, AddressFamilies::ipv4, AddressFamilies::ipv6);
  UpstreamWorld world;
  ServiceConfig config = kNamed;
  config.dns.addresses = wanted;
  world.apply(config);
  CHECK(world.resolver.families == wanted);
}

TEST_CASE("another choice of families asks at once, and what is not wanted goes") {
  UpstreamWorld world;
  world.apply(kNamed);
  world.resolver.answer({"10.0.0.1:80", "[::1]:80"}, 30s);
  ServiceConfig config = kNamed;
  config.dns.addresses = AddressFamilies::ipv6;
  world.apply(config);
  CHECK(addresses(world) == Addresses{"[::1]:80"});
  CHECK(world.resolver.asked == 2);
  NameAnswer answer = found({"[::2]:80"}, Address::Family::ipv6);
  world.resolver.answer_family(answer);
  CHECK(addresses(world) == Addresses{"[::2]:80"});
  world.advance(10s);
  CHECK(world.resolver.asked == 3);
}

TEST_CASE("another choice of families of which nothing is known yet leaves what stands until the answer") {
  UpstreamWorld world;
  ServiceConfig config = kNamed;
  config.dns.addresses = AddressFamilies::ipv4;
  world.apply(config);
  world.resolver.answer({"10.0.0.1:80"}, 30s);
  REQUIRE(addresses(world) == Addresses{"10.0.0.1:80"});
  config.dns.addresses = AddressFamilies::ipv6;
  world.apply(config);
  CHECK(addresses(world) == Addresses{"10.0.0.1:80"});
  world.resolver.answer_family(found({"[::1]:80"}, Address::Family::ipv6));
  CHECK(addresses(world) == Addresses{"[::1]:80"});
}

TEST_CASE("a family that is slow to answer does not hold up the other") {
  UpstreamWorld world;
  world.apply(kNamed);
  world.resolver.answer_family(found({"10.0.0.1:80"}, Address::Family::ipv4));
  CHECK(addresses(world) == Addresses{"10.0.0.1:80"});
  CHECK_FALSE(world.status().waiting);
  world.resolver.answer_family(found({"[::1]:80"}, Address::Family::ipv6));
  CHECK(addresses(world) == Addresses{"10.0.0.1:80", "[::1]:80"});
  CHECK(world.resolver.asked == 1);
}

TEST_CASE("a family whose lookup fails keeps its addresses; one whose records are gone loses them while the other has some") {
  UpstreamWorld world;
  world.apply(kNamed);
  world.resolver.answer({"10.0.0.1:80", "[::1]:80"}, 1s);
  world.advance(1s);
  NameAnswer other;
  other.family = Address::Family::ipv6;
  other.error = "server failure";
  SECTION("SERVFAIL") {
    world.resolver.answer_family(other);
    world.resolver.answer_family(found({"10.0.0.2:80"}, Address::Family::ipv4));
    CHECK(addresses(world) == Addresses{"10.0.0.2:80", "[::1]:80"});
    CHECK(world.directory.status()[0].discovery_error == "dns:a.test: server failure");
    world.advance(1s);
    CHECK(world.resolver.asked == 3);  // the good one's time is over
  }
  SECTION("no records") {
    other.outcome = LookupOutcome::absent;
    world.resolver.answer_family(other);
    CHECK(addresses(world) == Addresses{"10.0.0.1:80", "[::1]:80"});  // until the other one is known
    world.resolver.answer_family(found({"10.0.0.2:80"}, Address::Family::ipv4));
    CHECK(addresses(world) == Addresses{"10.0.0.2:80"});
    CHECK(world.directory.status()[0].discovery_error.empty());
  }
}

TEST_CASE("a family that was never found, and that the server refuses to speak of, is nobody's error while the other is found") {
  UpstreamWorld world;
  world.apply(kNamed);
  NameAnswer refused;
  refused.family = Address::Family::ipv6;
  refused.error = "query refused";
  for (const char* address : {"10.0.0.1:80", "10.0.0.2:80"}) {
    world.resolver.answer_family(found({address}, Address::Family::ipv4));
    world.resolver.answer_family(refused);
    CHECK(addresses(world) == Addresses{address});
    CHECK(world.directory.status()[0].discovery_error.empty());
    world.advance(1s);  // the time of what was found, not that of a failure
  }
  CHECK(world.resolver.asked == 3);
}

TEST_CASE("IPv4 addresses that could not be asked for at first are asked for again soon, though IPv6 has been found") {
  UpstreamWorld world;
  world.apply(kNamed);
  NameAnswer lost;
  lost.family = Address::Family::ipv4;
  lost.error = "server failure";
  world.resolver.answer_family(found({"[::1]:80"}, Address::Family::ipv6));
  world.resolver.answer_family(lost);
  CHECK(addresses(world) == Addresses{"[::1]:80"});
  CHECK_FALSE(world.directory.status()[0].discovery_error.empty());
  world.advance(2s);
  CHECK(world.resolver.asked == 2);
}

TEST_CASE("no answer whatever empties a service that has endpoints") {
  UpstreamWorld world;
  world.apply(kNamed);
  world.resolver.answer({"10.0.0.1:80", "[::1]:80"}, 1s);
  for (int i = 0; i < 4; ++i) {
    world.advance(60s);
    if (i % 2 == 0) world.resolver.answer({}, 1s);  // no such name, or no records
    if (i % 2 == 1) world.resolver.fail("server failure");
    CHECK(addresses(world) == Addresses{"10.0.0.1:80", "[::1]:80"});
    CHECK_FALSE(world.directory.status()[0].discovery_error.empty());
  }
}

TEST_CASE("an answer of ten thousand addresses is cut, always in the same way, and is an error") {
  UpstreamWorld world;
  world.apply(kNamed);
  Addresses all;
  for (int i = 0; i < 10'000; ++i) all.push_back("10.1." + std::to_string(i / 100) + "." + std::to_string(i % 100) + ":80");
  world.resolver.answer(all, 1s);
  CHECK(world.status().endpoints.size() == 1000);
  CHECK(world.directory.status()[0].discovery_error.find("too many addresses") != std::string::npos);
  CHECK(world.directory.status()[0].discovery->errors == 1);
  const auto before = addresses(world);
  world.advance(1s);
  std::reverse(all.begin(), all.end());
  world.resolver.answer(all, 1s);
  CHECK(addresses(world) == before);
  world.advance(1s);
  world.resolver.answer({"10.0.0.1:80"}, 1s);
  CHECK(world.directory.status()[0].discovery_error.empty());
  CHECK(addresses(world) == Addresses{"10.0.0.1:80"});
}

TEST_CASE("status and metrics say how discovery fares; a service of addresses has none of that") {
  UpstreamWorld world;
  const auto published = world.directory.publish_metrics(world.registry);
  world.directory.apply({{"s", kNamed}, {"fixed", UpstreamWorld::config({"127.0.0.1:1"})}}, {});
  world.run();
  CHECK_FALSE(world.directory.status()[0].discovery);  // "fixed"
  REQUIRE(world.directory.status()[1].discovery);
  CHECK_FALSE(world.directory.status()[1].discovery->age);
  world.resolver.answer({"10.0.0.1:80"}, 1s);
  world.advance(1s);
  world.resolver.fail("timed out");
  world.advance(9s);
  CHECK(world.directory.status()[1].discovery->age == Duration(10s));
  CHECK(world.metric("weir_discovery_age_seconds", {"s"}) == 10);
  CHECK(world.metric("weir_discovery_updates_total", {"s"}) == 1);
  CHECK(world.metric("weir_discovery_errors_total", {"s"}) == 1);
  world.resolver.answer({"10.0.0.2:80"}, 1s);
  CHECK(world.metric("weir_discovery_age_seconds", {"s"}) == 0);
  CHECK(world.metric("weir_discovery_updates_total", {"s"}) == 2);
}

TEST_CASE("trouble is logged once, and its end") {
  UpstreamWorld world;
  std::string lines;
  struct Sink : LogSink {
    explicit Sink(std::string& text_) : text(text_) {}
    void write(std::string_view more) override { text += more; }
    std::string& text;
  } sink(lines);
  Log log(sink, [&] { return world.world.wall_now(); });
  world.directory.equip({{}, nullptr, &log});
  world.apply(kNamed);
  world.resolver.answer({"10.0.0.1:80"}, 1s);
  CHECK(lines.empty());
  const auto count = [&](const std::string& what) {
    std::size_t found = 0;
    for (std::size_t at = lines.find(what); at != std::string::npos; at = lines.find(what, at + 1)) ++found;
    return found;
  };
  for (int i = 0; i < 3; ++i) {
    world.advance(60s);
    world.resolver.fail("timed out");
  }
  CHECK(count("dns:a.test: timed out") == 1);
  world.advance(60s);
  world.resolver.answer({"10.0.0.1:80"}, 1s);
  CHECK(count("works again") == 1);
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
