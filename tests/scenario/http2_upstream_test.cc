// HTTP/2 towards upstreams through the whole proxy in virtual time: all four translations, resets both ways, retries, flow control.
#include <catch2/catch.hpp>

#include <deque>

#include "tests/scenario/sums.h"
#include "tests/support/h2_client.h"
#include "tests/support/h2_upstream.h"
#include "tests/support/world.h"

using namespace weir;
using namespace weir::test;

namespace {

std::string yaml(const std::string& filters, const std::string& service = "") {
  return R"(version: 1
access_log: { path: /access.log }
listeners:
  - { name: out, direction: outbound, listen: 127.0.0.1:15001, routes: [ { match: { path_prefix: /h1/ }, service: old, policy: p }, { service: app, policy: p } ] }
services:
  app: { endpoints: [10.0.0.1:80, 10.0.0.2:80], balance: round_robin, protocol: http2)" +
         (service.empty() ? "" : ", " + service) + R"( }
  old: { endpoints: [10.0.0.3:80] }
policies:
  p:
    filters:
)" + (filters.empty() ? "      - timeout: { total: 60s }\n" : filters);
}

struct Http2Scenario : World {
  explicit Http2Scenario(const std::string& filters = "", const std::string& service = "", H2PeerOptions options = {})
      : World(yaml(filters, service)),
        one(platform.net, sim.loop(0), *Address::parse("10.0.0.1:80"), options),
        two(platform.net, sim.loop(0), *Address::parse("10.0.0.2:80"), options),
        at(server->listening().at("out")) {}
  void both(const H2Peer::Script& script) { one.script = two.script = script; }
  std::size_t requests() const { return one.requests() + two.requests(); }
  std::map<std::string, int> failures() {
    std::map<std::string, int> all;
    for (const auto& line : access_log()) ++all[line.value("failure", "none")];
    return all;
  }
  H2Upstream one, two;
  Address at;
};

const char* const kRetry = "      - retry: { max_attempts: 3, causes: [refused_stream, reset], methods: any }\n";

}  // namespace

TEST_CASE("h2 upstream: four translations of the same exchange, with bodies, trailers and informational answers") {
  Http2Scenario world;
  world.both([](H2Peer& peer, H2Request& request) {
    std::string sum;
    for (const auto& [name, value] : request.trailers) sum += name + "=" + value;
    peer.inform(request.id, 103, {{"link", "<style.css>"}});
    peer.answer(request.id, 200, request.body + "|" + sum, {{"x-via", request.field("via")}, {"x-te", request.field("te")}},
                {{"grpc-status", "0"}});
  });
  world.upstream("10.0.0.3:80").script = [](UpstreamPeer& peer, const Message& message, int) {
    const std::string sum = message.body.find("x-sum: 1") != std::string::npos ? "x-sum=1" : "";
    peer.send("HTTP/1.1 103 Early Hints\r\nlink: <style.css>\r\n\r\nHTTP/1.1 200 OK\r\ntrailer: grpc-status\r\nx-via: " +
              message.header("via") + "\r\ntransfer-encoding: chunked\r\n\r\n3\r\nold\r\n0\r\ngrpc-status: 0\r\n\r\n");
  };
  H2Client client(world.platform.net, world.at);
  SimClient& plain = world.client();
  const auto h2 = client.open("POST", "/new", {{"te", "trailers"}});
  client.write(h2, "hello");
  client.finish(h2, {{"x-sum", "1"}});
  const auto h1 = client.post("/h1/old", "hello");
  plain.send(
      "POST /new HTTP/1.1\r\nHost: test.local\r\nTE: trailers\r\nConnection: te\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
      "x-sum: 1\r\n\r\n");
  world.advance(1s);
  SimClient& plain_old = world.client();
  plain_old.request("POST", "/h1/old", "hello");
  world.advance(1s);
  for (const auto id : {h2, h1}) {
    const H2Reply& reply = client.answer(id);
    CHECK(reply.status == 200);
    CHECK(reply.informational == std::vector<int>{103});
    CHECK(reply.ended);
    CHECK(reply.trailers == H2Fields{{"grpc-status", "0"}});
    CHECK(reply.field("x-via") == "2 weir");
  }
  CHECK(client.answer(h2).body == "hello|x-sum=1");
  CHECK(client.answer(h2).field("x-te") == "trailers");
  CHECK(client.answer(h1).body == "old");
  CHECK(plain.received.find("HTTP/1.1 103 ") == 0);
  CHECK(plain.received.find("\r\nx-te: trailers\r\n") != std::string::npos);
  CHECK(plain.received.find("d\r\nhello|x-sum=1\r\n0\r\ngrpc-status: 0\r\n\r\n") != std::string::npos);
  CHECK(plain.received.find("transfer-encoding: chunked") != std::string::npos);
  CHECK(plain_old.received.find("3\r\nold\r\n0\r\ngrpc-status: 0\r\n\r\n") != std::string::npos);
  CHECK_FALSE(client.broken());
  CHECK_FALSE(world.one.broken());
  CHECK_FALSE(world.two.broken());
  check_sums(world, 4);
  CHECK(world.failures() == std::map<std::string, int>{{"none", 4}});
}

