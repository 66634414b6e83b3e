// HTTP/2 through the whole proxy in virtual time: the same routes, filters, outcomes and log lines as for HTTP/1, towards HTTP/1 upstreams.
#include <catch2/catch.hpp>

#include "tests/http/h2_frames.h"
#include "tests/scenario/sums.h"
#include "tests/support/world.h"

using namespace weir;
using namespace weir::test;

namespace {

std::string yaml(const std::string& filters, const std::string& direction = "outbound") {
  return R"(version: 1
access_log: { path: /access.log }
listeners:
  - { name: out, direction: )" +
         direction + R"(, listen: 127.0.0.1:15001, limits: { streams: 50 }, routes: [ { name: all, service: app, policy: p } ] }
services:
  app: { endpoints: [10.0.0.1:80, 10.0.0.2:80], balance: round_robin }
policies:
  p:
    filters:
)" + filters;
}

const char* const kRetry = "      - retry: { max_attempts: 3, causes: [gateway_error], methods: any }\n";

Address at(World& world) { return world.server->listening().at("out"); }

}  // namespace

TEST_CASE("h2: requests are retried as for HTTP/1, on one connection, and each has one outcome") {
  World world(yaml(kRetry));
  world.upstream("10.0.0.1:80").script = [](UpstreamPeer& peer, const Message&, int) { peer.answer(503, "no"); };
  SimUpstream& good = world.upstream("10.0.0.2:80");
  H2Client client(world.platform.net, at(world));
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 20; ++i) ids.push_back(client.post("/" + std::to_string(i), "body " + std::to_string(i)));
  world.advance(10s);
  for (const auto id : ids) {
    CHECK(client.answer(id).status == 200);
    CHECK(client.answer(id).ended);
  }
  CHECK(good.seen.size() == 20);
  for (const Message& one : good.seen) {
    CHECK(one.header("host") == "test.local");
    CHECK(one.body.substr(0, 5) == "body ");
    CHECK(one.header("via") == "2 weir");
  }
  CHECK(client.max_streams() == 50);
  check_sums(world, 20);
  CHECK(world.metric("weir_listener_accepted_total") == 1);
  CHECK(world.last_line()["protocol"] == "HTTP/2");
  CHECK_FALSE(client.broken());
}

TEST_CASE("h2: what goes to an HTTP/1 upstream is well-formed HTTP/1") {
  World world(yaml(kRetry, "inbound"));
  SimUpstream& upstream = world.upstream("10.0.0.1:80");
  world.upstream("10.0.0.2:80").down();
  World* w = &world;
  const auto seen = [&](const auto& send) -> Message {
    H2Client client(w->platform.net, at(*w));
    upstream.seen.clear();
    for (int i = 0; i < 2 && upstream.seen.empty(); ++i) {  // round robin: one of two reaches it
      send(client);
      w->advance(1s);
    }
    return upstream.seen.empty() ? Message{} : upstream.seen.back();
  };
  const Message get = seen([](H2Client& c) { c.get("/a?b=c", {{"te", "trailers"}, {"cookie", "a=1"}, {"cookie", "b=2"}}); });
  CHECK(get.start_line == "GET /a?b=c HTTP/1.1");
  CHECK(get.header("host") == "test.local");
  CHECK(get.header("cookie") == "a=1; b=2");
  CHECK(get.header("te") == "trailers");
  CHECK(get.header("connection") == "te");
  CHECK(get.header("x-forwarded-proto") == "http");
  CHECK_FALSE(get.has("transfer-encoding"));
  CHECK_FALSE(get.has("content-length"));
  const Message unknown = seen([](H2Client& c) { c.post("/", "hello"); });
  CHECK(unknown.header("transfer-encoding") == "chunked");
  CHECK(unknown.body.find("hello") != std::string::npos);
  const Message known = seen([](H2Client& c) { c.post("/", "hello", {{"content-length", "5"}}); });
  CHECK(known.header("content-length") == "5");
  CHECK(known.body == "hello");
  CHECK(seen([](H2Client& c) { c.request("POST", "/"); }).header("content-length") == "0");
}

