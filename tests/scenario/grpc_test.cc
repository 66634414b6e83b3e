// gRPC calls through the whole proxy in virtual time: statuses in heads and trailers, deadlines over tries and hops, answers of weir's own.
#include <algorithm>
#include <catch2/catch.hpp>

#include "proxy/message/grpc.h"
#include "tests/scenario/sums.h"
#include "tests/support/h2_client.h"
#include "tests/support/world.h"

using namespace weir;
using namespace weir::test;

namespace {

std::string yaml(const std::string& filters, const std::string& service_fields = "") {
  return R"(version: 1
access_log: { path: /access.log }
listeners:
  - name: out
    direction: outbound
    listen: 127.0.0.1:15001
    routes: [ { name: all, match: { path_prefix: /shop.Cart }, service: app, policy: p } ]
services:
  app: { endpoints: [10.0.0.1:80, 10.0.0.2:80], balance: round_robin, )" +
         service_fields + R"( }
policies:
  p:
    filters:
)" + filters;
}

const char* const kRetry =
    "      - retry: { max_attempts: 3, causes: [connect_failure, grpc_unavailable], methods: any, backoff: { base: 1ms, max: 1ms } }\n";

Address at(World& world) { return world.server->listening().at("out"); }

// An answer as a gRPC server gives it, in HTTP/1's words.
std::string head_of_answer() {
  return "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\nTrailer: grpc-status\r\n\r\n";
}
std::string message(const std::string& text) {
  char size[16];
  std::snprintf(size, sizeof size, "%zx", text.size());
  return std::string(size) + "\r\n" + text + "\r\n";
}
std::string trailers(int status, const std::string& more = "") {
  return "0\r\ngrpc-status: " + std::to_string(status) + "\r\n" + more + "\r\n";
}

SimUpstream::Script answers(int status, const std::string& text = "", const std::string& more = "") {
  return [=](UpstreamPeer& peer, const Message&, int) {
    peer.send(head_of_answer() + (text.empty() ? "" : message(text)) + trailers(status, more));
  };
}
void silence(UpstreamPeer&, const Message&, int) {}

std::int32_t call(H2Client& client, const H2Fields& more = {}, const std::string& path = "/shop.Cart/Get") {
  H2Fields fields{{"content-type", "application/grpc"}, {"te", "trailers"}};
  fields.insert(fields.end(), more.begin(), more.end());
  return client.post(path, "request", fields);
}

std::string trailer(const H2Reply& reply, const std::string& name = "grpc-status") {
  for (const auto& [key, value] : reply.trailers) {
    if (key == name) return value;
  }
  return {};
}

Duration timeout_of(const Message& request) { return parse_grpc_timeout(request.header("grpc-timeout")).value_or(Duration(-1)); }

}  // namespace

TEST_CASE("grpc: a call that succeeds passes as it is, and is counted and logged by its status") {
  World world(yaml(kRetry));
  for (const char* address : {"10.0.0.1:80", "10.0.0.2:80"}) world.upstream(address).script = answers(0, "message");
  H2Client client(world.platform.net, at(world));
  const auto id = call(client);
  world.advance(1s);
  CHECK(client.answer(id).status == 200);
  CHECK(client.answer(id).body == "message");
  CHECK(trailer(client.answer(id)) == "0");
  check_sums(world, 1);
  CHECK(world.metric("weir_grpc_requests_total", {{"grpc_status", "ok"}, {"route", "all"}, {"service", "app"}}) == 1);
  const auto line = world.last_line();
  CHECK(line["grpc_status"] == "ok");
  CHECK(line["attempts"][0]["grpc_status"] == "ok");
}