TEST_CASE("h2 upstream: heads without bodies, HEAD, empty and short answers, over HTTP/1.1") {
  Http2Scenario world;
  world.both([](H2Peer& peer, H2Request& request) {
    const std::string path = request.field(":path");
    if (path == "/none") return peer.answer(request.id, 204);
    if (path == "/empty") return peer.answer(request.id, 200);
    if (path == "/same") return peer.answer(request.id, 304, {}, {{"etag", "\"x\""}});
    if (request.field(":method") == "HEAD") return peer.answer(request.id, 200, {}, {{"content-length", "77"}});
    peer.answer(request.id, 200, "hello", {{"content-length", "5"}});
  });
  SimClient& client = world.client();
  for (const char* path : {"/none", "/empty", "/same"}) client.get(path);
  client.request("HEAD", "/", "");
  client.get("/");
  REQUIRE(world.await(client, 5));
  const auto& answers = client.answers();
  CHECK(answers[0].status() == 204);
  CHECK_FALSE(answers[0].has("transfer-encoding"));
  CHECK(answers[1].header("content-length") == "0");
  CHECK(answers[2].status() == 304);
  CHECK(answers[3].header("content-length") == "77");
  CHECK(answers[4].header("content-length") == "5");
  CHECK(answers[4].body == "hello");
  check_sums(world, 5);
}

TEST_CASE("h2 upstream: an answer whose length is reached is whole for an HTTP/1 client, whatever becomes of its stream") {
  Http2Scenario world("      - timeout: { total: 2s }\n");
  world.one.at_head = world.two.at_head = true;
  world.both([&](H2Peer& peer, H2Request& request) {
    const std::string path = request.field(":path");
    if (path == "/") return peer.answer(request.id, 200, "ok");
    peer.begin(request.id, 200, {{"content-length", "5"}});
    peer.write(request.id, "hello");
    if (path == "/reset") world.one.later(100ms, [&peer, id = request.id] { peer.reset(id, 2); });  // "/silent" never ends its stream
  });
  SimClient& client = world.client();
  client.get("/reset");
  REQUIRE(world.await(client, 1));
  client.get("/silent");
  client.get("/");
  REQUIRE(world.await(client, 3));
  CHECK(client.answers()[0].body == "hello");
  CHECK(client.answers()[1].body == "hello");
  CHECK(client.answers()[2].status() == 200);
  CHECK_FALSE(client.over());
  H2Client other(world.platform.net, world.at);
  const auto id = other.get("/reset");  // trailers could have come: HTTP/2 has to be told
  world.advance(1s);
  CHECK(other.answer(id).reset == 2);
  world.advance(1s);
  CHECK(world.failures() == std::map<std::string, int>{{"none", 3}, {"truncated", 1}});
  check_sums(world, 4);
}

