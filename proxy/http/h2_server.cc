#include "proxy/http/h2_server.h"

#include <algorithm>
#include <utility>

#include "proxy/base/check.h"
#include "proxy/http/h1_serializer.h"
#include "proxy/http/linger.h"

namespace weir {

namespace {

constexpr std::size_t kQuietRead = std::size_t{16} * 1024;  // at once, while no body is expected: bounds the requests of one read
constexpr Duration kNoticeTime = std::chrono::seconds(1);   // for requests that cross the notice of a drain
constexpr std::size_t kHeadShare = std::size_t{4} * 1024;   // of each stream, in what heads may take
constexpr int kScans = 64;                                  // of all streams for timeouts, at most, in the time that a timeout takes

}  // namespace

std::unique_ptr<ServerConnection> make_h2_server(WorkerContext& worker, std::unique_ptr<ByteStream> stream,
                                                 ServerConnectionHandler& handler, const ServerConnectionOptions& options, Bytes received) {
  return std::make_unique<H2Server>(worker, std::move(stream), handler, options, std::move(received));
}

H2Server::H2Server(WorkerContext& worker, std::unique_ptr<ByteStream> stream, ServerConnectionHandler& handler,
                   const ServerConnectionOptions& options, Bytes received)
    : worker_(worker),
      stream_(std::move(stream)),
      connection_(handler),
      options_(options),
      session_(*this, options_.limits),
      watch_(options_.limits, worker.loop.now()),
      output_(*stream_, worker.buffers),
      received_(std::move(received)),
      timer_(worker.loop, Callback::to<&H2Server::on_timer>(this)),
      next_turn_(worker.loop, Callback::to<&H2Server::on_next_turn>(this)),
      turn_(worker.loop, Callback::to<&H2Server::on_turn>(this)) {}

// Whoever drops the connection has dropped its exchanges, and no callback of ours is on the stack: streams go at once.
H2Server::~H2Server() {
  while (H2Stream* stream = streams_.pop_front()) stream->destroy();
}

void H2Server::start() {
  stream_->set_handler(this);
  set_reading(true);
  idle_since_ = now();
  on_begin_head(nullptr);  // the preface
  head_begun_ = false;
  wake();
}

// --- Reading ----------------------------------------------------------------------------------------------------------

void H2Server::set_reading(bool wanted) {
  if (reading_ == wanted) return;
  reading_ = wanted;
  stream_->want_read(wanted);
}

bool H2Server::must_pause() const { return state_ == State::closed || input_ended_ || !received_.empty() || output_full(); }

void H2Server::on_readable() {
  if (must_pause()) return set_reading(false);
  std::span<std::uint8_t> room = worker_.buffers.read_buffer();
  if (bodies_ == 0) room = room.first(kQuietRead);
  const IoResult result = stream_->read(room);
  if (result.status == IoResult::Status::would_block) return;
  if (result.status == IoResult::Status::end) return on_fin();
  if (result.status == IoResult::Status::error) return lose(StreamError::client_reset);
  if (state_ == State::lingering) {
    discarded_ += result.bytes;
    if (discarded_ > kLingerBytes) close();
    return;
  }
  watch_.begin_turn();
  const ByteView bytes = room.first(result.bytes);
  const std::size_t used = feed(bytes);
  if (!terminated_) append_copy(received_, bytes.subspan(used));
  settle();
}

// Gives the session of `bytes` what this turn has a share for; says how much that was.
std::size_t H2Server::feed(ByteView bytes) {
  if (terminated_) return bytes.size();
  const std::size_t used = watch_.look(bytes, now());
  Http2Error error{};
  if (used > 0 && !session_.receive(bytes.first(used), error)) {
    terminate(error == Http2Error::enhance_your_calm ? rules::kHttp2Flood : rules::kHttp2Frame, error);
  } else if (watch_.broken() != nullptr) {
    terminate(*watch_.broken(), watch_.error());
  }
  if (head_begun_ && !watch_.in_block()) on_head_complete();  // of a block that it ignores the session tells no end
  return used;
}

void H2Server::feed_kept() {
  watch_.begin_turn();
  while (!received_.empty() && !watch_.share_used() && !output_full()) {
    received_.consume(feed(received_.front()));
    if (terminated_) received_.clear();
  }
}

void H2Server::on_fin() {
  if (state_ == State::lingering || streams_.empty()) return close();
  if (!options_.half_close) return lose(StreamError::client_closed);
  input_ended_ = true;
  set_reading(false);
  H2Stream* next = nullptr;
  for (H2Stream* one = streams_.first(); one != nullptr; one = next) {
    next = streams_.next(*one);
    if (!one->request_complete()) one->cut_short();
  }
  settle();
}

// --- What the session says --------------------------------------------------------------------------------------------

void H2Server::on_begin_head(H2Stream* stream) {
  head_stream_ = stream;
  head_since_ = now();
  head_begun_ = true;
  arm_by(head_since_ + options_.limits.request_headers);
}

// The session counts a stream out when it is reset; we, when its exchange was told. A request whose head does not find room beside
// those of the others may be sent again, too.
H2Stream* H2Server::on_begin_request(std::int32_t id) {
  if (state_ != State::open) return nullptr;
  const bool many = live_ >= 2 * options_.limits.streams;
  if (many || heads_ > kHeadsMax + kHeadShare * options_.limits.streams) {
    on_refused(many ? rules::kHttp2Streams : rules::kHttp2Heads);
    return nullptr;
  }
  H2Stream& stream = H2Stream::make(*this, id, options_.limits);
  streams_.push_back(stream);
  ++live_;
  return &stream;
}

void H2Server::on_invalid(bool message) {
  on_head_complete();
  if (message) connection_.on_refused(rules::kMalformed.name);
}

void H2Server::on_refused(const Rule& rule) { connection_.on_refused(rule.name); }

void H2Server::on_costly(Http2Flood kind) {
  if (!floods().bear(kind, now())) on_flood(kind);
}

// nghttp2 resets single streams also where SETTINGS make their windows overflow, which is an error of the connection (RFC 9113 6.9.2), and
// where DATA exceeds one, which may be.
void H2Server::on_flow_control_reset() {
  if (overflows_ > 0) {
    --overflows_;
  } else {
    terminate(rules::kHttp2Frame, Http2Error::flow_control_error);
  }
}

void H2Server::on_flood(Http2Flood kind) { terminate(rule_of(kind), Http2Error::enhance_your_calm); }

void H2Server::on_goaway_sent(bool flood) {
  if (std::exchange(goaway_counted_, true)) return;
  const Rule* rule = flood ? &rules::kHttp2Flood : &rules::kHttp2Frame;
  connection_.on_refused(broken_rule_ == nullptr ? rule->name : broken_rule_->name);
}

void H2Server::on_ping_answered() {
  if (go_away_ == GoAway::notice) go_away();
}

// --- What its streams say ---------------------------------------------------------------------------------------------

void H2Server::begun(H2Stream& stream, std::size_t head_bytes) {
  stream.head_bytes = std::min(head_bytes, options_.limits.header_bytes);
  heads_ += stream.head_bytes;
  expect_progress();
}

// The window of the connection is given back at once, as long as little waits: else the client has to wait, with all its streams.
void H2Server::hold(std::size_t bytes) {
  held_ += bytes;
  if (held_ > kHeldMax) {
    owed_ += bytes;
  } else {
    session_.consume_connection(bytes);
  }
}

void H2Server::unhold(std::size_t bytes) {
  held_ -= bytes;
  if (owed_ == 0 || held_ > kHeldMax) return;
  session_.consume_connection(std::exchange(owed_, 0));
  wake();
}

void H2Server::expect_progress() { arm_by(now() + options_.limits.body_progress); }

void H2Server::ended(H2Stream& stream) {
  static_cast<H2Due&>(stream).unlink();
  ended_.push_back(stream);
  wake();
}

void H2Server::produced(H2Stream& stream, bool behind) {
  if (behind) {
    just_produced_ = &stream;
  } else {
    stream.end_at = made_;
    flushing_.push_back(stream);
  }
}

void H2Server::release(H2Stream& stream) {
  static_cast<H2Listed&>(stream).unlink();
  static_cast<H2Due&>(stream).unlink();
  heads_ -= stream.head_bytes;
  if (head_stream_ == &stream) head_stream_ = nullptr;
  stream.let_go(worker_.loop);
  if (--live_ > 0) return;
  idle_since_ = now();
  arm_by(idle_since_ + options_.limits.idle);
  wake();  // a drain waits for this
}

void H2Server::on_turn() {
  if (state_ == State::closed) {
    if (!std::exchange(closed_told_, true)) connection_.on_closed();
    return;
  }
  if (!std::exchange(begun_, true)) feed_kept();
  settle();
}

void H2Server::on_next_turn() {
  if (state_ == State::closed) return;
  waited_ = true;
  feed_kept();
  settle();
}

void H2Server::settle() {
  if (state_ != State::open) return tell_ends();
  if (!pump() || output_.broken()) return lose(StreamError::write_failed);
  tell_ends();
  after_output();
}

void H2Server::after_output() {
  if (state_ != State::open) return;
  if (!received_.empty() && !output_full() && !next_turn_.armed()) next_turn_.arm(Duration::zero());
  if (!must_pause()) set_reading(true);
  arm_by(goodbye_until());
  if (!output_.empty() || turn_.scheduled() || (!received_.empty() && !terminated_)) return;
  if (streams_.empty() && (draining_ || input_ended_)) {
    if (draining_ && go_away_ != GoAway::sent) return go_away();
    if (was_idle_ || input_ended_) return close();
    return linger();
  }
  if (!session_.over()) return;
  abandon_all(StreamError::client_closed);
  linger();
  tell_ends();
}

void H2Server::tell_ends() {
  while (H2Stream* first = flushing_.first()) {
    if (first->end_at > output_.sent()) break;
    flushing_.pop_front();
    ended_.push_back(*first);
  }
  while (H2Stream* stream = ended_.pop_front()) stream->tell_end();
}

// --- Ends -------------------------------------------------------------------------------------------------------------

void H2Server::drain() {
  if (draining_ || state_ != State::open) return;
  draining_ = true;
  was_idle_ = streams_.empty();
  if (!was_idle_) {  // RFC 9113 6.8: requests that are on their way are still taken
    session_.shutdown_notice();
    go_away_ = GoAway::notice;
    drain_since_ = now();
    arm_by(drain_since_ + kNoticeTime);
  }
  wake();
}

void H2Server::go_away() {
  go_away_ = GoAway::sent;
  session_.go_away();
  wake();
}

// The client broke the protocol: it is told, and nothing more is heard.
void H2Server::terminate(const Rule& rule, Http2Error error) {
  if (std::exchange(terminated_, true)) return;
  broken_rule_ = &rule;
  session_.terminate(error);
  wake();
}

void H2Server::abandon_all(StreamError error) {
  H2Stream* next = nullptr;
  for (H2Stream* one = streams_.first(); one != nullptr; one = next) {
    next = streams_.next(*one);
    one->abandon(error);
  }
}

// The connection is gone. Telling is last.
void H2Server::lose(StreamError error) {
  abandon_all(error);
  close();
  tell_ends();
}

// RFC 9112 9.6, as true here: closing with unread bytes would make a RST, which may take the last frames away.
void H2Server::linger() {
  if (input_ended_) return close();
  state_ = State::lingering;
  received_.clear();
  stream_->shutdown_write();
  set_reading(true);
  linger_until_ = now() + kLingerTime;
  arm_by(linger_until_);
}

void H2Server::close() {
  if (state_ == State::closed) return;
  state_ = State::closed;
  stream_->set_handler(nullptr);
  timer_.disarm();
  next_turn_.disarm();
  received_.clear();
  output_.pending().clear();
  wake();
}

// --- Time -------------------------------------------------------------------------------------------------------------

void H2Server::arm_by(MonotonicTime deadline) {
  if (deadline != kNever && (!timer_.armed() || timer_.deadline() > deadline)) timer_.arm_at(deadline);
}

// Nothing is left but a goodbye, and the client does not take it.
MonotonicTime H2Server::goodbye_until() const {
  const bool waits = draining_ && streams_.empty() && output_since_ != kNever;
  return waits ? output_since_ + kLingerTime : kNever;
}

MonotonicTime H2Server::next_deadline() {
  if (state_ == State::lingering) return linger_until_;
  const HttpLimits& limits = options_.limits;
  MonotonicTime next = kNever;
  if (head_since_ != kNever) next = std::min(next, head_since_ + limits.request_headers);
  if (output_since_ != kNever) next = std::min(next, output_since_ + limits.body_progress);
  if (go_away_ == GoAway::notice) next = std::min(next, drain_since_ + kNoticeTime);
  if (streams_.empty() && draining_) return std::min(next, goodbye_until());
  if (streams_.empty()) return std::min(next, idle_since_ + limits.idle);
  MonotonicTime first = kNever;
  for (H2Stream* one = streams_.first(); one != nullptr; one = streams_.next(*one)) {
    first = std::min(first, one->due(limits.body_progress).value_or(now() + limits.body_progress));
  }
  // Looking at all streams for each that is due would cost their square.
  return std::min(next, std::max(first, now() + limits.body_progress / kScans));
}

void H2Server::on_overdue(MonotonicTime at) {
  const HttpLimits& limits = options_.limits;
  if (output_since_ != kNever && at >= output_since_ + limits.body_progress) {
    stream_->reset();
    return lose(StreamError::timeout);
  }
  if (head_since_ != kNever && at >= head_since_ + limits.request_headers) {
    on_head_complete();
    terminate(rules::kHeadersTimeout, Http2Error::enhance_your_calm);
  }
  if (go_away_ == GoAway::notice && at >= drain_since_ + kNoticeTime) go_away();
  if (streams_.empty() && at >= idle_since_ + limits.idle) drain();
  if (at >= goodbye_until()) return close();
  H2Stream* next = nullptr;
  for (H2Stream* one = streams_.first(); one != nullptr; one = next) {
    next = streams_.next(*one);
    const std::optional<MonotonicTime> due = one->due(limits.body_progress);
    if (due && at >= *due) one->time_out();
  }
  settle();
}

void H2Server::on_timer() {
  if (state_ == State::closed) return;
  if (state_ == State::lingering) {
    if (now() >= linger_until_) return close();
  } else {
    on_overdue(now());
  }
  if (state_ != State::closed) arm_by(next_deadline());
}

}  // namespace weir
