#include "proxy/http/h2_client.h"

#include <algorithm>
#include <utility>

#include "proxy/base/check.h"
#include "proxy/http/h1_serializer.h"

namespace weir {

namespace {

constexpr std::size_t kOutputMark = std::size_t{64} * 1024;     // frames made ahead of the kernel
constexpr std::size_t kTurnMax = std::size_t{1024} * 1024;      // written for one connection before others have a turn
constexpr std::size_t kRestMax = std::size_t{8} * 1024 * 1024;  // read of an upstream that cannot be written to any more

}  // namespace

std::unique_ptr<ClientConnection> make_h2_client(WorkerContext& worker, std::unique_ptr<ByteStream> stream,
                                                 ClientConnectionHandler& handler, const ClientConnectionOptions& options) {
  return std::make_unique<H2Client>(worker, std::move(stream), handler, options);
}

H2Client::H2Client(WorkerContext& worker, std::unique_ptr<ByteStream> stream, ClientConnectionHandler& handler,
                   const ClientConnectionOptions& options)
    : worker_(worker),
      stream_(std::move(stream)),
      pool_(handler),
      options_(options),
      session_(*this, options_.limits, options_.http2),
      output_(*stream_, worker.buffers),
      timer_(worker.loop, Callback::to<&H2Client::on_timer>(this)),
      turn_(worker.loop, Callback::to<&H2Client::on_turn>(this)) {
  stream_->set_handler(this);
  stream_->want_read(true);
  wake();  // for the preface
}

H2Client::~H2Client() {
  while (H2ClientStream* stream = streams_.first()) stream->orphan();
}

// --- Requests ---------------------------------------------------------------------------------------------------------

std::uint32_t H2Client::room() const {
  if (state_ == State::closed || closing_ || going_ || terminated_ || broken_rule_ != nullptr || !session_.may_open()) return 0;
  const std::uint32_t most = std::min(options_.http2.max_streams, session_.allowed_streams());
  return live_ < most ? most - live_ : 0;
}

ClientStreamPtr H2Client::open(Arena& arena, const RequestHead& head, std::span<const HeaderField> extra, BodyPipe::Reader body,
                               ClientStreamHandler& handler) {
  CHECK(available());
  ++opened_;
  if (ping_due_ == kNever) expect_answers();
  H2ClientStream& stream = H2ClientStream::make(*this, arena, head.method, handler, answered_);
  streams_.push_back(stream);
  ++live_;
  if (head.method == Method::connect) {
    stream.refuse(rules::kConnectUnsupported);
  } else {
    const Address& peer = stream_->peer_address();
    const bool named = peer.family() == Address::Family::ipv4 || peer.family() == Address::Family::ipv6;
    const std::string_view host = named ? std::string_view(peer.text()) : std::string_view("localhost");
    stream.begin(frame_http2_request(arena, head, extra, options_.scheme, host), std::move(body));
    going_ = going_ || !session_.may_open();  // that was the last id
  }
  turn_.cancel();  // behind what the pipe has put off: head and small body leave together
  turn_.schedule();
  return ClientStreamPtr(&stream);
}

void H2Client::failed(H2ClientStream& stream) {
  static_cast<H2ClientDue&>(stream).unlink();
  failed_.push_back(stream);
  wake();
}

void H2Client::left() {
  DCHECK(live_ > 0);
  news_ = true;
  --live_;
  if (state_ != State::closed) wake();
}

void H2Client::close_when_idle() {
  if (std::exchange(closing_, true)) return;
  wake();
}

// --- Reading ----------------------------------------------------------------------------------------------------------

void H2Client::on_readable() {
  if (state_ == State::closed) return;
  const std::span<std::uint8_t> room = worker_.buffers.read_buffer();
  const IoResult result = stream_->read(room);
  switch (result.status) {
    case IoResult::Status::ok: break;
    case IoResult::Status::would_block: return;
    case IoResult::Status::end: return lose(ClientError::closed);
    case IoResult::Status::error: return lose(ClientError::reset);
  }
  if (!feed(room.first(result.bytes))) return;
  settle();
}

// False: the connection is lost, and that was told.
bool H2Client::feed(ByteView bytes) {
  if (terminated_) return true;
  if (received_ == 0 && as_text(bytes).starts_with("HTTP/")) {
    lose(ClientError::protocol_error, rules::kNotHttp2.name);
    return false;
  }
  received_ += bytes.size();
  heard_ = false;
  Http2Error error{};
  if (!session_.receive(bytes, error)) {
    break_rule(error == Http2Error::enhance_your_calm ? rules::kHttp2Flood : rules::kHttp2Frame, error);
  }
  heard();
  return true;
}

bool H2Client::take_data(std::size_t size) {
  if (data_left_ == kNotTheLast) return false;
  data_left_ -= std::min(size, data_left_);
  return data_left_ == 0;
}

// Requests that were not looked at have been closed by the session, as refused; the others go on.
void H2Client::on_goaway() {
  going_ = true;
  wake();
}

void H2Client::on_push() { break_rule(rules::kPush, Http2Error::protocol_error); }

// nghttp2 found the fault, and says so itself.
void H2Client::on_goaway_sent(bool flood) {
  if (broken_rule_ == nullptr) broken_rule_ = flood ? &rules::kHttp2Flood : &rules::kHttp2Frame;
}

// --- Writing ----------------------------------------------------------------------------------------------------------

// Makes frames while the kernel takes them. False: the session cannot go on.
bool H2Client::pump() {
  std::size_t written = 0;
  while (!output_.waiting() && !output_.broken()) {
    ByteView piece;
    if (!session_.make_frame(piece)) return false;
    if (!piece.empty()) {
      append_copy(output_.pending(), piece);
      made_ += piece.size();
      written += piece.size();
      if (output_.pending_size() < kOutputMark) continue;
    }
    output_.flush();
    if (piece.empty()) break;
    if (written >= kTurnMax) {  // go on when the loop has looked at others
      stream_->want_write(true);
      break;
    }
  }
  return true;
}

void H2Client::on_writable() {
  if (state_ == State::closed) return;
  output_.on_writable();
  settle();
}

void H2Client::on_turn() {
  if (state_ == State::open) return settle();
  tell_failures();
  if (!std::exchange(closed_told_, true)) pool_.on_closed();
}

void H2Client::settle() {
  if (!pump()) return lose(ClientError::reset);
  if (output_.broken()) return read_rest();
  if (broken_rule_ != nullptr) return lose(ClientError::protocol_error, broken_rule_->name);
  tell_failures();
  after_output();
}

void H2Client::after_output() {
  if (state_ == State::closed) return;
  if (streams_.empty() && (closing_ || going_)) return close();
  if (going_) {
    if (!std::exchange(closed_told_, true)) pool_.on_closed();
  } else if (std::exchange(news_, false) && available()) {
    pool_.on_available();
  }
}

void H2Client::tell_failures() {
  while (H2ClientStream* stream = failed_.pop_front()) stream->tell_failure();
}

// --- Ends -------------------------------------------------------------------------------------------------------------

// The upstream may have answered and gone without reading all: the answers count, if they are there.
void H2Client::read_rest() {
  for (std::size_t rest = 0; rest < kRestMax && broken_rule_ == nullptr && !terminated_;) {
    const std::span<std::uint8_t> room = worker_.buffers.read_buffer();
    const IoResult result = stream_->read(room);
    if (!result.ok()) break;
    rest += result.bytes;
    if (!feed(room.first(result.bytes))) return;
  }
  lose(ClientError::reset);
}

// Told to the upstream; nothing more is heard.
void H2Client::break_rule(const Rule& rule, Http2Error code) {
  if (broken_rule_ == nullptr) broken_rule_ = &rule;
  if (std::exchange(terminated_, true)) return;
  session_.terminate(code);
  wake();
}

// The connection is gone. Telling is last.
void H2Client::lose(ClientError error, std::string_view rule) {
  H2ClientStream* next = nullptr;
  for (H2ClientStream* one = streams_.first(); one != nullptr; one = next) {
    next = streams_.next(*one);
    one->abandon(error, rule);
  }
  if (error != ClientError::closed && error != ClientError::protocol_error) stream_->reset();
  close();
  tell_failures();
}

void H2Client::close() {
  if (state_ == State::closed) return;
  state_ = State::closed;
  stream_->set_handler(nullptr);
  timer_.disarm();
  output_.pending().clear();
  wake();
}

// --- Whether it lives -------------------------------------------------------------------------------------------------

// The upstream owes something from now on. Not moved by requests that come or go: a dead connection whose requests time out one by one
// has to be found out too.
void H2Client::expect_answers() {
  const Duration interval = options_.http2.ping_interval;
  if (interval <= Duration(0)) return;
  ping_due_ = now() + interval;
  if (pinged_at_ != kNever) ping_due_ = std::max(ping_due_, pinged_at_ + kQuietPing);
  if (!timer_.armed() || timer_.deadline() > ping_due_) timer_.arm_at(ping_due_);
}

// Bytes have come: it lives.
void H2Client::heard() {
  answer_due_ = ping_due_ = kNever;
  if (heard_) pinged_at_ = kNever;
  if (live_ > 0) expect_answers();
}

// Not moved by each byte: it looks again where it came too early.
void H2Client::on_timer() {
  if (state_ == State::closed) return;
  if (answer_due_ != kNever) {
    if (now() >= answer_due_) return lose(ClientError::reset);
  } else if (ping_due_ != kNever && now() >= ping_due_) {
    pinged_at_ = now();
    ping_due_ = kNever;
    answer_due_ = now() + options_.http2.ping_timeout;
    session_.ping();
    wake();
  }
  timer_.arm_at(answer_due_ != kNever ? answer_due_ : ping_due_);
}

}  // namespace weir
