#include "tests/swarm/swarm_client.h"

#include <algorithm>

#include "proxy/base/text.h"

namespace weir::test {

void Ledger::trail(MonotonicTime at, const std::string& line) {
  if (keep_trail_) lines.push_back(concat(at.time_since_epoch().count() / 1000 - 1'000'000'000, "us ", line));
}

SwarmClient::SwarmClient(Connector& connector, SimLoop& loop, const ClientPlan& plan, std::size_t index, Ledger& ledger)
    : connector_(connector), loop_(loop), plan_(plan), index_(index), ledger_(ledger) {}

void SwarmClient::later(Duration after, std::function<void(SwarmClient&)> task) {
  loop_.world().schedule_at(loop_, loop_.now() + after, [weak = weak_from_this(), what = std::move(task)] {
    if (const auto self = weak.lock(); self != nullptr && self->open()) what(*self);
  });
}

void SwarmClient::broken(const std::string& what) {
  const std::string id = answered_ < plan_.requests.size() ? concat(" request ", asked().id) : std::string();
  trail("BROKEN: " + what);
  ledger_.broken(concat("client ", index_, id, ": ", what));
}

void SwarmClient::trail(const std::string& what) {
  if (ledger_.keeps_trail()) ledger_.trail(loop_.now(), concat("client ", index_, ": ", what));
}

RequestFacts* SwarmClient::facts(std::size_t index) {
  if (index >= plan_.requests.size() || !plan_.requests[index].raw.empty()) return nullptr;
  return &ledger_.request(plan_.requests[index].id);
}

void SwarmClient::start(const Address& to) {
  stream_ = connector_.connect(to, *this);
  trail("connects to " + std::string(to.text()));
  if (plan_.end != ClientPlan::End::stay) later(plan_.end_at, [](SwarmClient& self) { self.act_end(); });
}

void SwarmClient::on_connected(int error) {
  RawPeer::on_connected(error);
  ClientFacts& mine = ledger_.clients[index_];
  if (error != 0) {
    mine.refused = true;
    trail("refused");
    return;
  }
  mine.connected = true;
  send_next();
}

void SwarmClient::act_end() {
  if (done()) return;
  ledger_.clients[index_].left = left_ = true;
  trail("leaves");
  switch (plan_.end) {
    case ClientPlan::End::stay: return;
    case ClientPlan::End::fin: return finish();
    case ClientPlan::End::reset: return reset();
    case ClientPlan::End::close: return close();
  }
}

void SwarmClient::leave() {
  if (!open()) return;
  if (!done()) ledger_.clients[index_].left = left_ = true;
  trail("goes home");
  close();
}

// --- Sending -------------------------------------------------------------------------------------------------------------------------

void SwarmClient::send_next() {
  if (sent_ >= plan_.requests.size() || left_) return;
  const std::size_t index = sent_++;
  send_request(index);
}

void SwarmClient::send_request(std::size_t index) {
  const RequestPlan& plan = plan_.requests[index];
  const bool alone = index == answered_ && plan_.slow == Duration(0);
  if (RequestFacts* mine = facts(index)) {
    mine->sent = true;
    mine->sent_at = loop_.now();
    mine->alone = alone;
    mine->after_end = closing_ || over();
  } else {
    ++ledger_.garbage;
  }
  trail(plan.raw.empty() ? concat("asks ", plan.id, " ", plan.method, " ", plan.target) : "sends garbage");
  if (!plan.raw.empty()) {
    send(plan.raw);
    if (plan_.pipelined) send_next();
    return;
  }
  std::string head = concat(plan.method, " ", plan.target, plan.http10 ? " HTTP/1.0\r\nHost: " : " HTTP/1.1\r\nHost: ", plan.host,
                            "\r\nX-Request-Id: s", plan.id, "\r\n", plan.more);
  if (plan.close) head += "Connection: close\r\n";
  if (plan.framing == RequestPlan::Framing::chunked) head += "Transfer-Encoding: chunked\r\n";
  if (plan.framing == RequestPlan::Framing::length) head += concat("Content-Length: ", plan.size, "\r\n");
  if (plan.expect != RequestPlan::Expect::no) head += "Expect: 100-continue\r\n";
  send(head + "\r\n");
  if (plan.framing == RequestPlan::Framing::none) {
    if (RequestFacts* mine = facts(index)) mine->sent_whole = true;
    if (sent_ == plan_.requests.size() && plan_.half_close) finish();
    if (plan_.pipelined) send_next();
    return;
  }
  body_under_way_ = true;
  if (plan.expect == RequestPlan::Expect::no) return send_body(index);
  waits_for_continue_ = index;
  if (plan.expect == RequestPlan::Expect::impatient) {
    later(milliseconds(150), [index](SwarmClient& self) {
      if (self.waits_for_continue_ == index) self.send_body(index);
    });
  }
}

void SwarmClient::send_body(std::size_t index) {
  waits_for_continue_ = SIZE_MAX;
  send_piece(index, 0);
}

void SwarmClient::send_piece(std::size_t index, int piece) {
  if (left_) return;
  const RequestPlan& plan = plan_.requests[index];
  const bool last = piece + 1 >= plan.pieces;
  if (last && plan.stops_short) return;
  const std::size_t size = plan.size / static_cast<std::size_t>(plan.pieces);
  const std::size_t from = size * static_cast<std::size_t>(piece);
  const std::string_view part = body_text(plan.id, plan.size).substr(from, last ? std::string_view::npos : size);
  if (plan.framing == RequestPlan::Framing::length) {
    send(part);
  } else {
    constexpr const char* kHex = "0123456789abcdef";
    std::string digits;
    for (std::size_t left = part.size(); left > 0; left /= 16) digits.insert(digits.begin(), kHex[left % 16]);
    if (!part.empty()) send(concat(digits, "\r\n", part, "\r\n"));
    if (last) send(plan.trailers ? "0\r\nX-Sum: 1\r\n\r\n" : "0\r\n\r\n");
  }
  if (!last) {
    later(plan.piece_gap, [index, piece](SwarmClient& self) { self.send_piece(index, piece + 1); });
    return;
  }
  body_under_way_ = false;
  if (RequestFacts* mine = facts(index)) mine->sent_whole = true;
  if (sent_ == plan_.requests.size() && plan_.half_close) finish();
  if (plan_.pipelined) {
    send_next();
  } else if (answered_ > index) {  // the answer came before the body had gone
    later(plan_.gap, [](SwarmClient& self) { self.send_next(); });
  }
}

// --- Reading -------------------------------------------------------------------------------------------------------------------------

void SwarmClient::on_bytes() {
  ClientFacts& mine = ledger_.clients[index_];
  mine.fin = got_fin();
  mine.reset = got_reset();
  if (got_reset()) trail("reset");
  if (got_fin()) trail("fin");
  read_answers();
  if (!open() || over() || plan_.slow == Duration(0) || std::exchange(paused_, true)) return;
  stop_reading();
  later(plan_.slow, [](SwarmClient& self) {
    self.paused_ = false;
    self.resume_reading();
  });
}

bool SwarmClient::expects_head() const { return answered_ < plan_.requests.size() && asked().raw.empty() && asked().method == "HEAD"; }

void SwarmClient::read_answers() {
  while (open()) {
    if (answered_ >= sent_ && !received.empty()) {
      if (!closing_ || answered_ >= plan_.requests.size()) broken(concat("bytes that nobody asked for: ", received.substr(0, 60)));
      received.clear();
      return;
    }
    switch (parser_.next(received, expects_head(), got_fin() && !got_reset())) {
      case WireParser::Event::more:
        if (got_fin() && !got_reset() && parser_.inside()) broken("a FIN in the middle of an answer: it should be a RST");
        if (over() && !paused_) later(Duration(0), [](SwarmClient& self) { self.close(); });
        return;
      case WireParser::Event::bad: broken("an answer that is none: " + parser_.problem()); return close();
      case WireParser::Event::head:
        if (parser_.message().status() >= 200) take_head(parser_.message());
        break;
      case WireParser::Event::end:
        if (parser_.message().status() < 200) {
          take_informational(parser_.message());
        } else {
          take_end(parser_.message());
        }
        break;
    }
  }
}

void SwarmClient::take_informational(const WireMessage& head) {
  const RequestPlan& plan = asked();
  trail(concat("hears ", head.status()));
  if (plan.raw.empty() && plan.http10) broken("a 1xx towards HTTP/1.0");
  if (head.status() == 101) broken("a 101 that nobody asked for");
  if (head.status() != 100) return;
  if (std::exchange(continued_, true)) broken("100 twice");
  if (waits_for_continue_ == answered_) send_body(answered_);
}

void SwarmClient::take_head(const WireMessage& head) {
  loop_.world().note(static_cast<std::uint64_t>(head.status()) * 1'000'003U + index_);
  ++ledger_.answers;
  trail(concat("hears ", head.status(), asked().raw.empty() ? concat(" to ", asked().id) : " to garbage"));
  const std::string_view of = head.field("x-swarm");
  if (RequestFacts* mine = facts(answered_)) {
    if (mine->status != 0) broken("a second answer to one request");
    mine->status = head.status();
    mine->head_at = loop_.now();
    mine->of_upstream = !of.empty();
    if (!of.empty() && of != concat("s", asked().id)) broken(concat("the answer to another request: ", of));
  }
  if (head.field("connection") == "close" || parser_.until_close()) {
    closing_ = true;
    ledger_.clients[index_].last_answer = std::min(ledger_.clients[index_].last_answer, answered_);
  }
  if (parser_.until_close() && !asked().http10 && asked().raw.empty()) broken("an answer without a length towards HTTP/1.1");
}

void SwarmClient::check_body(const RequestPlan& request, const WireMessage& answer) {
  const std::string_view tag = answer.field("x-body");  // "<seed>.<size>", of what the upstream meant to send
  if (tag.empty()) return;
  const std::size_t dot = tag.find('.');
  const std::uint64_t seed = std::stoull(std::string(tag.substr(0, dot)));
  const std::size_t size = std::stoull(std::string(tag.substr(dot + 1)));
  const int status = answer.status();
  if (request.method == "HEAD" || status == 204 || status == 304) return;
  if (answer.body.size() != size) {
    broken(concat("a body of ", answer.body.size(), " bytes that looks whole, where ", size, " were meant"));
  } else if (answer.body != body_text(seed, size)) {
    broken("a body with other bytes than were sent");
  }
}

void SwarmClient::take_end(const WireMessage& answer) {
  trail(concat("has it whole, ", answer.body.size(), " bytes"));
  const bool garbage = !asked().raw.empty();
  if (!garbage) check_body(asked(), answer);
  if (RequestFacts* mine = facts(answered_)) mine->whole = true;
  if (waits_for_continue_ == answered_) waits_for_continue_ = SIZE_MAX;
  ++answered_;
  continued_ = false;
  if (garbage) closing_ = true;  // what follows it on the connection cannot be known
  const bool body_owed = body_under_way_ && sent_ == answered_;
  if (answered_ >= plan_.requests.size()) {
    if (!plan_.half_close && (!plan_.lingers || closing_)) later(milliseconds(1), [](SwarmClient& self) { self.close(); });
    return;
  }
  if (closing_ || body_owed || plan_.pipelined) {
    // Who was answered before its body had gone sends it or closes: a body that waited for 100 is not sent any more.
    if (body_owed && plan_.requests[answered_ - 1].expect != RequestPlan::Expect::no) {
      ledger_.clients[index_].left = left_ = true;
      close();
    }
    return;
  }
  later(plan_.gap, [](SwarmClient& self) { self.send_next(); });
}

}  // namespace weir::test