TEST_CASE("h2 upstream: resets before the head are 502, after it the client sees a reset, and its own go upstream") {
  Http2Scenario world;
  std::map<std::string, int> resets;
  world.one.at_head = world.two.at_head = true;
  world.both([&](H2Peer& peer, H2Request& request) {
    const std::string path = request.field(":path");
    if (path == "/reset") return peer.reset(request.id, 2);
    if (path == "/late") {
      peer.begin(request.id, 200);
      peer.write(request.id, "part");
      return world.one.later(100ms, [&peer, id = request.id] { peer.reset(id, 2); });
    }
    if (path == "/broken") return peer.answer(request.id, 200, "abc", {{"content-length", "2"}});
    if (path == "/early") return peer.answer(request.id, 413, "enough");
  });
  H2Client client(world.platform.net, world.at);
  const auto reset = client.get("/reset");
  const auto late = client.get("/late");
  const auto left = client.get("/left");
  const auto broken = client.get("/broken");
  const auto early = client.open("POST", "/early");
  client.write(early, "some");
  SimClient& plain = world.client();
  plain.get("/late");
  SimClient& impatient = world.client();
  impatient.get("/left");
  world.advance(1s);
  client.reset(left);
  impatient.reset();
  world.advance(1s);
  CHECK(client.answer(reset).status == 502);
  CHECK(client.answer(reset).ended);
  CHECK(client.answer(late).status == 200);
  CHECK_FALSE(client.answer(late).ended);
  CHECK(client.answer(late).reset == 2);
  CHECK(plain.received.find("200") != std::string::npos);
  CHECK(plain.received.find("0\r\n\r\n") == std::string::npos);
  CHECK(plain.over());
  CHECK(client.answer(early).status == 413);
  CHECK(client.answer(early).body == "enough");
  CHECK(client.answer(early).ended);
  CHECK_FALSE(client.answer(broken).ended);
  int cancelled = 0;
  for (const H2Upstream* upstream : {&world.one, &world.two}) {
    REQUIRE(upstream->peers.size() == 1);
    for (const auto& [id, request] : upstream->peers[0]->requests()) {
      if (request.field(":path") == "/left") cancelled += request.reset == 8 ? 1 : 0;
    }
    CHECK(upstream->open() == 1);  // the connections have outlived all of that
  }
  CHECK(cancelled == 2);
  check_sums(world, 7);
  const auto failures = world.failures();
  CHECK(failures.at("reset") == 1);
  CHECK(failures.at("truncated") == 2);
  CHECK(failures.at("client_gone") == 2);
}

TEST_CASE("h2 upstream: what the upstream refused to look at is tried again, whatever the method") {
  Http2Scenario world(kRetry);
  world.one.script = [](H2Peer& peer, H2Request& request) { peer.reset(request.id, 7); };
  world.two.script = [](H2Peer& peer, H2Request& request) { peer.answer(request.id, 200, request.body); };
  H2Client client(world.platform.net, world.at);
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 10; ++i) ids.push_back(client.post("/" + std::to_string(i), "body " + std::to_string(i)));
  world.advance(5s);
  for (int i = 0; i < 10; ++i) {
    CHECK(client.answer(ids[static_cast<std::size_t>(i)]).status == 200);
    CHECK(client.answer(ids[static_cast<std::size_t>(i)]).body == "body " + std::to_string(i));
  }
  CHECK(world.metric("weir_attempts_total", {{"outcome", "refused_stream"}}) >= 1);
  check_sums(world, 10);
}

TEST_CASE("h2 upstream: a GOAWAY in the middle of many requests loses none of them") {
  Http2Scenario world(kRetry);
  int answered = 0;
  world.both([&](H2Peer& peer, H2Request& request) {
    if (++answered % 7 == 0) peer.goaway(request.id);  // and nothing above it is looked at
    world.one.later(20ms, [&peer, id = request.id] { peer.answer(id, 200, "ok"); });
  });
  H2Client client(world.platform.net, world.at);
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 100; ++i) {
    ids.push_back(client.get("/" + std::to_string(i)));
    world.advance(3ms);
  }
  world.advance(10s);
  for (const auto id : ids) {
    CHECK(client.answer(id).status == 200);
    CHECK(client.answer(id).body == "ok");
  }
  check_sums(world, 100);
}

