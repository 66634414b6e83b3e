// Lives and ends: clients that leave in every phase, reloads while exchanges run, draining, stopping.
#include <catch2/catch.hpp>

#include "tests/support/world.h"

using namespace weir;
using namespace weir::test;

namespace {

const std::string kHead = R"(version: 1
access_log: { path: /access.log }
drain: { timeout: 10s }
)";
const std::string kOut =
    "  - { name: out, direction: outbound, listen: 127.0.0.1:15001, routes: [ { name: all, service: app, policy: p } ] }\n";
const std::string kIn =
    "  - { name: in, direction: inbound, listen: 127.0.0.1:15006, routes: [ { name: all, service: app, policy: p } ] }\n";
const std::string kServices = "services:\n  app: { endpoints: [10.0.0.1:80] }\n";
const std::string kPolicy = R"(policies:
  p:
    filters:
      - timeout: { total: 30s }
      - retry: { max_attempts: 2, causes: [connect_failure] }
      - concurrency_limit: { limit: 1, queue: { size: 10, timeout: 20s } }
)";
const std::string kYaml = kHead + "listeners:\n" + kOut + kIn + kServices + kPolicy;

std::string rate_limited(int per_second) {
  return kHead + "listeners:\n" + kOut + kServices +
         "policies:\n  p:\n    filters:\n      - rate_limit: { rate: " + std::to_string(per_second) +
         "/h, burst: " + std::to_string(per_second) + " }\n";
}

void answer_after(World& world, Duration after) {
  world.upstream("10.0.0.1:80").script = [after](UpstreamPeer& peer, const Message&, int) { peer.answer(200, "ok", "", after); };
}

void check_nothing_left(World& world) {
  world.advance(1s);
  CHECK(world.metric("weir_in_flight") == 0);
  CHECK(world.metric("weir_attempts_in_flight") == 0);
  CHECK(world.metric("weir_limit_in_flight") == 0);
  CHECK(world.metric("weir_queue_length") == 0);
}

}  // namespace

TEST_CASE("a client that leaves while its request is served takes everything with it") {
  World world(kYaml);
  answer_after(world, 5s);
  SimClient& client = world.client();
  client.get("/");
  world.advance(100ms);
  CHECK(world.metric("weir_attempts_in_flight") == 1);
  SECTION("by FIN") { client.finish(); }
  SECTION("by RST") { client.reset(); }
  world.advance(10ms);
  CHECK(world.upstream("10.0.0.1:80").open_connections() == 0);
  auto line = world.last_line();
  INFO(line.dump(1));
  CHECK(line["failure"] == "client_gone");
  CHECK(line["status"] == 0);
  CHECK(world.metric("weir_requests_total", {{"code", "none"}}) == 1);
  check_nothing_left(world);
}

TEST_CASE("a client that leaves while it waits in a queue leaves the queue") {
  World world(kYaml);
  answer_after(world, 2s);
  SimClient& first = world.client();
  first.get("/");
  world.advance(10ms);
  SimClient& second = world.client();
  second.get("/");
  world.advance(10ms);
  CHECK(world.metric("weir_queue_length") == 1);
  second.reset();
  world.advance(10ms);
  CHECK(world.metric("weir_queue_length") == 0);
  REQUIRE(world.await(first));
  CHECK(first.answers()[0].status() == 200);
  CHECK(world.upstream("10.0.0.1:80").seen.size() == 1);
  check_nothing_left(world);
}

TEST_CASE("a client that leaves in the middle of its own body never looks whole to the upstream") {
  World world(kYaml);
  SimUpstream& app = world.upstream("10.0.0.1:80");
  SimClient& client = world.client();
  client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
  world.advance(10ms);
  client.finish();
  world.advance(1s);
  CHECK(app.seen.empty());
  CHECK(app.open_connections() == 0);
  CHECK(world.last_line()["failure"] == "client_gone");
  check_nothing_left(world);
}

