// Connections that carry many requests: the pool with the real HTTP/2 codec, towards servers that a test scripts.
#include <catch2/catch.hpp>

#include <deque>

#include "tests/support/h2_upstream.h"
#include "tests/upstream/upstream_world.h"

using namespace weir;
using namespace weir::test;

namespace {

ServiceConfig http2(const std::vector<std::string>& endpoints = {"127.0.0.1:9001"}) {
  ServiceConfig config = UpstreamWorld::config(endpoints);
  config.protocol = Protocol::http2;
  return config;
}

struct Http2World : UpstreamWorld {
  explicit Http2World(const ServiceConfig& config, H2PeerOptions options = {}, std::size_t count = 1)
      : UpstreamWorld(count, Codecs::real), upstream(net, main, *Address::parse("127.0.0.1:9001"), options) {
    upstream.script = [](H2Peer&, H2Request&) {};  // answers when the test says so
    apply(config);
  }
  ~Http2World() { requests.clear(); }
  TestRequest& ask(std::size_t worker = 0) { return requests.emplace_back(*this, worker); }
  void ask_many(int count) {
    for (int i = 0; i < count; ++i) ask();
    run();
  }
  // All that is open on a connection.
  void answer_all(std::size_t peer) {
    for (const std::int32_t id : upstream.peers[peer]->open()) upstream.peers[peer]->answer(id, 200, "x");
    run();
  }
  std::size_t ended() const {
    return static_cast<std::size_t>(std::count_if(requests.begin(), requests.end(), [](const TestRequest& one) { return one.ended; }));
  }
  double connections(const char* state) const { return metric("weir_upstream_connections", {"s", state}); }

  H2Upstream upstream;
  std::deque<TestRequest> requests;
};

}  // namespace

TEST_CASE("h2 pool: requests that come while a connection is being made share it, and so do later ones") {
  Http2World world(http2());
  for (int i = 0; i < 50; ++i) world.ask();
  world.run();
  CHECK(world.upstream.peers.size() == 1);
  CHECK(world.metric("weir_upstream_connects_total", {"s", "connected"}) == 1);
  CHECK(world.upstream.peers[0]->open().size() == 50);
  CHECK(world.connections("active") == 1);
  CHECK(world.metric("weir_upstream_streams", {"s"}) == 50);
  CHECK_FALSE(world.requests[0].attempt().reused_connection);
  world.answer_all(0);
  CHECK(world.ended() == 50);
  CHECK(world.connections("active") == 0);
  CHECK(world.connections("idle") == 1);
  CHECK(world.metric("weir_upstream_streams", {"s"}) == 0);
  world.ask();
  world.run();
  CHECK(world.upstream.peers.size() == 1);
  CHECK(world.requests[50].attempt().reused_connection);
  world.ask();
  world.run();
  CHECK(world.upstream.peers[0]->open().size() == 2);
  world.answer_all(0);
  CHECK(world.status().connections.used == 1);
}

TEST_CASE("h2 pool: beyond the streams of one connection others are opened, filled one after the other, and let go again") {
  ServiceConfig config = http2();
  config.http2.max_streams = 10;
  Http2World world(config);
  world.ask_many(25);
  REQUIRE(world.upstream.peers.size() == 3);
  std::vector<std::size_t> open;
  for (const auto& peer : world.upstream.peers) open.push_back(peer->open().size());
  std::sort(open.begin(), open.end());
  CHECK(open == std::vector<std::size_t>{5, 10, 10});
  for (std::size_t i = 0; i < 3; ++i) world.answer_all(i);
  CHECK(world.ended() == 25);
  CHECK(world.connections("idle") == 3);
  for (int i = 0; i < 10; ++i) {  // what one can carry goes to one, and the others age
    world.advance(1s);
    world.ask_many(3);
    std::size_t used = 0;
    for (std::size_t peer = 0; peer < 3; ++peer) {
      used += world.upstream.peers[peer]->open().empty() ? 0 : 1;
      world.answer_all(peer);
    }
    CHECK(used == 1);
  }
  CHECK(world.connections("idle") == 1);
  CHECK(world.status().connections.used == 1);
}

