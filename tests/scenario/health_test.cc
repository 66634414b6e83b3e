// Health checks, outlier detection and panic, seen from outside: who gets requests, what the pages, the metrics and the log say.
#include <catch2/catch.hpp>

#include "tests/scenario/sums.h"
#include "tests/support/world.h"

using namespace weir;
using namespace weir::test;
using nlohmann::json;

namespace {

const std::string kCheck = "health_check: { http: { path: /healthz }, interval: 4s, timeout: 1s, healthy_after: 2, unhealthy_after: 3 }";

std::string yaml(const std::string& service_fields, const std::string& endpoints = "10.0.0.1:80, 10.0.0.2:80") {
  return R"(version: 1
admin: { read_only_listen: 127.0.0.1:9901 }
access_log: { path: /access.log }
listeners:
  - { name: out, direction: outbound, listen: 127.0.0.1:15001, routes: [ { name: all, service: app, policy: p } ] }
services:
  app: { endpoints: [)" +
         endpoints + "], balance: round_robin, " + service_fields + R"( }
policies:
  p: { filters: [ { timeout: { total: 20s } } ] }
)";
}

// An application whose health path may answer otherwise than the rest.
struct App {
  App(World& world, const std::string& address) : upstream(world.upstream(address)) {
    upstream.script = [this](UpstreamPeer& peer, const Message& message, int) {
      const bool check = message.start_line.find(" /healthz ") != std::string::npos;
      ++(check ? checks : requests);
      if (check && silent) return;
      peer.answer(check ? health : status, check ? "I am" : "ok", "", check ? Duration(0) : latency);
    };
  }
  SimUpstream& upstream;
  int health = 200, status = 200;
  bool silent = false;  // about its health
  Duration latency{0};
  int checks = 0, requests = 0;
};

void ask(World& world, int times, int status = 200) {
  for (int i = 0; i < times; ++i) CHECK(world.get("/").status() == status);
}

json endpoint(World& world, std::size_t index) {
  return json::parse(world.admin("GET", "/services").body)["services"][0]["endpoints"][index];
}
std::string state(World& world, std::size_t index) { return endpoint(world, index)["state"]; }

std::size_t said(World& world, const std::string& words) {
  std::size_t count = 0;
  for (std::size_t at = world.platform.messages.find(words); at != std::string::npos; ++count) {
    at = world.platform.messages.find(words, at + 1);
  }
  return count;
}

}  // namespace

TEST_CASE("an endpoint whose health path fails is left out after so many checks, and is back after so many good ones") {
  World world(yaml(kCheck), {.start = false});
  App one(world, "10.0.0.1:80"), two(world, "10.0.0.2:80");
  REQUIRE(world.server->start(world.load().value()));
  world.settle();
  CHECK(one.checks + two.checks == 2);  // at once
  world.advance(10s);
  ask(world, 4);
  CHECK(one.requests == 2);
  CHECK(endpoint(world, 0)["health"]["state"] == "healthy");
  two.health = 500;
  const int before = two.checks;
  while (state(world, 1) == "usable" && two.checks < before + 10) world.advance(100ms);
  CHECK(two.checks == before + 3);
  CHECK(state(world, 1) == "unhealthy");
  CHECK(world.metric("weir_endpoints", {{"state", "unhealthy"}}) == 1);
  CHECK(world.metric("weir_health_checks_total", {{"service", "app"}, {"result", "wrong_status"}}) == 3);
  CHECK(said(world, "an endpoint fails its health checks") == 1);
  two.requests = 0;
  ask(world, 10);
  CHECK(two.requests == 0);
  two.health = 204;
  const int again = two.checks;
  while (state(world, 1) != "usable" && two.checks < again + 10) world.advance(100ms);
  CHECK(two.checks == again + 2);
  CHECK(said(world, "an endpoint is usable again") == 1);
  ask(world, 10);
  CHECK(two.requests == 5);
  CHECK(world.metric("weir_balancer_panic_total") == 0);
  check_sums(world, 24);
}