TEST_CASE("grpc: a failure in trailers is tried again elsewhere; the second server is told that there was a first") {
  World world(yaml(kRetry));
  world.upstream("10.0.0.1:80").script = answers(14, "", "grpc-message: restarting\r\n");
  SimUpstream& good = world.upstream("10.0.0.2:80");
  good.script = answers(0, "message");
  H2Client client(world.platform.net, at(world));
  for (int i = 0; i < 2; ++i) {
    const auto id = call(client);
    world.advance(1s);
    CHECK(trailer(client.answer(id)) == "0");
  }
  REQUIRE(good.seen.size() == 2);
  double retries = 0;
  for (const Message& one : good.seen) {
    CHECK(one.header("content-type") == "application/grpc");
    CHECK(one.header("te") == "trailers");
    const bool again = one.has("x-weir-attempt");
    CHECK(one.header("grpc-previous-rpc-attempts") == (again ? "1" : ""));
    retries += again ? 1 : 0;
  }
  CHECK(retries > 0);
  CHECK(world.metric("weir_attempts_total", {{"outcome", "grpc_unavailable"}}) == retries);
  CHECK(world.metric("weir_attempts_total", {{"outcome", "2xx"}}) == 2);
  CHECK(world.metric("weir_grpc_requests_total", {{"grpc_status", "ok"}}) == 2);
  check_sums(world, 2);
  for (const auto& line : world.access_log()) {
    CHECK(line["grpc_status"] == "ok");
    if (line["attempts"].size() == 2) CHECK(line["attempts"][0]["grpc_status"] == "unavailable");
  }
}

TEST_CASE("grpc: what the client itself counted of its attempts is counted on") {
  World world(yaml(kRetry));
  world.upstream("10.0.0.1:80").script = answers(14);
  world.upstream("10.0.0.2:80").script = answers(14);
  H2Client client(world.platform.net, at(world));
  const auto id = call(client, {{"grpc-previous-rpc-attempts", "2"}});
  world.advance(1s);
  CHECK(trailer(client.answer(id)) == "14");  // the last one's failure passes, trailers and all
  std::vector<std::string> counts;
  for (const auto& [address, upstream] : world.upstreams) {
    for (const Message& request : upstream->seen) counts.push_back(request.header("grpc-previous-rpc-attempts"));
  }
  std::sort(counts.begin(), counts.end());
  CHECK(counts == std::vector<std::string>{"2", "3", "4"});
  check_sums(world, 1);
  CHECK(world.metric("weir_grpc_requests_total", {{"grpc_status", "unavailable"}}) == 1);
}

TEST_CASE("grpc: what weir answers itself is one head that says it in gRPC") {
  World world(yaml(kRetry));  // nobody listens
  H2Client client(world.platform.net, at(world));
  const auto id = call(client);
  const auto lost = call(client, {}, "/no.Such/Service");
  const auto plain = client.post("/no.Such/Service", "request", {{"content-type", "application/json"}});
  world.advance(1s);
  const H2Reply& reply = client.answer(id);
  CHECK(reply.status == 200);
  CHECK(reply.field("content-type") == "application/grpc");
  CHECK(reply.field("grpc-status") == "14");
  CHECK(reply.field("grpc-message").find("could not connect to the upstream") != std::string::npos);
  CHECK(reply.field("proxy-status").find("connect_failure") != std::string::npos);
  CHECK(reply.body.empty());
  CHECK(reply.trailers.empty());
  CHECK(reply.ended);
  CHECK(client.answer(lost).field("grpc-status") == "12");
  CHECK(client.answer(plain).status == 404);
  CHECK_FALSE(client.broken());
  check_sums(world, 3);
  CHECK(world.metric("weir_grpc_requests_total", {{"grpc_status", "unavailable"}}) == 1);
  CHECK(world.metric("weir_grpc_requests_total", {{"grpc_status", "unimplemented"}}) == 1);
  CHECK(world.metric("weir_grpc_requests_total") == 2);
  CHECK(world.metric("weir_request_failures_total", {{"failure", "connect_failure"}}) == 1);
}

TEST_CASE("grpc: over HTTP/1 weir's own answer is whole too, and the connection goes on") {
  World world(yaml("      - timeout: { total: 1s }\n"));
  SimClient& client = world.client();
  for (std::size_t i = 1; i <= 2; ++i) {
    client.request("POST", "/shop.Cart/Get", "request", "Content-Type: application/grpc\r\n");
    REQUIRE(world.await(client, i));
  }
  CHECK(client.answers()[1].status() == 200);
  CHECK(client.answers()[1].header("grpc-status") == "14");
  CHECK(client.answers()[1].header("content-length") == "0");
  check_sums(world, 2);
}

