// The admin listeners: what they show, what they change, and what they refuse.
#include <catch2/catch.hpp>

#include "tests/support/world.h"

using namespace weir;
using namespace weir::test;
using nlohmann::json;

namespace {

const std::string kYaml = R"(version: 1
admin: { listen: unix:/run/weir/admin.sock, read_only_listen: 127.0.0.1:9901 }
listeners:
  - { name: out, direction: outbound, listen: 127.0.0.1:15001, routes: [ { name: all, service: app, policy: p } ] }
services:
  app: { endpoints: [10.0.0.1:80], annotations: { owner: "team <a>" } }
policies:
  p:
    filters:
      - circuit_breaker: { name: main, causes: [5xx], min_calls: 5 }
)";

}  // namespace

TEST_CASE("the read-only listener shows metrics, health, configuration, services and breakers") {
  World world(kYaml);
  world.upstream("10.0.0.1:80");
  CHECK(world.get("/").status() == 200);
  const Message metrics = world.admin("GET", "/metrics");
  CHECK(metrics.status() == 200);
  CHECK(metrics.header("content-type").find("text/plain; version=0.0.4") == 0);
  CHECK(metrics.body.find("weir_requests_total{listener=\"out\",route=\"all\",service=\"app\",policy=\"p\",code=\"2xx\"} 1\n") !=
        std::string::npos);
  CHECK(metrics.body.find("weir_breaker_state{service=\"app\",policy=\"p\",filter=\"main\",listener=\"\",route=\"\"} 0\n") !=
        std::string::npos);
  CHECK(metrics.body.find("weir_build_info{version=") != std::string::npos);
  CHECK(world.admin("GET", "/healthz").body == "ok\n");
  CHECK(world.admin("GET", "/readyz").status() == 200);
  CHECK(world.admin("GET", "/config").body.find("10.0.0.1:80") != std::string::npos);
  CHECK(json::parse(world.admin("GET", "/config?format=json").body).is_object());
  CHECK(json::parse(world.admin("GET", "/config", "Accept: application/json\r\n").body).is_object());
  const json services = json::parse(world.admin("GET", "/services").body);
  CHECK(services["services"][0]["name"] == "app");
  CHECK(services["services"][0]["endpoints"][0]["attempts"] == 1);
  const json breakers = json::parse(world.admin("GET", "/breakers").body);
  CHECK(breakers["breakers"][0]["key"] == "app/p/main");
  CHECK(breakers["breakers"][0]["state"] == "closed");
  const Message front = world.admin("GET", "/");
  CHECK(front.header("content-type").find("text/html") == 0);
  CHECK(front.body.find("10.0.0.1:80") != std::string::npos);
}

TEST_CASE("no metric family appears twice in a scrape, and no series") {
  World world(kYaml, {.workers = 2});
  world.upstream("10.0.0.1:80");
  world.get("/");
  const std::string text = world.admin("GET", "/metrics").body;
  std::map<std::string, int> seen;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = text.find('\n', at);
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    ++seen[line.substr(0, 6) == "# TYPE" ? line : line[0] == '#' ? "" : line.substr(0, line.rfind(' '))];
  }
  seen.erase("");
  for (const auto& [line, count] : seen) {
    INFO(line);
    CHECK(count == 1);
  }
}

TEST_CASE("HEAD is answered without a body; other methods, unknown paths and orders are refused on the read-only listener") {
  World world(kYaml);
  const Message head = world.admin("HEAD", "/healthz");
  CHECK(head.status() == 200);
  CHECK(head.header("content-length") == "3");
  CHECK(head.body.empty());
  const Message post = world.admin("POST", "/metrics");
  CHECK(post.status() == 405);
  CHECK(post.header("allow") == "GET, HEAD");
  CHECK(world.admin("DELETE", "/services").status() == 405);
  CHECK(world.admin("GET", "/nothing").status() == 404);
  CHECK(world.admin("POST", "/nothing").status() == 404);
  CHECK(world.admin("GET", "/metrics/x").status() == 404);
  CHECK(world.admin("POST", "/drain").status() == 405);
  CHECK(world.admin("POST", "/reload").status() == 405);
  CHECK(world.admin("POST", "/breakers/app%2Fp%2Fmain?state=forced_open").status() == 405);
  CHECK(world.server->ready());
  CHECK(world.server->generation() == 1);
}

