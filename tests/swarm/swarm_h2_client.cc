#include "tests/swarm/swarm_h2_client.h"

#include <algorithm>

#include "proxy/base/text.h"
#include "tests/swarm/swarm_client.h"
#include "tests/swarm/wire.h"

namespace weir::test {

namespace {

constexpr std::uint32_t kCancel = 8;  // RFC 9113 7
constexpr std::uint32_t kRefusedStream = 7;

// "X-Tenant: gold\r\n", without what HTTP/2 has no place for.
H2Fields fields_of(std::string_view lines) {
  H2Fields fields;
  while (!lines.empty()) {
    const std::size_t end = lines.find("\r\n");
    const std::string_view line = lines.substr(0, end);
    lines.remove_prefix(end + 2);
    const std::size_t colon = line.find(": ");
    std::string name(line.substr(0, colon));
    std::transform(name.begin(), name.end(), name.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    if (name != "connection") fields.emplace_back(name, line.substr(colon + 2));
  }
  return fields;
}

}  // namespace

std::shared_ptr<SwarmActor> make_swarm_client(Connector& connector, SimLoop& loop, const ClientPlan& plan, std::size_t index,
                                              Ledger& ledger) {
  if (plan.http2) return std::make_shared<SwarmH2Client>(connector, loop, plan, index, ledger);
  return std::make_shared<SwarmClient>(connector, loop, plan, index, ledger);
}

SwarmH2Client::SwarmH2Client(Connector& connector, SimLoop& loop, const ClientPlan& plan, std::size_t index, Ledger& ledger)
    : connector_(connector), loop_(loop), plan_(plan), index_(index), ledger_(ledger) {}

SwarmH2Client::~SwarmH2Client() {
  if (client_ != nullptr) client_->on_update = nullptr;
}

void SwarmH2Client::later(Duration after, std::function<void(SwarmH2Client&)> task) {
  loop_.world().schedule_at(loop_, loop_.now() + after, [weak = weak_from_this(), what = std::move(task)] {
    if (const auto self = weak.lock(); self != nullptr && self->open()) what(*self);
  });
}

void SwarmH2Client::broken(std::size_t index, const std::string& what) {
  trail("BROKEN: " + what);
  ledger_.broken(concat("client ", index_, " (h2) request ", index < plan_.requests.size() ? plan_.requests[index].id : 0, ": ", what));
}

void SwarmH2Client::trail(const std::string& what) {
  if (ledger_.keeps_trail()) ledger_.trail(loop_.now(), concat("client ", index_, " (h2): ", what));
}

void SwarmH2Client::start(const Address& to) {
  H2ClientOptions options;
  options.window = plan_.window;
  client_ = std::make_unique<H2Client>(connector_, to, options);
  client_->on_update = [this] { on_update(); };
  trail("connects to " + std::string(to.text()));
  if (plan_.end != ClientPlan::End::stay) later(plan_.end_at, [](SwarmH2Client& self) { self.act_end(); });
}

bool SwarmH2Client::done() const {
  return refused_ || over_ || settled_ >= plan_.requests.size() || (goaway_ && settled_ == exchanges_.size());
}

void SwarmH2Client::act_end() {
  if (done()) return;
  ledger_.clients[index_].left = left_ = true;
  trail("leaves");
  switch (plan_.end) {
    case ClientPlan::End::stay: return;
    case ClientPlan::End::fin: return client_->peer().finish();
    case ClientPlan::End::reset: client_->peer().reset(); break;
    case ClientPlan::End::close: client_->peer().close(); break;
  }
  over_ = true;
}

void SwarmH2Client::leave() {
  if (!open()) return;
  if (!done()) ledger_.clients[index_].left = left_ = true;
  trail("goes home");
  client_->peer().close();
  over_ = true;
}

// --- Sending -------------------------------------------------------------------------------------------------------------------------

void SwarmH2Client::send_next() {
  if (exchanges_.size() >= plan_.requests.size() || left_ || over_ || goaway_) return;
  const std::size_t index = exchanges_.size();
  exchanges_.emplace_back();
  send_request(index);
  if (plan_.pipelined) send_next();
}

void SwarmH2Client::send_request(std::size_t index) {
  const RequestPlan& plan = plan_.requests[index];
  RequestFacts& mine = facts(index);
  mine.sent = true;
  mine.sent_at = loop_.now();
  mine.alone = index == settled_ && plan_.slow == Duration(0) && !plan_.pipelined;
  trail(concat("asks ", plan.id, " ", plan.method, " ", plan.target));
  H2Fields fields{{":method", plan.method}, {":scheme", "http"}, {":authority", plan.host}, {":path", plan.target}};
  fields.emplace_back("x-request-id", concat("s", plan.id));
  for (const auto& one : fields_of(plan.more)) fields.push_back(one);
  if (plan.framing == RequestPlan::Framing::length) fields.emplace_back("content-length", concat(plan.size));
  if (plan.expect != RequestPlan::Expect::no) fields.emplace_back("expect", "100-continue");
  const bool bodied = plan.framing != RequestPlan::Framing::none;
  mine.sent_whole = !bodied;
  exchanges_[index].id = client_->open(fields, bodied);
  if (plan.cancel_after > Duration(0)) later(plan.cancel_after, [index](SwarmH2Client& self) { self.cancel(index); });
  if (!bodied) return;
  if (plan.expect == RequestPlan::Expect::no) return send_piece(index, 0);
  exchanges_[index].waits_for_continue = true;
  if (plan.expect == RequestPlan::Expect::impatient) {
    later(milliseconds(150), [index](SwarmH2Client& self) {
      if (std::exchange(self.exchanges_[index].waits_for_continue, false)) self.send_piece(index, 0);
    });
  }
}

void SwarmH2Client::send_piece(std::size_t index, int piece) {
  const Exchange& exchange = exchanges_[index];
  if (left_ || over_ || exchange.settled) return;
  const RequestPlan& plan = plan_.requests[index];
  const bool last = piece + 1 >= plan.pieces;
  if (last && plan.stops_short) return;
  const std::size_t size = plan.size / static_cast<std::size_t>(plan.pieces);
  const std::size_t from = size * static_cast<std::size_t>(piece);
  client_->write(exchange.id, body_text(plan.id, plan.size).substr(from, last ? std::string_view::npos : size));
  if (!last) {
    later(plan.piece_gap, [index, piece](SwarmH2Client& self) { self.send_piece(index, piece + 1); });
    return;
  }
  facts(index).sent_whole = true;
  client_->finish(exchange.id, plan.trailers ? H2Fields{{"x-sum", "1"}} : H2Fields{});
}

void SwarmH2Client::cancel(std::size_t index) {
  if (over_ || exchanges_[index].settled) return;
  trail(concat("cancels ", plan_.requests[index].id));
  facts(index).cancelled = true;
  client_->reset(exchanges_[index].id, kCancel);
  settle(index);
}

// --- Reading -------------------------------------------------------------------------------------------------------------------------

void SwarmH2Client::on_update() {
  SimPeer& peer = client_->peer();
  ClientFacts& mine = ledger_.clients[index_];
  if (!peer.connected()) {
    refused_ = mine.refused = true;
    return trail("refused");
  }
  if (!std::exchange(mine.connected, true)) send_next();
  if (client_->broken()) broken(SIZE_MAX, "what came is not HTTP/2, or a message that is malformed");
  if (client_->goaways() > 0 && client_->goaway_last() != 0x7fffffff && !std::exchange(goaway_, true)) {
    trail(concat("hears GOAWAY ", client_->goaway_code(), ", last ", client_->goaway_last()));
  }
  for (std::size_t i = 0; i < exchanges_.size() && peer.open(); ++i) {
    if (!exchanges_[i].settled && exchanges_[i].id != 0) look_at(i);
  }
  if (peer.ended() || peer.error() != 0) note_end_of_connection();
  if (!peer.open() || over_ || plan_.slow == Duration(0) || std::exchange(paused_, true)) return;
  peer.pause_reading(true);
  later(plan_.slow, [](SwarmH2Client& self) {
    self.paused_ = false;
    self.client_->peer().pause_reading(false);
  });
}

void SwarmH2Client::note_end_of_connection() {
  if (std::exchange(over_, true)) return;
  ClientFacts& mine = ledger_.clients[index_];
  mine.fin = client_->peer().ended();
  mine.reset = client_->peer().error() != 0;
  trail(mine.fin ? "fin" : "reset");
  later(Duration(0), [](SwarmH2Client& self) { self.client_->peer().close(); });
}

void SwarmH2Client::look_at(std::size_t index) {
  Exchange& exchange = exchanges_[index];
  const H2Reply& reply = client_->answer(exchange.id);
  while (exchange.informational < reply.informational.size()) hear_informational(index, reply.informational[exchange.informational++]);
  if (reply.head && !std::exchange(exchange.headed, true)) take_head(index, reply);
  if (reply.ended) return take_end(index, reply);
  const bool refused = goaway_ && exchange.id > client_->goaway_last();
  if (reply.reset < 0 && !reply.closed && !refused) return;
  trail(concat("is told that ", plan_.requests[index].id, " is reset, ", reply.reset));
  if (refused || reply.reset == static_cast<int>(kRefusedStream)) facts(index).refused = true;
  settle(index);
}

void SwarmH2Client::hear_informational(std::size_t index, int status) {
  trail(concat("hears ", status));
  if (status == 101) broken(index, "a 101 in HTTP/2");
  if (status == 100 && std::exchange(exchanges_[index].waits_for_continue, false)) send_piece(index, 0);
}

void SwarmH2Client::take_head(std::size_t index, const H2Reply& reply) {
  loop_.world().note(static_cast<std::uint64_t>(reply.status) * 1'000'003U + index_);
  ++ledger_.answers;
  RequestFacts& mine = facts(index);
  const std::string of = reply.field("x-swarm");
  trail(concat("hears ", reply.status, " to ", plan_.requests[index].id));
  mine.status = reply.status;
  mine.head_at = loop_.now();
  mine.of_upstream = !of.empty();
  if (!of.empty() && of != concat("s", plan_.requests[index].id)) broken(index, "the answer to another request: " + of);
  for (const char* name : {"connection", "keep-alive", "transfer-encoding", "upgrade"}) {
    if (!reply.field(name).empty()) broken(index, concat("a field of HTTP/1 in HTTP/2: ", name));
  }
}

void SwarmH2Client::check_body(std::size_t index, const H2Reply& reply) {
  const RequestPlan& plan = plan_.requests[index];
  const std::string tag = reply.field("x-body");  // "<seed>.<size>", of what the upstream meant to send
  if (tag.empty() || plan.method == "HEAD" || reply.status == 204 || reply.status == 304) return;
  const std::size_t dot = tag.find('.');
  const std::size_t size = std::stoull(tag.substr(dot + 1));
  if (reply.body.size() != size) {
    broken(index, concat("a body of ", reply.body.size(), " bytes that looks whole, where ", size, " were meant"));
  } else if (reply.body != body_text(std::stoull(tag.substr(0, dot)), size)) {
    broken(index, "a body with other bytes than were sent");
  }
}

void SwarmH2Client::take_end(std::size_t index, const H2Reply& reply) {
  trail(concat("has ", plan_.requests[index].id, " whole, ", reply.body.size(), " bytes"));
  check_body(index, reply);
  facts(index).whole = true;
  // Who has its answer does not go on with a body that waited to be asked for.
  if (std::exchange(exchanges_[index].waits_for_continue, false)) client_->reset(exchanges_[index].id, kCancel);
  settle(index);
}

void SwarmH2Client::settle(std::size_t index) {
  exchanges_[index].settled = true;
  ++settled_;
  if (settled_ < plan_.requests.size() && !goaway_) {
    if (!plan_.pipelined) later(plan_.gap, [](SwarmH2Client& self) { self.send_next(); });
    return;
  }
  if (done() && (!plan_.lingers || goaway_)) {
    later(milliseconds(1), [](SwarmH2Client& self) {
      self.over_ = true;
      self.client_->peer().close();
    });
  }
}

}  // namespace weir::test
