// Endpoints that come and go while requests run: by name, by SRV records, by file.
#include <catch2/catch.hpp>

#include "config/schema/endpoint_file.h"
#include "tests/support/world.h"

using namespace weir;
using namespace weir::test;

namespace {

std::string yaml(const std::string& endpoints, const std::string& more = "") {
  return "version: 1\n"
         "admin: { listen: \"unix:/admin\", read_only_listen: 127.0.0.1:9901 }\n"
         "resolver: { servers: [10.9.9.9:53] }\n"
         "listeners:\n"
         "  - { name: out, direction: outbound, listen: 127.0.0.1:15001, routes: [ { service: app } ] }\n"
         "services:\n"
         "  app: { endpoints: [" +
         endpoints + "], dns: { max_ttl: 5s }" + more + " }\n";
}

nlohmann::json service(World& world) { return nlohmann::json::parse(world.admin("GET", "/services").body).at("services").at(0); }

// How many of so many requests each upstream answered.
std::map<std::string, int> shares(World& world, int requests) {
  std::map<std::string, int> count;
  for (auto& [address, upstream] : world.upstreams) upstream->seen.clear();
  for (int i = 0; i < requests; ++i) CHECK(world.get().status() == 200);
  for (auto& [address, upstream] : world.upstreams) count[address] = static_cast<int>(upstream->seen.size());
  return count;
}

}  // namespace

TEST_CASE("an endpoint that leaves finishes its exchanges and takes no new ones; one that comes is used within a second") {
  World world(yaml("\"dns:app.local:80\""));
  world.platform.names.table["app.local"] = {"10.0.0.1"};
  world.platform.names.ttl = 2s;
  world.upstream("10.0.0.1:80").script = [](UpstreamPeer& peer, const Message&, int) {
    peer.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc");  // the rest is sent by the test
  };
  world.upstream("10.0.0.2:80");
  world.advance(3s);
  SimClient& slow = world.client();
  slow.get("/slow");
  world.advance(100ms);
  REQUIRE(world.upstream("10.0.0.1:80").accepted == 1);

  world.platform.names.table["app.local"] = {"10.0.0.2"};
  world.advance(2s);  // when the answer's time is over, and a little
  for (int i = 0; i < 20; ++i) CHECK(world.get().body == "ok");
  CHECK(world.upstream("10.0.0.1:80").seen.size() == 1);
  CHECK(world.upstream("10.0.0.2:80").seen.size() == 20);
  CHECK(world.upstream("10.0.0.1:80").open_connections() == 1);
  CHECK_FALSE(slow.answered());

  world.upstream("10.0.0.1:80").peers[0]->send("def");
  REQUIRE(world.await(slow));
  CHECK(slow.answers()[0].body == "abcdef");
  world.advance(100ms);
  CHECK(world.upstream("10.0.0.1:80").open_connections() == 0);  // its endpoint is gone: it is not kept
}

TEST_CASE("a resolver that fails, finds nothing or lies takes no endpoint away") {
  World world(yaml("\"dns:app.local:80\""));
  CHECK(world.platform.names.configured.servers.at(0).text() == "10.9.9.9:53");
  world.platform.names.table["app.local"] = {"10.0.0.1", "10.0.0.2"};
  world.platform.names.ttl = 1s;
  world.upstream("10.0.0.1:80");
  world.upstream("10.0.0.2:80");
  world.advance(6s);
  REQUIRE(world.get().status() == 200);
  REQUIRE_FALSE(service(world).contains("discovery_error"));
  std::string expected;
  SECTION("fails") {
    world.platform.names.failing = "server failure";
    expected = "dns:app.local: server failure";
  }
  SECTION("finds nothing") {
    world.platform.names.table.erase("app.local");
    expected = "dns:app.local: no such name";
  }
  world.advance(60s);
  const auto count = shares(world, 20);
  CHECK(count.at("10.0.0.1:80") + count.at("10.0.0.2:80") == 20);
  CHECK(service(world)["discovery_error"] == expected);
  CHECK(service(world)["endpoints"].size() == 2);
  CHECK(world.metric("weir_discovery_errors_total", {{"service", "app"}}) >= 10);
  CHECK(world.metric("weir_discovery_age_seconds", {{"service", "app"}}) >= 60);
  CHECK(world.platform.messages.find(expected) != std::string::npos);
}

