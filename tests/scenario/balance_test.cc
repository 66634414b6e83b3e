// Balancing seen from outside: what peak_ewma makes of a slow endpoint and of one that fails at once, where hash keys lead, slow start.
// Requests come at a fixed rate whatever becomes of the earlier ones.
#include <catch2/catch.hpp>

#include <algorithm>
#include <map>
#include <set>

#include "tests/support/world.h"

using namespace weir;
using namespace weir::test;

namespace {

const std::vector<std::string> kEndpoints = {"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"};

std::string yaml(const std::string& balance, const std::string& endpoints = "10.0.0.1:80, 10.0.0.2:80, 10.0.0.3:80") {
  return R"(version: 1
access_log: { path: /access.log }
listeners:
  - { name: out, direction: outbound, listen: 127.0.0.1:15001, routes: [ { name: all, service: app, policy: p } ] }
services:
  app: { endpoints: [)" +
         endpoints + "], " + balance + R"(, outlier_detection: { mode: disabled } }
policies:
  p: { filters: [ { timeout: { total: 5s } } ] }
)";
}

void answers(World& world, const std::string& address, int status, Duration after) {
  world.upstream(address).script = [status, after](UpstreamPeer& peer, const Message&, int) { peer.answer(status, "x", "", after); };
}

// So many a second from now on, each on a connection of its own.
void offer(World& world, int per_second, Duration length, const std::string& fields = "") {
  const MonotonicTime began = world.sim.now();
  const Duration gap = Duration(1s) / per_second;
  for (Duration at{0}; at < length; at += gap) {
    world.sim.schedule_at(world.sim.loop(0), began + at, [&world, fields] { world.client().get("/", fields); });
  }
  world.advance(length);
}

struct Seen {
  std::map<std::string, double> share;  // of tries, by endpoint
  double p99_ms = 0;
  double failed = 0;  // share of answers that were no 200
};

Seen seen(World& world, std::size_t from = 0) {
  world.advance(1s);
  Seen result;
  std::vector<double> durations;
  const auto lines = world.access_log();
  REQUIRE(lines.size() > from);
  for (std::size_t i = from; i < lines.size(); ++i) {
    result.share[lines[i]["attempts"][0]["endpoint"].get<std::string>()] += 1;
    durations.push_back(lines[i]["duration_ms"].get<double>());
    if (lines[i]["status"] != 200) result.failed += 1;
  }
  const auto count = static_cast<double>(durations.size());
  for (auto& [endpoint, share] : result.share) share /= count;
  result.failed /= count;
  std::sort(durations.begin(), durations.end());
  result.p99_ms = durations[durations.size() * 99 / 100];
  return result;
}

}  // namespace

TEST_CASE("peak_ewma leaves a slow endpoint alone; the other balances do not") {
  const bool peak = GENERATE(true, false);
  World world(yaml(peak ? "balance: peak_ewma" : "balance: least_request"));
  answers(world, kEndpoints[0], 200, 10ms);
  answers(world, kEndpoints[1], 200, 10ms);
  answers(world, kEndpoints[2], 200, 100ms);
  offer(world, 50, 40s);
  Seen result = seen(world);
  INFO("share " << result.share[kEndpoints[2]] << ", p99 " << result.p99_ms << " ms");
  if (peak) {
    CHECK(result.share[kEndpoints[2]] < 0.01);
    CHECK(result.p99_ms < 30);
  } else {
    CHECK(result.share[kEndpoints[2]] > 0.05);
    CHECK(result.p99_ms >= 100);
  }
  CHECK(result.failed == 0);
}

TEST_CASE("peak_ewma does not take a client's slow upload for a slow endpoint") {
  World world(yaml("balance: peak_ewma"));
  for (const std::string& one : kEndpoints) answers(world, one, 200, 10ms);
  offer(world, 50, 2s);
  SimClient& uploader = world.client();
  uploader.send("POST /up HTTP/1.1\r\nHost: test.local\r\nContent-Length: 4\r\n\r\nab");
  world.advance(2s);
  uploader.send("cd");
  REQUIRE(world.await(uploader));
  CHECK(uploader.answers()[0].status() == 200);
  const auto lines = world.access_log();
  const std::string served = lines.back()["attempts"][0]["endpoint"];
  offer(world, 50, 4s);
  Seen result = seen(world, lines.size());
  INFO("share " << result.share[served]);
  CHECK(result.share[served] > 0.2);
}

TEST_CASE("an endpoint that fails at once does not attract load under peak_ewma; under least_request it does") {
  const bool peak = GENERATE(true, false);
  const int status = GENERATE(503, 429);
  World world(yaml(peak ? "balance: peak_ewma" : "balance: least_request"));
  answers(world, kEndpoints[0], 200, 50ms);
  answers(world, kEndpoints[1], 200, 50ms);
  answers(world, kEndpoints[2], status, 0ms);
  offer(world, 50, 40s);
  Seen result = seen(world);
  INFO("share " << result.share[kEndpoints[2]]);
  if (peak) {
    CHECK(result.failed < 0.005);
  } else {
    CHECK(result.failed > 0.4);  // more than its share: it is never busy
  }
}

