#include "tests/cut/forced_case.h"

#include <algorithm>

#include "tests/cut/proxy_case.h"

namespace weir::test {
namespace {

constexpr std::string_view kBody = "the whole body, all of it";
constexpr std::size_t kHalf = 11;

std::string yaml(const ForcedRow& row) {
  std::string filters;
  std::string rest = row.filters;
  while (!rest.empty()) {  // "a: { ... }, b: { ... }": one each
    std::size_t depth = 0;
    std::size_t end = 0;
    while (end < rest.size() && !(rest[end] == ',' && depth == 0)) {
      depth += rest[end] == '{' ? 1U : 0U;
      depth -= rest[end] == '}' ? 1U : 0U;
      ++end;
    }
    filters += "      - " + rest.substr(0, end) + "\n";
    rest.erase(0, std::min(rest.size(), end + 2));
  }
  const std::string routes = R"(routes: [ { match: { path: /respond }, respond: { status: 418, body: "teapot\n" } },
      { match: { path: /fine }, service: fine, policy: none },
      { match: { path_prefix: /forced }, service: app, policy: p },
      { match: { path: /hold }, service: app, policy: p }, { match: { path: /fail }, service: app, policy: p } ] }
)";
  return R"(version: 1
access_log: { path: /access.log }
listeners:
  - { name: out, direction: outbound, listen: 127.0.0.1:15001, )" +
         routes + "  - { name: in, direction: inbound, listen: 127.0.0.1:15006, " + routes + "services:\n  app: { " + row.service +
         "endpoints: [10.0.0.1:80] }\n  fine: { endpoints: [10.0.0.9:80] }\n" +
         "policies:\n  none:\n    filters:\n      - timeout: { total: 10s }\n  p:\n    filters:\n" + filters;
}

Reply fine_reply() {
  Reply out;
  out.bytes = "HTTP/1.1 200 S\r\nContent-Length: 4\r\n\r\nfine";
  out.body = "fine";
  return out;
}

Ask other(const char* target, Reply reply) {
  Ask out;
  out.method = "GET";
  out.target = target;
  out.replies = {std::move(reply)};
  return out;
}

Ask forced_ask(const ForcedRow& row, Shape shape) {
  Ask out;
  out.target = row.target;
  out.replies = row.replies;
  out.method = shape == Shape::get ? "GET" : "POST";
  out.bytes = out.method + " " + row.target + " HTTP/1.1\r\nHost: h\r\n";
  if (shape == Shape::get) {
    out.bytes += "\r\n";
    return out;
  }
  out.body = kBody;
  if (shape == Shape::half_closing) out.bytes += "Connection: close\r\n";
  if (shape == Shape::half_chunked) {
    out.trailers = "x-check=1 ";
    out.bytes += "Transfer-Encoding: chunked\r\n\r\nb\r\n" + out.body.substr(0, kHalf) + "\r\ne\r\n" + out.body.substr(kHalf) +
                 "\r\n0\r\nX-Check: 1\r\n\r\n";
  } else {
    out.bytes += "Content-Length: " + std::to_string(kBody.size()) + "\r\n\r\n" + out.body;
  }
  return out;
}

Conversation forced_conversation(const ForcedRow& row, Shape shape) {
  Conversation out;
  Reply silent;
  silent.stops = true;
  Reply failed;
  failed.status = 500;
  failed.bytes = "HTTP/1.1 500 S\r\nContent-Length: 0\r\n\r\n";
  out.asks = {forced_ask(row, shape), other("/hold", silent), other("/fail", failed)};
  return out;
}

Conversation fine_conversation() {
  Conversation out;
  out.asks = {other("/fine", fine_reply())};
  return out;
}

Address address(const char* text) { return Address::parse(text).value(); }

}  // namespace

const char* name_of(Shape shape) {
  static constexpr const char* kNames[] = {"GET", "POST", "half a body with a length", "half a chunked body",
                                           "half a body, and then close"};
  return kNames[static_cast<std::size_t>(shape)];
}