TEST_CASE("h2 upstream: a slow reader of one stream does not stop the others, and memory stays bounded") {
  const std::string body(10 * 1024 * 1024, 'x');
  Http2Scenario world;
  world.both([&](H2Peer& peer, H2Request& request) { peer.answer(request.id, 200, body); });
  world.two.script = world.one.script;
  H2Client client(world.platform.net, world.at, {.window = 65535, .connection_window = 64 * 1024 * 1024, .by_hand = true});
  const auto slow = client.get("/slow");
  const auto fast = client.get("/fast");
  const auto slow_too = client.get("/slow");
  std::size_t given = 0;
  for (int i = 0; i < 2000 && client.answer(fast).body.size() < body.size(); ++i) {
    world.advance(1ms);
    const std::size_t came = client.answer(fast).body.size();
    client.consume(fast, came - given);
    given = came;
  }
  CHECK(client.answer(fast).body.size() == body.size());
  CHECK(client.answer(fast).ended);
  for (const auto id : {slow, slow_too}) CHECK(client.answer(id).body.size() == 65535);
  std::size_t unsent = 0;
  for (const H2Upstream* upstream : {&world.one, &world.two}) {
    for (const auto& peer : upstream->peers) {
      for (const auto& [id, request] : peer->requests()) {
        if (request.field(":path") == "/slow") unsent = std::max(unsent, body.size() - peer->unsent(id));
      }
    }
  }
  CHECK(unsent > 65535);
  CHECK(unsent < 600 * 1024);  // window and pipe of the upstream's side, and the client's window
  client.peer().reset();
  world.advance(1s);
  CHECK(world.metric("weir_upstream_streams") == 0);
  check_sums(world, 3);
}

TEST_CASE("h2 upstream: a large upload is held back by the upstream's window") {
  Http2Scenario world("", "", {.window = 65535, .by_hand = true});
  world.one.at_head = world.two.at_head = true;
  world.both([](H2Peer&, H2Request&) {});
  H2Client client(world.platform.net, world.at);
  const std::string body(3 * 1024 * 1024, 'y');
  const auto id = client.post("/", body);
  world.advance(1s);
  CHECK(client.unsent(id) > body.size() - 512 * 1024);
  H2Upstream& upstream = world.one.peers.empty() ? world.two : world.one;
  H2Peer& peer = *upstream.peers.at(0);
  std::size_t given = 0;
  while (!peer.request(1).ended) {
    const std::size_t came = peer.request(1).body.size();
    REQUIRE(came > given);
    peer.consume(1, came - given);
    given = came;
    world.advance(100ms);
  }
  CHECK(peer.request(1).body == body);
  peer.answer(1, 200, "thanks");
  world.advance(100ms);
  CHECK(client.answer(id).body == "thanks");
  check_sums(world, 1);
}

TEST_CASE("h2 upstream: more requests than streams open more connections, within the service's limit") {
  Http2Scenario world("", "http2: { max_streams: 10 }, limits: { connections: 4 }");
  world.both([&](H2Peer& peer, H2Request& request) { world.one.later(50ms, [&peer, id = request.id] { peer.answer(id, 200, "ok"); }); });
  std::deque<H2Client> clients;
  for (int i = 0; i < 3; ++i) clients.emplace_back(world.platform.net, world.at);
  for (int i = 0; i < 50; ++i) {
    for (H2Client& client : clients) client.get("/");
  }
  world.advance(10ms);
  CHECK(world.metric("weir_upstream_connections", {{"state", "active"}}) == 4);
  CHECK(world.metric("weir_upstream_streams") == 40);
  CHECK(world.metric("weir_upstream_pending") == 110);
  world.advance(5s);
  check_sums(world, 150);
  CHECK(world.metric("weir_requests_total", {{"code", "2xx"}}) == 150);
  CHECK(world.metric("weir_upstream_limit_used", {{"service", "app"}, {"limit", "connections"}}) <= 4);
}