TEST_CASE("h2 pool: at the limit of connections requests wait for a stream, and are served in order") {
  ServiceConfig config = http2();
  config.limits.connections = 1;
  Http2World world(config, {.max_streams = 5});
  world.ask();
  world.run();  // its SETTINGS are known
  world.ask_many(11);
  REQUIRE(world.upstream.peers.size() == 1);
  H2Peer& peer = *world.upstream.peers[0];
  CHECK(peer.open().size() == 5);
  CHECK(world.metric("weir_upstream_pending", {"s"}) == 7);
  peer.answer(peer.open()[2], 200, "x");
  world.run();
  CHECK(world.requests[2].ended);
  CHECK(peer.open().size() == 5);
  CHECK(world.metric("weir_upstream_pending", {"s"}) == 6);
  world.requests[0].drop();
  world.run();
  CHECK(peer.open().size() == 5);
  CHECK(world.metric("weir_upstream_pending", {"s"}) == 5);
  peer.allow(8);
  world.run();
  CHECK(peer.open().size() == 8);
  for (int i = 0; i < 3; ++i) world.answer_all(0);
  CHECK(world.ended() == 11);
  CHECK(world.status().connections.used == 1);
  CHECK_FALSE(world.upstream.broken());
}

TEST_CASE("h2 pool: a connection with less room than was thought: who finds none looks elsewhere") {
  UpstreamWorld world;  // its codecs take one request each
  world.listen(9001);
  SECTION("by connections of their own") {
    world.apply(http2());
    TestRequest a(world), b(world), c(world);
    world.run();
    CHECK(world.busy().size() == 3);
    for (FakeClient* client : world.busy()) client->answer(200);
    CHECK((a.ended && b.ended && c.ended));
  }
  SECTION("or in turn, where no more are allowed") {
    ServiceConfig config = http2();
    config.limits.connections = 2;
    world.apply(config);
    std::deque<TestRequest> all;
    for (int i = 0; i < 7; ++i) all.emplace_back(world);
    world.run();
    CHECK(world.busy().size() == 2);
    std::size_t rounds = 0;
    while (!world.busy().empty() && ++rounds < 20) world.busy()[0]->answer(200);
    for (const TestRequest& one : all) CHECK(one.ended);
    CHECK(world.status().connections.used == 2);
  }
}

TEST_CASE("h2 pool: a connect that fails fails all that wait for it, and is one failure of the endpoint") {
  UpstreamWorld world(1, UpstreamWorld::Codecs::real);
  ServiceConfig config = http2();
  config.outlier_detection.consecutive_failures = 5;
  world.apply(config);
  std::deque<TestRequest> all;
  for (int i = 0; i < 20; ++i) all.emplace_back(world);
  world.run();
  for (const TestRequest& one : all) {
    CHECK(one.failed);
    CHECK(one.failure.kind == FailureKind::connect_failure);
    CHECK_FALSE(one.failure.request_sent);
  }
  CHECK(world.status().endpoints[0].failures >= 1);
  CHECK(world.status().endpoints[0].failures <= 20);
  CHECK(world.metric("weir_upstream_connects_total", {"s", "connect_failure"}) ==
        static_cast<double>(world.status().endpoints[0].failures));
  CHECK(world.status().connections.used == 0);
}

TEST_CASE("h2 pool: connects that time out, and requests that give up before") {
  UpstreamWorld world(1, UpstreamWorld::Codecs::real);
  ServiceConfig config = http2();
  config.connect_timeout = 1s;
  world.net.conditions(*Address::parse("127.0.0.1:9001")).black_hole = 1;
  world.apply(config);
  std::deque<TestRequest> all;
  for (int i = 0; i < 10; ++i) all.emplace_back(world);
  world.advance(500ms);
  all[0].drop();  // for whom the connect was begun
  all[4].drop();
  world.advance(400ms);
  CHECK(world.metric("weir_upstream_connections", {"s", "connecting"}) == 1);
  world.advance(200ms);
  for (std::size_t i = 0; i < all.size(); ++i) CHECK(all[i].failed == (i != 0 && i != 4));
  CHECK(all[1].failure.kind == FailureKind::connect_timeout);
  CHECK(world.metric("weir_upstream_connects_total", {"s", "connect_timeout"}) == 1);
  CHECK(world.status().endpoints[0].failures == (config.outlier_detection.causes.matches_failure(FailureKind::connect_timeout) ? 1 : 0));
  CHECK(world.status().connections.used == 0);
}