TEST_CASE("grpc: a request that the framing rules refuse is refused in HTTP") {
  World world(yaml(kRetry));
  SimClient& client = world.client();
  client.send(
      "POST /shop.Cart/Get HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n");
  REQUIRE(world.await(client));
  CHECK(client.answers()[0].status() == 400);
  check_sums(world, 1);
}

TEST_CASE("grpc: a breaker opens on failures that stand in trailers, and says when to come back") {
  World world(yaml(
      "      - circuit_breaker: { causes: [grpc_unavailable], min_calls: 10, failure_ratio: 50%, open_for: { base: 5s, max: 5s } }\n"));
  for (const char* address : {"10.0.0.1:80", "10.0.0.2:80"}) world.upstream(address).script = answers(14);
  H2Client client(world.platform.net, at(world));
  for (int i = 0; i < 10; ++i) {
    const auto id = call(client);
    world.advance(10ms);
    CHECK(trailer(client.answer(id)) == "14");
  }
  const auto id = call(client);
  world.advance(10ms);
  CHECK(client.answer(id).field("grpc-status") == "14");
  CHECK(client.answer(id).field("proxy-status").find("breaker_open") != std::string::npos);
  const std::string pushback = client.answer(id).field("grpc-retry-pushback-ms");
  REQUIRE_FALSE(pushback.empty());
  CHECK(std::stoi(pushback) > 2000);
  CHECK(std::stoi(pushback) <= 5000);
  check_sums(world, 11);
}

TEST_CASE("grpc: other statuses and HTTP's words leave the breaker closed") {
  World world(yaml("      - circuit_breaker: { causes: [5xx, grpc_unavailable], min_calls: 10, failure_ratio: 50% }\n"));
  for (const char* address : {"10.0.0.1:80", "10.0.0.2:80"}) world.upstream(address).script = answers(13);  // internal: no cause
  H2Client client(world.platform.net, at(world));
  for (int i = 0; i < 20; ++i) {
    const auto id = call(client);
    world.advance(10ms);
    CHECK(trailer(client.answer(id)) == "13");
  }
  check_sums(world, 20);
}

TEST_CASE("grpc: an endpoint whose calls fail in trailers is ejected where its causes say so") {
  World world(yaml("      - timeout: { total: 1s }\n",
                   "outlier_detection: { causes: [grpc_unavailable], consecutive_failures: 3, eject_for: { base: 1m, max: 1m } }"));
  SimUpstream& bad = world.upstream("10.0.0.1:80");
  bad.script = answers(14);
  world.upstream("10.0.0.2:80").script = answers(0, "message");
  H2Client client(world.platform.net, at(world));
  for (int i = 0; i < 20; ++i) {
    call(client);
    world.advance(10ms);
  }
  CHECK(bad.seen.size() == 3);
  CHECK(world.metric("weir_outlier_decisions_total", {{"decision", "eject"}}) == 1);
}

TEST_CASE("grpc: what is left of the client's deadline is sent on, less with every try") {
  World world(
      yaml("      - timeout: { total: 2s }\n"
           "      - retry: { max_attempts: 3, causes: [timeout], methods: any, backoff: { base: 1ms, max: 1ms } }\n"
           "      - timeout: { name: per-try, response_headers: 300ms }\n"));
  for (const char* address : {"10.0.0.1:80", "10.0.0.2:80"}) world.upstream(address).script = silence;
  H2Client client(world.platform.net, at(world));
  const auto id = call(client, {{"grpc-timeout", "1S"}});
  world.advance(3s);
  std::vector<Duration> told;
  for (const auto& [address, upstream] : world.upstreams) {
    for (const Message& request : upstream->seen) told.push_back(timeout_of(request));
  }
  std::sort(told.rbegin(), told.rend());
  REQUIRE(told.size() == 3);
  CHECK(told[0] <= 1s);
  CHECK(told[0] > 990ms);
  CHECK(told[1] <= told[0] - 300ms);
  CHECK(told[1] > 680ms);
  CHECK(told[2] <= told[1] - 300ms);
  CHECK(client.answer(id).field("grpc-status") == "4");
  check_sums(world, 1);
}

