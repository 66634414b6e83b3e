// The main job: routes, rewriting, headers, bodies, local answers; what is logged and counted.
#include <catch2/catch.hpp>

#include "tests/support/world.h"

using namespace weir;
using namespace weir::test;

namespace {

const std::string kBase = R"(version: 1
access_log: { path: /access.log }
listeners:
  - name: out
    direction: outbound
    listen: 127.0.0.1:15001
    routes:
      - name: charge
        match: { hosts: ["pay.local", "*.pay.local"], path_prefix: /v1/, methods: [POST], headers: { x-tenant: gold } }
        service: app
        request_headers: { set: { x-route: charge, X-Upper: "yes" }, remove: [x-debug] }
        response_headers: { set: { x-by: weir }, remove: [server] }
      - { name: cart, match: { path_prefix: /cart }, rewrite: { path_prefix: / }, service: app }
      - name: says
        match: { path: /weir-says }
        respond: { status: 200, body: "hello\n", headers: { content-type: text/plain } }
      - { name: gone, match: { path: /gone }, respond: { status: 204 } }
      - { name: split, match: { path_prefix: /split }, split: [ { service: app, weight: 90 }, { service: other, weight: 10 } ] }
      - { name: test, match: { hosts: [test.local] }, service: app }
  - name: in
    direction: inbound
    listen: 127.0.0.1:15006
    routes: [ { service: app } ]
services:
  app: { endpoints: [10.0.0.1:80] }
  other: { endpoints: [10.0.0.2:80] }
)";

}  // namespace

TEST_CASE("a request goes through the default chain to the upstream, and its answer comes back") {
  World world(kBase);
  SimUpstream& app = world.upstream("10.0.0.1:80");
  app.script = [](UpstreamPeer& peer, const Message&, int) {
    peer.answer(200, "ok", "Server: app\r\nX-Thing: 1\r\nKeep-Alive: timeout=5\r\n");
  };
  const Message answer = world.get("/hello?x=1", "X-Mine: a\r\nConnection: x-hop\r\nX-Hop: b\r\nTE: gzip\r\n");
  CHECK(answer.status() == 200);
  CHECK(answer.body == "ok");
  CHECK(answer.header("x-thing") == "1");
  CHECK(answer.header("server") == "app");
  CHECK_FALSE(answer.has("keep-alive"));
  REQUIRE(app.seen.size() == 1);
  const Message& seen = app.seen[0];
  CHECK(seen.start_line == "GET /hello?x=1 HTTP/1.1");
  CHECK(seen.header("host") == "test.local");
  CHECK(seen.header("via") == "1.1 weir");
  CHECK(seen.header("x-mine") == "a");
  CHECK_FALSE(seen.has("x-hop"));
  CHECK_FALSE(seen.has("te"));
  CHECK_FALSE(seen.has("x-forwarded-for"));  // outbound: the service is nobody's client
  CHECK(seen.header("x-request-id").size() == 32);
  auto line = world.last_line();
  INFO(line.dump(1));
  CHECK(line["id"] == seen.header("x-request-id"));
  CHECK(line["listener"] == "out");
  CHECK(line["route"] == "test");
  CHECK(line["service"] == "app");
  CHECK(line["policy"] == "default-outbound");
  CHECK(line["path"] == "/hello?x=1");
  CHECK(line["status"] == 200);
  CHECK(line["bytes_sent"] == 2);
  CHECK(line["attempts"].size() == 1);
  CHECK(line["attempts"][0]["endpoint"] == "10.0.0.1:80");
  CHECK(line["attempts"][0]["status"] == 200);
  CHECK_FALSE(line.contains("failure"));
  CHECK(world.metric("weir_requests_total", {{"listener", "out"}, {"route", "test"}, {"code", "2xx"}}) == 1);
  CHECK(world.metric("weir_request_duration_seconds", {{"route", "test"}}) == 1);
  CHECK(world.metric("weir_in_flight") == 0);
}