TEST_CASE("h2 pool: a connection is made when the upstream's SETTINGS have come, and no request is sent before") {
  UpstreamWorld world(1, UpstreamWorld::Codecs::real);
  world.listen(9001);  // accepts, and says nothing
  ServiceConfig config = http2();
  config.connect_timeout = 1s;
  world.apply(config);
  TestRequest late(world), dropped(world);
  world.run();
  REQUIRE(world.server(9001).accepted() == 1);
  CHECK(world.metric("weir_upstream_connections", {"s", "connecting"}) == 1);
  CHECK(world.server(9001).last().received().size() < 100);  // the preface, SETTINGS and a window
  dropped.drop();
  world.advance(1100ms);
  CHECK(late.failure.kind == FailureKind::connect_timeout);
  CHECK(late.failure.detail == "connected, but no HTTP/2 was spoken in time");
  CHECK_FALSE(late.failure.request_sent);
  TestRequest refused(world);
  world.run();
  world.server(9001).last().send("HTTP/1.1 400 Bad Request\r\n\r\n");
  world.run();
  CHECK(refused.failure.kind == FailureKind::connect_failure);
  CHECK(refused.failure.detail == "connected, but HTTP/2 was not spoken");
  TestRequest closed(world);
  world.run();
  world.server(9001).last().finish();
  world.run();
  CHECK(closed.failure.kind == FailureKind::connect_failure);
  CHECK(world.metric("weir_upstream_connects_total", {"s", "connected"}) == 0);
  CHECK(world.metric("weir_upstream_connections", {"s", "connecting"}) == 0);
  CHECK(world.status().connections.used == 0);
}

TEST_CASE("h2 pool: a burst on connections that are being made is spread by what the upstream allows, and none is refused") {
  Http2World world(http2(), {.max_streams = 7});
  for (int i = 0; i < 50; ++i) world.ask();
  world.run();
  for (int i = 0; i < 20 && world.ended() < 50; ++i) {
    for (std::size_t peer = 0; peer < world.upstream.peers.size(); ++peer) {
      CHECK(world.upstream.peers[peer]->open().size() <= 7);
      world.answer_all(peer);
    }
  }
  CHECK(world.ended() == 50);
  CHECK(world.upstream.peers.size() == 8);
  CHECK_FALSE(world.upstream.broken());
}

TEST_CASE("h2 pool: a cancelled request costs its stream only") {
  Http2World world(http2());
  world.ask_many(3);
  world.requests[1].drop();
  world.run();
  H2Peer& peer = *world.upstream.peers[0];
  CHECK(peer.request(3).reset == 8);
  CHECK(peer.open().size() == 2);
  world.answer_all(0);
  CHECK(world.ended() == 2);
  world.ask_many(1);
  CHECK(world.upstream.peers.size() == 1);
  world.requests[3].drop();  // the last one: the connection is kept
  world.run();
  CHECK(world.connections("idle") == 1);
  CHECK(peer.request(7).reset == 8);
}

TEST_CASE("h2 pool: GOAWAY: what runs ends, what comes goes to another connection, and the slot is given back") {
  Http2World world(http2());
  world.ask_many(2);
  world.upstream.peers[0]->goaway(3);
  world.run();
  world.ask_many(2);
  REQUIRE(world.upstream.peers.size() == 2);
  CHECK(world.upstream.peers[1]->open().size() == 2);
  CHECK(world.status().connections.used == 2);
  world.answer_all(0);
  CHECK(world.ended() == 2);
  CHECK(world.status().connections.used == 1);
  world.answer_all(1);
  CHECK(world.ended() == 4);
  world.upstream.peers[1]->goaway(3);  // an idle one
  world.run();
  CHECK(world.status().connections.used == 0);
  CHECK(world.connections("idle") == 0);
}

TEST_CASE("h2 pool: a lost connection fails what it carried, and one that was stale says so") {
  Http2World world(http2());
  world.ask_many(3);
  world.upstream.peers[0]->peer().reset();
  world.run();
  for (const TestRequest& one : world.requests) {
    CHECK(one.failed);
    CHECK(one.failure.kind == FailureKind::reset);
    CHECK_FALSE(one.failure.stale_connection);
  }
  CHECK(world.status().connections.used == 0);
  world.ask_many(1);
  world.answer_all(1);
  // The upstream is gone without a word, and the request finds that out.
  world.upstream.peers[1]->peer().on_change = nullptr;
  world.workers[0]->loop.post([&] { world.upstream.peers[1]->peer().reset(); });
  TestRequest late(world);
  world.run();
  if (late.failed) CHECK(late.failure.stale_connection);
  CHECK(world.connections("active") + world.connections("idle") <= 1);
}

TEST_CASE("h2 pool: a connection that lay idle once and answers again is not stale for ever") {
  Http2World world(http2());
  world.ask_many(1);
  world.answer_all(0);  // and rests
  world.advance(1s);
  world.ask_many(3);
  REQUIRE(world.upstream.peers.size() == 1);
  H2Peer& peer = *world.upstream.peers[0];
  peer.answer(peer.open().front(), 200, "x");
  world.run();
  CHECK(world.ended() == 2);
  world.ask_many(1);
  peer.peer().reset();
  world.run();
  CHECK(world.requests[4].failed);
  CHECK(world.requests[4].failure.kind == FailureKind::reset);
  for (std::size_t i = 2; i < 4; ++i) CHECK_FALSE(world.requests[i].failure.stale_connection);  // bytes came after they were sent
}

