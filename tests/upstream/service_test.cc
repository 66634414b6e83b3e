#include "tests/upstream/upstream_world.h"

#include <catch2/catch.hpp>

#include <deque>
#include <set>

using namespace weir;
using namespace weir::test;

namespace {

const std::vector<std::string> kTwo = {"127.0.0.1:9001", "127.0.0.1:9002"};

void fail_at(UpstreamWorld& world, std::uint16_t port, int times) {
  for (int i = 0; i < times;) {
    TestRequest request(world);
    world.run();
    FakeClient& client = world.only_busy();
    if (client.port() == port) {
      client.fail(ClientError::reset);
      ++i;
    } else {
      client.answer(200);
    }
  }
}

std::string_view state(UpstreamWorld& world, std::size_t index) { return world.status().endpoints[index].state; }

}  // namespace

TEST_CASE("an endpoint that keeps failing is ejected for all workers and returns by itself") {
  UpstreamWorld world(2);
  world.listen(9001);
  world.listen(9002);
  ServiceConfig config = UpstreamWorld::config(kTwo);
  config.outlier_detection.causes = *Causes::parse_word("reset");
  world.apply(config);
  fail_at(world, 9002, 5);
  CHECK(state(world, 1) == "ejected");
  CHECK(world.metric("weir_outlier_decisions_total", {"s", "consecutive_failures", "eject", "enforce"}) == 1);
  for (int i = 0; i < 6; ++i) {
    TestRequest request(world, 1);
    world.run();
    CHECK(world.only_busy(1).port() == 9001);
    world.only_busy(1).answer(200);
  }
  world.advance(7s);
  CHECK(state(world, 1) == "usable");
  std::set<std::uint16_t> ports;
  for (int i = 0; i < 4; ++i) {
    TestRequest request(world, 1);
    world.run();
    ports.insert(world.only_busy(1).port());
    world.only_busy(1).answer(200);
  }
  CHECK(ports.size() == 2);
}

TEST_CASE("in shadow mode it only says who would be ejected") {
  UpstreamWorld world;
  world.listen(9001);
  world.listen(9002);
  ServiceConfig config = UpstreamWorld::config(kTwo);
  config.outlier_detection.causes = *Causes::parse_word("reset");
  config.outlier_detection.mode = FilterMode::shadow;
  world.apply(config);
  fail_at(world, 9002, 5);
  CHECK(state(world, 1) == "would_be_ejected");
  CHECK(world.metric("weir_outlier_decisions_total", {"s", "consecutive_failures", "would_eject", "shadow"}) == 1);
  fail_at(world, 9002, 1);  // still used
}

TEST_CASE("a reload to shadow sets the ejected free, and one to disabled forgets what was counted") {
  UpstreamWorld world;
  world.listen(9001);
  world.listen(9002);
  ServiceConfig config = UpstreamWorld::config(kTwo);
  config.outlier_detection.causes = *Causes::parse_word("reset");
  world.apply(config);
  fail_at(world, 9002, 5);
  config.outlier_detection.mode = FilterMode::shadow;
  world.apply(config);
  CHECK(state(world, 1) == "would_be_ejected");
  fail_at(world, 9002, 1);
  config.outlier_detection.mode = FilterMode::disabled;
  world.apply(config);
  CHECK(state(world, 1) == "usable");
  CHECK(world.status().endpoints[1].ejections == 0);
}

TEST_CASE("statuses among the causes count when the head comes, even if the call is then dropped") {
  UpstreamWorld world;
  world.listen(9001);
  ServiceConfig config = UpstreamWorld::config({"127.0.0.1:9001"});
  config.outlier_detection.causes = *Causes::parse_word("5xx");
  world.apply(config);
  {
    TestRequest request(world);
    world.run();
    FakeClient& client = world.only_busy();
    client.respond(503);
    request.drop();
    client.end();
  }
  CHECK(world.status().endpoints[0].failures == 1);
  CHECK(world.status().endpoints[0].consecutive_failures == 1);
  TestRequest good(world);
  world.only_busy().answer(200);
  CHECK(world.status().endpoints[0].consecutive_failures == 0);
}

TEST_CASE("what says nothing about an endpoint is neither success nor failure") {
  UpstreamWorld world;
  world.listen(9001);
  ServiceConfig config = UpstreamWorld::config({"127.0.0.1:9001"});
  Causes all = *Causes::parse_word("5xx");
  all.add(*Causes::parse_word("timeout"));
  all.add(*Causes::parse_word("reset"));
  config.outlier_detection.causes = all;
  world.apply(config);
  fail_at(world, 9001, 2);
  {
    TestRequest cancelled(world);
    world.run();
    world.only_busy().respond(200);
    cancelled.drop();
    world.workers[0]->clients[0]->end();
  }
  {
    TestRequest body(world);
    world.run();
    world.only_busy().fail(ClientError::request_aborted);
    CHECK(body.failure.kind == FailureKind::client_body);
  }
  CHECK(world.status().endpoints[0].consecutive_failures == 2);
  {
    TestRequest slow(world);
    world.run();
    slow.drop_for_timeout();
    world.workers[0]->clients[0]->fail(ClientError::closed);
  }
  CHECK(world.status().endpoints[0].consecutive_failures == 3);  // a try's timeout does count
  CHECK(world.metric("weir_attempts_total", {"s", "response_timeout"}) == 1);
}

