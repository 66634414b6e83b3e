#include "tests/upstream/upstream_world.h"

#include <catch2/catch.hpp>

#include <deque>

using namespace weir;
using namespace weir::test;

namespace {

ServiceConfig limited(std::uint32_t connections, std::uint32_t pending = 1024, std::uint32_t requests = 0,
                      const std::vector<std::string>& endpoints = {"127.0.0.1:9001"}) {
  ServiceConfig made = UpstreamWorld::config(endpoints);
  made.limits.connections = connections;
  made.limits.pending = pending;
  made.limits.requests = requests;
  return made;
}

int count(const std::deque<TestRequest>& requests, FailureKind kind) {
  int found = 0;
  for (const TestRequest& request : requests) found += request.failed && request.failure.kind == kind ? 1 : 0;
  return found;
}

int answered(const std::deque<TestRequest>& requests) {
  int found = 0;
  for (const TestRequest& request : requests) found += request.ended && request.failure.kind == FailureKind::none ? 1 : 0;
  return found;
}

std::size_t connections(const UpstreamWorld& world) {
  std::size_t sum = 0;
  for (const auto& worker : world.workers) sum += worker->services->connections();
  return sum;
}

// Answers whatever is in progress, over and over, until nothing is; each answer takes a while.
void answer_all(UpstreamWorld& world, std::size_t most_connections, Duration each = 1ms) {
  for (int round = 0; round < 10000; ++round) {
    bool any = false;
    for (std::size_t worker = 0; worker < world.workers.size(); ++worker) {
      for (FakeClient* client : world.busy(worker)) {
        client->answer(200);
        any = true;
        CHECK(world.open() <= most_connections);
        CHECK(world.status().connections.used <= most_connections);
        break;  // one at a time: every order of events is to be had
      }
    }
    world.advance(each);
    if (!any && world.status().pending.used == 0) return;
  }
  FAIL("never done");
}

}  // namespace

TEST_CASE("requests above the limit of requests are refused at once") {
  UpstreamWorld world(2);
  world.listen(9001);
  world.apply(limited(100, 100, 3));
  std::deque<TestRequest> requests;
  for (std::size_t i = 0; i < 5; ++i) requests.emplace_back(world, i % 2);
  world.run();
  CHECK(count(requests, FailureKind::pool_overflow) == 2);
  CHECK(requests[3].failure.rejected());
  CHECK(world.status().requests.used == 3);
  world.busy(0)[0]->answer(200);
  TestRequest next(world);
  CHECK_FALSE(next.failed);
}

TEST_CASE("as many requests wait as the limit says, over all workers, and not one more") {
  UpstreamWorld world(3);
  world.listen(9001);
  world.net.conditions().delay = 10ms;
  world.apply(limited(100, 4));
  std::deque<TestRequest> requests;
  for (std::size_t i = 0; i < 9; ++i) requests.emplace_back(world, i % 3);
  CHECK(world.status().pending.used == 4);
  CHECK(count(requests, FailureKind::pool_overflow) == 5);
  world.advance(1s);
  CHECK(world.status().pending.used == 0);
  CHECK(world.busy(0).size() + world.busy(1).size() + world.busy(2).size() == 4);
}

TEST_CASE("requests that find no place to wait earn no retries") {
  UpstreamWorld world(3);
  world.listen(9001);
  world.net.conditions().delay = 10ms;
  ServiceConfig config = limited(100, 4);
  config.retry_budget.min_rate_per_second = 0;
  config.retry_budget.ratio = 1.0;
  world.apply(config);
  std::deque<TestRequest> requests;
  for (std::size_t i = 0; i < 9; ++i) requests.emplace_back(world, i % 3);
  REQUIRE(count(requests, FailureKind::pool_overflow) == 5);
  CHECK(world.status().retry_budget_remaining == 4);
  world.advance(1s);
}

TEST_CASE("limits in shadow mode let everything through and count what they would have refused") {
  UpstreamWorld world;
  world.listen(9001);
  ServiceConfig shadow = limited(1, 1, 1);
  shadow.limits.mode = FilterMode::shadow;
  world.apply(shadow);
  std::deque<TestRequest> requests;
  for (int i = 0; i < 3; ++i) requests.emplace_back(world);
  world.run();
  CHECK(world.busy().size() == 3);
  CHECK(world.metric("weir_upstream_limit_would_reject_total", {"s", "requests"}) == 2);
  CHECK(world.metric("weir_upstream_limit_would_reject_total", {"s", "connections"}) == 2);
}

