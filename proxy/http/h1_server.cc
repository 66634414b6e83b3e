// Reading, and the life of the connection. Answers are in h1_server_answer.cc.
#include "proxy/http/h1_server.h"

#include <algorithm>
#include <cstring>

#include "proxy/base/check.h"
#include "proxy/http/byte_scan.h"
#include "proxy/http/h1_serializer.h"
#include "proxy/http/linger.h"

namespace weir {

namespace {

constexpr std::size_t kHeldMax = std::size_t{16} * 1024;          // pipelined bytes, after which reading stops
constexpr std::uint64_t kDiscardMax = std::uint64_t{256} * 1024;  // of a refused or unwanted body, while its answer is not out

}  // namespace

std::unique_ptr<ServerConnection> make_h1_server(WorkerContext& worker, std::unique_ptr<ByteStream> stream,
                                                 ServerConnectionHandler& handler, const ServerConnectionOptions& options) {
  return std::make_unique<H1Server>(worker, std::move(stream), handler, options);
}

H1Server::H1Server(WorkerContext& worker, std::unique_ptr<ByteStream> stream, ServerConnectionHandler& handler,
                   const ServerConnectionOptions& options)
    : worker_(worker),
      stream_(std::move(stream)),
      connection_(handler),
      output_(*stream_, worker.buffers, &worker.splice_pipes),
      turn_(worker.loop, Callback::to<&H1Server::on_turn>(this)),
      timer_(worker.loop, Callback::to<&H1Server::on_timer>(this)),
      options_(options),
      held_(worker.buffers) {}

void H1Server::start() {
  stream_->set_handler(this);
  set_reading(true);
  set_deadline(worker_.loop.now() + options_.limits.idle);
}

void H1Server::drain() {
  draining_ = true;
  if (answer_ == Answer::none && input_ != Input::lingering) close();
}

// --- Reading ---------------------------------------------------------------------------------------------------------

void H1Server::set_reading(bool wanted) {
  if (reading_ == wanted) return;
  reading_ = wanted;
  stream_->want_read(wanted);
}

void H1Server::resume_reading() {
  if (!reading_ && !input_ended_ && !must_pause()) set_reading(true);
}

// Asked when an event arrives: pausing is lazy.
bool H1Server::must_pause() const {
  switch (input_) {
    case Input::body:
      if (request_body_) return request_body_.paused();
      return answer_ != Answer::none && discarded_ >= kDiscardMax;
    case Input::waiting: return held_.size() >= kHeldMax;
    case Input::head: return held_is_new_;
    case Input::discard: return discarded_ >= kDiscardMax;
    case Input::closed: return true;
    default: return false;
  }
}

void H1Server::on_readable() {
  held_in_turn_ = 0;
  if (must_pause()) {
    set_reading(false);
    return;
  }
  if (input_ == Input::body && request_body_) {
    const SpliceResult spliced = splice_body(decoder_, request_body_, *stream_);
    if (spliced.error != 0) return on_read_error();
    if (spliced.bytes > 0) {
      progress_at_ = worker_.loop.now();
      return;
    }
  }
  std::span<std::uint8_t> room = worker_.buffers.read_buffer();
  if (input_ == Input::head && long_body_) room = room.first(kHeadRead);
  if (input_ == Input::waiting) room = room.first(kHeldMax);
  const IoResult result = stream_->read(room);
  if (result.status == IoResult::Status::would_block) return;
  if (result.status == IoResult::Status::end) return on_fin();
  if (result.status == IoResult::Status::error) return on_read_error();
  progress_at_ = worker_.loop.now();
  const ByteView in = room.first(result.bytes);
  const std::size_t used = feed(in);
  if (used < in.size()) append_copy(held_, in.subspan(used));
}

std::size_t H1Server::feed(ByteView in) {
  std::size_t used = 0;
  while (used < in.size()) {
    switch (input_) {
      case Input::head: used += feed_head(in.subspan(used)); break;
      case Input::body: used += feed_body(in.subspan(used)); break;
      case Input::waiting: return used;
      case Input::discard: discarded_ += in.size() - used; return in.size();
      case Input::lingering:
        discarded_ += in.size() - used;
        if (discarded_ > kLingerBytes) close();
        return in.size();
      case Input::closed: return in.size();
    }
  }
  return used;
}

std::size_t H1Server::feed_head(ByteView in) {
  std::size_t used = 0;
  const bool was_begun = finder_.size() > finder_.skipped();  // an empty line alone begins no request
  switch (finder_.feed(in, options_.limits, used)) {
    case HeadFinder::Found::bad: refuse(*finder_.rule(), in); return in.size();
    case HeadFinder::Found::end: dispatch(in, used); return used;
    case HeadFinder::Found::more: break;
  }
  append_copy(held_, in);
  const bool begun = finder_.size() > finder_.skipped();
  if (begun && !was_begun) set_deadline(worker_.loop.now() + options_.limits.request_headers);
  return in.size();
}

// The head is complete: the kept parts and the last one, the first `used` bytes of `in`, go into the arena, where it is taken apart in
// place.
void H1Server::dispatch(ByteView in, std::size_t used) {
  const ByteView last_part = in.first(used);
  Arena& arena = worker_.arenas.open();
  const std::size_t size = finder_.size();
  auto* head = static_cast<char*>(arena.allocate(size + kScanStep, 1));
  char* at = head;
  while (!held_.empty()) {
    const ByteView part = held_.front();
    std::memcpy(at, part.data(), part.size());
    at += part.size();
    held_.consume(part.size());
  }
  std::memcpy(at, last_part.data(), last_part.size());
  auto* request = arena.make<RequestHead>(arena);
  RequestFacts facts;
  const std::size_t skipped = finder_.skipped();
  const Rule* broken = parse_request_head(head + skipped, size - skipped, options_.limits, *request, facts, kScanStep);
  if (broken != nullptr) {
    // Only at the start of a connection, and nothing but the line: else it is refused.
    if (broken == &rules::kHttp2Preface && options_.http2 && output_.sent() == 0 && std::string_view(head, size) == kHttp2PrefaceLine) {
      arena.release();
      held_.append(kHttp2PrefaceLine);
      held_.append(in.subspan(used));
      input_ = Input::closed;
      is_http2_ = true;
      return turn_.schedule();
    }
    return refuse(*broken, arena, as_bytes(std::string_view(head, size)));
  }
  begin_request(arena, *request, facts);
}

// Telling is last: this codec is over, and hears nothing more of its stream.
void H1Server::hand_over() {
  closed_told_ = true;
  timer_.disarm();
  connection_.on_http2(std::move(stream_), std::move(held_), options_);
}

void H1Server::begin_request(Arena& arena, RequestHead& request, const RequestFacts& facts) {
  if (request.scheme.empty()) request.scheme = options_.scheme;
  method_ = request.method;
  version_ = request.version;
  keep_alive_ = facts.keep_alive && !draining_;
  expects_continue_ = request.expects_continue;
  discarded_ = 0;
  answer_ = Answer::due;
  arena_ = ArenaHold(arena);
  BodyPipe::Reader body;
  if (request.has_body) {
    BodyPipe::Ends ends = BodyPipe::make(arena, worker_.loop, worker_.buffers);
    request_body_ = std::move(ends.writer);
    body = std::move(ends.reader);
    request_body_.pipe()->set_expected_length(request.content_length);
    long_body_ = request.content_length >= kLongBody;
    request_body_.set_source(this);
    decoder_.start(facts.framing, options_.limits, arena);
    input_ = Input::body;
    deadline_ = kNever;
    expect_progress();
  } else {
    input_ = Input::waiting;
    deadline_ = kNever;
  }
  connection_.on_request(*this, arena, request, std::move(body));
  CHECK(handler_ != nullptr || answer_ == Answer::none);
}

// Of a head that is refused. What may be a HEAD, as far as it came, is taken for one: its client would read the content of the answer as
// the next answer (RFC 9110 9.3.2).
Method H1Server::method_begun(ByteView rest) const {
  constexpr std::string_view kHead = "HEAD ";
  char begun[2 + kHead.size()];  // behind an empty line
  std::size_t size = 0;
  const auto take = [&](ByteView part) {
    const std::size_t taken = std::min(part.size(), sizeof begun - size);
    if (taken > 0) std::memcpy(begun + size, part.data(), taken);
    size += taken;
  };
  iovec held[sizeof begun];
  const int parts = held_.vectors(held);
  for (int i = 0; i < parts; ++i) take({static_cast<const std::uint8_t*>(held[i].iov_base), held[i].iov_len});
  take(rest);
  std::string_view text(begun, size);
  text.remove_prefix(std::min(finder_.skipped(), size));
  return kHead.starts_with(text.substr(0, kHead.size())) ? Method::head : Method::other;
}

void H1Server::refuse(const Rule& rule, Arena& arena, ByteView rest) {
  method_ = method_begun(rest);
  held_.clear();
  input_ = Input::discard;
  version_ = HttpVersion::http11;
  keep_alive_ = false;
  expects_continue_ = false;
  discarded_ = 0;
  answer_ = Answer::due;
  deadline_ = kNever;
  connection_.on_bad_request(*this, arena, BadMessage{rule.status, rule.name});
  CHECK(handler_ != nullptr || answer_ == Answer::none);
}

std::size_t H1Server::feed_body(ByteView in) {
  ByteView rest = in;
  expects_continue_ = false;  // it comes without being asked for
  while (input_ == Input::body) {
    ByteView data;
    switch (decoder_.next(rest, data)) {
      case H1BodyDecoder::Step::data:
        if (request_body_) {
          request_body_.write(data);
        } else {
          discarded_ += data.size();
          if (answer_ == Answer::none && discarded_ > kDiscardMax) linger();
        }
        break;
      case H1BodyDecoder::Step::end: end_of_request_body(); return in.size() - rest.size();
      case H1BodyDecoder::Step::bad: fail(StreamError::bad_body); return in.size();
      case H1BodyDecoder::Step::more: return in.size();
    }
  }
  return in.size();
}

void H1Server::end_of_request_body() {
  input_ = Input::waiting;
  BodyPipe::Writer writer = std::move(request_body_);
  if (answer_ == Answer::none) {
    next_request();  // the rest of a request that was answered early
  } else if (writer) {
    writer.finish(decoder_.trailers());
  }
}

void H1Server::read_held() {
  held_is_new_ = false;
  Bytes old = std::move(held_);
  while (!old.empty()) {
    const ByteView part = old.front();
    const std::size_t used = feed(part);
    old.consume(used);
    if (used < part.size()) break;
  }
  if (input_ == Input::closed || input_ == Input::lingering) return;
  if (!old.empty()) {
    DCHECK(held_.empty() && input_ == Input::waiting);
    held_ = std::move(old);
  }
  if (input_ended_ && input_ == Input::head) return close();
  resume_reading();
}

void H1Server::on_fin() {
  switch (input_) {
    case Input::closed: return;
    case Input::lingering: return close();
    case Input::head:
      if (!held_is_new_ || !options_.half_close) return close();
      break;
    case Input::discard: break;
    case Input::body: return fail(StreamError::client_closed);
    case Input::waiting:
      if (!options_.half_close) return fail(StreamError::client_closed);
      break;
  }
  input_ended_ = true;
  set_reading(false);
}

void H1Server::on_read_error() {
  if (answer_ == Answer::none) return close();
  fail(StreamError::client_reset);
}

// --- The request's body, seen from its pipe --------------------------------------------------------------------------

void H1Server::on_body_wanted() {
  if (!expects_continue_ || answer_ != Answer::due) return;
  expects_continue_ = false;
  output_.pending().append("HTTP/1.1 100 Continue\r\n\r\n");
  expect_progress();
  turn_.schedule();
}

void H1Server::on_body_resume() {
  progress_at_ = worker_.loop.now();
  expect_progress();
  resume_reading();
}

void H1Server::on_body_dropped() {
  request_body_.drop();
  discarded_ = 0;
  resume_reading();
}

// --- Time ------------------------------------------------------------------------------------------------------------

void H1Server::set_deadline(MonotonicTime deadline) {
  deadline_ = deadline;
  if (deadline != kNever && (!timer_.armed() || timer_.deadline() > deadline)) timer_.arm_at(deadline);
}

// The client has to move a byte within the limit, from now on.
void H1Server::expect_progress() {
  if (deadline_ != kNever) return;
  progress_at_ = worker_.loop.now();
  set_deadline(progress_at_ + options_.limits.body_progress);
}

bool H1Server::client_owes() const {
  if (output_.waiting()) return true;
  return input_ == Input::body && request_body_ && !request_body_.paused() && !expects_continue_;
}

void H1Server::on_exchange_timer() {
  if (!client_owes()) {
    deadline_ = kNever;
    return;
  }
  const MonotonicTime due = progress_at_ + options_.limits.body_progress;
  if (worker_.loop.now() < due) return set_deadline(due);
  fail(StreamError::timeout);
}

void H1Server::on_timer() {
  if (input_ == Input::closed || deadline_ == kNever) return;
  if (held_is_new_) {
    held_in_turn_ = 0;
    turn_.schedule();
  }
  if (worker_.loop.now() < deadline_) return set_deadline(deadline_);
  if (answer_ != Answer::none) return on_exchange_timer();
  if (input_ == Input::head && finder_.size() > finder_.skipped()) return refuse(rules::kHeadersTimeout, {});
  if (input_ == Input::body) return linger();
  close();
}

}  // namespace weir
