#include "tests/cut/cut_relay.h"

#include <utility>

namespace weir::test {

namespace {

constexpr Duration kSplitFor = 1ms;
constexpr Duration kUnreadFor = 300ms;

std::size_t index_of(Side side) { return side == Side::client ? 0 : 1; }

}  // namespace

CutRelay::CutRelay(SimNet& net, SimLoop& loop, const Address& at, const Address& to) : net_(net), loop_(loop), at_(at), to_(to) {
  net_.listen(loop_, at_, *this);
}

CutRelay::~CutRelay() {
  net_.stop_listening(at_, *this);
  for (const auto& wire : wires_) {
    for (const auto& end : wire->ends) end->on_change = nullptr;
  }
}

void CutRelay::on_accept(std::unique_ptr<ByteStream> stream) {
  auto wire = std::make_shared<Wire>();
  wires_.push_back(wire);
  wire->ends[0] = std::make_unique<SimPeer>(std::move(stream));
  wire->ends[1] = std::make_unique<SimPeer>(net_, to_);
  for (const auto& end : wire->ends) {
    end->on_change = [this, raw = wire.get()](SimPeer&) { on_change(*raw); };
  }
}

void CutRelay::close_all() {
  for (const auto& wire : wires_) {
    for (const auto& end : wire->ends) end->close();
  }
}

void CutRelay::on_change(Wire& wire) {
  for (std::size_t from = 0; from < 2 && !wire.dead; ++from) pass_on(wire, from);
  if (wire.dead) return;
  for (std::size_t from = 0; from < 2; ++from) {
    if (wire.ends[from]->error() == 0) continue;
    wire.dead = true;
    wire.ends[1 - from]->reset();
    return wire.ends[from]->close();
  }
  if (!wire.ended[0] || !wire.ended[1]) return;
  for (const auto& end : wire.ends) end->close();
  wire.dead = true;
}

void CutRelay::pass_on(Wire& wire, std::size_t from) {
  SimPeer& source = *wire.ends[from];
  std::string bytes = source.take();
  const bool mine = cut_.side != Side::none && index_of(cut_.side) == from;
  if (!bytes.empty() && mine && !struck_ && (passed_[from] + bytes.size() >= cut_.at || cut_.act == Act::trickle)) {
    const std::size_t before = cut_.act == Act::trickle ? 0 : cut_.at - passed_[from];
    send(wire, from, bytes.substr(0, before));
    held_ = bytes.substr(before);
    struck_ = true;
    return strike(wire, from);
  }
  if (mine && holding_ == &wire) {
    held_ += bytes;
  } else {
    send(wire, from, std::move(bytes));
  }
  if (source.ended() && !wire.ended[from] && !(mine && holding_ == &wire)) {
    wire.ended[from] = true;
    wire.ends[1 - from]->finish();
  }
}

void CutRelay::send(Wire& wire, std::size_t from, std::string bytes) {
  passed_[from] += bytes.size();
  if (!bytes.empty()) wire.ends[1 - from]->send(bytes);
}

void CutRelay::strike(Wire& wire, std::size_t from) {
  SimPeer& source = *wire.ends[from];
  SimPeer& target = *wire.ends[1 - from];
  std::shared_ptr<Wire> held;
  for (const auto& one : wires_) {
    if (one.get() == &wire) held = one;
  }
  const auto later = [&](Duration after, std::function<void()> what) {
    loop_.world().schedule_at(loop_, loop_.now() + after, std::move(what));
  };
  switch (cut_.act) {
    case Act::fin:  // the direction ends; the other goes on
      wire.ended[from] = true;
      target.finish();
      holding_ = &wire;
      return;
    case Act::reset:
      wire.dead = true;
      target.reset();
      return source.reset();
    case Act::close:
      wire.dead = true;
      target.close();
      return source.close();
    case Act::close_unread:
      wire.dead = true;
      target.pause_reading(true);
      return later(kUnreadFor, [held] {
        held->ends[0]->close();
        held->ends[1]->close();
      });
    case Act::stall:
      wire.dead = true;
      source.pause_reading(true);
      return target.pause_reading(true);
    case Act::split:
      holding_ = &wire;
      return later(kSplitFor, [this, held, from] {
        holding_ = nullptr;
        if (held->dead) return;
        send(*held, from, std::exchange(held_, {}));
        on_change(*held);
      });
    case Act::trickle: holding_ = &wire; return trickle(held);
  }
}

void CutRelay::trickle(const std::shared_ptr<Wire>& wire) {
  if (wire->dead) return;
  const std::size_t from = index_of(cut_.side);
  if (held_.empty()) {  // looks again when more has come
    holding_ = nullptr;
    struck_ = false;
    return on_change(*wire);
  }
  send(*wire, from, held_.substr(0, 1));
  held_.erase(0, 1);
  loop_.world().schedule_at(loop_, loop_.now() + std::chrono::microseconds(1), [this, wire] { trickle(wire); });
}

}  // namespace weir::test