TEST_CASE("orders are taken on the full listener, by POST only") {
  World world(kYaml);
  world.upstream("10.0.0.1:80");
  const Message wrong = world.admin("GET", "/reload", "", true);
  CHECK(wrong.status() == 405);
  CHECK(wrong.header("allow") == "POST");
  const json same = json::parse(world.admin("POST", "/reload", "", true).body);
  CHECK(same["result"] == "unchanged");
  CHECK(same["generation"] == 1);
  std::string other = kYaml;
  other.replace(other.find("min_calls: 5"), 12, "min_calls: 7");
  world.set_yaml(other);
  const json taken = json::parse(world.admin("POST", "/reload", "", true).body);
  CHECK(taken["result"] == "taken");
  CHECK(taken["generation"] == 2);
  CHECK(taken["changes"] == json{"policy p: filter main min_calls 5 -> 7"});
  world.set_yaml("nonsense");
  const Message refused = world.admin("POST", "/reload", "", true);
  CHECK(refused.status() == 422);
  CHECK_FALSE(json::parse(refused.body)["error"].get<std::string>().empty());
  CHECK(world.admin("GET", "/", "", true).body.find("The last reload was refused") != std::string::npos);

  CHECK(world.admin("POST", "/breakers/app%2Fp%2Fmain?state=forced_open", "", true).status() == 200);
  CHECK(world.get("/").status() == 503);
  CHECK(world.admin("POST", "/breakers/app/p/main?state=auto", "", true).status() == 200);
  CHECK(world.get("/").status() == 200);
  CHECK(world.admin("POST", "/breakers/app/p/other?state=auto", "", true).status() == 404);
  CHECK(world.admin("POST", "/breakers/app/p/main?state=ajar", "", true).status() == 400);

  CHECK(world.admin("POST", "/logging?level=debug", "", true).status() == 200);
  CHECK(world.platform.log().level() == LogLevel::debug);
  CHECK(world.admin("POST", "/logging?level=loud", "", true).status() == 400);
}

TEST_CASE("a drain by order: not ready at once, healthy until the end") {
  World world(kYaml);
  world.upstream("10.0.0.1:80").script = [](UpstreamPeer& peer, const Message&, int) { peer.answer(200, "ok", "", 3s); };
  SimClient& busy = world.client();
  busy.get("/");
  world.advance(10ms);
  CHECK(world.admin("POST", "/drain", "", true).status() == 202);
  const Message ready = world.admin("GET", "/readyz");
  CHECK(ready.status() == 503);
  CHECK(ready.body.find("drain") != std::string::npos);
  CHECK(world.admin("GET", "/healthz").status() == 200);
  CHECK(world.metric("weir_ready") == 0);
  REQUIRE(world.await(busy));
  CHECK(busy.answers()[0].status() == 200);
}

TEST_CASE("orders over loopback are not taken from web pages, nor by a foreign name") {
  std::string yaml = kYaml;
  yaml.replace(yaml.find("unix:/run/weir/admin.sock"), 25, "127.0.0.1:9902");
  World world(yaml);
  CHECK(world.admin("POST", "/reload", "Origin: http://evil.example\r\n", true).status() == 403);
  CHECK(world.admin("POST", "/reload", "", true).status() == 403);  // Host: test.local
  SimClient& client = world.client_to(Address::parse("127.0.0.1:9902").value());
  client.send("POST /reload HTTP/1.1\r\nHost: 127.0.0.1:9902\r\nContent-Length: 0\r\n\r\n");
  REQUIRE(world.await(client));
  CHECK(client.answers()[0].status() == 200);
}