TEST_CASE("a client that leaves in the middle of the answer is not the upstream's fault") {
  World world(kYaml);
  world.upstream("10.0.0.1:80").script = [](UpstreamPeer& peer, const Message&, int) { peer.answer(200, std::string(5'000'000, 'x')); };
  SimClient& client = world.client();
  world.advance(10ms);
  client.stop_reading();
  client.get("/");
  world.advance(100ms);
  client.reset();
  world.advance(100ms);
  auto line = world.last_line();
  INFO(line.dump(1));
  CHECK(line["status"] == 200);
  CHECK(line["failure"] == "client_gone");
  CHECK(line["bytes_sent"].get<int>() < 5'000'000);
  check_nothing_left(world);
}

TEST_CASE("a broken body is answered with 400 while nothing was answered yet") {
  World world(kYaml);
  answer_after(world, 5s);
  SimClient& client = world.client();
  client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
  REQUIRE(world.await(client));
  CHECK(client.answers()[0].status() == 400);
  CHECK(world.last_line()["failure"] == "client_body");
  CHECK(world.last_line()["status"] == 400);
  CHECK(world.metric("weir_requests_total", {{"code", "4xx"}}) == 1);
  check_nothing_left(world);
}

TEST_CASE("a reload changes what new requests get, while those that run keep what they started with") {
  World world(kYaml);
  answer_after(world, 2s);
  SimClient& old = world.client();
  old.get("/old");
  world.advance(10ms);
  std::string next = kYaml;
  next.replace(next.find("{ name: all, service: app, policy: p }"), 38, "{ name: new, respond: { status: 418 } }");
  REQUIRE(world.reload(next));
  CHECK(world.server->generation() == 2);
  CHECK(world.server->workers()[0]->snapshots() == 2);
  CHECK(world.get("/new").status() == 418);
  REQUIRE(world.await(old));
  CHECK(old.answers()[0].status() == 200);
  old.get("/on the same connection");
  world.settle();
  CHECK(world.server->workers()[0]->snapshots() == 1);  // the last exchange of the old one has gone
  CHECK(world.metric("weir_config_generation") == 2);
  CHECK(world.metric("weir_config_last_reload_success") == 1);
  const auto lines = world.access_log();
  CHECK(lines[1]["route"] == "all");
  check_nothing_left(world);
}

TEST_CASE("a reload that is wrong is refused whole, and the last good one stays") {
  World world(kYaml);
  answer_after(world, 0s);
  const Result<void> done = world.reload(kYaml + "nonsense: 1\n");
  REQUIRE_FALSE(done);
  CHECK(done.error().message.find("nonsense") != std::string::npos);
  CHECK(world.server->last_error() == done.error().message);
  CHECK(world.server->generation() == 1);
  CHECK(world.metric("weir_config_last_reload_success") == 0);
  CHECK(world.get("/").status() == 200);
  CHECK(world.platform.messages.find("not taken") != std::string::npos);

  std::string taken = kYaml;
  taken.replace(taken.find("127.0.0.1:15006"), 15, "127.0.0.1:15007");
  world.platform.taken_addresses = {"127.0.0.1:15007"};
  CHECK_FALSE(world.reload(taken));
  CHECK(world.server->listening().at("in").text() == "127.0.0.1:15006");
  CHECK(world.get("/", "", "in").status() == 200);
  world.platform.taken_addresses.clear();
  REQUIRE(world.reload(taken));
  world.advance(Server::kHalfwayIn);
  CHECK(world.server->listening().at("in").text() == "127.0.0.1:15007");
  CHECK(world.get("/", "", "in").status() == 200);
  CHECK(world.server->last_error().empty());
  SimClient& gone = world.client_to(Address::parse("127.0.0.1:15006").value());
  world.advance(10ms);
  CHECK(gone.refused());
}

TEST_CASE("a reload keeps the state of a filter, and changes its parameters inside") {
  World world(rate_limited(3));
  answer_after(world, 0s);
  for (int i = 0; i < 3; ++i) CHECK(world.get("/").status() == 200);
  REQUIRE(world.reload(rate_limited(3)));
  CHECK(world.get("/").status() == 429);  // a new bucket would be full
}