TEST_CASE("h2: a timeout, a truncated answer and a reset by the client end one stream each") {
  World world(yaml("      - timeout: { response_headers: 500ms }\n"));
  for (const char* address : {"10.0.0.1:80", "10.0.0.2:80"}) {
    world.upstream(address).script = [](UpstreamPeer& peer, const Message& request, int) {
      if (request.start_line.find("/slow") != std::string::npos) return peer.answer(200, "late", "", 10s);
      if (request.start_line.find("/cut") == std::string::npos) return peer.answer(200, "ok");
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
      peer.finish();
    };
  }
  H2Client client(world.platform.net, at(world));
  const auto slow = client.get("/slow");
  const auto cut = client.get("/cut");
  const auto left = client.get("/slow");
  world.advance(100ms);
  client.reset(left);
  world.advance(2s);
  const auto fine = client.get("/");
  world.advance(1s);
  CHECK(client.answer(slow).status == 504);
  CHECK(client.answer(slow).ended);
  CHECK(client.answer(cut).status == 200);
  CHECK_FALSE(client.answer(cut).ended);
  CHECK(client.answer(cut).reset == 2);
  CHECK(client.answer(fine).body == "ok");
  check_sums(world, 4);
  std::map<std::string, int> failures;
  for (const auto& line : world.access_log()) ++failures[line.value("failure", "none")];
  CHECK(failures == std::map<std::string, int>{{"response_timeout", 1}, {"truncated", 1}, {"client_gone", 1}, {"none", 1}});
}

TEST_CASE("h2: HTTP/1.1 and HTTP/2 share a listener, and what HTTP/2 is refused for is counted by rule") {
  World world(yaml(kRetry));
  world.upstream("10.0.0.1:80");
  world.upstream("10.0.0.2:80");
  H2Client client(world.platform.net, at(world));
  const auto first = client.get("/");
  CHECK(world.get("/").status() == 200);
  const auto malformed = client.get("/", {{"connection", "close"}});
  const auto refused = client.get("/#");
  world.advance(1s);
  CHECK(client.answer(first).status == 200);
  CHECK(client.answer(malformed).reset == 1);
  CHECK(client.answer(refused).status == 400);
  CHECK(world.metric("weir_bad_requests_total", {{"rule", "http2-malformed"}}) == 1);
  CHECK(world.metric("weir_bad_requests_total", {{"rule", "target-characters"}}) == 1);
  check_sums(world, 3);
}

TEST_CASE("h2: a drain finishes the streams that run, says GOAWAY, and the server ends") {
  World world(yaml("      - timeout: { total: 30s }\n", "inbound"));
  for (const char* address : {"10.0.0.1:80", "10.0.0.2:80"}) {
    world.upstream(address).script = [](UpstreamPeer& peer, const Message&, int) { peer.answer(200, "late", "", 3s); };
  }
  H2Client client(world.platform.net, at(world));
  const auto id = client.get("/");
  world.advance(100ms);
  world.server->drain();
  world.advance(20s);
  CHECK(client.goaways() >= 1);
  CHECK(client.goaway_code() == 0);
  CHECK(client.answer(id).body == "late");
  CHECK(client.answer(id).ended);
  client.peer().close();
  world.advance(60s);
  CHECK(world.finished);
  CHECK(world.finished_clean);
}

TEST_CASE("h2: a client that vanishes with many streams leaves nothing behind") {
  World world(yaml("      - timeout: { total: 30s }\n"));
  for (const char* address : {"10.0.0.1:80", "10.0.0.2:80"}) {
    world.upstream(address).script = [](UpstreamPeer& peer, const Message&, int) { peer.answer(200, "late", "", 3s); };
  }
  {
    H2Client client(world.platform.net, at(world));
    for (int i = 0; i < 30; ++i) client.get("/");
    for (int i = 0; i < 10; ++i) client.open("POST", "/");
    world.advance(100ms);
    CHECK(world.metric("weir_in_flight") == 40);
    client.peer().reset();
    world.advance(100ms);
  }
  check_sums(world, 40);
  CHECK(world.metric("weir_requests_total", {{"code", "none"}}) == 40);
  CHECK(world.metric("weir_listener_connections") == 0);
}