TEST_CASE("an endpoint that refuses connections, or answers too late, counts as failed under peak_ewma") {
  const bool refuses = GENERATE(true, false);
  World world(yaml("balance: peak_ewma"));
  answers(world, kEndpoints[0], 200, 20ms);
  answers(world, kEndpoints[1], 200, 20ms);
  if (refuses) {
    world.upstream(kEndpoints[2]).down();
  } else {
    answers(world, kEndpoints[2], 200, 20s);  // beyond the total: clients are answered 504
  }
  offer(world, 50, 40s);
  Seen result = seen(world);
  CHECK(result.failed > 0);
  CHECK(result.failed < 0.01);
}

TEST_CASE("under peak_ewma an endpoint that is well again gets its share back") {
  World world(yaml("balance: peak_ewma"));
  for (const auto& endpoint : kEndpoints) answers(world, endpoint, 200, 10ms);
  answers(world, kEndpoints[2], 503, 0ms);
  offer(world, 50, 10s);
  answers(world, kEndpoints[2], 200, 10ms);
  offer(world, 50, 70s);
  const std::size_t before = world.access_log().size();
  offer(world, 50, 20s);
  CHECK(seen(world, before).share[kEndpoints[2]] > 0.25);
}

TEST_CASE("requests of one key go to one endpoint, through a reload too; without the key, anywhere") {
  const std::string balance = GENERATE("ring_hash", "maglev");
  const std::string fields = "balance: " + balance + ", hash_key: [header:x-user]";
  World world(yaml(fields), {.workers = 2});
  for (const auto& endpoint : kEndpoints) world.upstream(endpoint);
  std::map<std::string, std::string> home;
  const auto ask = [&](const std::string& user) {
    CHECK(world.get("/", user.empty() ? "" : "x-user: " + user + "\r\n").status() == 200);
    return world.last_line()["attempts"][0]["endpoint"].get<std::string>();
  };
  std::set<std::string> used;
  for (int i = 0; i < 20; ++i) {
    const std::string user = "user-" + std::to_string(i);
    home[user] = ask(user);
    used.insert(home[user]);
    CHECK(ask(user) == home[user]);
  }
  CHECK(used.size() == 3);
  REQUIRE(world.reload(yaml(fields, "10.0.0.3:80, 10.0.0.1:80")));
  for (const auto& [user, endpoint] : home) {
    const std::string now = ask(user);
    CHECK((now == endpoint || endpoint == kEndpoints[1] || balance == "maglev"));
  }
  std::set<std::string> anywhere;
  for (int i = 0; i < 20; ++i) anywhere.insert(ask(""));
  CHECK(anywhere.size() == 2);
}

TEST_CASE("a hot key is spread once its endpoint has its bound, and that is counted") {
  World world(yaml("balance: ring_hash, hash_key: [header:x-user], hash_max_load: 125%"));
  for (const auto& endpoint : kEndpoints) answers(world, endpoint, 200, 200ms);
  offer(world, 100, 10s, "x-user: everybody\r\n");
  Seen result = seen(world);
  for (const auto& endpoint : kEndpoints) CHECK(result.share[endpoint] < 0.5);
  CHECK(world.metric("weir_balancer_passed_full_total", {{"service", "app"}}) > 300);
}

TEST_CASE("an endpoint that joins starts slowly, those of the start do not") {
  World world(yaml("balance: round_robin, slow_start: 20s", "10.0.0.1:80, 10.0.0.2:80"));
  for (const auto& endpoint : kEndpoints) answers(world, endpoint, 200, 5ms);
  offer(world, 50, 10s);
  Seen first = seen(world);
  CHECK(first.share[kEndpoints[0]] == Approx(0.5).margin(0.02));
  REQUIRE(world.reload(yaml("balance: round_robin, slow_start: 20s")));
  std::size_t from = world.access_log().size();
  offer(world, 100, 2s);
  CHECK(seen(world, from).share[kEndpoints[2]] < 0.11);
  world.advance(6s);
  from = world.access_log().size();
  offer(world, 100, 2s);
  CHECK(seen(world, from).share[kEndpoints[2]] == Approx(0.2).margin(0.07));
  world.advance(20s);
  from = world.access_log().size();
  offer(world, 100, 2s);
  CHECK(seen(world, from).share[kEndpoints[2]] == Approx(1.0 / 3).margin(0.02));
}

TEST_CASE("an endpoint is back slowly from an ejection") {
  World world(R"(version: 1
access_log: { path: /access.log }
listeners:
  - { name: out, direction: outbound, listen: 127.0.0.1:15001, routes: [ { name: all, service: app, policy: p } ] }
services:
  app:
    endpoints: [10.0.0.1:80, 10.0.0.2:80, 10.0.0.3:80]
    balance: random
    slow_start: 20s
    outlier_detection: { causes: [5xx], consecutive_failures: 3, eject_for: { base: 5s, max: 5s } }
policies:
  p: { filters: [ { timeout: { total: 5s } } ] }
)");
  for (const auto& endpoint : kEndpoints) answers(world, endpoint, 200, 5ms);
  answers(world, kEndpoints[2], 503, 5ms);
  offer(world, 100, 1s);
  CHECK(world.metric("weir_endpoints", {{"state", "ejected"}}) == 1);
  answers(world, kEndpoints[2], 200, 5ms);
  world.advance(5s);
  CHECK(world.metric("weir_endpoints", {{"state", "ejected"}}) == 0);
  const std::size_t from = world.access_log().size();
  offer(world, 200, 2s);
  CHECK(seen(world, from).share[kEndpoints[2]] < 0.12);
}
