// gRPC calls over HTTP/2 on both sides, in virtual time: what is tried again, held back, cut short and never kept waiting.
#include <catch2/catch.hpp>

#include "tests/scenario/sums.h"
#include "tests/support/h2_client.h"
#include "tests/support/h2_upstream.h"
#include "tests/support/world.h"

using namespace weir;
using namespace weir::test;

namespace {

std::string yaml(const std::string& filters) {
  return R"(version: 1
access_log: { path: /access.log }
listeners:
  - { name: out, direction: outbound, listen: 127.0.0.1:15001, routes: [ { service: app, policy: p } ] }
services:
  app: { endpoints: [10.0.0.1:80, 10.0.0.2:80], balance: round_robin, protocol: http2 }
policies:
  p:
    filters:
      - timeout: { total: 10s }
)" + filters;
}

const char* const kRetry =
    "      - retry: { max_attempts: 3, causes: [refused_stream, reset, grpc_unavailable], methods: any, backoff: { base: 1ms, max: 1ms } "
    "}\n";
const H2Fields kType{{"content-type", "application/grpc"}};
using Status = std::string;

struct GrpcScenario : World {
  explicit GrpcScenario(const std::string& filters = kRetry)
      : World(yaml(filters)),
        one(platform.net, sim.loop(0), *Address::parse("10.0.0.1:80")),
        two(platform.net, sim.loop(0), *Address::parse("10.0.0.2:80")),
        client(platform.net, server->listening().at("out")) {}
  void both(const H2Peer::Script& script, bool at_head = false) {
    one.script = two.script = script;
    one.at_head = two.at_head = at_head;
  }
  std::size_t requests() const { return one.requests() + two.requests(); }
  std::int32_t call(const H2Fields& more = {}) {
    H2Fields fields{{"content-type", "application/grpc"}, {"te", "trailers"}};
    fields.insert(fields.end(), more.begin(), more.end());
    return client.post("/shop.Cart/Get", "request", fields);
  }
  // In the trailers, or in the head of an answer that is nothing else.
  Status status(std::int32_t id) {
    for (const auto& [name, value] : client.answer(id).trailers) {
      if (name == "grpc-status") return value;
    }
    return client.answer(id).field("grpc-status");
  }
  H2Upstream one, two;
  H2Client client;
};

// The `fails`-th and earlier ones are answered by `bad`, those after them well.
H2Peer::Script failing(std::shared_ptr<int> count, int fails, H2Peer::Script bad) {
  return [=](H2Peer& peer, H2Request& request) {
    if (++*count <= fails) return bad(peer, request);
    peer.answer(request.id, 200, "message", kType, {{"grpc-status", "0"}});
  };
}

}  // namespace

TEST_CASE("grpc h2: whatever shape a failure without a message has, it is tried again") {
  const auto count = std::make_shared<int>(0);
  H2Peer::Script bad;
  SECTION("a head, then trailers") {
    bad = [](H2Peer& peer, H2Request& request) { peer.answer(request.id, 200, "", kType, {{"grpc-status", "14"}}); };
  }
  SECTION("trailers-only") {
    bad = [](H2Peer& peer, H2Request& request) {
      peer.answer(request.id, 200, "", {{"content-type", "application/grpc"}, {"grpc-status", "14"}});
    };
  }
  SECTION("no gRPC at all") {
    bad = [](H2Peer& peer, H2Request& request) { peer.answer(request.id, 503, "<html>"); };
  }
  SECTION("a head, then a reset") {
    bad = [](H2Peer& peer, H2Request& request) {
      peer.begin(request.id, 200, kType);
      peer.reset(request.id, 2);
    };
  }
  SECTION("the stream is refused") {
    bad = [](H2Peer& peer, H2Request& request) { peer.reset(request.id, 7); };
  }
  GrpcScenario world;
  world.both(failing(count, 2, bad));
  const auto id = world.call();
  world.advance(1s);
  CHECK(world.client.answer(id).body == "message");
  CHECK(world.status(id) == "0");
  CHECK(world.client.answer(id).fields.size() >= 1);
  CHECK(world.requests() == 3);
  CHECK_FALSE(world.one.broken());
  CHECK_FALSE(world.two.broken());
  CHECK_FALSE(world.client.broken());
  check_sums(world, 1);
}

TEST_CASE("grpc h2: a message that came is kept, and so is the failure behind it") {
  GrpcScenario world;
  world.both([](H2Peer& peer, H2Request& request) { peer.answer(request.id, 200, "message", kType, {{"grpc-status", "14"}}); });
  const auto id = world.call();
  world.advance(1s);
  CHECK(world.client.answer(id).body == "message");
  CHECK(world.status(id) == "14");
  CHECK(world.requests() == 1);
  check_sums(world, 1);
}