TEST_CASE("a listener that a reload takes away finishes its exchanges, then closes") {
  World world(kYaml);
  answer_after(world, 1s);
  SimClient& busy = world.client("in");
  SimClient& idle = world.client("in");
  busy.get("/");
  world.advance(10ms);
  REQUIRE(world.reload(kHead + "listeners:\n" + kOut + kServices + kPolicy));
  world.advance(Server::kHalfwayIn);
  SimClient& late = world.client_to(Address::parse("127.0.0.1:15006").value());
  world.advance(10ms);
  CHECK(late.refused());
  CHECK_FALSE(busy.over());
  REQUIRE(world.await(busy));
  CHECK(busy.answers()[0].status() == 200);
  CHECK(busy.answers()[0].header("connection") == "close");
  busy.close();
  CHECK_FALSE(idle.over());  // its next request may be on its way
  SECTION("an idle connection may say one more request") {
    idle.get("/last");
    REQUIRE(world.await(idle));
    CHECK(idle.answers()[0].status() == 200);
    CHECK(idle.answers()[0].header("connection") == "close");
  }
  SECTION("an idle connection that says nothing is closed after a moment of grace") {
    world.advance(WorkerListener::kLeaveGrace - 2s);
    CHECK_FALSE(idle.over());
  }
  world.advance(WorkerListener::kLeaveGrace);
  CHECK(idle.over());
  world.advance(30s);
  CHECK(world.metric("weir_listener_connections", {{"listener", "in"}}) == 0);
  CHECK(world.server->workers()[0]->snapshots() == 1);
  CHECK(world.get("/").status() == 200);
}

TEST_CASE("two listeners may swap their addresses in one reload") {
  World world(kYaml);
  answer_after(world, 0s);
  std::string swapped = kYaml;
  swapped.replace(swapped.find(":15001"), 6, ":19999");
  swapped.replace(swapped.find(":15006"), 6, ":15001");
  swapped.replace(swapped.find(":19999"), 6, ":15006");
  REQUIRE(world.reload(swapped));
  CHECK(world.get("/", "", "out").status() == 200);
  CHECK(world.get("/", "", "in").status() == 200);
  CHECK(world.access_log()[0]["listener"] == "out");
  CHECK(world.server->listening().at("in").text() == "127.0.0.1:15001");
}

TEST_CASE("many reloads under load lose no request and leave one snapshot") {
  World world(kYaml, {.workers = 2});
  answer_after(world, 30ms);
  std::string other = kYaml;
  other.replace(other.find("limit: 1"), 8, "limit: 5");
  std::vector<SimClient*> all;
  for (int i = 0; i < 40; ++i) {
    all.push_back(&world.client());
    all.back()->get("/");
    if (i % 4 == 0) {
      world.set_yaml(i % 8 == 0 ? other : kYaml);
      REQUIRE(world.server->reload());
    }
    world.advance(20ms);
  }
  world.advance(30s);
  for (SimClient* one : all) {
    REQUIRE(one->answered());
    CHECK(one->answers()[0].status() == 200);
  }
  for (const auto& worker : world.server->workers()) CHECK(worker->snapshots() == 1);
  CHECK(world.metric("weir_requests_total") == 40);
  check_nothing_left(world);
}

TEST_CASE("draining: inbound ends first, an idle connection's next answer says close, outbound serves until it is quiet") {
  World world(kYaml);
  answer_after(world, 300ms);
  SimClient& inbound = world.client("in");
  SimClient& outbound = world.client("out");
  inbound.get("/");
  REQUIRE(world.await(inbound));
  CHECK_FALSE(inbound.answers()[0].has("connection"));
  world.server->terminate();
  world.settle();
  CHECK(world.server->phase() == Server::Phase::draining_inbound);
  CHECK_FALSE(world.server->ready());
  SimClient& late = world.client_to(Address::parse("127.0.0.1:15006").value());
  world.advance(10ms);
  CHECK(late.refused());
  CHECK(world.server->listening().count("in") == 0);
  inbound.get("/last");
  REQUIRE(world.await(inbound, 2));
  CHECK(inbound.answers()[1].status() == 200);
  CHECK(inbound.answers()[1].header("connection") == "close");
  inbound.close();
  late.close();
  outbound.get("/still");
  REQUIRE(world.await(outbound));
  CHECK(outbound.answers()[0].status() == 200);
  CHECK_FALSE(world.finished);
  world.advance(1500ms);
  CHECK(world.finished);
  CHECK(world.finished_clean);
  CHECK(world.platform.supervisor().said.back() == "stopping");
}