TEST_CASE("admin listeners move with a reload, and an address that is taken refuses it") {
  World world(kYaml);
  std::string moved = kYaml;
  moved.replace(moved.find("127.0.0.1:9901"), 14, "127.0.0.1:9911");
  world.platform.taken_addresses = {"127.0.0.1:9911"};
  CHECK_FALSE(world.reload(moved));
  CHECK(world.admin("GET", "/healthz").status() == 200);
  world.platform.taken_addresses.clear();
  REQUIRE(world.reload(moved));
  CHECK(world.server->admin_address(false)->text() == "127.0.0.1:9911");
  CHECK(world.admin("GET", "/healthz").status() == 200);
  CHECK(world.admin("GET", "/healthz", "", true).status() == 200);
}

TEST_CASE("admin pipelining and many connections are bounded and answered") {
  World world(kYaml);
  const Address at = *world.server->admin_address(false);
  SimClient& pipelined = world.client_to(at);
  for (int i = 0; i < 20; ++i) pipelined.get(i % 2 == 0 ? "/metrics" : "/healthz");
  REQUIRE(world.await(pipelined, 20));
  for (int i = 0; i < 80; ++i) world.client_to(at);
  world.advance(10ms);
  int open = 0;
  for (const auto& one : world.clients) open += one->over() ? 0 : 1;
  CHECK(open == 64);
}

TEST_CASE("a breaker of a route is known by its listener too, and an order that fits several is refused") {
  World world(R"(version: 1
admin: { listen: unix:/run/weir/admin.sock, read_only_listen: 127.0.0.1:9901 }
listeners:
  - { name: out, direction: outbound, listen: 127.0.0.1:15001, routes: [ { service: app, policy: p } ] }
  - { name: other, direction: outbound, listen: 127.0.0.1:15002, routes: [ { service: app, policy: p } ] }
  - { name: odd, direction: outbound, listen: 127.0.0.1:15003, routes: [ { match: { path_prefix: /1 }, service: a/b, policy: c }, { service: a, policy: b/c } ] }
services:
  app: { endpoints: [10.0.0.1:80] }
  a: { endpoints: [10.0.0.1:80] }
  a/b: { endpoints: [10.0.0.1:80] }
policies:
  p: { filters: [ { circuit_breaker: { name: main, causes: [5xx], consecutive_failures: 1, scope: route } } ] }
  c: { filters: [ { circuit_breaker: { name: main, causes: [5xx] } } ] }
  b/c: { filters: [ { circuit_breaker: { name: main, causes: [5xx] } } ] }
)");
  int status = 500;
  world.upstream("10.0.0.1:80").script = [&](UpstreamPeer& peer, const Message&, int) { peer.answer(status, "x"); };
  CHECK(world.get("/").status() == 500);
  status = 200;
  CHECK(world.get("/").status() == 503);
  CHECK(world.get("/", "", "other").status() == 200);
  CHECK(world.metric("weir_breaker_state", {{"listener", "out"}, {"route", "route-1"}}) == 1);
  const auto closed = [&](const std::string& labels) {
    return world.admin("GET", "/metrics").body.find("weir_breaker_state{" + labels + "} 0\n") != std::string::npos;
  };
  CHECK(closed(R"(service="app",policy="p",filter="main",listener="other",route="route-1")"));
  CHECK(world.admin("POST", "/breakers/app/p/main/out/route-1?state=forced_closed", "", true).status() == 200);
  CHECK(world.get("/").status() == 200);

  CHECK(world.get("/1", "", "odd").status() == 200);
  CHECK(world.get("/2", "", "odd").status() == 200);
  CHECK(closed(R"(service="a/b",policy="c",filter="main",listener="",route="")"));
  CHECK(closed(R"(service="a",policy="b/c",filter="main",listener="",route="")"));
  CHECK(world.admin("POST", "/breakers/a/b/c/main?state=disabled", "", true).status() == 409);
}
