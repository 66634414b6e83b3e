// The upstream link with the real HTTP/1.1 codec, over the simulated network, against a scripted server.
#include <catch2/catch.hpp>

#include <deque>

#include "filters/retry/retry_filter.h"
#include "proxy/chain/causes_type.h"
#include "proxy/upstream/worker_services.h"
#include "tests/support/chain_world.h"
#include "tests/support/scripted_peer.h"

using namespace weir;
using namespace weir::test;

namespace {

class NoNames final : public NameResolver {
 public:
  std::unique_ptr<NameLookup> lookup(const std::string&, std::uint16_t, AddressFamilies, NameHandler&) override { return nullptr; }
  std::unique_ptr<NameLookup> lookup_srv(const std::string&, SrvHandler&) override { return nullptr; }
};

const Address kAt = *Address::parse("127.0.0.1:9001");

struct H1World {
  explicit H1World(std::uint64_t seed = 1)
      : sim(seed), main(sim.add_loop()), net(main), directory(main, names, seed), worker(sim, 0, seed) {
    config.name = "s";
    config.outlier_detection.causes = causes_of({"reset"});
    add(kAt);
  }
  ~H1World() {
    sim.run_ready();
    services.reset();
    CHECK(worker.arenas.in_use() == 0);
    CHECK(worker.buffers.chunks_in_use() == 0);
    if (directory.status().empty()) return;
    const ServiceStatus status = directory.status()[0];
    CHECK(status.connections.used == 0);
    CHECK(status.pending.used == 0);
    CHECK(status.requests.used == 0);
  }
  void add(const Address& address) {
    EndpointConfig endpoint;
    endpoint.address = address;
    config.endpoints.push_back(endpoint);
  }
  Link& link() {
    if (services == nullptr) {
      directory.apply({{"s", config}}, {});
      services = std::make_unique<WorkerServices>(worker.worker, net.connector(worker.loop), directory);
    }
    return services->link("s");
  }
  void start(TestExchange& exchange, std::uint16_t attempt = 1) {
    worker.loop.post([&, attempt] {
      Request request;
      request.attempt = attempt;
      exchange.start(link(), std::move(request));
    });
    sim.run_ready();
  }
  ServiceStatus status() { return directory.find("s")->status(sim.now()); }

  SimWorld sim;
  SimLoop& main;
  SimNet net;
  NoNames names;
  ServiceDirectory directory;
  ChainWorld worker;
  ServiceConfig config;
  std::unique_ptr<WorkerServices> services;
};

using Then = ScriptedReply::Then;

}  // namespace

TEST_CASE("requests share a kept connection, and retries say which try they are") {
  H1World world;
  ScriptedUpstream upstream(world.net, world.main, kAt);
  for (std::uint16_t attempt = 1; attempt <= 2; ++attempt) {
    TestExchange exchange(world.worker);
    world.start(exchange, attempt);
    world.sim.run_ready();
    CHECK(exchange.status == 200);
    CHECK(exchange.body == "ok");
    CHECK(exchange.ended);
    CHECK_FALSE(exchange.end_failure);
  }
  CHECK(upstream.accepted() == 1);
  REQUIRE(upstream.requests.size() == 2);
  CHECK(upstream.requests[0].find("x-weir-attempt") == std::string::npos);
  CHECK(upstream.requests[1].find("\r\nx-weir-attempt: 2\r\n") != std::string::npos);
}

TEST_CASE("a keep-alive connection that the server closes while a request is under way is told as stale") {
  const Then how = GENERATE(Then::fin, Then::reset);
  H1World world;
  world.net.conditions().delay = 10ms;
  ScriptedUpstream upstream(world.net, world.main, kAt);
  {
    TestExchange exchange(world.worker);
    world.start(exchange);
    world.sim.advance(100ms);
    REQUIRE(exchange.ended);
  }
  SimPeer& peer = upstream.server().last();
  how == Then::fin ? peer.close() : peer.reset();  // arrives in 10 ms
  world.sim.advance(5ms);
  TestExchange exchange(world.worker);
  world.start(exchange);
  world.sim.advance(100ms);
  REQUIRE(exchange.failure);
  CHECK(exchange.failure->kind == FailureKind::reset);
  CHECK(exchange.failure->stale_connection);
  CHECK(exchange.failure->request_sent);
  CHECK(exchange.context().last_attempt->reused_connection);
  TestExchange next(world.worker);
  world.start(next);
  world.sim.advance(100ms);
  CHECK(next.status == 200);
  CHECK(upstream.accepted() == 2);
}

