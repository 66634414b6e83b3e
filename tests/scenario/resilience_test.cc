// What the filters do, seen from outside: retries, breakers, timeouts, limits, shedding, and shadow.
#include <catch2/catch.hpp>

#include "tests/scenario/sums.h"
#include "tests/support/world.h"

using namespace weir;
using namespace weir::test;

namespace {

std::string yaml(const std::string& filters, const std::string& service_fields = "", const std::string& direction = "outbound") {
  return R"(version: 1
access_log: { path: /access.log }
listeners:
  - { name: out, direction: )" +
         direction + R"(, listen: 127.0.0.1:15001, routes: [ { name: all, service: app, policy: p } ] }
services:
  app: { endpoints: [10.0.0.1:80, 10.0.0.2:80], balance: round_robin, )" +
         service_fields + R"( }
policies:
  p:
    filters:
)" + filters;
}

void fail(SimUpstream& upstream, int status) {
  upstream.script = [status](UpstreamPeer& peer, const Message&, int) { peer.answer(status, "no"); };
}

}  // namespace

TEST_CASE("a gateway error is retried on another endpoint, and the client sees the success") {
  World world(yaml("      - retry: { max_attempts: 3, causes: [gateway_error] }\n"));
  fail(world.upstream("10.0.0.1:80"), 503);
  world.upstream("10.0.0.2:80");
  for (int i = 0; i < 6; ++i) CHECK(world.get("/").status() == 200);
  check_sums(world, 6);
  int retried = 0;
  for (const auto& line : world.access_log()) {
    if (line["attempts"].size() == 1) continue;
    ++retried;
    INFO(line.dump(1));
    CHECK(line["attempts"][0]["endpoint"] == "10.0.0.1:80");
    CHECK(line["attempts"][0]["status"] == 503);
    CHECK(line["attempts"][1]["endpoint"] == "10.0.0.2:80");
    CHECK(line["attempts"][1]["status"] == 200);
    REQUIRE(line["decisions"].size() == 1);
    CHECK(line["decisions"][0]["filter"] == "retry");
    CHECK(line["decisions"][0]["at"] == "test.yaml:10");
    CHECK_FALSE(line.contains("failure"));
  }
  CHECK(retried > 0);
  CHECK(world.metric("weir_attempts_total") == 6 + retried);
  CHECK(world.metric("weir_attempts_total", {{"outcome", "5xx"}}) == retried);  // as the log says: not that it was dropped for a retry
  CHECK(world.metric("weir_attempts_total", {{"outcome", "2xx"}}) == 6);
}

TEST_CASE("a refused connection is retried for any method, and its body is sent whole") {
  World world(yaml("      - retry: { max_attempts: 2, causes: [connect_failure] }\n"));
  SimUpstream& good = world.upstream("10.0.0.2:80");
  for (int i = 0; i < 4; ++i) {
    SimClient& client = world.client();
    client.request("POST", "/", "the body " + std::to_string(i));
    REQUIRE(world.await(client));
    CHECK(client.answers()[0].status() == 200);
  }
  REQUIRE(good.seen.size() == 4);
  CHECK(good.seen[3].body == "the body 3");
  check_sums(world, 4);
}

TEST_CASE("without a usable endpoint the answer is 503 with the reason in Proxy-Status and the log") {
  World world(yaml("      - timeout: { total: 2s }\n"));
  const Message answer = world.get("/");
  CHECK(answer.status() == 503);
  CHECK(answer.header("proxy-status").find("connect_failure") != std::string::npos);
  auto line = world.last_line();
  INFO(line.dump(1));
  CHECK(line["failure"] == "connect_failure");
  CHECK(line["flag"] == "UF");
  CHECK(line["attempts"][0]["failure"] == "connect_failure");
  check_sums(world, 1);
}