TEST_CASE("grpc: a deadline of the client's is nobody's failure; weir's own total is weir's") {
  World world(
      yaml("      - timeout: { total: 2s }\n"
           "      - circuit_breaker: { causes: [timeout, grpc_deadline_exceeded], min_calls: 1, failure_ratio: 1% }\n"));
  for (const char* address : {"10.0.0.1:80", "10.0.0.2:80"}) world.upstream(address).script = silence;
  H2Client client(world.platform.net, at(world));
  for (const char* timeout : {"500m", "5S"}) {
    const auto id = call(client, {{"grpc-timeout", timeout}});
    world.advance(3s);
    CHECK(client.answer(id).field("grpc-status") == "4");
  }
  check_sums(world, 2);
  const auto lines = world.access_log();
  CHECK(lines[0]["failure"] == "deadline_exceeded");
  CHECK(lines[0]["grpc_status"] == "deadline_exceeded");
  CHECK(lines[1]["failure"] == "total_timeout");
  CHECK(world.metric("weir_breaker_transitions_total", {{"state", "open"}}) == 0);
  CHECK(world.metric("weir_grpc_requests_total", {{"grpc_status", "deadline_exceeded"}}) == 2);
}

TEST_CASE("grpc: a client that takes its call back when its deadline is over has met its deadline; earlier it has gone") {
  World world(yaml("      - timeout: { total: 2s }\n"));
  for (const char* address : {"10.0.0.1:80", "10.0.0.2:80"}) world.upstream(address).script = silence;
  H2Client client(world.platform.net, at(world));
  for (const Duration after : {Duration(997ms), Duration(900ms)}) {
    const auto id = call(client, {{"grpc-timeout", "1S"}});
    world.advance(after);
    client.reset(id);
    world.advance(1s);
  }
  check_sums(world, 2);
  const auto lines = world.access_log();
  CHECK(lines[0]["failure"] == "deadline_exceeded");
  CHECK(lines[1]["failure"] == "client_gone");
  CHECK(world.metric("weir_grpc_requests_total", {{"grpc_status", "cancelled"}}) == 1);
}

TEST_CASE("grpc: two hops share one deadline, and where no total is enforced grpc-timeout passes unchanged") {
  World world(R"(version: 1
access_log: { path: /access.log }
listeners:
  - name: out
    direction: outbound
    listen: 127.0.0.1:15001
    routes: [ { match: { path_prefix: /timed }, service: next, policy: timed }, { service: next, policy: plain } ]
  - name: in
    direction: inbound
    listen: 127.0.0.1:15002
    routes: [ { match: { path_prefix: /timed }, service: app, policy: timed }, { service: app, policy: plain } ]
services:
  next: { endpoints: [127.0.0.1:15002] }
  app: { endpoints: [10.0.0.1:80] }
policies:
  timed:
    filters:
      - timeout: { total: 2s }
      - retry: { max_attempts: 2, causes: [grpc_unavailable], methods: any, backoff: { base: 100ms, max: 100ms } }
  plain:
    filters:
      - timeout: { response_headers: 10s }
)");
  SimUpstream& app = world.upstream("10.0.0.1:80");
  app.script = [](UpstreamPeer& peer, const Message& request, int number) {
    if (request.start_line.find("/plain") != std::string::npos) return answers(0, "message")(peer, request, number);
    if (number == 1) return answers(14)(peer, request, number);
  };
  H2Client client(world.platform.net, at(world));
  const auto id = call(client, {{"grpc-timeout", "300m"}}, "/timed/Get");
  world.advance(400ms);
  const auto plain = call(client, {{"grpc-timeout", "20S"}}, "/plain/Get");
  world.advance(1s);
  REQUIRE(app.seen.size() == 3);
  CHECK(timeout_of(app.seen[0]) <= 300ms);
  CHECK(timeout_of(app.seen[0]) > 250ms);
  CHECK(timeout_of(app.seen[1]) <= timeout_of(app.seen[0]));  // after the inner hop's backoff
  CHECK(app.seen[2].header("grpc-timeout") == "20S");
  CHECK(client.answer(id).field("grpc-status") == "4");
  CHECK(trailer(client.answer(plain)) == "0");
  world.advance(1s);
  std::vector<std::string> failures;
  for (const auto& line : world.access_log()) {
    if (line.contains("failure")) failures.push_back(line["listener"].get<std::string>() + "/" + line["failure"].get<std::string>());
  }
  CHECK(std::find(failures.begin(), failures.end(), "out/deadline_exceeded") != failures.end());
  CHECK(world.metric("weir_attempts_in_flight") == 0);
}