TEST_CASE("a connection that was made for nobody and lay idle may be stale at its first request") {
  H1World world;
  world.net.conditions().delay = 10ms;
  ScriptedUpstream upstream(world.net, world.main, kAt);
  {
    TestExchange gone(world.worker);
    world.start(gone);
    world.sim.advance(5ms);
    gone.drop();  // its connect goes on
    world.sim.advance(100ms);
  }
  REQUIRE(upstream.accepted() == 1);
  upstream.server().last().close();  // arrives in 10 ms
  world.sim.advance(5ms);
  TestExchange exchange(world.worker);
  world.start(exchange);
  world.sim.advance(100ms);
  REQUIRE(exchange.failure);
  CHECK(exchange.failure->kind == FailureKind::reset);
  CHECK(exchange.failure->stale_connection);
}

TEST_CASE("a server that takes a first request and hangs up is no stale connection") {
  H1World world;
  ScriptedUpstream upstream(world.net, world.main, kAt);
  upstream.then(ScriptedReply::raw("", Then::fin));
  TestExchange exchange(world.worker);
  world.start(exchange);
  world.sim.run_ready();
  REQUIRE(exchange.failure);
  CHECK(exchange.failure->kind == FailureKind::reset);
  CHECK_FALSE(exchange.failure->stale_connection);
  CHECK(world.status().endpoints[0].failures == 1);
}

TEST_CASE("answers that break off or break the rules are never passed off as whole") {
  H1World world;
  ScriptedUpstream upstream(world.net, world.main, kAt);
  TestExchange exchange(world.worker);
  SECTION("truncated") {
    upstream.then(ScriptedReply::raw("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello", Then::fin));
    world.start(exchange);
    world.sim.run_ready();
    CHECK(exchange.status == 200);
    CHECK(exchange.ended);
    CHECK(exchange.end_failure == FailureKind::truncated);
    CHECK(exchange.body_abort != BodyAbort::none);
    CHECK_FALSE(exchange.body_ended);
  }
  SECTION("malformed") {
    upstream.then(ScriptedReply::raw("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx"));
    world.start(exchange);
    world.sim.run_ready();
    REQUIRE(exchange.failure);
    CHECK(exchange.failure->kind == FailureKind::upstream_protocol);
    CHECK_FALSE(exchange.failure->detail.empty());
  }
}

TEST_CASE("the rest of a discarded answer is read away when it is short, and costs the connection when it is long") {
  const auto [size, connects] = GENERATE(std::pair<std::size_t, std::size_t>{1000, 1}, std::pair<std::size_t, std::size_t>{500000, 2});
  H1World world;
  world.net.conditions().delay = 1ms;
  ScriptedUpstream upstream(world.net, world.main, kAt);
  upstream.then(ScriptedReply::with(503, std::string(size, 'x')));
  TestExchange exchange(world.worker);
  exchange.drop_on_response();
  world.start(exchange);
  world.sim.advance(200ms);
  CHECK(exchange.status == 503);
  TestExchange next(world.worker);
  world.start(next);
  world.sim.advance(100ms);
  CHECK(next.status == 200);
  CHECK(upstream.accepted() == connects);
}

TEST_CASE("a request that is dropped at any event leaves nothing behind, and its connection is clean or gone") {
  const int events = GENERATE(range(0, 40));
  H1World world(static_cast<std::uint64_t>(events) + 3);
  world.net.conditions().delay = 1ms;
  world.net.conditions().fragment = 0.8;
  world.net.conditions().short_read = 0.8;
  ScriptedUpstream upstream(world.net, world.main, kAt);
  upstream.then(ScriptedReply::with(200, std::string(64, 'a')));
  auto exchange = std::make_unique<TestExchange>(world.worker, "POST", "/first");
  TestUpload& upload = exchange->add_upload(8);
  upload.send("12345678");
  upload.finish();
  world.start(*exchange);
  const std::uint64_t before = world.sim.events();
  world.sim.run_until([&] { return world.sim.events() >= before + static_cast<std::uint64_t>(events); });
  exchange.reset();
  world.sim.advance(5s);
  for (int i = 0; i < 2; ++i) {                                                            // never the rest of the first answer
    const std::string expected = upstream.requests.empty() ? std::string(64, 'a') : "ok";  // whoever came first gets the first
    TestExchange next(world.worker, "GET", "/next");
    world.start(next);
    world.sim.advance(100ms);
    CHECK(next.status == 200);
    CHECK(next.body == expected);
  }
}