TEST_CASE("h2: nothing that hides in a request of HTTP/2 becomes a second one of HTTP/1") {
  World world(yaml(kRetry, "inbound"));
  SimUpstream& one = world.upstream("10.0.0.1:80");
  SimUpstream& two = world.upstream("10.0.0.2:80");
  const std::string hidden = "x\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n";
  using frames::request;
  std::vector<H2Fields> attacks;
  for (const char* name : {"x", "cookie", "host", "te", "content-length", "transfer-encoding", "expect", "x-forwarded-for", "via"}) {
    attacks.push_back(request("POST", "/", {{name, hidden}}));
    attacks.push_back(request("POST", "/", {{name, "a\nGET /smuggled HTTP/1.1"}}));
    attacks.push_back(request("POST", "/", {{std::string(name) + ": y\r\nsmuggled", "z"}}));
    attacks.push_back(request("POST", "/", {{std::string(name) + " ", "chunked"}}));
  }
  for (const char* name : {":method", ":path", ":authority", ":scheme"}) {
    H2Fields fields = request("POST");
    for (auto& field : fields) {
      if (field.first == name) field.second += hidden;
    }
    attacks.push_back(fields);
  }
  attacks.push_back(request("POST", "/", {{"transfer-encoding", "chunked"}}));
  attacks.push_back(request("POST", "/", {{"content-length", "0"}, {"content-length", "5"}}));
  attacks.push_back(request("POST", "/", {{"content-length", "0"}}));
  attacks.push_back(request("POST", "/", {{"connection", "content-length"}, {"content-length", "5"}}));
  attacks.push_back(request("POST", "http://other/smuggled"));
  attacks.push_back(request("GET /smuggled HTTP/1.1"));
  for (const H2Fields& fields : attacks) {
    SimPeer client(world.platform.net, at(world));
    client.send(frames::preface() + frames::head(1, fields, false) +
                frames::frame(frames::data, frames::kEndStream, 1, "0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n"));
    world.advance(1s);
    client.close();
    world.advance(1s);
  }
  for (const SimUpstream* upstream : {&one, &two}) CHECK(upstream->seen.empty());
  // And what is a body stays one.
  SimPeer client(world.platform.net, at(world));
  client.send(frames::preface() + frames::head(1, request("POST"), false) +
              frames::frame(frames::data, 0, 1, "0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n") +
              frames::head(1, {{"x-last", "1"}, {"host", "other"}, {"connection-x", "close"}}));
  world.advance(1s);
  REQUIRE(one.seen.size() + two.seen.size() == 1);
  const Message& seen = one.seen.empty() ? two.seen[0] : one.seen[0];
  CHECK(seen.start_line == "POST / HTTP/1.1");
  CHECK(seen.header("host") == "h");
  CHECK(seen.body.find("0\r\n\r\nGET /smuggled") != std::string::npos);
}

TEST_CASE("h2: a client's cancel drops the exchange and its tries, and the upstream is freed") {
  World world(yaml("      - timeout: { total: 30s }\n" + std::string(kRetry)));
  SimUpstream& one = world.upstream("10.0.0.1:80");
  SimUpstream& two = world.upstream("10.0.0.2:80");
  for (SimUpstream* upstream : {&one, &two}) {
    upstream->script = [](UpstreamPeer& peer, const Message&, int) { peer.answer(200, "late", "", 20s); };
  }
  H2Client client(world.platform.net, at(world));
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 40; ++i) ids.push_back(client.get("/"));
  world.advance(100ms);
  CHECK(world.metric("weir_attempts_in_flight") == 40);
  CHECK(one.open_connections() + two.open_connections() == 40);
  for (const auto id : ids) client.reset(id);
  world.advance(100ms);
  CHECK(world.metric("weir_in_flight") == 0);
  CHECK(world.metric("weir_attempts_in_flight") == 0);
  CHECK(one.open_connections() + two.open_connections() == 0);
  check_sums(world, 40);
  const auto after = client.get("/");
  world.advance(25s);
  CHECK(client.answer(after).body == "late");
}

TEST_CASE("h2: a flood is counted by its kind, and its neighbours are served") {
  World world(yaml(kRetry));
  world.upstream("10.0.0.1:80");
  world.upstream("10.0.0.2:80");
  H2Client client(world.platform.net, at(world));
  SimPeer flood(world.platform.net, at(world));
  std::string bytes = frames::preface();
  for (std::uint32_t i = 0; i < 1200; ++i) bytes += frames::head(2 * i + 1, frames::request()) + frames::reset(2 * i + 1);
  flood.send(bytes);
  const auto id = client.get("/");
  world.advance(1s);
  CHECK(client.answer(id).status == 200);
  CHECK(frames::code_of(frames::parse(flood.received()), frames::goaway) == 11);
  CHECK(flood.ended());
  CHECK(world.metric("weir_bad_requests_total", {{"rule", "http2-flood-resets"}}) == 1);
  CHECK(world.metric("weir_in_flight") == 0);
}