TEST_CASE("grpc: a stream in both directions never waits, and ends with its trailers") {
  World world(yaml(kRetry));
  for (const char* address : {"10.0.0.1:80", "10.0.0.2:80"}) {
    SimUpstream& upstream = world.upstream(address);
    upstream.whole_requests = false;
    upstream.script = [](UpstreamPeer& peer, const Message&, int) { peer.send(head_of_answer()); };
  }
  H2Client client(world.platform.net, at(world));
  const auto id = client.open("POST", "/shop.Cart/Watch", {{"content-type", "application/grpc"}});
  client.write(id, "first");
  world.advance(10ms);  // far less than grpc_hold
  CHECK(client.answer(id).status == 200);
  for (const char* address : {"10.0.0.1:80", "10.0.0.2:80"}) {
    for (const auto& peer : world.upstream(address).peers) peer->send(message("one"));
  }
  world.advance(10ms);
  CHECK(client.answer(id).body == "one");
  client.write(id, "second");
  client.finish(id);
  for (const char* address : {"10.0.0.1:80", "10.0.0.2:80"}) {
    for (const auto& peer : world.upstream(address).peers) peer->send(trailers(14));
  }
  world.advance(1s);
  CHECK(trailer(client.answer(id)) == "14");
  check_sums(world, 1);
  CHECK(world.metric("weir_attempts_total") == 1);
}

TEST_CASE("grpc: a server's stream whose first message is late gets its head after grpc_hold") {
  World world(yaml(kRetry));
  for (const char* address : {"10.0.0.1:80", "10.0.0.2:80"}) {
    world.upstream(address).script = [](UpstreamPeer& peer, const Message&, int) { peer.send(head_of_answer()); };
  }
  H2Client client(world.platform.net, at(world));
  const auto id = call(client);
  world.advance(45ms);
  CHECK(client.answer(id).status == 0);
  world.advance(10ms);
  CHECK(client.answer(id).status == 200);
  client.reset(id);
  check_sums(world, 1);
  CHECK(world.metric("weir_filter_decisions_total", {{"decision", "released"}, {"reason", "grpc_hold"}}) == 1);
  CHECK(world.metric("weir_grpc_requests_total", {{"grpc_status", "cancelled"}}) == 1);
}

TEST_CASE("grpc: clients that go while an answer is held, and upstreams that break off, leave nothing") {
  World world(yaml(kRetry));
  for (const char* address : {"10.0.0.1:80", "10.0.0.2:80"}) {
    world.upstream(address).script = [](UpstreamPeer& peer, const Message& request, int) {
      peer.send(head_of_answer());
      if (request.start_line.find("/Break") != std::string::npos) peer.reset();
    };
  }
  H2Client client(world.platform.net, at(world));
  const auto gone = call(client);
  const auto broken = call(client, {}, "/shop.Cart/Break");
  world.advance(5ms);
  client.reset(gone);
  world.advance(1s);
  CHECK(client.answer(broken).field("grpc-status") == "14");  // nothing was told before: it is a whole answer
  CHECK(client.answer(broken).field("proxy-status").find("truncated") != std::string::npos);
  check_sums(world, 2);
  CHECK(world.metric("weir_upstream_pending") == 0);
}