TEST_CASE("an upload that breaks off on the client's side is not the upstream's fault") {
  H1World world;
  ScriptedUpstream upstream(world.net, world.main, kAt);
  TestExchange exchange(world.worker, "POST", "/");
  TestUpload& upload = exchange.add_upload(100);
  world.start(exchange);
  upload.send("12345");
  world.sim.run_ready();
  upload.abort(BodyAbort::peer_gone);
  world.sim.run_ready();
  REQUIRE(exchange.failure);
  CHECK(exchange.failure->kind == FailureKind::client_body);
  CHECK(world.status().endpoints[0].failures == 0);
}

TEST_CASE("an idle connection that the server closes in time is not used") {
  H1World world;
  world.net.conditions().delay = 1ms;
  ScriptedUpstream upstream(world.net, world.main, kAt);
  upstream.then(ScriptedReply::raw("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Then::fin));
  TestExchange first(world.worker);
  world.start(first);
  world.sim.advance(50ms);
  CHECK(world.status().connections.used == 0);
  TestExchange second(world.worker);
  world.start(second);
  world.sim.advance(50ms);
  CHECK(second.status == 200);
  CHECK_FALSE(second.context().last_attempt->reused_connection);
}

TEST_CASE("connections close before the server's own idle timeout") {
  H1World world;
  ScriptedUpstream upstream(world.net, world.main, kAt);
  TestExchange exchange(world.worker);
  world.start(exchange);
  world.sim.advance(3999ms);
  CHECK(upstream.server().open() == 1);
  world.sim.advance(2ms);
  CHECK(upstream.server().open() == 0);
}

TEST_CASE("a stale connection is resent once and free, and the client sees nothing of it") {
  H1World world;
  world.net.conditions().delay = 10ms;
  world.config.retry_budget.min_rate_per_second = 0;
  ScriptedUpstream upstream(world.net, world.main, kAt);
  Link& innermost = world.link();
  RetryConfig retry;
  retry.causes = causes_of({"connect_failure"});
  FilterFixture fixture(world.worker, "retry");
  fixture.budget = &world.directory.find("s")->retry_budget();
  RetryLink link(retry, fixture.context(), innermost);
  for (int i = 0; i < 2; ++i) {
    TestExchange exchange(world.worker);
    world.worker.loop.post([&] { exchange.start(link); });
    world.sim.advance(100ms);
    CHECK(exchange.status == 200);
    if (i == 0) {
      upstream.server().last().close();
      world.sim.advance(5ms);
    }
    CHECK(exchange.context().attempts == (i == 0 ? 1 : 2));
  }
}

TEST_CASE("through a total outage with 20% and no floor the tries stay within 1.2 for each request") {
  const bool refuses = GENERATE(true, false);
  H1World world;
  world.config.retry_budget.min_rate_per_second = 0;
  world.add(*Address::parse("127.0.0.1:9002"));
  std::optional<ScriptedUpstream> first, second;
  if (!refuses) {
    first.emplace(world.net, world.main, kAt);
    second.emplace(world.net, world.main, *Address::parse("127.0.0.1:9002"));
    first->always(ScriptedReply::raw("", Then::reset));
    second->always(ScriptedReply::with(503));
  }
  Link& innermost = world.link();
  RetryConfig retry;
  retry.max_attempts = 4;
  retry.causes = causes_of({"connect_failure", "reset", "gateway_error"});
  FilterFixture fixture(world.worker, "retry");
  fixture.budget = &world.directory.find("s")->retry_budget();
  RetryLink link(retry, fixture.context(), innermost);
  std::deque<TestExchange> exchanges;
  unsigned tries = 0;
  for (int i = 0; i < 2000; ++i) {
    exchanges.emplace_back(world.worker);
    world.worker.loop.post([&, &exchange = exchanges.back()] { exchange.start(link); });
    world.sim.advance(7ms);
    while (exchanges.size() > 200) {
      CHECK((exchanges.front().failure || exchanges.front().status == 503));
      tries += exchanges.front().context().attempts;
      exchanges.pop_front();
    }
  }
  world.sim.advance(5s);
  for (TestExchange& exchange : exchanges) tries += exchange.context().attempts;
  CHECK(tries <= 2400);
  CHECK(tries > 2300);
}