TEST_CASE("each endpoint is probed once for the host, whatever the number of workers, on a connection that ends") {
  World world(yaml(kCheck), {.workers = 4});
  App one(world, "10.0.0.1:80"), two(world, "10.0.0.2:80");
  world.advance(60s);
  CHECK(one.checks >= 13);
  CHECK(one.checks <= 19);
  CHECK(one.upstream.seen[0].start_line == "GET /healthz HTTP/1.1");
  CHECK(one.upstream.seen[0].header("host") == "10.0.0.1:80");
  CHECK(one.upstream.seen[0].header("user-agent") == "weir-health-check");
  CHECK(one.upstream.open_connections() <= 1);
  CHECK(world.metric("weir_health_checks_total", {{"result", "passed"}}) == one.checks + two.checks);
}

TEST_CASE("a connection that is refused and an answer that does not come are failures") {
  World world(yaml(kCheck));
  App one(world, "10.0.0.1:80");
  one.silent = true;
  world.advance(6s);  // unknown: every second, give or take
  CHECK(state(world, 0) == "unhealthy");
  CHECK(state(world, 1) == "unhealthy");
  CHECK(endpoint(world, 0)["health"]["last_check"] == "timeout");
  CHECK(endpoint(world, 1)["health"]["last_check"] == "connect_failure");
  CHECK(world.metric("weir_health_checks_total", {{"result", "timeout"}}) >= 2);  // the first one was refused: nobody listened yet
}

TEST_CASE("when all are unhealthy all are used, and it says why, once") {
  World world(yaml(kCheck));
  App one(world, "10.0.0.1:80"), two(world, "10.0.0.2:80");
  one.health = two.health = 503;
  world.advance(6s);
  CHECK(state(world, 0) == "unhealthy");
  ask(world, 6);
  CHECK(one.requests == 3);
  CHECK(two.requests == 3);
  CHECK(world.metric("weir_balancer_panic_total", {{"reason", "unhealthy"}}) == 6);
  CHECK(world.metric("weir_balancer_panic_total", {{"reason", "ejected"}}) == 0);
  CHECK(world.metric("weir_balancer_in_panic", {{"reason", "unhealthy"}}) == 1);
  CHECK(json::parse(world.admin("GET", "/services").body)["services"][0]["panic"] == "unhealthy");
  CHECK(said(world, "too few endpoints are usable: all of them are used") == 1);
  one.health = two.health = 200;
  world.advance(10s);
  CHECK(world.metric("weir_balancer_in_panic") == 0);
  CHECK(said(world, "enough endpoints are usable again") == 1);
  ask(world, 2);
  CHECK(world.metric("weir_balancer_panic_total") == 6);
}

TEST_CASE("without a panic threshold one healthy endpoint carries all") {
  World world(yaml(kCheck + ", panic_below: 0%", "10.0.0.1:80, 10.0.0.2:80, 10.0.0.3:80"));
  App one(world, "10.0.0.1:80"), two(world, "10.0.0.2:80"), three(world, "10.0.0.3:80");
  one.health = two.health = 503;
  world.advance(6s);
  ask(world, 6);
  CHECK(three.requests == 6);
  CHECK(said(world, "too few endpoints") == 0);
}

TEST_CASE("a TCP check asks for a connection and no more") {
  World world(yaml("health_check: { tcp: {}, interval: 2s, timeout: 500ms }"));
  App one(world, "10.0.0.1:80"), two(world, "10.0.0.2:80");
  world.advance(10s);
  CHECK(one.checks == 0);
  CHECK(one.upstream.accepted >= 4);
  CHECK(endpoint(world, 0)["health"]["state"] == "healthy");
  two.upstream.down();
  world.advance(5s);
  CHECK(state(world, 1) == "unhealthy");
  ask(world, 4);
  CHECK(one.requests == 4);
  world.platform.net.conditions(Address::parse("10.0.0.2:80").value()).black_hole = 1;
  two.upstream.up();
  world.advance(5s);
  CHECK(endpoint(world, 1)["health"]["last_check"] == "timeout");
  world.platform.net.conditions(Address::parse("10.0.0.2:80").value()).black_hole = 0;
  world.advance(10s);
  CHECK(state(world, 1) == "usable");
}

