#include "tests/upstream/upstream_world.h"

#include <catch2/catch.hpp>

#include <cerrno>
#include <deque>

using namespace weir;
using namespace weir::test;

namespace {

ServiceConfig one() { return UpstreamWorld::config({"127.0.0.1:9001"}); }

}  // namespace

TEST_CASE("a request opens a connection, is answered and leaves the connection idle") {
  UpstreamWorld world;
  world.listen(9001);
  world.apply(one());
  TestRequest request(world);
  world.run();
  world.only_busy().answer(200);
  CHECK(request.ended);
  CHECK(request.status == 200);
  CHECK(request.endpoint == world.status().endpoints[0].id);
  CHECK(request.attempt().endpoint == "127.0.0.1:9001");
  CHECK(request.attempt().endpoint_id == request.endpoint);
  CHECK_FALSE(request.attempt().reused_connection);
  CHECK(world.metric("weir_upstream_connections", {"s", "idle"}) == 1);
  CHECK(world.metric("weir_attempts_total", {"s", "2xx"}) == 1);
  CHECK(world.status().requests.used == 0);
}

TEST_CASE("the connection used last is used next, and the others age") {
  UpstreamWorld world;
  world.listen(9001);
  world.apply(one());
  std::vector<FakeClient*> clients;
  {
    TestRequest a(world), b(world);
    world.run();
    clients = world.busy();
    REQUIRE(clients.size() == 2);
    clients[1]->answer(200);
    clients[0]->answer(200);
  }
  for (int i = 0; i < 3; ++i) {
    world.advance(1500ms);
    TestRequest next(world);
    REQUIRE(world.busy().size() == 1);
    CHECK(world.busy()[0] == clients[0]);
    CHECK(next.attempt().reused_connection);
    clients[0]->answer(200);
  }
  CHECK(world.workers[0]->clients.size() == 1);  // the other was idle for 4 s
  world.advance(4s);
  CHECK(world.workers[0]->clients.empty());
  CHECK(world.open() == 0);
}

TEST_CASE("only retries carry the attempt header") {
  UpstreamWorld world;
  world.listen(9001);
  world.apply(one());
  TestRequest first(world);
  world.run();
  CHECK(world.only_busy().extra().empty());
  world.only_busy().answer(503);
  TestRequest second(world, 0, {.attempt = 3, .tried = {}, .deadline = kNever});
  CHECK(world.only_busy().extra() == "x-weir-attempt: 3\n");
}

TEST_CASE("a refused connect fails the request that it was begun for, with nothing sent") {
  UpstreamWorld world;
  world.apply(one());
  TestRequest request(world);
  world.run();
  REQUIRE(request.failed);
  CHECK(request.failure.kind == FailureKind::connect_failure);
  CHECK_FALSE(request.failure.request_sent);
  CHECK_FALSE(request.failure.stale_connection);
  CHECK(world.metric("weir_attempts_total", {"s", "connect_failure"}) == 1);
  CHECK(world.status().endpoints[0].failures == 1);
}

TEST_CASE("a black hole is given up after connect_timeout") {
  UpstreamWorld world;
  world.net.conditions().black_hole = 1;
  ServiceConfig config = one();
  config.connect_timeout = 250ms;
  world.apply(config);
  TestRequest request(world);
  world.advance(249ms);
  CHECK_FALSE(request.told());
  world.advance(1ms);
  REQUIRE(request.failed);
  CHECK(request.failure.kind == FailureKind::connect_timeout);
  CHECK(world.status().connections.used == 0);
}

TEST_CASE("a request that was dropped while it connected leaves the connect to the next one") {
  UpstreamWorld world;
  world.listen(9001);
  world.net.conditions().delay = 20ms;
  world.apply(one());
  TestRequest first(world);
  world.advance(10ms);
  first.drop();
  world.advance(1ms);
  TestRequest second(world);
  world.advance(100ms);
  CHECK(world.net.connects() == 1);
  world.only_busy().answer(200);
  CHECK(second.status == 200);
  CHECK(world.metric("weir_attempts_total", {"s", "cancelled"}) == 1);
}

TEST_CASE("a connect that nobody waits for any more still counts against the endpoint when it fails") {
  UpstreamWorld world;
  world.net.conditions().black_hole = 1;
  ServiceConfig config = one();
  config.connect_timeout = 1s;
  world.apply(config);
  TestRequest request(world);
  world.advance(500ms);
  request.drop_for_timeout();
  CHECK(world.status().endpoints[0].failures == 0);
  world.advance(1s);
  CHECK(world.status().endpoints[0].failures == 1);
}

