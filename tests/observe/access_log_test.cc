#include "proxy/observe/access_log.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "proxy/sim/sim_loop.h"

using namespace weir;
using nlohmann::json;

namespace {

struct Sink : LogSink {
  void write(std::string_view lines) override {
    ++writes;
    text += lines;
  }
  std::vector<json> lines() const {
    std::vector<json> out;
    std::size_t start = 0;
    while (start < text.size()) {
      const std::size_t end = text.find('\n', start);
      REQUIRE(end != std::string::npos);
      out.push_back(json::parse(text.substr(start, end - start)));
      start = end + 1;
    }
    return out;
  }
  int writes = 0;
  std::string text;
};

// An exchange without a connection: just its facts.
struct Fixture {
  Fixture() : arena(arenas.open()), head(arena), exchange(worker, arena, head), log(loop, sink, metrics.shard(0)) {
    head.method_text = "GET";
    head.authority = "payments.local";
    exchange.started = loop.now();
    exchange.request_id = "id-1";
    exchange.listener = "outbound";
    exchange.route = "charge";
    exchange.service = "payments";
    record.client = "10.0.0.7:1234";
    record.policy = "careful";
    record.target = "/v1/x?q=1";
    record.authority = "Payments.local:80";
    record.status = 200;
  }
  ~Fixture() { arena.release(); }

  SimLoop loop;
  BufferPool buffers;
  ArenaPool arenas;
  Random random{1};
  MetricsRegistry metrics;
  WorkerContext worker{loop, buffers, arenas, random, metrics.shard(0)};
  Arena& arena;
  RequestHead head;
  ExchangeContext exchange;
  Sink sink;
  AccessLog log;
  AccessRecord record;
};

}  // namespace

TEST_CASE("an exchange is one line with its tries, decisions and the policy's place") {
  Fixture f;
  const LinkIdentity retry{"payments", "careful", "retry", "retry", "charge", {"main.yaml", 63}, false};
  const LinkIdentity breaker{"payments", "careful", "payments-errors", "circuit_breaker", "charge", {"main.yaml", 69}, true};
  f.loop.advance(1500us);
  AttemptRecord& first = f.exchange.add_attempt("10.1.1.1:80");
  f.loop.advance(10ms);
  first.ended = f.loop.now();
  first.failure = FailureKind::connect_failure;
  f.exchange.add_decision(retry, "retried", "connect_failure");
  f.loop.advance(5ms);
  AttemptRecord& second = f.exchange.add_attempt("10.1.1.2:80");
  second.connected = f.loop.now();
  second.reused_connection = true;
  f.exchange.add_decision(breaker, "would_reject", "open");
  f.loop.advance(2ms);
  second.response_at = second.ended = f.loop.now();
  second.status = 200;
  f.exchange.upstream_time = 12ms;
  f.record.duration = f.loop.now() - f.exchange.started;
  f.record.bytes_received = 3;
  f.record.bytes_sent = 5;
  f.log.record(f.exchange, f.record);
  CHECK(f.sink.text.empty());  // waits for company
  f.loop.advance(1s);
  const auto lines = f.sink.lines();
  REQUIRE(lines.size() == 1);
  const json& line = lines[0];
  INFO(line.dump(1));
  CHECK(line["time"] == "2026-01-01T00:00:00.000Z");
  CHECK(line["id"] == "id-1");
  CHECK(line["listener"] == "outbound");
  CHECK(line["route"] == "charge");
  CHECK(line["service"] == "payments");
  CHECK(line["policy"] == "careful");
  CHECK(line["method"] == "GET");
  CHECK(line["authority"] == "Payments.local:80");
  CHECK(line["path"] == "/v1/x?q=1");
  CHECK(line["protocol"] == "HTTP/1.1");
  CHECK(line["client"] == "10.0.0.7:1234");
  CHECK(line["status"] == 200);
  CHECK(line["bytes_received"] == 3);
  CHECK(line["bytes_sent"] == 5);
  CHECK(line["duration_ms"] == 18.5);
  CHECK(line["upstream_ms"] == 12.0);
  CHECK_FALSE(line.contains("failure"));
  REQUIRE(line["attempts"].size() == 2);
  CHECK(line["attempts"][0] == json{{"endpoint", "10.1.1.1:80"}, {"after_ms", 1.5}, {"ms", 10.0}, {"failure", "connect_failure"}});
  CHECK(line["attempts"][1]["reused"] == true);
  CHECK(line["attempts"][1]["head_ms"] == 2.0);
  CHECK(line["attempts"][1]["status"] == 200);
  REQUIRE(line["decisions"].size() == 2);
  CHECK(line["decisions"][0]["decision"] == "retried");
  CHECK(line["decisions"][0]["at"] == "main.yaml:63");
  CHECK(line["decisions"][0]["mode"] == "enforce");
  CHECK(line["decisions"][1]["filter"] == "payments-errors");
  CHECK(line["decisions"][1]["mode"] == "shadow");
}