TEST_CASE("in shadow mode checks only say what they would do; disabled asks nothing") {
  World world(yaml("health_check: { http: { path: /healthz }, interval: 4s, mode: shadow }"));
  App one(world, "10.0.0.1:80"), two(world, "10.0.0.2:80");
  two.health = 500;
  world.advance(10s);
  CHECK(state(world, 1) == "would_be_unhealthy");
  CHECK(world.metric("weir_endpoints", {{"state", "would_be_unhealthy"}}) == 1);
  ask(world, 4);
  CHECK(two.requests == 2);
  CHECK(world.metric("weir_balancer_panic_total") == 0);
  REQUIRE(world.reload(yaml("health_check: { http: { path: /healthz }, interval: 4s, mode: disabled }")));
  const int before = one.checks;
  world.advance(30s);
  CHECK(one.checks == before);
  CHECK(state(world, 1) == "usable");
}

TEST_CASE("in shadow mode an endpoint whose checks pass again starts no slower for it") {
  World world(yaml("slow_start: 20s, health_check: { http: { path: /healthz }, interval: 1s, mode: shadow }"));
  App one(world, "10.0.0.1:80"), two(world, "10.0.0.2:80");
  world.advance(60s);  // past a slow start of both
  two.health = 500;
  world.advance(30s);
  REQUIRE(state(world, 1) == "would_be_unhealthy");
  two.health = 200;
  for (int i = 0; i < 100 && state(world, 1) != "usable"; ++i) world.advance(100ms);
  REQUIRE(state(world, 1) == "usable");
  const int before = two.requests;
  ask(world, 40);
  CHECK(two.requests - before == 20);
}

TEST_CASE("a reload keeps what is known, and turning the mode to enforce acts on it at once") {
  World world(yaml("health_check: { http: { path: /healthz }, interval: 4s, mode: shadow }"));
  App one(world, "10.0.0.1:80"), two(world, "10.0.0.2:80");
  two.health = 500;
  world.advance(10s);
  const int before = two.checks;
  REQUIRE(world.reload(yaml("health_check: { http: { path: /healthz }, interval: 4s, unhealthy_after: 9 }")));
  CHECK(state(world, 1) == "unhealthy");
  CHECK(two.checks - before <= 1);
  ask(world, 4);
  CHECK(two.requests == 0);
  REQUIRE(world.reload(yaml("connect_timeout: 3s")));  // no checks any more
  CHECK(state(world, 1) == "usable");
  ask(world, 4);
  CHECK(two.requests == 2);
}

TEST_CASE("an endpoint that comes is probed at once, one that leaves no more, nor a service that is removed") {
  World world(yaml(kCheck));
  App one(world, "10.0.0.1:80"), two(world, "10.0.0.2:80"), three(world, "10.0.0.3:80");
  world.advance(20s);
  CHECK(three.checks == 0);
  REQUIRE(world.reload(yaml(kCheck, "10.0.0.1:80, 10.0.0.3:80")));
  const int left = two.checks;
  CHECK(three.checks == 1);
  world.advance(20s);
  CHECK(two.checks == left);
  CHECK(three.checks >= 5);
  const std::string without = R"(version: 1
listeners:
  - { name: out, direction: outbound, listen: 127.0.0.1:15001, routes: [ { service: other } ] }
services:
  other: { endpoints: [10.0.0.9:80] }
)";
  one.silent = true;
  world.advance(5s);
  REQUIRE(world.reload(without));
  const int last = one.checks + three.checks;
  world.advance(60s);
  CHECK(one.checks + three.checks == last);
}