TEST_CASE("a waiting request takes whatever connection comes first, and its own connect serves another") {
  UpstreamWorld world;
  world.listen(9001);
  world.apply(one());
  TestRequest first(world);
  world.run();
  FakeClient& client = world.only_busy();
  world.net.conditions().delay = 50ms;
  TestRequest second(world);
  world.advance(10ms);
  client.answer(200);  // free before the second connect is through
  CHECK(client.busy());
  client.answer(201);
  CHECK(second.status == 201);
  world.advance(1s);
  CHECK(world.metric("weir_upstream_connections", {"s", "idle"}) == 2);
}

TEST_CASE("a failing connect fails its own request and no other") {
  UpstreamWorld world;
  world.listen(9001);
  world.apply(one());
  world.net.conditions().delay = 50ms;
  TestRequest first(world);  // will get a connection
  world.advance(10ms);
  world.stop_listening(9001);
  world.net.conditions().refuse = 1;
  TestRequest second(world);  // will not
  world.advance(2s);
  CHECK(first.failed);
  CHECK(second.failed);
  CHECK(first.attempt().ended < second.attempt().ended);
}

TEST_CASE("an idle connection that the upstream closes is forgotten") {
  UpstreamWorld world;
  world.listen(9001);
  world.apply(one());
  TestRequest request(world);
  world.run();
  world.only_busy().answer(200);
  world.workers[0]->clients[0]->close();
  CHECK(world.workers[0]->clients.empty());
  CHECK(world.status().connections.used == 0);
  TestRequest next(world);
  CHECK(world.net.connects() == 2);
}

TEST_CASE("a reused connection that breaks before any byte is stale and no sign of ill health") {
  UpstreamWorld world;
  world.listen(9001);
  ServiceConfig config = one();
  config.outlier_detection.causes = *Causes::parse_word("reset");
  world.apply(config);
  {
    TestRequest request(world);
    world.run();
    world.only_busy().answer(200);
  }
  TestRequest stale(world);
  world.only_busy().fail(ClientError::closed);
  REQUIRE(stale.failed);
  CHECK(stale.failure.kind == FailureKind::reset);
  CHECK(stale.failure.stale_connection);
  CHECK(stale.failure.request_sent);
  CHECK(world.status().endpoints[0].failures == 0);
  CHECK(world.metric("weir_upstream_stale_connections_total", {"s"}) == 1);

  TestRequest fresh(world);
  world.run();
  world.only_busy().fail(ClientError::closed);
  CHECK_FALSE(fresh.failure.stale_connection);
  CHECK(world.status().endpoints[0].failures == 1);
}

TEST_CASE("an answer that breaks off ends truncated, not clean") {
  UpstreamWorld world;
  world.listen(9001);
  world.apply(one());
  TestRequest request(world);
  world.run();
  FakeClient& client = world.only_busy();
  client.respond(200);
  client.fail(ClientError::closed, true);
  CHECK(request.ended);
  CHECK(request.failure.kind == FailureKind::truncated);
  CHECK(world.metric("weir_attempts_total", {"s", "truncated"}) == 1);
}

TEST_CASE("max_requests ends a connection after its last request") {
  UpstreamWorld world;
  world.listen(9001);
  ServiceConfig config = one();
  config.keep_alive.max_requests = 2;
  world.apply(config);
  for (int i = 0; i < 4; ++i) {
    TestRequest request(world);
    world.run();
    world.only_busy().answer(200);
    CHECK(request.ended);
  }
  CHECK(world.net.connects() == 2);
  CHECK(world.workers[0]->clients.empty());
}

TEST_CASE("max_age ends a connection at the next occasion") {
  UpstreamWorld world;
  world.listen(9001);
  ServiceConfig config = one();
  config.keep_alive.max_age = 5s;
  world.apply(config);
  for (int i = 0; i < 4; ++i) {
    TestRequest request(world);
    world.run();
    world.only_busy().answer(200);
    world.advance(2s);
  }
  CHECK(world.net.connects() == 2);  // the fourth request, at 6 s, needed a new one
}

TEST_CASE("a cancelled request may leave its connection for others once the rest is read away") {
  UpstreamWorld world;
  world.listen(9001);
  world.apply(one());
  TestRequest request(world);
  world.run();
  FakeClient& client = world.only_busy();
  client.respond(200);
  request.drop();
  CHECK(client.dropped());
  CHECK(world.status().endpoints[0].active == 0);
  TestRequest next(world);
  world.run();
  CHECK(world.net.connects() == 2);  // it is not available while it drains
  client.end();
  CHECK(world.metric("weir_upstream_connections", {"s", "idle"}) == 1);
}

