#include "tests/cut/codec_case.h"

namespace weir::test {
namespace {

constexpr Duration kSilence = 80s;  // over which a codec's own timers end what stands still
constexpr Duration kQuiet = 10s;

}  // namespace

const char* name_of(CodecBlow blow) {
  static constexpr const char* kNames[] = {"the client's FIN",
                                           "the client's RST",
                                           "the client closes",
                                           "the client stalls",
                                           "the upstream's FIN",
                                           "the upstream's RST",
                                           "the upstream closes",
                                           "the upstream stalls",
                                           "the network stalls in front",
                                           "the network stalls behind",
                                           "a drain",
                                           "the exchange resets",
                                           "the request is dropped",
                                           "the request's body is aborted",
                                           "nobody reads the answer",
                                           "the connection is retired"};
  return kNames[static_cast<std::size_t>(blow)];
}

const char* name_of(CodecKind kind) {
  static constexpr const char* kNames[] = {"server codec", "client codec", "relay"};
  return kNames[static_cast<std::size_t>(kind)];
}

CodecCase::CodecCase(const Conversation& conversation, std::optional<Cut> cut, std::optional<CodecEventCut> blow)
    : conversation_(conversation),
      cut_(cut),
      blow_(blow),
      loop_(world_.add_loop()),
      net_(loop_),
      front_(Address::parse("127.0.0.1:1").value()),
      back_(Address::parse("127.0.0.1:2").value()) {
  if (!cut_) return;
  CutPoint& point = cut_->side == Side::client ? client_point_ : upstream_point_;
  point.cut = *cut_;
  point.armed = true;
}

CodecCase::~CodecCase() = default;

void CodecCase::pass(Duration by) {
  const MonotonicTime end = world_.now() + by;
  world_.run_until(
      [this] {
        sweep();
        return false;
      },
      by);
  world_.advance_to(end);
  sweep();
}

bool CodecCase::stalls() const {
  if (cut_) return cut_->act == Act::stall;
  if (!blow_) return false;
  const CodecBlow blow = blow_->blow;
  return blow == CodecBlow::client_stall || blow == CodecBlow::upstream_stall || blow == CodecBlow::front_stall ||
         blow == CodecBlow::back_stall || blow == CodecBlow::local_stop_reading;
}

Allowed CodecCase::allowed() const {
  Allowed allowed;
  if (cut_) {
    allowed.uncut = harmless(cut_->act);
    allowed.early_fin = cut_->side == Side::upstream && cut_->act != Act::reset;
    allowed.client_deaf = cut_->side == Side::client;
    if (cut_->side == Side::client && cut_->act == Act::stall) allowed.own = {408};
    if (cut_->side == Side::upstream && !allowed.uncut) allowed.own = {408, 502, 503};  // 408: it may keep the client waiting with its body
  } else if (blow_) {
    const CodecBlow blow = blow_->blow;
    allowed.early_fin = blow == CodecBlow::upstream_fin || blow == CodecBlow::upstream_close;
    allowed.client_deaf = blow <= CodecBlow::client_stall || blow == CodecBlow::front_stall;
    allowed.upstream_deaf = blow == CodecBlow::back_stall;
    if (blow == CodecBlow::client_stall || blow == CodecBlow::front_stall) allowed.own = {408};
    if (blow >= CodecBlow::upstream_fin && !allowed.client_deaf) allowed.own = {408, 502, 503};
  } else {
    allowed.uncut = true;
  }
  return allowed;
}

void CodecCase::strike() {
  const CodecBlow blow = blow_->blow;
  constexpr Act kActs[] = {Act::fin, Act::reset, Act::close, Act::stall};
  if (blow <= CodecBlow::client_stall) return client_->act(kActs[static_cast<std::size_t>(blow)]);
  if (blow <= CodecBlow::upstream_stall) {
    return upstream_->act(kActs[static_cast<std::size_t>(blow) - static_cast<std::size_t>(CodecBlow::upstream_fin)]);
  }
  if (blow == CodecBlow::front_stall) return net_.stall(front_);
  if (blow == CodecBlow::back_stall) return net_.stall(back_);
  // As everything inside a proxy, on a turn of the loop.
  loop_.post([this, blow] { strike_inside(blow); });
}

Problems CodecCase::run() {
  Problems problems;
  begin();
  const std::uint64_t began = world_.events();
  const auto goes_on = [this] {
    sweep();
    return answered();
  };
  if (blow_) {
    const auto due = [&] { return world_.events() >= began + blow_->at; };
    if (world_.run_until([&] { return due() || goes_on(); }, 10s) && due()) {
      strike();
      world_.run_until(goes_on, 10s);
    }
  } else {
    world_.run_until(goes_on, 10s);
  }
  events_ = world_.events() - began;
  pass(stalls() ? kSilence : kQuiet);
  judge(allowed(), problems);
  if (client_ != nullptr) client_->close();
  if (upstream_ != nullptr) {
    for (const auto& peer : upstream_->peers) peer->close();
  }
  pass(kQuiet);
  drop_all();
  loop_.run_ready();
  if (arenas_.in_use() != 0) problems.push_back(std::to_string(arenas_.in_use()) + " arenas are held");
  if (buffers_.bytes_held() != 0) problems.push_back(std::to_string(buffers_.bytes_held()) + " bytes of buffers are held");
  if (net_.open_streams() != 0) problems.push_back("streams are open");
  if (world_.pending() != 0) problems.push_back(std::to_string(world_.pending()) + " events wait");
  return problems;
}

}  // namespace weir::test