TEST_CASE("at the limit of connections requests wait in order, and in time") {
  UpstreamWorld world;
  world.listen(9001);
  ServiceConfig two = limited(2);
  two.pending_timeout = 100ms;
  world.apply(two);
  std::deque<TestRequest> requests;
  for (int i = 0; i < 5; ++i) requests.emplace_back(world);
  world.run();
  REQUIRE(world.busy().size() == 2);
  CHECK(world.open() == 2);
  world.busy()[0]->answer(200);
  CHECK(requests[2].attempt().connected != MonotonicTime{});  // the one that waited longest
  CHECK(requests[3].attempt().connected == MonotonicTime{});
  world.advance(100ms);
  CHECK(count(requests, FailureKind::pool_timeout) == 2);
  CHECK(requests[4].failure.rejected());
  CHECK(world.net.connects() == 2);
  CHECK(world.status().endpoints[0].failures == 0);  // not the endpoint's doing
}

TEST_CASE("a connection limit of one serves everybody of every worker, one after the other") {
  UpstreamWorld world(3);
  world.listen(9001);
  world.apply(limited(1));
  std::deque<TestRequest> requests;
  for (std::size_t i = 0; i < 12; ++i) requests.emplace_back(world, i % 3);
  world.run();
  answer_all(world, 1);
  CHECK(answered(requests) == 12);
}

TEST_CASE("connections stay exactly within the limit whatever several workers do") {
  const int seed = GENERATE(1, 2, 3, 4, 5, 6);
  Random random(static_cast<std::uint64_t>(seed));
  UpstreamWorld world(3);
  world.listen(9001);
  world.listen(9002);
  world.net.conditions().delay = 2ms;
  world.net.conditions().jitter = 3ms;
  const std::uint32_t limit = static_cast<std::uint32_t>(1 + random.below(6));
  ServiceConfig some = limited(limit, 1024, 0, {"127.0.0.1:9001", "127.0.0.1:9002"});
  some.pending_timeout = 60s;
  some.keep_alive.max_requests = random.chance(0.5) ? 3 : 0;
  world.apply(some);
  std::deque<TestRequest> requests;
  std::size_t dropped = 0;
  for (int step = 0; step < 400; ++step) {
    const auto worker = static_cast<std::size_t>(random.below(3));
    if (random.chance(0.4) && requests.size() < 120) requests.emplace_back(world, worker);
    auto busy = world.busy(worker);
    if (!busy.empty() && random.chance(0.6)) {
      FakeClient* client = busy[random.below(busy.size())];
      if (random.chance(0.1)) {
        client->fail(ClientError::reset);
      } else {
        client->answer(200);
      }
    }
    if (random.chance(0.05) && !requests.empty()) {
      TestRequest& victim = requests[random.below(requests.size())];
      if (!victim.told()) ++dropped;
      victim.drop();
      for (std::size_t w = 0; w < 3; ++w) {
        for (FakeClient* client : world.workers[w]->clients) {
          if (client->dropped()) {
            client->fail(ClientError::closed);
            break;
          }
        }
      }
    }
    world.advance(std::chrono::microseconds(random.below(2000)));
    REQUIRE(world.status().connections.used <= limit);
    REQUIRE(connections(world) <= limit);
  }
  for (std::size_t w = 0; w < 3; ++w) {
    std::vector<FakeClient*> rest;
    for (FakeClient* client : world.workers[w]->clients) {
      if (client->dropped()) rest.push_back(client);
    }
    for (FakeClient* client : rest) client->fail(ClientError::closed);
  }
  for (int round = 0; round < 5000 && world.status().requests.used > 0; ++round) {
    for (std::size_t worker = 0; worker < 3; ++worker) {
      auto busy = world.busy(worker);
      if (!busy.empty()) busy[0]->answer(200);
    }
    world.advance(1ms);
    REQUIRE(connections(world) <= limit);
  }
  CHECK(world.status().requests.used == 0);  // nobody starved
  for (TestRequest& request : requests) {
    if (request.failed) CHECK(request.failure.kind == FailureKind::reset);
  }
}

TEST_CASE("an idle connection to another endpoint gives way at the limit") {
  UpstreamWorld world;
  world.listen(9001);
  world.listen(9002);
  world.apply(limited(1, 10, 0, {"127.0.0.1:9001", "127.0.0.1:9002"}));
  const std::uint32_t ids[] = {world.status().endpoints[0].id, world.status().endpoints[1].id};
  for (int i = 0; i < 4; ++i) {
    TestRequest request(world, 0, {.attempt = 1, .tried = {ids[i % 2]}, .deadline = kNever});
    world.run();
    CHECK(connections(world) == 1);
    world.only_busy().answer(200);
    CHECK(request.endpoint == ids[1 - i % 2]);
    world.advance(1ms);
  }
  CHECK(world.net.connects() == 4);
}

TEST_CASE("at the limit a connect to a black hole is given up for others, and counted against its endpoint") {
  UpstreamWorld world;
  world.listen(9002);
  world.net.conditions(*Address::parse("127.0.0.1:9001")).black_hole = 1;
  world.apply(limited(1, 10, 0, {"127.0.0.1:9001", "127.0.0.1:9002"}));
  const std::uint32_t ids[] = {world.status().endpoints[0].id, world.status().endpoints[1].id};
  TestRequest lost(world, 0, {.attempt = 1, .tried = {ids[1]}, .deadline = kNever});
  world.run();
  TestRequest starved(world, 0, {.attempt = 1, .tried = {ids[0]}, .deadline = kNever});
  world.advance(500ms);
  SECTION("by a try's timeout") {
    lost.drop_for_timeout();
    CHECK(world.status().endpoints[0].failures == 1);
  }
  SECTION("by a client that left") {
    lost.drop();
    CHECK(world.status().endpoints[0].failures == 0);
  }
  world.run();
  world.only_busy().answer(200);
  CHECK(starved.status == 200);
}