TEST_CASE("h2 pool: caps on requests and age end a connection when its streams have ended") {
  SECTION("max_requests") {
    ServiceConfig config = http2();
    config.keep_alive.max_requests = 3;
    Http2World world(config);
    world.ask_many(2);
    world.ask_many(2);
    REQUIRE(world.upstream.peers.size() == 2);
    CHECK(world.upstream.peers[0]->open().size() == 3);
    CHECK(world.upstream.peers[1]->open().size() == 1);
    world.answer_all(0);
    CHECK(world.status().connections.used == 1);
    world.answer_all(1);
    CHECK(world.ended() == 4);
    CHECK(world.status().connections.used == 1);
  }
  SECTION("max_age") {
    ServiceConfig config = http2();
    config.keep_alive.max_age = 10s;
    Http2World world(config);
    world.ask_many(1);
    world.advance(11s);
    world.ask_many(1);
    REQUIRE(world.upstream.peers.size() == 2);
    world.answer_all(0);
    CHECK(world.status().connections.used == 1);
    world.answer_all(1);
    CHECK(world.ended() == 2);
  }
}

TEST_CASE("h2 pool: a connection is kept as long as configured") {
  ServiceConfig config = http2();
  config.keep_alive.idle = kHttp2Idle;
  Http2World world(config);
  world.ask_many(5);
  world.answer_all(0);
  world.advance(std::chrono::minutes(4));
  CHECK(world.status().connections.used == 1);
  world.ask_many(1);
  world.answer_all(0);
  CHECK(world.upstream.peers.size() == 1);
  world.advance(std::chrono::minutes(4));
  CHECK(world.status().connections.used == 1);
  world.advance(std::chrono::minutes(2));
  CHECK(world.status().connections.used == 0);
}

TEST_CASE("h2 pool: a reload that changes the protocol opens new connections, and the old ones finish") {
  Http2World world(http2());
  world.ask_many(2);
  ServiceConfig config = UpstreamWorld::config({"127.0.0.1:9001"});
  world.apply(config);
  TestRequest plain(world);
  world.run();
  REQUIRE(world.upstream.peers.size() == 2);
  CHECK(plain.failure.kind == FailureKind::upstream_protocol);  // HTTP/1 is what it spoke, and no HTTP/1 came back
  world.answer_all(0);
  CHECK(world.ended() == 2);
  CHECK(world.status().connections.used == 0);
}

TEST_CASE("h2 pool: two workers share one connection's place in turn") {
  ServiceConfig config = http2();
  config.limits.connections = 1;
  Http2World world(config, {}, 2);
  world.upstream.script = [&](H2Peer& peer, H2Request& request) {
    world.upstream.later(100ms, [&peer, id = request.id] { peer.answer(id, 200, "x"); });
  };
  // The first is never idle: a new request comes before the last one is over.
  std::size_t of_second = 0;
  for (int i = 0; i < 60; ++i) {
    world.ask(0);
    if (i % 10 == 5) world.ask(1), ++of_second;
    world.advance(50ms);
  }
  world.advance(5s);
  CHECK(world.ended() == 60 + of_second);
  CHECK(world.status().connections.used <= 1);
}

TEST_CASE("h2 pool: the service's host is told instead of the client's, and without it the client's") {
  ServiceConfig config = http2();
  Http2World world(config);
  world.ask_many(1);
  CHECK(world.upstream.peers[0]->request(1).field(":authority") == "127.0.0.1:9001");
  config.host = "payments.local";
  world.apply(config);
  world.ask_many(1);
  CHECK(world.upstream.peers[0]->request(3).field(":authority") == "payments.local");
  CHECK(world.upstream.peers[0]->request(3).field("host").empty());
  world.answer_all(0);
}

TEST_CASE("h2 pool: health checks speak the service's protocol and name its host") {
  ServiceConfig config = http2();
  config.host = "app.local";
  config.health_check.emplace();
  config.health_check->http.emplace();
  config.health_check->http->path = "/healthz";
  Http2World world(config);
  std::string asked;
  world.upstream.script = [&](H2Peer& peer, H2Request& request) {
    asked = request.field(":authority") + request.field(":path");
    peer.answer(request.id, 200, "fine");
  };
  world.advance(20s);
  CHECK(asked == "app.local/healthz");
  CHECK(world.status().endpoints[0].health.health == Health::healthy);
  CHECK_FALSE(world.upstream.broken());
}