TEST_CASE("a request can be dropped at every point and leaves nothing behind") {
  const int point = GENERATE(range(0, 8));
  UpstreamWorld world;  // its destruction checks that everything was given back
  world.listen(9001);
  world.net.conditions().delay = 10ms;
  ServiceConfig config = UpstreamWorld::config({point == 0 ? "dns:a.test:80" : "127.0.0.1:9001"});
  config.limits.connections = point == 7 ? 1 : 10;
  world.apply(config);
  TestRequest other(world);
  TestRequest request(world);
  switch (point) {
    case 0: break;                       // waits for discovery
    case 1: break;                       // connecting
    case 2: world.advance(20ms); break;  // sent
    case 3:
      world.advance(20ms);
      for (FakeClient* client : world.busy()) client->respond(200);
      break;
    case 4:
      world.advance(20ms);
      for (FakeClient* client : world.busy()) client->answer(200);
      break;
    case 5:
      world.advance(20ms);
      for (FakeClient* client : world.busy()) client->fail(ClientError::reset);
      break;
    case 6:
      world.stop_listening(9001);
      world.advance(20ms);
      break;
    case 7: world.advance(20ms); break;  // waits at the limit
    default: break;
  }
  request.drop();
  other.drop();
  world.advance(10s);
  CHECK((point == 4 || point == 5 || point == 6) == request.told());
}

TEST_CASE("a request's permits are back when the last byte was received, not when the client has it") {
  UpstreamWorld world;
  world.listen(9001);
  world.apply(one());
  TestRequest request(world);
  world.run();
  CHECK(world.status().requests.used == 1);
  CHECK(world.status().endpoints[0].active == 1);
  world.only_busy().answer(200);
  CHECK(world.status().requests.used == 0);
  CHECK(world.status().endpoints[0].active == 0);
}

TEST_CASE("while draining nothing stays open, and requests still work") {
  UpstreamWorld world;
  world.listen(9001);
  world.apply(one());
  TestRequest a(world), b(world);
  world.run();
  auto clients = world.busy();
  REQUIRE(clients.size() == 2);
  clients[0]->answer(200);
  world.workers[0]->services->drain();
  world.run();
  CHECK(world.workers[0]->clients.size() == 1);
  clients[1]->answer(200);
  CHECK(world.workers[0]->clients.empty());
  TestRequest c(world);
  world.run();
  world.only_busy().answer(200);
  CHECK(c.ended);
  CHECK(world.workers[0]->services->connections() == 0);
}

TEST_CASE("idle connections are kept as long as the configuration says, also when a reload has just changed that") {
  UpstreamWorld world;
  world.listen(9001);
  ServiceConfig config = one();
  config.keep_alive.idle = 1h;
  world.apply(config);
  TestRequest request(world);
  world.run();
  world.only_busy().answer(200);
  world.advance(30min);
  CHECK(world.workers[0]->services->connections() == 1);
  config.keep_alive.idle = 40min;
  world.apply(config);
  world.run();
  CHECK(world.workers[0]->services->connections() == 1);
  world.advance(10min);
  CHECK(world.workers[0]->services->connections() == 0);
}

TEST_CASE("what this host lacks for a connection is no failure of the endpoint, and earns no retry") {
  UpstreamWorld world;
  world.listen(9001);
  world.net.conditions().refuse = 1;
  world.net.conditions().refuse_error = GENERATE(EMFILE, ENFILE, ENOBUFS, ENOMEM);
  world.apply(one());
  TestRequest request(world);
  world.run();
  REQUIRE(request.failed);
  CHECK(request.failure.kind == FailureKind::pool_overflow);
  CHECK(request.failure.rejected());
  CHECK(world.status().endpoints[0].failures == 0);
  CHECK(world.status().connections.used == 0);
}

TEST_CASE("a connect that a reload has overtaken, with another protocol, carries nothing") {
  UpstreamWorld world;
  world.listen(9001);
  world.net.conditions().delay = 20ms;
  ServiceConfig config = one();
  world.apply(config);
  TestRequest before(world);
  world.advance(10ms);
  config.protocol = Protocol::http2;
  world.apply(config);
  TestRequest after(world);
  world.advance(1s);
  CHECK(world.net.connects() == 3);  // the one that was overtaken, and these
  CHECK_FALSE(before.told());
  CHECK_FALSE(after.told());
  CHECK(world.busy().size() == 2);
  for (FakeClient* client : world.busy()) client->answer(200);
  CHECK(before.status == 200);
  CHECK(after.status == 200);
  CHECK(world.status().connections.used <= 2);
}

TEST_CASE("in steady state a request allocates nothing outside its arena") {
  UpstreamWorld world;
  world.listen(9001);
  world.apply(one());
  for (int i = 0; i < 4; ++i) {
    TestRequest request(world);
    world.run();
    FakeClient& client = world.only_busy();
    client.answer(200);
    if (i < 2) continue;
    CHECK(request.allocations == 0);
    CHECK(client.allocations == 0);
  }
}