TEST_CASE("an idle connection of another worker gives way at the limit") {
  UpstreamWorld world(2);
  world.listen(9001);
  world.apply(limited(1));
  {
    TestRequest request(world, 0);
    world.run();
    world.only_busy(0).answer(200);
  }
  world.advance(1ms);
  TestRequest request(world, 1);
  world.run();
  CHECK(world.workers[0]->clients.empty());
  world.only_busy(1).answer(200);
  CHECK(request.ended);
}

TEST_CASE("a worker that keeps its connections busy does not starve another one") {
  UpstreamWorld world(2);
  world.listen(9001);
  ServiceConfig four = limited(4);
  four.pending_timeout = 60s;
  world.apply(four);
  std::deque<TestRequest> greedy;
  for (int i = 0; i < 40; ++i) greedy.emplace_back(world, 0);
  TestRequest modest(world, 1);
  world.run();
  int before = 0;
  while (!modest.told() && before < 40) {
    if (!world.busy(1).empty()) {
      world.busy(1)[0]->answer(200);
    } else {
      world.busy(0)[0]->answer(200);
      ++before;
    }
    world.advance(1ms);
  }
  CHECK(modest.ended);
  CHECK(before <= 40);
  answer_all(world, 4);
  CHECK(answered(greedy) == 40);
}

TEST_CASE("two endpoints that are equally busy do not pass connections to and fro") {
  UpstreamWorld world;
  world.listen(9001);
  world.listen(9002);
  ServiceConfig four = limited(4, 1024, 0, {"127.0.0.1:9001", "127.0.0.1:9002"});
  four.pending_timeout = 60s;
  world.apply(four);
  std::deque<TestRequest> requests;
  for (int i = 0; i < 200; ++i) requests.emplace_back(world);
  world.run();
  answer_all(world, 4);
  CHECK(answered(requests) == 200);
  CHECK(world.net.connects() <= 12);
}

TEST_CASE("a grant that finds nobody waiting is passed on") {
  UpstreamWorld world(3);
  world.listen(9001);
  world.apply(limited(1));
  TestRequest holder(world, 0);
  world.run();
  TestRequest gone(world, 1);
  TestRequest next(world, 2);
  world.run();
  // In one instant: the slot comes free, is granted to worker 1 by posting, and the request there is dropped.
  FakeClient& client = world.only_busy(0);
  world.workers[1]->loop.world().schedule_at(world.workers[1]->loop, world.world.now(), [&] { gone.drop(); });
  client.fail(ClientError::reset);
  world.run();
  REQUIRE(world.busy(2).size() == 1);
  world.only_busy(2).answer(200);
  CHECK(next.ended);
}

TEST_CASE("a raised limit serves those who wait; a lowered one is reached as connections end") {
  UpstreamWorld world;
  world.listen(9001);
  world.apply(limited(1));
  std::deque<TestRequest> requests;
  for (int i = 0; i < 6; ++i) requests.emplace_back(world);
  world.run();
  CHECK(world.busy().size() == 1);
  world.apply(limited(4));
  world.run();
  CHECK(world.busy().size() == 4);
  world.apply(limited(2));
  for (int i = 0; i < 2; ++i) world.busy()[0]->answer(200);
  world.run();
  CHECK(connections(world) == 2);
  answer_all(world, 2);
  CHECK(answered(requests) == 6);
}

TEST_CASE("a worker that goes gives its connections back") {
  UpstreamWorld world(2);
  world.listen(9001);
  world.apply(limited(1));
  {
    TestRequest request(world, 0);
    world.run();
    world.only_busy(0).answer(200);
  }
  world.workers[0]->services.reset();
  CHECK(world.status().connections.used == 0);
  TestRequest request(world, 1);
  world.run();
  CHECK(world.busy(1).size() == 1);
}

TEST_CASE("after the limit was lowered, idle connections of others give way until one can be had") {
  UpstreamWorld world(2);
  world.listen(9001);
  world.apply(limited(5));
  {
    std::deque<TestRequest> requests;
    for (int i = 0; i < 5; ++i) requests.emplace_back(world, 0);
    world.run();
    for (FakeClient* client : world.busy(0)) client->answer(200);
  }
  world.advance(1ms);
  world.apply(limited(2));
  CHECK(connections(world) == 2);
  TestRequest request(world, 1);
  world.run();
  CHECK(world.busy(1).size() == 1);
  CHECK(connections(world) == 2);
}