TEST_CASE("a try whose deadline has passed is not sent") {
  UpstreamWorld world;
  world.listen(9001);
  world.apply(UpstreamWorld::config({"127.0.0.1:9001"}));
  TestRequest late(world, 0, {.attempt = 2, .tried = {}, .deadline = world.world.now()});
  REQUIRE(late.failed);
  CHECK(late.failure.kind == FailureKind::total_timeout);
  CHECK(world.net.connects() == 0);
}

TEST_CASE("first tries, and only those, pay into the retry budget") {
  UpstreamWorld world;
  world.listen(9001);
  ServiceConfig config = UpstreamWorld::config({"127.0.0.1:9001"});
  config.retry_budget.min_rate_per_second = 0;
  config.retry_budget.ratio = 1.0;
  world.apply(config);
  for (const int attempt : {1, 2, 3, 1}) {
    TestRequest request(world, 0, {.attempt = static_cast<std::uint16_t>(attempt), .tried = {}, .deadline = kNever});
    world.run();
    world.only_busy().answer(200);
  }
  CHECK(world.status().retry_budget_remaining == 2);
}

TEST_CASE("a reload keeps endpoints, connections and counts, and applies the new parameters") {
  UpstreamWorld world;
  world.listen(9001);
  world.listen(9003);
  world.apply(UpstreamWorld::config({"127.0.0.1:9001"}));
  Service* before = &world.service();
  const std::uint32_t id = world.status().endpoints[0].id;
  TestRequest running(world);
  world.run();
  ServiceConfig next = UpstreamWorld::config({"127.0.0.1:9003", "127.0.0.1:9001"});
  next.limits.requests = 1;
  world.apply(next);
  CHECK(&world.service() == before);
  CHECK(world.status().endpoints[1].id == id);
  CHECK(world.status().endpoints[0].id != id);
  CHECK(world.status().requests.used == 1);
  TestRequest refused(world);
  CHECK(refused.failure.kind == FailureKind::pool_overflow);
  world.only_busy().answer(200);
  CHECK(running.ended);
  CHECK(world.workers[0]->clients.size() == 1);  // kept
}

TEST_CASE("an endpoint that leaves closes its idle connections at once and its busy ones when they are done") {
  UpstreamWorld world;
  world.listen(9001);
  world.listen(9002);
  world.apply(UpstreamWorld::config({"127.0.0.1:9001"}));
  TestRequest a(world), b(world);
  world.run();
  const auto clients = world.busy();
  clients[0]->answer(200);
  world.apply(UpstreamWorld::config({"127.0.0.1:9002"}));
  CHECK(world.workers[0]->clients.size() == 1);
  clients[1]->answer(200);
  CHECK(b.ended);
  CHECK(world.workers[0]->clients.empty());
  TestRequest c(world);
  world.run();
  CHECK(world.only_busy().port() == 9002);
}

TEST_CASE("a service that is removed serves those who still know it, and comes back as itself") {
  UpstreamWorld world;
  world.listen(9001);
  world.apply(UpstreamWorld::config({"127.0.0.1:9001"}));
  Service* before = &world.service();
  TestRequest running(world);
  world.run();
  world.directory.apply({}, {});
  world.run();
  CHECK(world.directory.find("s") == nullptr);
  world.only_busy().answer(200);
  CHECK(running.ended);
  CHECK(world.workers[0]->clients.empty());
  TestRequest late(world);  // an old chain
  world.run();
  world.only_busy().answer(200);
  CHECK(late.ended);
  world.apply(UpstreamWorld::config({"127.0.0.1:9001"}));
  CHECK(&world.service() == before);
}

TEST_CASE("the same address named twice is one endpoint with both weights") {
  UpstreamWorld world;
  world.apply(UpstreamWorld::config({"127.0.0.1:9001", "127.0.0.1:9001"}));
  REQUIRE(world.status().endpoints.size() == 1);
  CHECK(world.status().endpoints[0].weight == 2);
}

TEST_CASE("metrics of the service are read at scrape") {
  UpstreamWorld world;
  world.listen(9001);
  world.listen(9002);
  ServiceConfig config = UpstreamWorld::config(kTwo);
  config.outlier_detection.causes = *Causes::parse_word("reset");
  world.apply(config);
  const auto token = world.directory.publish_metrics(world.registry);
  fail_at(world, 9001, 5);
  CHECK(world.metric("weir_endpoints", {"s", "usable"}) == 1);
  CHECK(world.metric("weir_endpoints", {"s", "ejected"}) == 1);
  CHECK(world.metric("weir_upstream_limit", {"s", "connections"}) == 10000);
  CHECK(world.metric("weir_retry_budget_remaining", {"s"}) >= 10);
}

TEST_CASE("endpoints are counted by name only when asked") {
  UpstreamWorld world;
  world.listen(9001);
  const ServiceConfig config = UpstreamWorld::config({"127.0.0.1:9001"});
  const auto counted = [&] { return world.metric("weir_endpoint_attempts_total", {"s", "127.0.0.1:9001", "success"}); };
  const auto ask = [&] {
    TestRequest request(world);
    world.run();
    world.only_busy().answer(200);
  };
  world.apply(config);
  ask();
  CHECK(counted() == 0);
  world.directory.apply({{"s", config}}, {.endpoint_labels = true});
  world.run();
  ask();
  CHECK(counted() == 1);
}