TEST_CASE("inbound, X-Forwarded-For is the peer's address, whatever the peer said before") {
  World world(kBase);
  SimUpstream& app = world.upstream("10.0.0.1:80");
  CHECK(world.get("/", "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Request-Id: mine-1\r\n", "in").status() == 200);
  REQUIRE(app.seen.size() == 1);
  CHECK(app.seen[0].header("x-forwarded-for").find("6.6.6.6") == std::string::npos);
  CHECK(app.seen[0].has("x-forwarded-for"));
  CHECK(app.seen[0].header("x-forwarded-proto") == "http");
  CHECK(app.seen[0].header("x-request-id") == "mine-1");
  CHECK(world.last_line()["id"] == "mine-1");
  CHECK(world.last_line()["policy"] == "default-inbound");
}

TEST_CASE("the first route that matches wins: host, prefix, method and header together") {
  World world(kBase);
  SimUpstream& app = world.upstream("10.0.0.1:80");
  app.script = [](UpstreamPeer& peer, const Message&, int) { peer.answer(200, "", "Server: app\r\n"); };
  SimClient& client = world.client();
  client.send("POST /v1/x HTTP/1.1\r\nHost: A.Pay.LOCAL:8080\r\nX-Tenant: gold\r\nX-Debug: 1\r\nContent-Length: 2\r\n\r\nhi");
  REQUIRE(world.await(client));
  CHECK(client.answers()[0].header("x-by") == "weir");
  CHECK_FALSE(client.answers()[0].has("server"));
  REQUIRE(app.seen.size() == 1);
  CHECK(app.seen[0].header("x-route") == "charge");
  CHECK(app.seen[0].header("x-upper") == "yes");
  CHECK_FALSE(app.seen[0].has("x-debug"));
  CHECK(app.seen[0].header("host") == "a.pay.local:8080");
  CHECK(app.seen[0].body == "hi");
  CHECK(world.last_line()["authority"] == "A.Pay.LOCAL:8080");
  client.send("POST /v1/x HTTP/1.1\r\nHost: a.pay.local\r\nX-Tenant: iron\r\nContent-Length: 0\r\n\r\n");
  REQUIRE(world.await(client, 2));
  CHECK(client.answers()[1].status() == 404);
}

TEST_CASE("without a route the answer is 404, and it is logged and counted") {
  World world(kBase);
  SimClient& client = world.client();
  client.send("GET /x HTTP/1.1\r\nHost: nowhere\r\n\r\n");
  REQUIRE(world.await(client));
  CHECK(client.answers()[0].status() == 404);
  CHECK(client.answers()[0].header("proxy-status").find("weir; error=") == 0);
  CHECK(world.last_line()["failure"] == "no_route");
  CHECK(world.metric("weir_requests_total", {{"listener", "out"}, {"route", ""}, {"code", "4xx"}}) == 1);
  CHECK(world.metric("weir_request_failures_total", {{"failure", "no_route"}}) == 1);
  client.get("/again");  // the connection is still good
  world.upstream("10.0.0.1:80");
  REQUIRE(world.await(client, 2));
  CHECK(client.answers()[1].status() == 200);
}

TEST_CASE("a prefix is matched and rewritten by segment") {
  World world(kBase);
  SimUpstream& app = world.upstream("10.0.0.1:80");
  CHECK(world.get("/cart").status() == 200);
  CHECK(world.get("/cart/a%2Db?x=%2f").status() == 200);
  CHECK(world.get("/carton").status() == 200);
  REQUIRE(app.seen.size() == 3);
  CHECK(app.seen[0].start_line == "GET / HTTP/1.1");
  CHECK(app.seen[1].start_line == "GET /a-b?x=%2f HTTP/1.1");
  CHECK(app.seen[2].start_line == "GET /carton HTTP/1.1");
  CHECK(world.access_log()[1]["path"] == "/cart/a%2Db?x=%2f");
}

TEST_CASE("ambiguous targets and hosts are refused with 400 before any route is asked") {
  World world(kBase);
  world.upstream("10.0.0.1:80");
  for (const char* path : {"/a/../b", "/%2e%2e/b", "/a%2fb", "/a%5Cb", "/a%00", "/a%zz", "/..;/x"}) {
    INFO(path);
    const Message answer = world.get(path);
    CHECK(answer.status() == 400);
    CHECK(world.last_line()["failure"] == "bad_request");
    CHECK_FALSE(world.last_line()["detail"].get<std::string>().empty());
  }
  CHECK(world.upstream("10.0.0.1:80").seen.empty());
}