TEST_CASE("draining closes idle inbound connections after a moment of grace") {
  World world(kYaml);
  SimClient& idle = world.client("in");
  world.advance(5s);
  world.server->drain();
  world.advance(500ms);
  CHECK_FALSE(idle.over());
  world.advance(600ms);
  CHECK(idle.over());
  CHECK(world.finished);
}

TEST_CASE("with nothing going on a drain is over at once") {
  World world(kYaml);
  world.advance(5s);
  world.server->terminate();
  world.advance(10ms);
  CHECK(world.finished);
  CHECK(world.finished_clean);
}

TEST_CASE("the drain timeout cuts off what still runs; a second order does so at once") {
  World world(kYaml);
  answer_after(world, 1h);
  SimClient& client = world.client("in");
  client.get("/");
  world.advance(10ms);
  world.server->terminate();
  Duration until = 10s;
  SECTION("the timeout") {
    world.advance(9s);
    CHECK_FALSE(world.finished);
    world.advance(1100ms);
  }
  SECTION("a second order") {
    world.advance(1s);
    world.server->terminate();
    world.advance(10ms);
    until = 1s;
  }
  CHECK(world.finished);
  CHECK(client.over());
  auto line = world.last_line();
  CHECK(line["failure"] == "client_gone");
  CHECK(line["duration_ms"] >= static_cast<double>(until.count()) / 1e6);
}

TEST_CASE("a server that is dropped in the middle of everything leaves nothing behind") {
  for (int step = 0; step < 12; ++step) {
    World world(kYaml, {.workers = 2});
    answer_after(world, 40ms);
    for (int i = 0; i < 8; ++i) world.client(i % 2 == 0 ? "in" : "out").get("/");
    world.advance(std::chrono::milliseconds(step * 10));
    if (step % 3 == 0) world.server->drain();
    if (step % 4 == 0) static_cast<void>(world.server->reload());
  }
}

TEST_CASE("the supervisor hears ready once all workers serve, reloading and ready again, and is fed while they turn") {
  World world(kYaml, {.workers = 2});
  world.platform.supervisor().interval = 4s;
  world.advance(10s);
  CHECK(world.platform.supervisor().said == std::vector<std::string>{"ready: running"});
  CHECK(world.platform.supervisor().fed >= 8);
  REQUIRE(world.reload(kYaml));
  CHECK(world.platform.supervisor().said == std::vector<std::string>{"ready: running", "reloading", "ready: running"});
  const int fed = world.platform.supervisor().fed;
  CHECK(world.metric("weir_loop_delay_max_seconds") < 0.01);
  world.sim.loop(1).stop();  // a worker that turns no more
  world.advance(30s);
  CHECK(world.metric("weir_loop_delay_max_seconds") > 29);
  CHECK(world.platform.supervisor().fed <= fed + 1);
  CHECK(world.server->stuck());
}

TEST_CASE("a reload that is asked for while another is handed out is done after it") {
  World world(kYaml);
  std::string first = kYaml;
  first.replace(first.find("limit: 1"), 8, "limit: 6");
  std::string second = kYaml;
  second.replace(second.find("limit: 1"), 8, "limit: 7");
  world.set_yaml(first);
  REQUIRE(world.server->reload());
  world.set_yaml(second);
  REQUIRE(world.server->reload());
  CHECK(world.server->generation() == 2);
  world.settle();
  CHECK(world.server->generation() == 3);
}