TEST_CASE("a try that is too slow is given up and tried again; the total bounds it all") {
  World world(
      yaml("      - timeout: { total: 1s }\n"
           "      - retry: { max_attempts: 5, causes: [timeout], backoff: { base: 10ms, max: 10ms } }\n"
           "      - timeout: { name: per-try, response_headers: 300ms }\n"));
  SimUpstream& slow = world.upstream("10.0.0.1:80");
  slow.script = [](UpstreamPeer&, const Message&, int) {};
  world.upstream("10.0.0.2:80").script = slow.script;
  SimClient& client = world.client();
  client.get("/");
  const MonotonicTime began = world.sim.now();
  REQUIRE(world.await(client));
  CHECK(client.answers()[0].status() == 504);
  CHECK(world.sim.now() - began >= 1s);
  CHECK(world.sim.now() - began < 1100ms);
  auto line = world.last_line();
  INFO(line.dump(1));
  CHECK(line["failure"] == "total_timeout");
  CHECK(line["decided_by"]["at"] == "test.yaml:10");
  CHECK(line["attempts"].size() == 4);
  CHECK(line["attempts"][0]["failure"] == "response_timeout");
  check_sums(world, 1);
}

TEST_CASE("a client that drips its upload opens no breaker, and is answered when it is done") {
  World world(yaml(
      "      - circuit_breaker: { causes: [timeout], consecutive_failures: 1, slow_call: { longer_than: 1s, ratio: 50% }, min_calls: 1 }\n"
      "      - timeout: { name: per-try, response_headers: 300ms }\n"));
  world.upstream("10.0.0.1:80");
  world.upstream("10.0.0.2:80");
  for (int round = 0; round < 3; ++round) {
    SimClient& client = world.client();
    client.send("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
    for (int i = 0; i < 5; ++i) {
      world.advance(2s);
      client.send("x");
    }
    REQUIRE(world.await(client));
    CHECK(client.answers()[0].status() == 200);
  }
  check_sums(world, 3);
}

TEST_CASE("an upstream that takes a long body slowly is not late while it goes on taking it; one that stops is") {
  const bool stops = GENERATE(false, true);
  World world(yaml("      - timeout: { name: per-try, response_headers: 300ms }\n"));
  static constexpr Duration kSip = 200ms;  // a window of 64 KiB each time; the pipe is full and shut for four of them
  for (const char* at : {"10.0.0.1:80", "10.0.0.2:80"}) {
    world.platform.net.conditions(*Address::parse(at)).delay = 5ms;  // so that what is read in a millisecond is a window
    world.upstream(at).whole_requests = false;
    world.upstream(at).script = [&world, stops](UpstreamPeer& peer, const Message&, int) {
      const auto later = [&](Duration after, void (*what)(UpstreamPeer&)) {
        world.sim.schedule_at(peer.loop(), world.sim.now() + after, [weak = peer.self, what] {
          if (const auto self = weak.lock(); self != nullptr && self->open()) what(*self);
        });
      };
      peer.stop_reading();
      for (int i = 1; i <= (stops ? 10 : 50); ++i) {
        later(i * kSip, [](UpstreamPeer& one) { one.resume_reading(); });
        later(i * kSip + 1ms, [](UpstreamPeer& one) { one.stop_reading(); });
      }
      if (!stops) later(51 * kSip, [](UpstreamPeer& one) { one.answer(200, "ok"); });
    };
  }
  SimClient& client = world.client();
  client.request("POST", "/up", std::string(3'000'000, 'x'));
  const MonotonicTime began = world.sim.now();
  REQUIRE(world.await(client));
  CHECK(client.answers()[0].status() == (stops ? 504 : 200));
  CHECK(world.sim.now() - began > (stops ? 10 : 50) * kSip);
}

TEST_CASE("a breaker opens when the upstream fails, answers at once while it is open, and closes by probes") {
  World world(
      yaml("      - circuit_breaker: { causes: [5xx], window: 10s, min_calls: 10, failure_ratio: 50%, "
           "open_for: { base: 5s, max: 5s }, half_open: { probes: 2, successes: 2 } }\n"));
  fail(world.upstream("10.0.0.1:80"), 500);
  fail(world.upstream("10.0.0.2:80"), 500);
  for (int i = 0; i < 10; ++i) CHECK(world.get("/").status() == 500);
  CHECK(world.metric("weir_breaker_state", {{"service", "app"}, {"filter", "circuit_breaker"}}) == 1);
  const Message refused = world.get("/");
  CHECK(refused.status() == 503);
  CHECK(refused.has("retry-after"));
  CHECK(world.last_line()["failure"] == "breaker_open");
  CHECK(world.last_line()["attempts"].empty());
  CHECK(world.metric("weir_filter_decisions_total", {{"filter", "circuit_breaker"}, {"decision", "rejected"}}) == 1);
  world.upstream("10.0.0.1:80").script =
      world.upstream("10.0.0.2:80").script = [](UpstreamPeer& peer, const Message&, int) { peer.answer(200, "ok"); };
  world.advance(8s);
  for (int i = 0; i < 3; ++i) CHECK(world.get("/").status() == 200);
  CHECK(world.metric("weir_breaker_state", {{"service", "app"}}) == 0);
  CHECK(world.metric("weir_breaker_transitions_total", {{"state", "open"}}) == 1);
  check_sums(world, 14);
}

TEST_CASE("a rate limit answers 429 with Retry-After, and lets through again when there are tokens") {
  World world(yaml("      - rate_limit: { rate: 1/s, burst: 2 }\n"));
  world.upstream("10.0.0.1:80");
  world.upstream("10.0.0.2:80");
  SimClient& client = world.client();
  for (int i = 0; i < 4; ++i) client.get("/");
  REQUIRE(world.await(client, 4));
  CHECK(client.answers()[1].status() == 200);
  CHECK(client.answers()[2].status() == 429);
  CHECK(client.answers()[2].header("retry-after") == "1");
  auto line = world.last_line();
  CHECK(line["failure"] == "rate_limited");
  CHECK(line["decided_by"]["filter"] == "rate_limit");
  client.get("/");
  world.advance(1s);
  REQUIRE(world.await(client, 5));
  CHECK(client.answers()[4].status() == 200);
  check_sums(world, 5);
}

TEST_CASE("a concurrency limit queues what is over it, refuses what the queue cannot hold, and gives every permit back") {
  World world(yaml("      - concurrency_limit: { limit: 2, queue: { size: 2, timeout: 5s } }\n"), {.workers = 2});
  const auto slow = [](UpstreamPeer& peer, const Message&, int) { peer.answer(200, "ok", "", 1s); };
  world.upstream("10.0.0.1:80").script = slow;
  world.upstream("10.0.0.2:80").script = slow;
  std::vector<SimClient*> all;
  for (int i = 0; i < 6; ++i) {
    all.push_back(&world.client());
    all.back()->get("/");
    world.advance(1ms);
  }
  CHECK(world.metric("weir_limit_in_flight", {{"service", "app"}}) == 2);
  CHECK(world.metric("weir_queue_length", {{"service", "app"}}) == 2);
  world.advance(5s);
  int ok = 0;
  int refused = 0;
  for (SimClient* one : all) {
    REQUIRE(one->answered());
    ok += one->answers()[0].status() == 200 ? 1 : 0;
    refused += one->answers()[0].status() == 503 ? 1 : 0;
  }
  CHECK(ok == 4);
  CHECK(refused == 2);
  CHECK(world.metric("weir_limit_in_flight", {{"service", "app"}}) == 0);
  CHECK(world.metric("weir_queue_length", {{"service", "app"}}) == 0);
  check_sums(world, 6);
}

TEST_CASE("load is shed when the host is near its limits, and only then") {
  World world(yaml("      - load_shed: { memory: 90% }\n"));
  world.upstream("10.0.0.1:80");
  world.upstream("10.0.0.2:80");
  CHECK(world.get("/").status() == 200);
  world.platform.reading.memory = 990;
  world.advance(2s);
  int shed = 0;
  for (int i = 0; i < 50; ++i) shed += world.get("/").status() == 503 ? 1 : 0;
  CHECK(shed > 0);
  world.platform.reading.memory = 100;
  world.advance(10s);
  CHECK(world.get("/").status() == 200);
  check_sums(world, 52);
}

TEST_CASE("in shadow a filter counts what it would have done, and changes nothing") {
  World world(
      yaml("      - rate_limit: { rate: 1/s, burst: 2, mode: shadow }\n"
           "      - circuit_breaker: { causes: [5xx], min_calls: 5, failure_ratio: 50%, mode: shadow }\n"));
  fail(world.upstream("10.0.0.1:80"), 500);
  fail(world.upstream("10.0.0.2:80"), 500);
  for (int i = 0; i < 10; ++i) CHECK(world.get("/").status() == 500);
  const auto would = [&](const std::string& filter) {
    return world.metric("weir_filter_decisions_total", {{"filter", filter}, {"mode", "shadow"}, {"decision", "would_reject"}});
  };
  CHECK(would("rate_limit") == 8);
  CHECK(would("circuit_breaker") > 0);
  auto line = world.last_line();
  INFO(line.dump(1));
  CHECK(line["status"] == 500);
  CHECK_FALSE(line.contains("failure"));
  CHECK(line["decisions"][0]["mode"] == "shadow");
  CHECK(line["decisions"][0]["decision"] == "would_reject");
  check_sums(world, 10);
}

TEST_CASE("the retry budget bounds retries when everything fails") {
  World world(yaml("      - retry: { max_attempts: 3, causes: [5xx], backoff: { base: 1ms, max: 1ms } }\n",
                   "retry_budget: { ratio: 10%, min_rate: 1/s, window: 10s }"));
  fail(world.upstream("10.0.0.1:80"), 500);
  fail(world.upstream("10.0.0.2:80"), 500);
  for (int i = 0; i < 200; ++i) CHECK(world.get("/").status() == 500);
  CHECK(world.metric("weir_attempts_total") <= 200 + 20 + 10 + 1);
  CHECK(world.metric("weir_attempts_total") > 200);
  check_sums(world, 200);
}

TEST_CASE("outlier detection takes an endpoint out that cannot be connected to") {
  World world(yaml(
      "      - retry: { max_attempts: 2, causes: [connect_failure] }\n",
      "outlier_detection: { causes: [connect_failure], consecutive_failures: 3, eject_for: { base: 10s, max: 60s }, max_ejected: 50% }"));
  world.upstream("10.0.0.2:80");
  for (int i = 0; i < 20; ++i) CHECK(world.get("/").status() == 200);
  CHECK(world.metric("weir_endpoints", {{"service", "app"}, {"state", "ejected"}}) == 1);
  const double attempts = world.metric("weir_attempts_total");
  for (int i = 0; i < 5; ++i) world.get("/");
  CHECK(world.metric("weir_attempts_total") == attempts + 5);
}

TEST_CASE("two workers share one rate limit exactly") {
  World world(yaml("      - rate_limit: { rate: 1/s, burst: 7 }\n"), {.workers = 2});
  world.upstream("10.0.0.1:80");
  world.upstream("10.0.0.2:80");
  int ok = 0;
  for (int i = 0; i < 20; ++i) ok += world.get("/").status() == 200 ? 1 : 0;
  CHECK(ok == 7);
}

TEST_CASE("endpoints by name are resolved, and followed when they change") {
  std::string text = yaml("      - timeout: { total: 2s }\n");
  text.replace(text.find("[10.0.0.1:80, 10.0.0.2:80]"), 26, "[\"dns:app.local:80\"]");
  World world(text, {.start = false});
  world.platform.names.table["app.local"] = {"10.0.0.1"};
  REQUIRE(world.server->start(world.load().value()));
  world.upstream("10.0.0.1:80");
  CHECK(world.get("/").status() == 200);
  world.platform.names.table["app.local"] = {"10.0.0.9"};
  world.upstream("10.0.0.9:80");
  world.advance(40s);
  CHECK(world.get("/").status() == 200);
  CHECK(world.upstream("10.0.0.9:80").seen.size() == 1);
  world.platform.names.table.clear();  // the last good answer is kept
  world.advance(60s);
  CHECK(world.get("/").status() == 200);
}