TEST_CASE("a request that breaks framing is refused, logged, counted by rule, and the connection ends") {
  World world(kBase);
  SimClient& client = world.client();
  client.send("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
  REQUIRE(world.await(client));
  CHECK(client.answers()[0].status() == 400);
  CHECK(client.answers()[0].header("connection") == "close");
  world.advance(1s);
  CHECK(client.over());
  CHECK(world.metric("weir_bad_requests_total", {{"rule", "length-with-encoding"}}) == 1);
  CHECK(world.last_line()["detail"] == "length-with-encoding");
  CHECK(world.metric("weir_requests_total", {{"code", "4xx"}}) == 1);
  client.close();
  world.advance(10s);
  CHECK(world.metric("weir_listener_connections") == 0);
}

TEST_CASE("a direct response is weir's own: with a body, to HEAD without one, and bodiless") {
  World world(kBase);
  const Message says = world.get("/weir-says");
  CHECK(says.status() == 200);
  CHECK(says.body == "hello\n");
  CHECK(says.header("content-type") == "text/plain");
  SimClient& client = world.client();
  client.request("HEAD", "/weir-says", "");
  client.get("/gone");
  client.get("/weir-says");
  REQUIRE(world.await(client, 3));
  CHECK(client.answers()[0].header("content-length") == "6");
  CHECK(client.answers()[0].body.empty());
  CHECK(client.answers()[1].status() == 204);
  CHECK(client.answers()[2].body == "hello\n");
  CHECK(world.metric("weir_requests_total", {{"route", "says"}, {"code", "2xx"}}) == 3);
}

TEST_CASE("a split is even, and the same request id always goes the same way") {
  World world(kBase);
  SimUpstream& app = world.upstream("10.0.0.1:80");
  SimUpstream& other = world.upstream("10.0.0.2:80");
  SimClient& client = world.client();
  for (int i = 0; i < 400; ++i) client.get("/split/" + std::to_string(i));
  REQUIRE(world.await(client, 400));
  CHECK(app.seen.size() + other.seen.size() == 400);
  CHECK(other.seen.size() > 15);
  CHECK(other.seen.size() < 75);
  const std::size_t before = other.seen.size();
  for (int i = 0; i < 20; ++i) world.get("/split", "X-Request-Id: same\r\n");
  CHECK((other.seen.size() == before || other.seen.size() == before + 20));
}

TEST_CASE("pipelined requests are answered in order, whatever they take") {
  World world(kBase);
  world.upstream("10.0.0.1:80").script = [](UpstreamPeer& peer, const Message& request, int number) {
    peer.answer(200, request.start_line, "", number == 1 ? 500ms : 0ms);
  };
  SimClient& client = world.client();
  client.get("/1");
  client.get("/nowhere/../x");
  client.get("/3");
  REQUIRE(world.await(client, 3));
  CHECK(client.answers()[0].body == "GET /1 HTTP/1.1");
  CHECK(client.answers()[1].status() == 400);
  CHECK(client.answers()[2].body == "GET /3 HTTP/1.1");
}

TEST_CASE("a large body passes in both directions, whole and with bounded memory") {
  World world(kBase);
  SimUpstream& app = world.upstream("10.0.0.1:80");
  app.script = [](UpstreamPeer& peer, const Message& request, int) { peer.answer(200, request.body); };
  std::string body(3'000'000, 'x');
  for (std::size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>('a' + i % 23);
  SimClient& client = world.client();
  client.request("PUT", "/big", body);
  REQUIRE(world.await(client));
  CHECK(client.answers()[0].body == body);
  auto line = world.last_line();
  CHECK(line["bytes_received"] == 3'000'000);
  CHECK(line["bytes_sent"] == 3'000'000);
  CHECK(world.metric("weir_request_body_bytes_total") == 3'000'000);
  CHECK(world.metric("weir_response_body_bytes_total") == 3'000'000);
}

TEST_CASE("1xx answers of the upstream reach the client before the final one") {
  World world(kBase);
  world.upstream("10.0.0.1:80").script = [](UpstreamPeer& peer, const Message&, int) {
    peer.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    peer.answer(200, "ok", "", 50ms);
  };
  SimClient& client = world.client();
  client.get("/");
  REQUIRE(world.await(client, 2));
  CHECK(client.answers()[0].status() == 103);
  CHECK(client.answers()[0].header("link") == "</a>");
  CHECK(client.answers()[1].status() == 200);
}

TEST_CASE("an answer that comes before the request has ended is passed on, and the rest of the request is not waited for") {
  World world(kBase);
  SimUpstream& app = world.upstream("10.0.0.1:80");
  app.whole_requests = false;
  app.script = [](UpstreamPeer& peer, const Message&, int) { peer.answer(413, "too large", "Connection: close\r\n"); };
  SimClient& client = world.client();
  client.send("POST /up HTTP/1.1\r\nHost: test.local\r\nContent-Length: 100000000\r\n\r\nsome");
  REQUIRE(world.await(client));
  CHECK(client.answers()[0].status() == 413);
  CHECK(client.answers()[0].body == "too large");
  CHECK(world.last_line()["status"] == 413);
  world.advance(20s);
  CHECK(world.metric("weir_in_flight") == 0);
}

TEST_CASE("an answer that breaks off after its head is never taken for whole") {
  World world(kBase);
  world.upstream("10.0.0.1:80").script = [](UpstreamPeer& peer, const Message&, int) {
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    peer.finish();
  };
  SimClient& client = world.client();
  client.get("/");
  world.advance(1s);
  CHECK(client.answers().empty());
  CHECK(client.got_reset());
  auto line = world.last_line();
  INFO(line.dump(1));
  CHECK(line["status"] == 200);
  CHECK(line["failure"] == "truncated");
  CHECK(world.metric("weir_request_failures_total", {{"failure", "truncated"}}) == 1);
  CHECK(world.metric("weir_requests_total", {{"code", "2xx"}}) == 1);
}

TEST_CASE("a chunked answer that breaks off is a reset, too") {
  World world(kBase);
  world.upstream("10.0.0.1:80").script = [](UpstreamPeer& peer, const Message&, int) {
    peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    peer.reset();
  };
  SimClient& client = world.client();
  client.get("/");
  world.advance(1s);
  CHECK(client.answers().empty());
  CHECK(client.got_reset());
  CHECK(world.last_line().contains("failure"));
}

TEST_CASE("an answer without a body to HEAD, 204 and 304 ends both the exchange and the try") {
  World world(kBase);
  world.upstream("10.0.0.1:80").script = [](UpstreamPeer& peer, const Message& request, int number) {
    if (request.start_line.substr(0, 4) == "HEAD") return peer.send("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
    peer.send(number == 2 ? "HTTP/1.1 204 No Content\r\n\r\n" : "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n");
  };
  SimClient& client = world.client();
  client.request("HEAD", "/", "");
  client.get("/");
  client.get("/");
  REQUIRE(world.await(client, 3));
  CHECK(client.answers()[0].header("content-length") == "500");
  CHECK(client.answers()[1].status() == 204);
  CHECK(client.answers()[2].header("etag") == "\"a\"");
  CHECK(world.upstream("10.0.0.1:80").accepted == 1);  // one connection served all three
  for (const auto& line : world.access_log()) {
    INFO(line.dump(1));
    CHECK_FALSE(line.contains("failure"));
    CHECK_FALSE(line["attempts"][0].contains("failure"));
  }
}

TEST_CASE("the connection limit of a listener is exact over all workers, and what is over it is closed and counted") {
  std::string yaml = kBase;
  yaml.replace(yaml.find("listen: 127.0.0.1:15001"), 23, "listen: 127.0.0.1:15001\n    limits: { connections: 3 }");
  World world(yaml, {.workers = 2});
  world.upstream("10.0.0.1:80");
  std::vector<SimClient*> all;
  for (int i = 0; i < 5; ++i) {
    all.push_back(&world.client());
    world.settle();
  }
  world.advance(10ms);
  int open = 0;
  for (SimClient* one : all) open += one->over() ? 0 : 1;
  CHECK(open == 3);
  CHECK(world.metric("weir_listener_refused_total") == 2);
  CHECK(world.metric("weir_listener_connections", {{"listener", "out"}}) == 3);
  for (SimClient* one : all) one->close();
  world.advance(1s);
  CHECK(world.metric("weir_listener_connections", {{"listener", "out"}}) == 0);
  CHECK(world.get("/").status() == 200);
}
