#include "tests/cut/peers.h"

#include <algorithm>

namespace weir::test {

namespace {

constexpr Duration kSplitFor = 1ms;
constexpr Duration kUnreadFor = 300ms;  // in which something comes that is not read

}  // namespace

const char* name_of(Act act) {
  static constexpr const char* kNames[] = {"fin", "reset", "close", "close with unread data", "stall", "split", "byte by byte"};
  return kNames[static_cast<std::size_t>(act)];
}

std::string described(const Conversation& conversation, const Cut& cut) {
  const std::string side = cut.side == Side::client ? ": the client's byte " : ": the upstream's byte ";
  return conversation.name + side + std::to_string(cut.at) + ", " + name_of(cut.act);
}

// --- CutPeer ------------------------------------------------------------------------------------------------------------------------

void CutPeer::say(std::string_view text) {
  if (mute_) return;
  queue_ += text;
  pump();
}

void CutPeer::say_fin() {
  fin_wanted_ = true;
  pump();
}

void CutPeer::pump() {
  if (holding_ || mute_) return;
  const bool trickles = point_.armed && point_.cut.act == Act::trickle;
  if (trickles && !queue_.empty()) {
    send(queue_.substr(0, 1));
    queue_.erase(0, 1);
    ++point_.said;
    return after(std::chrono::microseconds(1), &CutPeer::go_on);
  }
  if (point_.armed && !point_.done && !trickles && !queue_.empty() && point_.said + queue_.size() >= point_.cut.at) {
    const std::size_t n = point_.cut.at - point_.said;
    send(queue_.substr(0, n));
    queue_.erase(0, n);
    point_.said += n;
    point_.done = true;
    return act(point_.cut.act);
  }
  point_.said += queue_.size();
  send(std::exchange(queue_, {}));
  if (fin_wanted_ && !mute_) finish();
}

void CutPeer::go_on() {
  holding_ = false;
  pump();
}

void CutPeer::after(Duration wait, void (CutPeer::*then)()) {
  holding_ = true;
  loop_.world().schedule_at(loop_, loop_.now() + wait, [weak = weak_from_this(), then] {
    if (const auto self = weak.lock()) (self.get()->*then)();
  });
}

void CutPeer::act(Act what) {
  if (what == Act::split) return after(kSplitFor, &CutPeer::go_on);
  mute_ = true;
  if (!open()) return;
  switch (what) {
    case Act::fin: return finish();
    case Act::reset: return reset();
    case Act::close: return close();
    case Act::stall: return stop_reading();
    case Act::close_unread:
      stop_reading();
      loop_.world().schedule_at(loop_, loop_.now() + kUnreadFor, [weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->close();
      });
      return;
    case Act::split:
    case Act::trickle: return;
  }
}

// --- CutClient ----------------------------------------------------------------------------------------------------------------------

CutClient::CutClient(const Conversation& conversation, CutPoint& point, SimLoop& loop)
    : CutPeer(point, loop), conversation_(conversation) {}

bool CutClient::answered() const {
  if (over() || !open()) return true;
  if (!done()) return false;
  std::size_t whole = 0;
  for (const WireMessage& one : answers().messages) whole += one.final_answer() && one.whole ? 1 : 0;
  return whole == conversation_.asks.size();
}

const WireReading& CutClient::answers() const {
  if (received.size() != read_bytes_ || end() != read_end_) {
    reading_ = read_answers(received, conversation_.methods(), end());
    read_bytes_ = received.size();
    read_end_ = end();
  }
  return reading_;
}

void CutClient::on_connected(int error) {
  RawPeer::on_connected(error);
  if (error == 0) step();
}

bool CutClient::holds(const Step& step) const {
  if (step.when == Step::When::at_once) return true;
  std::size_t informational = 0;
  std::size_t heads = 0;
  std::size_t whole = 0;
  const WireReading& reading = answers();
  for (const WireMessage& one : reading.messages) {
    if (one.head_whole && one.status() < 200) ++informational;
    if (one.final_answer()) ++heads;
    if (one.final_answer() && one.whole) ++whole;
  }
  switch (step.when) {
    case Step::When::informational: return informational >= step.count;
    case Step::When::heads: return heads >= step.count;
    default: return whole >= step.count;
  }
}

void CutClient::step() {
  while (next_ < conversation_.steps.size() && holds(conversation_.steps[next_])) say(conversation_.steps[next_++].bytes);
}

// --- CutUpstream --------------------------------------------------------------------------------------------------------------------

class CutUpstream::Peer final : public CutPeer {
 public:
  Peer(CutUpstream& upstream, CutPoint& point, SimLoop& loop) : CutPeer(point, loop), upstream_(upstream) {}

 private:
  void on_bytes() override {
    upstream_.on_change(*this);
    if (got_fin()) close();
  }
  CutUpstream& upstream_;
};

CutUpstream::CutUpstream(const Conversation& conversation, CutPoint& point, SimNet& net, SimLoop& loop, const Address& at)
    : conversation_(conversation), point_(point), net_(net), loop_(loop), at_(at) {
  net_.listen(loop_, at_, *this);
}

CutUpstream::~CutUpstream() { refuse(); }

void CutUpstream::refuse() {
  if (std::exchange(listening_, false)) net_.stop_listening(at_, *this);
}

void CutUpstream::act(Act what) {
  for (const auto& peer : peers) peer->act(what);
}

bool CutUpstream::open() const {
  return std::any_of(peers.begin(), peers.end(), [](const auto& one) { return one->open() && !one->over(); });
}

void CutUpstream::on_accept(std::unique_ptr<ByteStream> stream) {
  auto peer = std::make_shared<Peer>(*this, point_, loop_);
  peers.push_back(peer);
  peer->adopt(std::move(stream));
}

const Reply* CutUpstream::next_reply(const std::string& target) const {
  if (target == kBackground) return &background_reply();
  const auto tried = tries.find(target);
  for (const Ask& one : conversation_.asks) {
    if (one.target == target) return &one.replies[std::min(tried == tries.end() ? 0 : tried->second, one.replies.size() - 1)];
  }
  return nullptr;
}

void CutUpstream::on_change(CutPeer& peer) {
  const WireReading reading = read_requests(peer.received);
  while (peer.answered < reading.messages.size()) {
    const WireMessage& request = reading.messages[peer.answered];
    if (!request.head_whole) return;
    const Reply* reply = next_reply(request.target());
    if (reply == nullptr || (!request.whole && !reply->at_head)) return;
    ++peer.answered;
    answer(peer, request);
  }
}

void CutUpstream::answer(CutPeer& peer, const WireMessage& request) {
  const Reply& reply = *next_reply(request.target());
  ++tries[request.target()];
  if (reply.first == 0 && !reply.stops) {
    peer.say(reply.bytes);
    if (reply.fin) peer.say_fin();
    if (reply.reset) peer.act(Act::reset);
    return;
  }
  peer.say(reply.bytes.substr(0, reply.first));
  if (reply.stops) return;
  loop_.world().schedule_at(loop_, loop_.now() + reply.gap, [weak = peer.weak_from_this(), &reply] {
    const auto self = weak.lock();
    if (self == nullptr) return;
    self->say(reply.bytes.substr(reply.first));
    if (reply.fin) self->say_fin();
  });
}

}  // namespace weir::test