TEST_CASE("grpc h2: messages go both ways while both are open, and each is answered before the next is sent") {
  GrpcScenario world;
  world.both([](H2Peer& peer, H2Request& request) { peer.begin(request.id, 200, kType); }, true);
  const auto id = world.client.open("POST", "/shop.Cart/Talk", kType);
  world.advance(5ms);
  CHECK(world.client.answer(id).status == 200);  // the head is there though neither side has said anything
  H2Upstream& used = world.one.peers.empty() ? world.two : world.one;
  REQUIRE_FALSE(used.peers.empty());
  H2Peer& peer = *used.peers[0];
  for (int i = 0; i < 20; ++i) {
    world.client.write(id, "question");
    world.advance(1ms);
    CHECK(peer.request(1).body.size() == static_cast<std::size_t>(i + 1) * 8);
    peer.write(1, "answer");
    world.advance(1ms);
    CHECK(world.client.answer(id).body.size() == static_cast<std::size_t>(i + 1) * 6);
  }
  world.client.finish(id);
  world.advance(1ms);
  peer.finish(1, {{"grpc-status", "0"}});
  world.advance(1s);
  CHECK(world.status(id) == "0");
  check_sums(world, 1);
}

TEST_CASE("grpc h2: the client's deadline ends the call on both sides") {
  GrpcScenario world;
  world.both([](H2Peer& peer, H2Request& request) { peer.begin(request.id, 200, kType); });
  const auto held = world.call({{"grpc-timeout", "30m"}});  // its head is still held then
  const auto late = world.call({{"grpc-timeout", "300m"}});
  world.advance(1s);
  CHECK(world.client.answer(held).status == 200);
  CHECK(world.status(held) == "4");
  CHECK(world.client.answer(held).ended);
  CHECK(world.client.answer(late).reset >= 0);  // it has its head: it is cut off
  for (H2Upstream* upstream : {&world.one, &world.two}) {
    for (const auto& peer : upstream->peers) {
      for (const auto& [id, request] : peer->requests()) CHECK(request.reset == 8);
    }
  }
  check_sums(world, 2);
  CHECK(world.metric("weir_grpc_requests_total", {{"grpc_status", "deadline_exceeded"}}) == 2);
}

TEST_CASE("grpc h2: a server whose clock is ahead only echoes the deadline that it was told; earlier its answer is its own") {
  GrpcScenario world(
      "      - circuit_breaker: { causes: [grpc_deadline_exceeded], min_calls: 1, failure_ratio: 1%, scope: route, mode: shadow }\n");
  Duration after{0};
  world.both([&](H2Peer& peer, H2Request& request) {
    world.one.later(after, [&peer, id = request.id] {
      peer.answer(id, 200, "", {{"content-type", "application/grpc"}, {"grpc-status", "4"}});
    });
  });
  after = 9995ms + 1ns;  // of weir's total of 10 s
  const auto total = world.call();
  world.advance(11s);
  CHECK(world.status(total) == "4");
  CHECK(world.client.answer(total).field("proxy-status").find("total_timeout") != std::string::npos);
  after = 297ms;
  const auto clients = world.call({{"grpc-timeout", "300m"}});
  world.advance(1s);
  CHECK(world.client.answer(clients).field("proxy-status").find("deadline_exceeded") != std::string::npos);
  CHECK(world.metric("weir_breaker_transitions_total", {{"state", "open"}}) == 0);
  after = 200ms;
  const auto own = world.call({{"grpc-timeout", "300m"}});
  world.advance(1s);
  CHECK(world.status(own) == "4");
  CHECK(world.client.answer(own).field("proxy-status").empty());
  check_sums(world, 3);
  CHECK(world.metric("weir_attempts_total", {{"outcome", "grpc_deadline_exceeded"}}) == 1);
}

TEST_CASE("grpc h2: an endpoint that has left the service may go as soon as it has echoed the deadline") {
  GrpcScenario world;
  Duration after = 9995ms + 1ns;  // of weir's total of 10 s
  world.both([&](H2Peer& peer, H2Request& request) {
    world.one.later(after, [&peer, id = request.id] {
      peer.answer(id, 200, "", {{"content-type", "application/grpc"}, {"grpc-status", "4"}});
    });
  });
  const auto id = world.call();
  world.advance(5s);
  std::string moved = yaml(kRetry);
  moved.replace(moved.find("10.0.0.1:80, 10.0.0.2:80"), 24, "10.0.0.3:80, 10.0.0.4:80");
  REQUIRE(world.reload(moved));
  SECTION("the filter speaks") {
    world.advance(11s);
    CHECK(world.status(id) == "4");
    CHECK(world.client.answer(id).field("proxy-status").find("total_timeout") != std::string::npos);
    check_sums(world, 1);
  }
  SECTION("the client goes first") {
    world.advance(4998ms);
    world.client.reset(id);
    world.advance(11s);
  }
}

TEST_CASE("grpc h2: many calls on one connection, some failing, each with its own end") {
  GrpcScenario world;
  const auto count = std::make_shared<int>(0);
  world.both([count](H2Peer& peer, H2Request& request) {
    if (++*count % 3 == 0) return peer.answer(request.id, 200, "", kType, {{"grpc-status", "14"}});
    peer.answer(request.id, 200, "message", kType, {{"grpc-status", "0"}});
  });
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 60; ++i) ids.push_back(world.call());
  world.advance(2s);
  int good = 0;
  for (const auto id : ids) {
    CHECK(world.client.answer(id).ended);
    good += world.status(id) == "0" ? 1 : 0;
  }
  CHECK(good > 40);  // the retry budget's floor is what limits the rest
  check_sums(world, 60);
  CHECK(world.metric("weir_grpc_requests_total", {{"grpc_status", "ok"}}) == good);
  CHECK(world.metric("weir_grpc_requests_total") == 60);
}
