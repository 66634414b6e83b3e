// What forces a local answer: each filter and limit, in each phase in which it can.
#include "tests/cut/forced_case.h"

namespace weir::test {
namespace {

Address app() { return Address::parse("10.0.0.1:80").value(); }

Reply says(std::string bytes, int status = 200, std::string body = "") {
  Reply out;
  out.status = status;
  out.bytes = std::move(bytes);
  out.body = std::move(body);
  out.at_head = true;
  return out;
}

Reply and_stops(Reply reply) {
  reply.first = reply.bytes.size();
  reply.stops = true;
  return reply;
}

Reply and_resets(Reply reply) {
  reply.reset = true;
  return reply;
}

Reply silent() { return and_stops(says("")); }
Reply early_hints() { return says("HTTP/1.1 103 Early\r\nLink: x\r\n\r\n"); }
Reply half_of(int status) {
  return says("HTTP/1.1 " + std::to_string(status) + " S\r\nContent-Length: 20\r\n\r\n0123456789", status, "0123456789abcdefghij");
}
Reply half_in_chunks() {
  return says("HTTP/1.1 200 S\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n", 200, "0123456789abcdefghij");
}

// Others hold what there is of connections, permits or places.
std::function<void(World&)> held_by(int clients) {
  return [clients](World& world) {
    for (int i = 0; i < clients; ++i) {
      world.client().get("/hold");
      world.advance(1ms);
    }
  };
}

void nobody_listens(World& world) { world.platform.net.stop_listening(app()); }
void black_hole(World& world) { world.platform.net.conditions(app()).black_hole = 1; }
void failing(World& world) {
  for (int i = 0; i < 5; ++i) world.get("/fail");
}
void pressed(World& world) {
  world.platform.reading.memory = 1000;
  world.advance(2s);
}

constexpr const char* kOnlyForced = "when: { path_prefix: /forced }";

ForcedRow row(std::string name, std::string filters, std::vector<Reply> replies, int status, std::string failure) {
  ForcedRow out;
  out.name = std::move(name);
  out.filters = std::move(filters);
  out.replies = std::move(replies);
  out.status = status;
  out.failure = std::move(failure);
  return out;
}

ForcedRow prepared(ForcedRow out, std::function<void(World&)> prepare, std::string service = "") {
  out.prepare = std::move(prepare);
  out.service = std::move(service);
  return out;
}

ForcedRow in_the_answer(ForcedRow out) {
  out.truncated = true;
  out.own = false;
  return out;
}

// Does not come while the client owes its body.
ForcedRow only_whole(ForcedRow out) {
  out.half = false;
  return out;
}

void add_timeouts(std::vector<ForcedRow>& all) {
  const std::string total = std::string("timeout: { total: 200ms, ") + kOnlyForced + " }";
  const std::string headers = "timeout: { response_headers: 200ms }";
  const std::string idle = "timeout: { idle: 200ms }";
  const std::string retry503 = "retry: { max_attempts: 3, causes: [503], methods: any, backoff: { base: 1ms, max: 1ms } }";
  const Reply later = says("HTTP/1.1 503 S\r\nRetry-After: 3\r\nContent-Length: 20\r\n\r\n0123456789", 503, "0123456789abcdefghij");
  all.push_back(prepared(row("total timeout, connecting", total, {silent()}, 504, "total_timeout"), black_hole));
  all.push_back(prepared(row("total timeout, in a queue", total + ", concurrency_limit: { limit: 1, queue: { size: 9, timeout: 5s } }",
                             {silent()}, 504, "total_timeout"),
                         held_by(1)));
  all.push_back(row("total timeout, silent upstream", total, {silent()}, 504, "total_timeout"));
  all.push_back(row("total timeout, after a 1xx", total, {and_stops(early_hints())}, 504, "total_timeout"));
  all.push_back(
      row("total timeout, a head was swallowed", total + ", " + retry503, {and_stops(half_of(503)), silent()}, 504, "total_timeout"));
  all.push_back(in_the_answer(row("total timeout, in the answer", total, {and_stops(half_of(200))}, 200, "total_timeout")));
  all.push_back(in_the_answer(row("total timeout, in the chunked answer", total, {and_stops(half_in_chunks())}, 200, "total_timeout")));
  all.push_back(only_whole(row("response timeout, silent upstream", headers, {silent()}, 504, "response_timeout")));
  all.push_back(only_whole(row("response timeout, after a 1xx", headers, {and_stops(early_hints())}, 504, "response_timeout")));
  all.push_back(only_whole(row("response timeout, a head was swallowed", retry503 + ", " + headers, {and_stops(half_of(503)), silent()},
                               504, "response_timeout")));
  all.push_back(
      only_whole(row("response timeout, in the back-off", headers + ", " + retry503, {and_stops(later)}, 504, "response_timeout")));
  all.push_back(only_whole(row("idle timeout, silent upstream", idle, {silent()}, 504, "idle_timeout")));
  all.push_back(only_whole(row("idle timeout, after a 1xx", idle, {and_stops(early_hints())}, 504, "idle_timeout")));
  all.push_back(only_whole(row("idle timeout, in the back-off", idle + ", " + retry503, {and_stops(later)}, 504, "idle_timeout")));
  all.push_back(in_the_answer(only_whole(row("idle timeout, in the answer", idle, {and_stops(half_of(200))}, 200, "idle_timeout"))));
}

void add_retries(std::vector<ForcedRow>& all) {
  const auto retry = [](const std::string& causes, const std::string& more = "") {
    return "retry: { max_attempts: 2, causes: [" + causes + "], methods: any, backoff: { base: 1ms, max: 1ms }" + more + " }";
  };
  all.push_back(row("retry gives up: no cause", retry("connect_failure"), {and_resets(says(""))}, 502, "reset"));
  all.push_back(row("retry gives up: reset each time", retry("reset"), {and_resets(says(""))}, 502, "reset"));
  all.push_back(row("retry gives up: reset after a 1xx", retry("reset"), {and_resets(early_hints())}, 502, "reset"));
  all.push_back(row("retry gives up: reset behind a swallowed head", retry("503, reset"), {and_stops(half_of(503)), and_resets(says(""))},
                    502, "reset"));
  all.push_back(prepared(row("retry gives up: no budget", retry("reset"), {and_resets(says(""))}, 502, "reset"), {},
                         "retry_budget: { ratio: 0%, min_rate: 1/h }, "));
  all.push_back(row("retry gives up: the body is too large", retry("reset", ", max_replay: 1B"), {and_resets(says(""))}, 502, "reset"));
  all.push_back(prepared(row("retry gives up: connecting fails each time", retry("connect_failure"), {silent()}, 503, "connect_failure"),
                         nobody_listens));
  all.push_back(row("retry gives up: not HTTP", retry("gateway_error"), {says("HTTP/1.1 abc\r\n\r\n")}, 502, "upstream_protocol"));
  all.push_back(in_the_answer(row("reset in the answer", retry("reset"), {and_resets(half_of(200))}, 200, "truncated")));
  all.push_back(in_the_answer(row("reset in the chunked answer", retry("reset"), {and_resets(half_in_chunks())}, 200, "truncated")));
}

void add_limits(std::vector<ForcedRow>& all) {
  all.push_back(
      prepared(row("breaker open", "circuit_breaker: { causes: [5xx], min_calls: 5, failure_ratio: 50%, open_for: { base: 1h, max: 1h } }",
                   {silent()}, 503, "breaker_open"),
               failing));
  all.push_back(
      prepared(row("concurrency limit reached", "concurrency_limit: { limit: 1 }", {silent()}, 503, "limit_reached"), held_by(1)));
  all.push_back(prepared(
      row("queue full", "concurrency_limit: { limit: 1, queue: { size: 1, timeout: 5s } }", {silent()}, 503, "queue_full"), held_by(2)));
  all.push_back(prepared(
      row("queue timeout", "concurrency_limit: { limit: 1, queue: { size: 9, timeout: 150ms } }", {silent()}, 503, "queue_timeout"),
      held_by(1)));
  all.push_back(prepared(row("load shed", "load_shed: { memory: 90% }", {silent()}, 503, "shed"), pressed));
  all.push_back(prepared(row("rate limited", "rate_limit: { rate: 1/h, burst: 5 }", {silent()}, 429, "rate_limited"), failing));
  const std::string none = "timeout: { total: 60s }";
  all.push_back(prepared(row("the service's requests", none, {silent()}, 503, "pool_overflow"), held_by(1), "limits: { requests: 1 }, "));
  all.push_back(prepared(row("the service's pending", none, {silent()}, 503, "pool_overflow"), held_by(2),
                         "limits: { connections: 1, pending: 1 }, pending_timeout: 30s, "));
  all.push_back(prepared(row("no connection is free in time", none, {silent()}, 503, "pool_timeout"), held_by(1),
                         "limits: { connections: 1 }, pending_timeout: 150ms, "));
  all.push_back(prepared(row("connecting fails", none, {silent()}, 503, "connect_failure"), nobody_listens));
  all.push_back(
      prepared(row("connecting takes too long", none, {silent()}, 503, "connect_timeout"), black_hole, "connect_timeout: 150ms, "));
}

void add_others(std::vector<ForcedRow>& all) {
  const std::string none = "timeout: { total: 60s }";
  ForcedRow out = row("no route", none, {silent()}, 404, "no_route");
  out.target = "/nowhere";
  all.push_back(out);
  out = row("respond", none, {silent()}, 418, "");
  out.target = "/respond";
  out.own = false;
  all.push_back(out);
  out = row("bad request", none, {silent()}, 400, "bad_request");
  out.target = "/forced%2fx";
  all.push_back(out);
}

}  // namespace

const std::vector<ForcedRow>& forced_rows() {
  static const std::vector<ForcedRow> all = [] {
    std::vector<ForcedRow> made;
    add_timeouts(made);
    add_retries(made);
    add_limits(made);
    add_others(made);
    return made;
  }();
  return all;
}

}  // namespace weir::test