TEST_CASE("SRV records share requests out by weight, and a lower priority takes over while the higher has no address") {
  World world(yaml("\"srv:_http._tcp.app\"", ", balance: round_robin"));
  world.platform.names.ttl = 1s;
  world.platform.names.srv["_http._tcp.app"] = {{"a", 81, 1, 30}, {"b", 82, 1, 10}, {"c", 83, 2, 0}};
  world.platform.names.table = {{"a", {"10.0.0.1"}}, {"b", {"10.0.0.2"}}, {"c", {"10.0.0.3"}}};
  world.upstream("10.0.0.1:81");
  world.upstream("10.0.0.2:82");
  world.upstream("10.0.0.3:83");
  world.advance(6s);
  auto count = shares(world, 40);
  CHECK(count.at("10.0.0.1:81") == 30);
  CHECK(count.at("10.0.0.2:82") == 10);
  CHECK(count.at("10.0.0.3:83") == 0);
  world.platform.names.srv["_http._tcp.app"] = {{"c", 83, 2, 0}, {"gone", 80, 1, 0}};
  world.advance(6s);
  count = shares(world, 10);
  CHECK(count.at("10.0.0.3:83") == 10);
  CHECK(service(world)["discovery_error"] == "dns:gone: no such name");
}

TEST_CASE("a file of endpoints is followed: at once when it is good, not at all when it is not") {
  const std::string path = "/etc/app.yaml";
  WorldOptions options;
  options.files[path] = "- 10.0.0.1:80\n";
  World world(yaml("\"file:" + path + "\"", ", balance: round_robin"), options);
  world.upstream("10.0.0.1:80");
  world.upstream("10.0.0.2:80");
  CHECK(shares(world, 10).at("10.0.0.1:80") == 10);

  world.platform.files.write(path, "- 10.0.0.1:80\n- { address: 10.0.0.2:80, weight: 4 }\n");
  world.settle();
  const auto count = shares(world, 50);
  CHECK(count.at("10.0.0.1:80") == 10);
  CHECK(count.at("10.0.0.2:80") == 40);

  world.platform.files.write(path, "- 10.0.0.1:80\n- 10.0.0.2\n");
  world.advance(1s);
  CHECK(shares(world, 50).at("10.0.0.2:80") == 40);
  const std::string error = service(world)["discovery_error"];
  CHECK(error.find("file:" + path + ": " + path + ":2:3: [1]: no port") == 0);
  CHECK(world.metric("weir_discovery_errors_total", {{"service", "app"}}) == 1);
  CHECK(world.platform.messages.find(path + ":2:3") != std::string::npos);

  world.server->directory().apply({}, {});
  CHECK(world.platform.files.watches() == 0);
}

TEST_CASE("a request over a service whose IPv6 does not answer takes a quarter of a second once, and no retry") {
  World world(yaml("\"dns:app.local:80\""));
  world.platform.names.table["app.local"] = {"10.0.0.1", "fd00::1"};
  world.upstream("10.0.0.1:80");
  world.upstream("[fd00::1]:80");
  world.platform.net.conditions(Address::parse("[fd00::1]:80").value()).black_hole = 1;
  world.advance(6s);
  int slow = 0;
  for (int i = 0; i < 50; ++i) {
    const MonotonicTime began = world.sim.now();
    CHECK(world.get().status() == 200);
    const Duration took = world.sim.now() - began;
    CHECK(took < Duration(300ms));
    slow += took >= Duration(250ms) ? 1 : 0;
  }
  CHECK(slow == 1);
  CHECK(world.metric("weir_attempts_total", {{"service", "app"}}) == 50);
}