const char* name_of(Then then) {
  static constexpr const char* kNames[] = {"nothing",
                                           "the rest of the body",
                                           "the rest of the body, byte by byte",
                                           "some more of the body",
                                           "the next request at once",
                                           "the client's FIN",
                                           "the client's RST",
                                           "the client closes with unread data",
                                           "a late answer",
                                           "a late answer with trailers",
                                           "the upstream's RST",
                                           "the upstream's FIN"};
  return kNames[static_cast<std::size_t>(then)];
}

ForcedCase::ForcedCase(const ForcedRow& row, Shape shape, Then then, bool inbound)
    : row_(row),
      shape_(shape),
      then_(then),
      inbound_(inbound),
      forced_(forced_conversation(row, shape)),
      fine_(fine_conversation()),
      world_(yaml(row)) {
  SimNet& net = world_.platform.net;
  upstream_ = std::make_unique<CutUpstream>(forced_, point_, net, world_.sim.loop(0), address("10.0.0.1:80"));
  fine_upstream_ = std::make_unique<CutUpstream>(fine_, fine_point_, net, world_.sim.loop(0), address("10.0.0.9:80"));
  world_.advance(10ms);
  quiet_ = world_.sim.pending();
}

ForcedCase::~ForcedCase() = default;

WireEnd ForcedCase::end() const { return client_->got_reset() ? WireEnd::reset : client_->got_fin() ? WireEnd::fin : WireEnd::open; }

WireReading ForcedCase::read() const { return read_answers(client_->received, {forced_.asks[0].method, "GET"}, end()); }

bool ForcedCase::request_ended() const {
  return !half() || then_ == Then::rest || then_ == Then::rest_bytewise || then_ == Then::next_at_once;
}

void ForcedCase::send_first() {
  const std::string& bytes = forced_.asks[0].bytes;
  client_->send(half() ? std::string_view(bytes).substr(0, bytes.find("\r\n\r\n") + 4 + kHalf + 3) : std::string_view(bytes));
}

void ForcedCase::send_next() {
  next_sent_ = true;
  client_->send("GET /fine HTTP/1.1\r\nHost: h\r\n\r\n");
}

void ForcedCase::act() {
  const std::string& bytes = forced_.asks[0].bytes;
  const std::string rest = half() ? bytes.substr(bytes.find("\r\n\r\n") + 4 + kHalf + 3) : std::string();
  switch (then_) {
    case Then::rest: return client_->send(rest);
    case Then::rest_bytewise:
      for (std::size_t i = 0; i < rest.size(); ++i) {
        client_->send(rest.substr(i, 1));
        world_.advance(1ms);
      }
      return;
    case Then::some_more: return client_->send(rest.substr(0, rest.size() / 2));
    case Then::next_at_once: next_sent_ = true; return client_->send(rest + "GET /fine HTTP/1.1\r\nHost: h\r\n\r\n");
    case Then::client_fin: return client_->finish();
    case Then::client_reset: return client_->reset();
    case Then::client_close_unread:
      client_->stop_reading();
      world_.advance(100ms);
      return client_->close();
    case Then::late_answer:
      for (const auto& peer : upstream_->peers) peer->say("HTTP/1.1 200 S\r\nContent-Length: 4\r\n\r\nlate");
      return;
    case Then::late_trailers:
      for (const auto& peer : upstream_->peers)
        peer->say("abcdefghij\r\n0\r\nX-Sum: 7\r\n\r\nHTTP/1.1 200 S\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nlate\r\n0\r\nX: y\r\n\r\n");
      return;
    case Then::upstream_reset: return upstream_->act(Act::reset);
    case Then::upstream_fin: return upstream_->act(Act::fin);
    case Then::nothing:
    case Then::count_: return;
  }
}

