// Reloads: by itself when files change, whole or not at all, and inside live state.
#include <catch2/catch.hpp>

#include "tests/support/world.h"

using namespace weir;
using namespace weir::test;
using nlohmann::json;

namespace {

const std::string kYaml = R"(version: 1
admin: { listen: unix:/run/weir/admin.sock, read_only_listen: 127.0.0.1:9901 }
include: [conf.d/*.yaml]
listeners:
  - { name: out, direction: outbound, listen: 127.0.0.1:15001, routes: [ { service: app, policy: p } ] }
services:
  app: { endpoints: [10.0.0.1:80], connect_timeout: 3s }
policies:
  p:
    filters:
      - timeout: { total: 30s }
)";

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

std::string timed(const std::string& total) { return replaced(kYaml, "total: 30s", "total: " + total); }

struct FileWorld : World {
  explicit FileWorld(const std::string& yaml = kYaml) : World(yaml, {.workers = 2, .from_file = true}) {}
  void write(const std::string& yaml) { platform.files.write(kFile, yaml); }
};

// One listener over one policy, for what a reload does to the state of its filters.
std::string with_filter(const std::string& filter, const std::string& service = "") {
  return "version: 1\nlisteners:\n"
         "  - { name: out, direction: outbound, listen: 127.0.0.1:15001, routes: [ { service: app, policy: p } ] }\n"
         "services:\n  app: { endpoints: [10.0.0.1:80, 10.0.0.2:80]" +
         service + " }\npolicies:\n  p:\n    filters:\n      - " + filter + "\n";
}

}  // namespace

TEST_CASE("a file that changes is taken once it has been quiet for a moment, without a signal") {
  FileWorld world;
  world.advance(10s);
  CHECK(world.server->generation() == 1);
  world.write(timed("20s"));
  world.advance(ConfigWatch::kQuiet - 10ms);
  CHECK(world.server->generation() == 1);
  world.advance(20ms);
  CHECK(world.server->generation() == 2);
  CHECK(world.server->served_generation() == 2);
  CHECK(world.platform.messages.find("policy p: filter timeout total 30s -> 20s") != std::string::npos);
}

TEST_CASE("a burst of changes is one reload, and one that never ends is taken after a second all the same") {
  FileWorld world;
  world.advance(1s);
  for (int i = 1; i <= 5; ++i) {
    world.write(timed(std::to_string(i) + "s"));
    world.advance(50ms);
  }
  world.advance(100ms);
  CHECK(world.server->generation() == 2);
  const MonotonicTime began = world.sim.now();
  for (int i = 0; world.server->generation() == 2 && i < 100; ++i) {
    world.write(timed(std::to_string(i + 100) + "s"));
    world.advance(50ms);
  }
  CHECK(world.server->generation() == 3);
  CHECK(world.sim.now() - began <= ConfigWatch::kLatest + 50ms);
  CHECK(world.sim.now() - began >= ConfigWatch::kLatest - 50ms);
}

TEST_CASE("a file that is touched or says the same in other words makes no new generation") {
  FileWorld world;
  world.advance(1s);
  const std::size_t said = world.platform.supervisor().said.size();
  world.write(kYaml);
  world.advance(1s);
  CHECK(world.platform.supervisor().said.size() == said);  // nobody even tried
  world.write("# a comment\n" + kYaml);
  world.advance(1s);
  CHECK(world.server->generation() == 1);
  CHECK(world.platform.messages.find("nothing changed") != std::string::npos);
  CHECK(world.platform.supervisor().said.back() == "ready: running");
  CHECK(world.metric("weir_config_last_reload_success") == 1);
}

TEST_CASE("an include that appears, changes and goes is seen each time") {
  FileWorld world;
  world.advance(1s);
  world.platform.files.write("/etc/weir/conf.d/a.yaml", "services: { spare: { endpoints: [10.0.0.9:80] } }\n");
  world.advance(1s);
  CHECK(world.server->config()->services.count("spare") == 1);
  world.platform.files.write("/etc/weir/conf.d/a.yaml", "services: { other: { endpoints: [10.0.0.9:80] } }\n");
  world.advance(1s);
  CHECK(world.server->config()->services.count("spare") == 0);
  CHECK(world.server->config()->services.count("other") == 1);
  world.platform.files.remove("/etc/weir/conf.d/a.yaml");
  world.advance(1s);
  CHECK(world.server->config()->services.count("other") == 0);
  CHECK(world.server->generation() == 4);
}

TEST_CASE("what ${file:} names is watched, also while it is missing") {
  FileWorld world;
  world.advance(1s);
  world.write(replaced(kYaml, "total: 30s", "total: \"${file:/run/total}\""));
  world.advance(1s);
  CHECK(world.server->generation() == 1);
  CHECK(world.server->last_error().find("/run/total") != std::string::npos);
  world.platform.files.write("/run/total", "7s\n");
  world.advance(1s);
  CHECK(world.server->generation() == 2);
  CHECK(world.server->last_error().empty());
  world.platform.files.write("/run/total", "8s\n");
  world.advance(1s);
  CHECK(world.server->generation() == 3);
  world.write(kYaml);
  world.advance(1s);
  world.platform.files.write("/run/total", "9s\n");  // nobody asks for it any more
  world.advance(1s);
  CHECK(world.server->generation() == 4);
  CHECK(world.platform.files.watches() == 2);  // the file, and the folder of its includes
}

TEST_CASE("what is wrong is shown with its time until it is mended, and the last good one serves") {
  FileWorld world;
  world.upstream("10.0.0.1:80");
  world.advance(1s);
  world.write(kYaml + "nonsense: 1\n");
  world.advance(1s);
  const std::string since = json::parse(world.admin("GET", "/config/status").body)["last_reload"]["refused_since"];
  world.advance(1min);
  world.write(kYaml + "nonsense: 2\n");
  world.advance(1s);
  CHECK(world.get("/").status() == 200);
  CHECK(world.metric("weir_config_last_reload_success") == 0);
  const json status = json::parse(world.admin("GET", "/config/status").body);
  CHECK(status["generation"] == 1);
  CHECK(status["last_reload"]["ok"] == false);
  CHECK(status["last_reload"]["refused_since"] == since);
  CHECK(status["last_reload"]["error"].get<std::string>().find("nonsense") != std::string::npos);
  const std::string page = world.admin("GET", "/config").body;
  CHECK(page.find("refused (since " + since) != std::string::npos);
  CHECK(page.find("#   /etc/weir/weir.yaml:") != std::string::npos);
  world.write(timed("5s"));
  world.advance(1s);
  CHECK(world.metric("weir_config_last_reload_success") == 1);
  CHECK(world.admin("GET", "/config").body.find("was refused") == std::string::npos);
  CHECK(json::parse(world.admin("GET", "/config/status").body)["last_reload"]["ok"] == true);
}

TEST_CASE("who orders a reload is answered when every worker serves it, and told what changed") {
  FileWorld world;
  world.advance(1s);
  world.sim.loop(2).stop();  // the second worker turns no more
  world.write(timed("20s"));
  SimClient& client = world.client_to(*world.server->admin_address(true));
  client.send("POST /reload HTTP/1.1\r\nHost: a\r\nAccept: text/plain\r\nContent-Length: 0\r\n\r\n");
  world.advance(5s);
  CHECK_FALSE(client.answered());
  CHECK(world.server->generation() == 2);
  CHECK(world.server->served_generation() == 1);
}

TEST_CASE("an order's answer is for people where they ask for text") {
  FileWorld world;
  world.platform.files.write(World::kFile, timed("20s"));
  const std::string text = "Accept: text/plain\r\n";
  CHECK(world.admin("POST", "/reload", text, true).body ==
        "taken: every worker serves generation 2\n  policy p: filter timeout total 30s -> 20s\n");
  CHECK(world.admin("POST", "/reload", text, true).body == "nothing changed: generation 2 stays\n");
  world.platform.files.write(World::kFile, timed("forty"));
  const Message refused = world.admin("POST", "/reload", text, true);
  CHECK(refused.status() == 422);
  CHECK(refused.body.find("refused: generation 2 stays\n/etc/weir/weir.yaml:11:") == 0);
}

TEST_CASE("an order that moves the admin listener is answered where it was given") {
  FileWorld world;
  world.platform.files.write(World::kFile, replaced(kYaml, "/run/weir/admin.sock", "/run/weir/other.sock"));
  SimClient& client = world.client_to(*world.server->admin_address(true));
  SimClient& idle = world.client_to(*world.server->admin_address(true));
  SimClient& gone = world.client_to(*world.server->admin_address(true));
  gone.send("POST /reload HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
  gone.reset();
  client.send("POST /reload HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
  REQUIRE(world.await(client));
  CHECK(client.answers()[0].status() == 200);
  CHECK(world.server->admin_address(true)->text() == "unix:/run/weir/other.sock");
  world.advance(3s);
  CHECK(idle.over());
  CHECK(world.admin("GET", "/healthz", "", true).status() == 200);
}

TEST_CASE("orders that come while one is handed out are answered by the next") {
  FileWorld world;
  world.platform.files.write(World::kFile, timed("20s"));
  int told = 0;
  std::vector<std::uint64_t> generations;
  const auto note = [&](const ReloadOutcome& outcome) { generations.push_back(outcome.generation), ++told; };
  REQUIRE(world.server->reload(note));
  world.platform.files.write(World::kFile, timed("10s"));
  REQUIRE(world.server->reload(note));
  REQUIRE(world.server->reload(note));
  CHECK(told == 0);
  world.settle();
  CHECK(generations == std::vector<std::uint64_t>{2, 3, 3});
}

TEST_CASE("a breaker that is open stays open over a reload that changes its parameters") {
  const auto breaker = [](const std::string& ratio) {
    return with_filter("circuit_breaker: { name: main, causes: [5xx], min_calls: 5, failure_ratio: " + ratio +
                       ", open_for: { base: 1h, max: 1h } }");
  };
  World world(breaker("50%"), {.workers = 2});
  for (const char* at : {"10.0.0.1:80", "10.0.0.2:80"}) {
    world.upstream(at).script = [](UpstreamPeer& peer, const Message&, int) { peer.answer(500, "no"); };
  }
  for (int i = 0; i < 5; ++i) CHECK(world.get("/").status() == 500);
  CHECK(world.get("/").status() == 503);
  REQUIRE(world.reload(breaker("90%")));
  CHECK(world.server->generation() == 2);
  CHECK(world.metric("weir_breaker_state") == 1);
  CHECK(world.get("/").status() == 503);
}

TEST_CASE("a concurrency limit counts what runs over reloads that raise and lower it") {
  const auto limited = [](int limit) { return with_filter("concurrency_limit: { limit: " + std::to_string(limit) + " }"); };
  World world(limited(2), {.workers = 2});
  for (const char* at : {"10.0.0.1:80", "10.0.0.2:80"}) {
    world.upstream(at).script = [](UpstreamPeer& peer, const Message&, int) { peer.answer(200, "ok", "", 5s); };
  }
  const auto running = [&] { return world.metric("weir_limit_in_flight"); };
  const auto ask = [&](int times) {
    for (int i = 0; i < times; ++i) world.client().get("/");
    world.advance(10ms);
  };
  ask(3);
  CHECK(running() == 2);
  REQUIRE(world.reload(limited(3)));
  ask(3);
  CHECK(running() == 3);
  REQUIRE(world.reload(limited(1)));
  ask(3);
  CHECK(running() == 3);  // what was let in goes on
  world.advance(6s);
  CHECK(running() == 0);
  ask(3);
  CHECK(running() == 1);
}

TEST_CASE("an ejected endpoint stays out, and retries that were taken stay taken, over a reload of the service") {
  const std::string service =
      ", balance: round_robin, outlier_detection: { causes: [5xx], consecutive_failures: 3, eject_for: { base: 1h, max: 1h } }, "
      "retry_budget: { ratio: 0%, min_rate: 2/s, window: 10s }";
  const auto yaml = [&](const std::string& more) { return with_filter("retry: { max_attempts: 2, causes: [5xx] }", service + more); };
  World world(yaml(""), {.workers = 2});
  world.upstream("10.0.0.1:80").script = [](UpstreamPeer& peer, const Message&, int) { peer.answer(500, "no"); };
  world.upstream("10.0.0.2:80").script = [](UpstreamPeer& peer, const Message&, int) { peer.answer(200, "ok"); };
  for (int i = 0; i < 12; ++i) world.get("/");
  CHECK(world.metric("weir_endpoints", {{"state", "ejected"}}) == 1);
  const double left = world.metric("weir_retry_budget_remaining");
  CHECK(left < 20);
  REQUIRE(world.reload(yaml(", connect_timeout: 1s")));
  CHECK(world.server->generation() == 2);
  CHECK(world.metric("weir_endpoints", {{"state", "ejected"}}) == 1);
  CHECK(world.metric("weir_retry_budget_remaining") == left);
  const std::size_t seen = world.upstream("10.0.0.1:80").seen.size();
  for (int i = 0; i < 6; ++i) CHECK(world.get("/").status() == 200);
  CHECK(world.upstream("10.0.0.1:80").seen.size() == seen);
}

TEST_CASE("a listener's new options hold for new connections") {
  const auto yaml = [](int connections) {
    return replaced(with_filter("timeout: { total: 30s }"), "listen: 127.0.0.1:15001",
                    "listen: 127.0.0.1:15001, limits: { connections: " + std::to_string(connections) + " }");
  };
  World world(yaml(1));
  world.upstream("10.0.0.1:80");
  world.upstream("10.0.0.2:80");
  SimClient& first = world.client();
  world.advance(10ms);
  SimClient& second = world.client();
  world.advance(10ms);
  CHECK(second.over());
  REQUIRE(world.reload(yaml(2)));
  SimClient& third = world.client();
  third.get("/");
  REQUIRE(world.await(third));
  first.get("/");
  REQUIRE(world.await(first));
  CHECK(first.answers()[0].status() == 200);
}

TEST_CASE("a listener that moves serves at both addresses until the old one's connections end, and its limit counts them all") {
  const auto yaml = [](const std::string& port) {
    return replaced(with_filter("timeout: { total: 30s }"), "listen: 127.0.0.1:15001",
                    "listen: 127.0.0.1:" + port + ", limits: { connections: 2 }");
  };
  World world(yaml("15001"), {.workers = 2});
  world.upstream("10.0.0.1:80");
  world.upstream("10.0.0.2:80");
  SimClient& old = world.client();
  old.get("/");
  REQUIRE(world.await(old));
  REQUIRE(world.reload(yaml("15002")));
  world.advance(Server::kHalfwayIn);
  SimClient& fresh = world.client();
  fresh.get("/");
  REQUIRE(world.await(fresh));
  old.get("/");
  REQUIRE(world.await(old, 2));
  CHECK_FALSE(old.answers()[1].has("connection"));
  SimClient& third = world.client();
  world.advance(10ms);
  CHECK(third.over());
}

TEST_CASE("a drain that comes while a listener moves serves the new address until it is quiet, and the order is answered") {
  const auto yaml = [](const std::string& port) {
    return replaced(with_filter("timeout: { total: 30s }"), "listen: 127.0.0.1:15001", "listen: 127.0.0.1:" + port);
  };
  World world(yaml("15001"), {.workers = 2});
  for (const char* at : {"10.0.0.1:80", "10.0.0.2:80"}) {
    world.upstream(at).script = [](UpstreamPeer& peer, const Message&, int) { peer.answer(200, "late", "", 500ms); };
  }
  SimClient& old = world.client();
  old.get("/");
  world.advance(10ms);
  world.set_yaml(yaml("15002"));
  std::vector<ReloadOutcome::Kind> told;
  REQUIRE(world.server->reload([&](const ReloadOutcome& outcome) { told.push_back(outcome.kind); }));
  world.server->drain();
  world.advance(100ms);
  CHECK(told == std::vector<ReloadOutcome::Kind>{ReloadOutcome::Kind::taken});
  SimClient& fresh = world.client();
  fresh.get("/");
  REQUIRE(world.await(fresh));
  CHECK(fresh.answers()[0].status() == 200);
  CHECK(old.answered());
  world.advance(10s);
  CHECK(world.finished);
  CHECK(world.finished_clean);
}