TEST_CASE("answers without end, too large or no HTTP at all do not hold a check up") {
  World world(yaml(kCheck, "10.0.0.1:80, 10.0.0.2:80, 10.0.0.3:80, 10.0.0.4:80"));
  world.upstream("10.0.0.1:80").script = [](UpstreamPeer& peer, const Message&, int) {
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + std::string(200'000, 'x'));
  };
  world.upstream("10.0.0.2:80").script = [](UpstreamPeer& peer, const Message&, int) { peer.send("HTTP/1.1 200 OK\r\n\r\nforever"); };
  world.upstream("10.0.0.3:80").script = [](UpstreamPeer& peer, const Message&, int) { peer.send("SSH-2.0-OpenSSH_9.2\r\n\r\n"); };
  world.upstream("10.0.0.4:80").script = [](UpstreamPeer& peer, const Message&, int) {
    peer.send("HTTP/1.1 200 OK\r\nX: " + std::string(20'000, 'y') + "\r\n\r\n");
  };
  world.advance(10s);
  CHECK(endpoint(world, 0)["health"]["state"] == "healthy");
  CHECK(endpoint(world, 1)["health"]["state"] == "healthy");
  CHECK(endpoint(world, 2)["health"]["last_check"] == "bad_answer");
  CHECK(endpoint(world, 3)["health"]["last_check"] == "bad_answer");
  CHECK(world.upstream("10.0.0.1:80").open_connections() == 0);
}

TEST_CASE("the checks of many endpoints are bounded in flight, and all of them have their turn") {
  std::string endpoints;
  for (int i = 1; i <= 150; ++i) endpoints += (i == 1 ? "10.0.0." : ", 10.0.0.") + std::to_string(i) + ":80";
  World world(yaml("health_check: { tcp: {}, interval: 60s, fast_interval: 60s, timeout: 1s }", endpoints), {.start = false});
  world.platform.net.conditions().black_hole = 1;
  REQUIRE(world.server->start(world.load().value()));
  world.settle();
  CHECK(world.platform.net.connects() == 64);
  world.advance(999ms);
  CHECK(world.platform.net.connects() == 64);
  world.advance(2ms);
  CHECK(world.platform.net.connects() == 128);
  world.advance(2s);
  CHECK(world.platform.net.connects() == 150);
  CHECK(world.metric("weir_health_checks_total", {{"result", "timeout"}}) == 150);
}

TEST_CASE("an endpoint that fails half of its calls is ejected by the ratio, and the log says so") {
  World world(yaml("outlier_detection: { causes: [5xx], consecutive_failures: 1000, failure_ratio: 40%, min_calls: 10, window: 10s }"));
  App one(world, "10.0.0.1:80"), two(world, "10.0.0.2:80");
  for (int i = 0; i < 40; ++i) {
    two.status = i % 4 == 0 ? 200 : 503;
    world.get("/");
  }
  world.advance(2s);
  CHECK(state(world, 1) == "ejected");
  CHECK(endpoint(world, 1)["ejected_for"] == "failure_ratio");
  CHECK(world.metric("weir_outlier_decisions_total", {{"sign", "failure_ratio"}, {"decision", "eject"}}) == 1);
  CHECK(said(world, "an endpoint is ejected") == 1);
  const int before = two.requests;
  ask(world, 6);
  CHECK(two.requests == before);
  world.advance(8s);
  CHECK(said(world, "an endpoint is usable again") == 1);
  two.status = 200;
  ask(world, 6);
  CHECK(two.requests == before + 3);
}

TEST_CASE("an endpoint far slower than the others is ejected, also when its callers do not wait for it") {
  const std::string fields =
      "outlier_detection: { latency: { times_median_of_others: 5, min_latency: 50ms, min_calls: 10 }, window: 10s, eject_for: { base: 30s "
      "} "
      "}";
  const bool patient = GENERATE(true, false);
  std::string text = yaml(fields);
  if (!patient) text.replace(text.find("total: 20s"), 10, "total: 400ms");
  World world(text);
  App one(world, "10.0.0.1:80"), two(world, "10.0.0.2:80");
  one.latency = 5ms;
  two.latency = patient ? 200ms : 10s;
  for (int i = 0; i < 24; ++i) world.get("/");
  world.advance(2s);
  CHECK(state(world, 1) == "ejected");
  CHECK(endpoint(world, 1)["ejected_for"] == "latency");
  CHECK(state(world, 0) == "usable");
  two.requests = 0;
  ask(world, 6);
  CHECK(two.requests == 0);
}

TEST_CASE("in shadow mode the window only says who would go") {
  World world(yaml("outlier_detection: { causes: [5xx], consecutive_failures: 1000, failure_ratio: 40%, min_calls: 10, mode: shadow }"));
  App one(world, "10.0.0.1:80"), two(world, "10.0.0.2:80");
  for (int i = 0; i < 40; ++i) {
    two.status = i % 4 == 0 ? 200 : 503;
    world.get("/");
  }
  world.advance(2s);
  CHECK(state(world, 1) == "would_be_ejected");
  CHECK(world.metric("weir_outlier_decisions_total", {{"sign", "failure_ratio"}, {"decision", "would_eject"}}) == 1);
  two.requests = 0;
  two.status = 200;
  ask(world, 6);
  CHECK(two.requests == 3);
}

TEST_CASE("unhealthy endpoints count among those that may be ejected") {
  World world(yaml(kCheck + ", outlier_detection: { causes: [5xx], consecutive_failures: 3, max_ejected: 30% }, panic_below: 0%",
                   "10.0.0.1:80, 10.0.0.2:80, 10.0.0.3:80, 10.0.0.4:80"));
  App one(world, "10.0.0.1:80"), two(world, "10.0.0.2:80"), three(world, "10.0.0.3:80"), four(world, "10.0.0.4:80");
  four.health = 500;
  world.advance(10s);
  REQUIRE(state(world, 3) == "unhealthy");
  three.status = 500;
  for (int i = 0; i < 15; ++i) world.get("/");
  CHECK(state(world, 2) == "usable");
  CHECK(world.metric("weir_outlier_decisions_total", {{"decision", "held_back_max_ejected"}}) >= 1);
  four.health = 200;
  world.advance(10s);
  REQUIRE(state(world, 3) == "usable");
  for (int i = 0; i < 4; ++i) world.get("/");
  CHECK(state(world, 2) == "ejected");
}

TEST_CASE("an ejected endpoint comes back when its time is over and a check has passed") {
  World world(yaml(kCheck + ", outlier_detection: { causes: [5xx], consecutive_failures: 3, eject_for: { base: 20s, max: 20s } }"));
  App one(world, "10.0.0.1:80"), two(world, "10.0.0.2:80");
  world.advance(10s);
  two.status = 500;
  for (int i = 0; i < 6; ++i) world.get("/");
  CHECK(state(world, 1) == "ejected");
  world.advance(18s);
  two.silent = true;
  world.advance(2500ms);  // its time is over now
  CHECK(state(world, 1) == "ejected");
  CHECK(endpoint(world, 1)["awaits_check"] == true);
  const int before = two.requests;
  ask(world, 4);
  CHECK(two.requests == before);
  two.silent = false;
  two.status = 200;
  world.advance(3s);  // asked every second while it waits
  CHECK(state(world, 1) == "usable");
  CHECK(said(world, "an endpoint is usable again") == 1);
  ask(world, 4);
  CHECK(two.requests == before + 2);
}

TEST_CASE("the check that lets an ejected endpoint return begins when its time is over") {
  World world(
      yaml("health_check: { http: { path: /healthz }, interval: 1h, fast_interval: 30m }, "
           "outlier_detection: { causes: [5xx], consecutive_failures: 3, eject_for: { base: 20s, max: 20s } }"));
  App one(world, "10.0.0.1:80"), two(world, "10.0.0.2:80");
  world.advance(10s);
  two.status = 500;
  for (int i = 0; i < 6; ++i) world.get("/");
  CHECK(state(world, 1) == "ejected");
  const int before = two.checks;
  world.advance(19s);
  CHECK(two.checks == before);
  world.advance(2s);
  CHECK(two.checks == before + 1);
  CHECK(state(world, 1) == "usable");
}

TEST_CASE("a reload that takes the checks away frees who waits for one") {
  const std::string outliers = "outlier_detection: { causes: [5xx], consecutive_failures: 3, eject_for: { base: 5s, max: 5s } }";
  World world(yaml("health_check: { http: { path: /healthz }, interval: 4s, timeout: 1s, unhealthy_after: 100 }, " + outliers));
  App one(world, "10.0.0.1:80"), two(world, "10.0.0.2:80");
  world.advance(10s);
  two.status = 500;
  two.silent = true;
  for (int i = 0; i < 6; ++i) world.get("/");
  world.advance(6s);
  CHECK(state(world, 1) == "ejected");
  REQUIRE(world.reload(yaml(outliers)));
  CHECK(state(world, 1) == "usable");
  two.status = 200;
  two.requests = 0;
  ask(world, 4);
  CHECK(two.requests == 2);
}

TEST_CASE("checks end with the proxy, also in the middle of one") {
  World world(yaml(kCheck));
  App one(world, "10.0.0.1:80"), two(world, "10.0.0.2:80");
  one.silent = true;
  world.advance(100ms);
  world.server->stop();
  world.settle();
  CHECK(world.finished_clean);
}