TEST_CASE("a failure carries its kind, flag, detail and who decided it") {
  Fixture f;
  const LinkIdentity limit{"payments", "careful", "rate_limit", "rate_limit", "charge", {"a \"b\".yaml", 7}, false};
  f.record.status = 429;
  f.record.failure = FailureKind::rate_limited;
  f.record.detail = "bucket is empty";
  f.record.decided_by = &limit;
  f.log.record(f.exchange, f.record);
  f.log.flush();
  const json line = f.sink.lines().at(0);
  CHECK(line["failure"] == facts(FailureKind::rate_limited).name);
  CHECK(line["flag"] == facts(FailureKind::rate_limited).flag);
  CHECK(line["detail"] == "bucket is empty");
  CHECK(line["decided_by"] == json{{"filter", "rate_limit"}, {"policy", "careful"}, {"at", "a \"b\".yaml:7"}});
  CHECK(line["attempts"].empty());
}

TEST_CASE("lines leave when the block is full or a second has passed, always whole") {
  Fixture f;
  const std::string target(1500, 'x');
  f.record.target = target;
  for (int i = 0; i < 100; ++i) f.log.record(f.exchange, f.record);
  CHECK(f.sink.writes >= 2);
  CHECK(f.sink.text.back() == '\n');
  f.loop.advance(999ms);
  const int before = f.sink.writes;
  f.loop.advance(1ms);
  CHECK(f.sink.writes == before + 1);
  CHECK(f.sink.lines().size() == 100);
  f.loop.advance(5s);
  CHECK(f.sink.writes == before + 1);
}

TEST_CASE("hostile names cannot make a line that does not parse, nor a second one") {
  Fixture f;
  const std::string target = "/\n{\"status\":200}\xff\"" + std::string(100000, '\x01');
  f.record.target = target;
  f.exchange.request_id = "\"},\n";
  f.log.record(f.exchange, f.record);
  f.log.flush();
  REQUIRE(f.sink.lines().size() == 1);
  CHECK(f.sink.lines()[0]["id"] == "\"},\n");
}

TEST_CASE("many tries and decisions stay within bounds") {
  Fixture f;
  const LinkIdentity by{"s", "p", "f", "retry", "r", {"x.yaml", 1}, false};
  for (int i = 0; i < 1000; ++i) {
    f.exchange.add_attempt("10.0.0.1:1");
    f.exchange.add_decision(by, "retried", "reset");
  }
  f.log.record(f.exchange, f.record);
  f.log.flush();
  const json line = f.sink.lines().at(0);
  CHECK(line["attempts"].size() == 16);
  CHECK(line["attempts"][0]["failure"] == "cancelled");
  CHECK(line["decisions"].size() == 32);
}

TEST_CASE("which exchanges get a line: statuses, slowness, decisions, and a share of the rest by hash") {
  AccessLogRules rules;
  rules.statuses = {{500, 599}};
  rules.slower_than = 1s;
  rules.decided = true;
  rules.sample = 0;
  CHECK(rules.wants(503, 0s, false, 1));
  CHECK_FALSE(rules.wants(499, 0s, false, 1));
  CHECK_FALSE(rules.wants(200, 1s, false, 1));
  CHECK(rules.wants(200, 1s + 1ns, false, 1));
  CHECK(rules.wants(200, 0s, true, 1));
  rules.sample = 0.25;
  int wanted = 0;
  Random random(3);
  for (int i = 0; i < 10000; ++i) wanted += rules.wants(200, 0s, false, random.next()) ? 1 : 0;
  CHECK(wanted > 2300);
  CHECK(wanted < 2700);
  CHECK(rules.wants(200, 0s, false, 77) == rules.wants(200, 0s, false, 77));
}

TEST_CASE("dates are right over the end of a day and a leap year") {
  Fixture f;
  const auto time_at = [&f](Duration more) {
    f.loop.advance(more);
    f.exchange.started = f.loop.now();
    f.sink.text.clear();
    f.log.record(f.exchange, f.record);
    f.log.flush();
    return f.sink.lines().at(0)["time"].get<std::string>();
  };
  CHECK(time_at(24h - 1ms) == "2026-01-01T23:59:59.999Z");
  CHECK(time_at(1ms) == "2026-01-02T00:00:00.000Z");
  CHECK(time_at(24h * 787) == "2028-02-28T00:00:00.000Z");
  CHECK(time_at(24h) == "2028-02-29T00:00:00.000Z");
  CHECK(time_at(24h) == "2028-03-01T00:00:00.000Z");
}

TEST_CASE("a gRPC call shows its status and its tries', and is chosen by what its status says in HTTP's words") {
  Fixture f;
  AccessLogRules rules;
  rules.statuses = {{500, 599}};
  rules.sample = 0;
  f.log.set_rules(rules);
  f.record.grpc_status = GrpcStatus::ok;
  f.log.record(f.exchange, f.record);
  f.record.grpc_status = GrpcStatus::not_found;  // as a 404
  f.log.record(f.exchange, f.record);
  f.exchange.add_attempt("10.1.1.1:80").grpc_status = GrpcStatus::unavailable;
  f.record.grpc_status = GrpcStatus::unavailable;  // as a 503
  f.log.record(f.exchange, f.record);
  f.log.flush();
  REQUIRE(f.sink.lines().size() == 1);
  const json line = f.sink.lines()[0];
  CHECK(line["status"] == 200);
  CHECK(line["grpc_status"] == "unavailable");
  CHECK(line["attempts"][0]["grpc_status"] == "unavailable");
}