Problems ForcedCase::run() {
  Problems problems;
  if (row_.prepare) row_.prepare(world_);
  client_ = &world_.client(inbound_ ? "in" : "out");
  send_first();
  const auto answered = [this] {
    const auto finals = finals_of(read());
    return client_->over() || (!finals.empty() && finals[0].whole);
  };
  world_.sim.run_until(answered, 5s);
  if (!answered()) problems.push_back("no answer in five seconds");
  judge_answers(false, problems);
  act();
  world_.advance(100ms);
  if (!next_sent_ && request_ended() && client_->open() && !client_->over() && !client_left()) send_next();
  world_.advance(12s);
  judge_answers(true, problems);
  judge_upstreams(problems);
  for (const auto& one : world_.clients) one->close();
  world_.advance(6s);
  for (const auto& peer : upstream_->peers) peer->close();
  for (const auto& peer : fine_upstream_->peers) peer->close();
  world_.advance(1ms);
  judge_log(problems);
  judge_at_rest(world_, quiet_, problems);
  return problems;
}

// Twice: when the answer has come, and when all that followed it has passed.
void ForcedCase::judge_answers(bool at_the_end, Problems& problems) {
  const WireReading reading = read();
  if (!reading.bad.empty()) problems.push_back("nonsense: " + reading.bad);
  const std::vector<WireMessage> finals = finals_of(reading);
  if (finals.empty()) {
    problems.push_back("no answer");
    return;
  }
  const WireMessage& answer = finals[0];
  if (answer.status() != row_.status) problems.push_back("another answer: " + answer.start_line + " " + answer.body);
  if (answer.whole == row_.truncated) problems.push_back(answer.whole ? "a part looks whole" : "the answer is not whole");
  if (row_.own && !own_answer(answer)) problems.push_back("not an answer of weir: " + answer.start_line + " " + answer.body);
  if (row_.truncated && !fits(forced_.asks[0], row_.replies[0], answer)) problems.push_back("bytes that were not sent: " + answer.body);
  if (row_.truncated && end() == WireEnd::open) problems.push_back("a broken answer hangs");
  if (!row_.truncated && end() == WireEnd::reset) problems.push_back("a RST behind a whole answer");
  if (!at_the_end || client_left() || row_.truncated) return;
  const bool closes = answer.field("connection") == "close";
  if (shape_ == Shape::half_closing && !closes) problems.push_back("the client asked to close, and was not told so");
  if (next_sent_ && !closes) {
    if (finals.size() != 2 || !finals[1].whole || finals[1].body != "fine") problems.push_back("the next request was not answered");
  }
  if (closes && finals.size() != 1) problems.push_back("an answer behind connection: close");
  if ((closes || !request_ended()) && end() != WireEnd::fin) problems.push_back("the connection is not closed");
}

// What the client sent once the answer was there reaches no upstream.
void ForcedCase::judge_upstreams(Problems& problems) {
  Allowed allowed;
  allowed.tries = 3;
  const std::size_t end = forced_.end_of_ask(0);
  judge_upstream(forced_, half() ? end - 1 : end, *upstream_, allowed, problems);
}

void ForcedCase::judge_log(Problems& problems) {
  const auto lines = world_.access_log();
  const auto count = [&](const std::string& path) {
    return std::count_if(lines.begin(), lines.end(), [&](const nlohmann::json& line) { return line["path"] == path; });
  };
  if (count(row_.target) != 1) problems.push_back(std::to_string(count(row_.target)) + " lines for the request");
  if (count("/fine") > (next_sent_ ? 1 : 0)) problems.push_back("lines for a request that was not sent");
  if (world_.metric("weir_requests_total") != static_cast<double>(lines.size()))
    problems.push_back("the metrics count other exchanges than the log");
  if (world_.server->workers()[0]->status().exchanges != lines.size()) problems.push_back("not every exchange has its line");
  for (const nlohmann::json& line : lines) {
    if (line["path"] == "/fine" && (line["status"] != 200 || line.contains("failure")))
      problems.push_back("the next request went wrong: " + line.dump());
    if (line["path"] != row_.target) continue;
    if (line["status"] != row_.status) problems.push_back("another status in the log: " + line.dump());
    const std::string failure = line.contains("failure") ? line["failure"].get<std::string>() : "";
    if (failure != row_.failure) problems.push_back("another failure in the log: " + line.dump());
  }
}

}  // namespace weir::test