TEST_CASE("h2 upstream: a timeout resets one stream, and a connection that has died is found out") {
  Http2Scenario world("      - timeout: { response_headers: 500ms }\n");
  world.both([](H2Peer& peer, H2Request& request) {
    if (request.field(":path") != "/slow") peer.answer(request.id, 200, "ok");
  });
  H2Client client(world.platform.net, world.at);
  const auto slow = client.get("/slow");
  const auto slow_too = client.get("/slow");
  world.advance(1s);
  CHECK(client.answer(slow).status == 504);
  CHECK(client.answer(slow_too).status == 504);
  CHECK(world.one.open() == 1);
  CHECK(world.one.peers[0]->request(1).reset == 8);
  world.platform.net.stall(*Address::parse("10.0.0.1:80"));
  world.platform.net.stall(*Address::parse("10.0.0.2:80"));
  int failed = 0;
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 60; ++i) {
    ids.push_back(client.get("/"));
    world.advance(1s);
  }
  for (const auto id : ids) failed += client.answer(id).status == 504 ? 1 : 0;
  CHECK(failed >= 30);
  CHECK(failed <= 44);  // then PING had found both out, and new connections were made
  CHECK(client.answer(ids.back()).status == 200);
  check_sums(world, 62);
}

TEST_CASE("h2 upstream: an upstream that speaks HTTP/1 is sent no request, and the log says what it is") {
  World world(yaml(""));
  for (const char* address : {"10.0.0.1:80", "10.0.0.2:80"}) world.upstream(address);  // it takes the preface for a request
  CHECK(world.get("/").status() == 503);
  CHECK(world.last_line()["failure"] == "connect_failure");
  CHECK(world.last_line().dump().find("HTTP/2 was not spoken") != std::string::npos);
  CHECK(world.metric("weir_upstream_connects_total", {{"service", "app"}, {"result", "connected"}}) == 0);
}

TEST_CASE("h2 upstream: a drain finishes what runs over HTTP/2 upstream, and the server ends") {
  Http2Scenario world("      - timeout: { total: 30s }\n");
  world.both([&](H2Peer& peer, H2Request& request) { world.one.later(3s, [&peer, id = request.id] { peer.answer(id, 200, "late"); }); });
  SimClient& client = world.client();
  client.get("/");
  world.advance(100ms);
  world.server->drain();
  world.advance(20s);
  CHECK(client.received.find("late") != std::string::npos);
  client.close();
  world.advance(60s);
  CHECK(world.finished);
  CHECK(world.finished_clean);
}

TEST_CASE("h2 upstream: the service's host is told to HTTP/2 and HTTP/1 upstreams") {
  std::string text = yaml("", "host: \"inner.local:8443\"");
  const std::string old = "endpoints: [10.0.0.3:80]";
  text.replace(text.find(old), old.size(), old + ", host: old.local");
  World world(text);
  H2Upstream one(world.platform.net, world.sim.loop(0), *Address::parse("10.0.0.1:80"));
  H2Upstream two(world.platform.net, world.sim.loop(0), *Address::parse("10.0.0.2:80"));
  SimUpstream& old_upstream = world.upstream("10.0.0.3:80");
  CHECK(world.get("/").status() == 200);
  CHECK(world.get("/h1/").status() == 200);
  H2Upstream& asked = one.peers.empty() ? two : one;
  CHECK(asked.peers[0]->request(1).field(":authority") == "inner.local:8443");
  CHECK(asked.peers[0]->request(1).field("x-forwarded-host").empty());
  REQUIRE(old_upstream.seen.size() == 1);
  CHECK(old_upstream.seen[0].header("host") == "old.local");
}
