// Health checks by gRPC's own protocol, over HTTP/2, seen from outside; and HTTP checks of services that speak HTTP/2.
#include <algorithm>
#include <catch2/catch.hpp>

#include "tests/support/h2_upstream.h"
#include "tests/support/world.h"

using namespace weir;
using namespace weir::test;
using nlohmann::json;

namespace {

std::string yaml(const std::string& check) {
  return R"(version: 1
admin: { read_only_listen: 127.0.0.1:9901 }
listeners:
  - { name: out, direction: outbound, listen: 127.0.0.1:15001, routes: [ { service: app } ] }
services:
  app:
    endpoints: [10.0.0.1:80, 10.0.0.2:80]
    protocol: http2
    health_check: { )" +
         check + R"(, interval: 4s, timeout: 1s, unhealthy_after: 1, healthy_after: 1 }
)";
}

std::string reply(int status) {
  std::string frame(4, '\0');
  frame += std::string("\x02\x08", 2);
  frame.push_back(static_cast<char>(status));
  return frame;
}

const H2Fields kType{{"content-type", "application/grpc"}};

struct Checked {
  explicit Checked(World& w)
      : world(w),
        one(w.platform.net, w.sim.loop(0), Address::parse("10.0.0.1:80").value()),
        two(w.platform.net, w.sim.loop(0), Address::parse("10.0.0.2:80").value()) {
    one.script = two.script = [](H2Peer& peer, H2Request& request) {
      peer.answer(request.id, 200, reply(1), kType, {{"grpc-status", "0"}});
    };
  }
  void start() {
    REQUIRE(world.server->start(world.load().value()));
    world.advance(100ms);
  }
  json health(std::size_t index) { return json::parse(world.admin("GET", "/services").body)["services"][0]["endpoints"][index]["health"]; }
  World& world;
  H2Upstream one, two;
};

}  // namespace

TEST_CASE("grpc health: SERVING is healthy, and the call is one that a gRPC server understands") {
  World world(yaml("grpc: { service: shop.Cart }"), {.start = false});
  Checked checked(world);
  std::vector<H2Request> seen;
  const auto serving = checked.one.script;
  checked.one.script = [&](H2Peer& peer, H2Request& request) {
    seen.push_back(request);
    serving(peer, request);
  };
  checked.start();
  CHECK(checked.health(0)["state"] == "healthy");
  CHECK(checked.health(1)["state"] == "healthy");
  REQUIRE(seen.size() == 1);
  CHECK(seen[0].field(":method") == "POST");
  CHECK(seen[0].field(":path") == "/grpc.health.v1.Health/Check");
  CHECK(seen[0].field(":authority") == "10.0.0.1:80");
  CHECK(seen[0].field("content-type") == "application/grpc");
  CHECK(seen[0].field("te") == "trailers");
  CHECK(seen[0].field("grpc-timeout") == "1000000u");
  CHECK(seen[0].body == std::string("\0\0\0\0\x0b\x0a\x09shop.Cart", 16));
  CHECK_FALSE(checked.one.broken());
  world.advance(60s);
  // Each on a connection of its own, which ends.
  CHECK(std::count_if(checked.one.peers.begin(), checked.one.peers.end(),
                      [](const auto& peer) { return !peer->peer().ended() && peer->peer().error() == 0; }) <= 1);
  CHECK(world.metric("weir_health_checks_total", {{"result", "passed"}}) >= 26);
}

TEST_CASE("grpc health: whatever else is said is unhealthy, with its reason") {
  struct Row {
    H2Peer::Script script;
    const char* last_check;
    int status;
  };
  const auto trailers_only = [](int status) -> H2Peer::Script {
    return [status](H2Peer& peer, H2Request& request) {
      peer.answer(request.id, 200, "", {{"content-type", "application/grpc"}, {"grpc-status", std::to_string(status)}});
    };
  };
  const auto says = [](const std::string& body, int status) -> H2Peer::Script {
    return [=](H2Peer& peer, H2Request& request) { peer.answer(request.id, 200, body, kType, {{"grpc-status", std::to_string(status)}}); };
  };
  const Row rows[] = {
      {says(reply(2), 0), "not_serving", 200},
      {says(reply(0), 0), "not_serving", 200},
      {trailers_only(5), "not_serving", 5},
      {trailers_only(12), "not_implemented", 12},
      {says("", 12), "not_implemented", 12},
      {says("", 14), "wrong_grpc_status", 14},
      {trailers_only(0), "bad_answer", 200},
      {says("nonsense", 0), "bad_answer", 200},
      {says(reply(1) + reply(1), 0), "bad_answer", 200},
      {says(std::string(70 * 1024, 'x'), 0), "bad_answer", 200},
      {[](H2Peer& peer, H2Request& request) { peer.answer(request.id, 503, "no gRPC"); }, "wrong_status", 503},
      {[](H2Peer& peer, H2Request& request) { peer.answer(request.id, 200, reply(1), kType); }, "wrong_grpc_status", 2},
      {[](H2Peer& peer, H2Request& request) { peer.reset(request.id, 2); }, "broken", 0},
      {[](H2Peer&, H2Request&) {}, "timeout", 0},
      {[](H2Peer& peer, H2Request& request) { peer.begin(request.id, 200, kType); }, "timeout", 200},
  };
  for (const Row& row : rows) {
    World world(yaml("grpc: {}"), {.start = false});
    Checked checked(world);
    checked.two.script = row.script;
    checked.start();
    world.advance(1500ms);
    const json health = checked.health(1);
    CAPTURE(row.last_check, health.dump());
    CHECK(health["state"] == "unhealthy");
    CHECK(health["last_check"] == row.last_check);
    CHECK(health.value("last_status", 0) == row.status);
    CHECK(checked.health(0)["state"] == "healthy");
  }
}

TEST_CASE("an endpoint that speaks no HTTP/2 fails its check, and an HTTP check speaks it too") {
  World world(yaml("http: { path: /healthz }"), {.start = false});
  H2Upstream good(world.platform.net, world.sim.loop(0), Address::parse("10.0.0.1:80").value());
  world.upstream("10.0.0.2:80");  // HTTP/1.1 only
  REQUIRE(world.server->start(world.load().value()));
  world.advance(2s);
  const auto endpoints = json::parse(world.admin("GET", "/services").body)["services"][0]["endpoints"];
  CHECK(endpoints[0]["health"]["state"] == "healthy");
  CHECK(endpoints[1]["health"]["state"] == "unhealthy");
  REQUIRE_FALSE(good.peers.empty());
  CHECK(good.requests() >= 1);
}
