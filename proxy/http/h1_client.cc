#include "proxy/http/h1_client.h"

#include <cstring>
#include <utility>

#include "proxy/base/check.h"
#include "proxy/http/byte_scan.h"
#include "proxy/http/h1_serializer.h"

namespace weir {

std::unique_ptr<ClientConnection> make_h1_client(WorkerContext& worker, std::unique_ptr<ByteStream> stream,
                                                 ClientConnectionHandler& handler, const ClientConnectionOptions& options) {
  return std::make_unique<H1Client>(worker, std::move(stream), handler, options);
}

void H1ClientStream::drop() noexcept {
  if (H1Client* connection = std::exchange(connection_, nullptr)) connection->dropped();
}

H1Client::H1Client(WorkerContext& worker, std::unique_ptr<ByteStream> stream, ClientConnectionHandler& handler,
                   const ClientConnectionOptions& options)
    : worker_(worker),
      stream_(std::move(stream)),
      pool_(handler),
      output_(*stream_, worker.buffers, &worker.splice_pipes),
      held_(worker.buffers),
      options_(options),
      timer_(worker.loop, Callback::to<&H1Client::on_timer>(this)),
      turn_(worker.loop, Callback::to<&H1Client::on_turn>(this)) {
  stream_->set_handler(this);
  set_reading(true);  // also while idle: a FIN or a stray byte then ends it
}

H1Client::~H1Client() { detach(); }

// --- Sending ---------------------------------------------------------------------------------------------------------

ClientStreamPtr H1Client::open(Arena& arena, const RequestHead& head, std::span<const HeaderField> extra, BodyPipe::Reader body,
                               ClientStreamHandler& handler) {
  CHECK(available());
  ++opened_;
  handler_ = &handler;
  arena_ = &arena;
  arena_hold_ = ArenaHold(arena);
  handle_ = arena.make<H1ClientStream>(*this);
  answer_ = Answer::head;
  method_ = head.method;
  informational_ = 0;
  received_ = false;
  sent_before_ = output_.sent();
  finder_.reset();
  Framing framing;
  framing.length = head.content_length;
  if (head.has_body && head.content_length != 0) {
    framing.body = head.content_length > 0 ? BodyFraming::length : BodyFraming::chunked;
  }
  const Address& peer = stream_->peer_address();
  const bool named = peer.family() == Address::Family::ipv4 || peer.family() == Address::Family::ipv6;
  write_request_head(output_.pending(), head, extra, framing, named ? peer.text() : std::string_view("localhost"));
  output_.begin_body(framing);
  sending_ = framing.body != BodyFraming::none;
  if (sending_) {
    CHECK(body);
    request_body_ = std::move(body);
    request_body_.set_sink(this);
    turn_.cancel();  // behind what the pipe has put off: head and small body leave together
    turn_.schedule();
  } else {
    output_.flush();
    if (output_.broken()) turn_.schedule();
  }
  return ClientStreamPtr(handle_);
}

std::size_t H1Client::on_body(ByteView bytes) {
  const std::size_t taken = output_.body(bytes);
  sink_blocked_ = taken < bytes.size();
  if (!output_.empty() || output_.broken()) turn_.schedule();
  return taken;
}

SpliceResult H1Client::on_body_splice(ByteStream& from, std::size_t most) {
  const SpliceResult done = output_.splice(from, most);
  sink_blocked_ = done.blocked;
  if (!output_.empty() || output_.broken()) turn_.schedule();
  return done;
}

void H1Client::on_body_end(const Headers* trailers) {
  if (!output_.end_body(trailers)) {
    request_aborted_ = true;
  } else {
    sending_ = false;
    output_.flush();
  }
  turn_.schedule();
}

void H1Client::on_body_abort(BodyAbort /*reason*/) {
  request_aborted_ = true;
  turn_.schedule();
}

void H1Client::drop_request_body() {
  sink_blocked_ = false;
  request_body_.drop();
}

void H1Client::on_writable() {
  output_.on_writable();
  if (sink_blocked_ && request_body_) request_body_.touch();
  after_output();
}

void H1Client::on_turn() {
  if (answer_ == Answer::closed) {
    if (!std::exchange(closed_told_, true)) pool_.on_closed();
    return;
  }
  if (request_aborted_ && handler_ != nullptr) return fail(ClientError::request_aborted);
  output_.flush();
  after_output();
}

void H1Client::after_output() {
  if (output_.broken()) {
    drop_request_body();
    // The upstream may have answered and gone without reading all: the answer counts, if it is there.
    if (answer_ != Answer::closed && !(answer_body_ && answer_body_.paused())) on_readable();
    return;
  }
  if (sink_blocked_ && output_.may_take()) {
    sink_blocked_ = false;
    request_body_.resume();
    if (!output_.empty() && !output_.waiting()) turn_.schedule();
  }
}

// --- Reading ---------------------------------------------------------------------------------------------------------

void H1Client::set_reading(bool wanted) {
  if (reading_ == wanted || answer_ == Answer::closed) return;
  reading_ = wanted;
  stream_->want_read(wanted);
}

void H1Client::on_readable() {
  if (answer_body_ && answer_body_.paused()) return set_reading(false);
  if (answer_body_) {
    const SpliceResult spliced = splice_body(decoder_, answer_body_, *stream_);
    if (spliced.error != 0) return on_read_error();
    if (spliced.bytes > 0) return;
  }
  std::span<std::uint8_t> room = worker_.buffers.read_buffer();
  if (answer_ == Answer::head && long_body_) room = room.first(kHeadRead);
  const IoResult result = stream_->read(room);
  switch (result.status) {
    case IoResult::Status::ok:
      if (answer_ == Answer::idle) return close();  // nobody asked for it
      received_ = true;
      return feed(room.first(result.bytes));
    case IoResult::Status::would_block:
      if (!output_.broken()) return;
      break;
    case IoResult::Status::end: return on_fin();
    case IoResult::Status::error: break;
  }
  on_read_error();
}

void H1Client::on_read_error() {
  if (handler_ != nullptr) return fail(ClientError::reset);
  close();
}

void H1Client::feed(std::span<std::uint8_t> in) {
  while (!in.empty()) {
    switch (answer_) {
      case Answer::head: in = in.subspan(feed_head(in)); break;
      case Answer::body:
      case Answer::draining: {
        const std::size_t used = feed_body(in);
        left_over_ = used < in.size();
        if (answer_ == Answer::ending) return end_answer();
        return;
      }
      case Answer::ending:  // an answer without body
        left_over_ = true;
        return end_answer();
      default: return;
    }
  }
  if (answer_ == Answer::ending) end_answer();
}

std::size_t H1Client::feed_head(std::span<std::uint8_t> in) {
  std::size_t used = 0;
  switch (finder_.feed(in, options_.limits, used)) {
    case HeadFinder::Found::bad: {
      const Rule& rule = *finder_.rule();
      fail(&rule == &rules::kHeadTooLarge ? ClientError::head_too_large : ClientError::protocol_error, rule.name);
      return in.size();
    }
    case HeadFinder::Found::more: append_copy(held_, in); return in.size();
    case HeadFinder::Found::end: break;
  }
  const std::size_t size = finder_.size();
  finder_.reset();
  if (held_.empty()) {
    take_head(reinterpret_cast<char*>(in.data()), size, in.size() - used);
  } else {
    take_head(whole_head(in.first(used), size), size, kScanStep);
  }
  return used;
}

// A head that came in parts is put together in the arena; one that came at once is taken apart in the read
// buffer.
char* H1Client::whole_head(std::span<std::uint8_t> last_part, std::size_t size) {
  auto* head = static_cast<char*>(arena_->allocate(size + kScanStep, 1));
  char* at = head;
  while (!held_.empty()) {
    const ByteView part = held_.front();
    std::memcpy(at, part.data(), part.size());
    at += part.size();
    held_.consume(part.size());
  }
  std::memcpy(at, last_part.data(), last_part.size());
  return head;
}

// A head is over once it was told. Its fields are in a block of its own, for the one that was used last is near: with a thousand
// exchanges at once the exchange's arena is far.
void H1Client::take_head(char* text, std::size_t size, std::size_t readable_after) {
  Arena& scratch = worker_.arenas.open();
  read_head(scratch, text, size, readable_after);
  scratch.release();
}

void H1Client::read_head(Arena& scratch, char* text, std::size_t size, std::size_t readable_after) {
  ResponseHead head(scratch);
  ResponseFacts facts;
  if (const Rule* broken = parse_response_head(text, size, options_.limits, method_, head, facts, readable_after)) {
    return fail(broken == &rules::kTooManyFields ? ClientError::head_too_large : ClientError::protocol_error, broken->name);
  }
  if (head.status >= 200) return begin_answer(head, facts);
  if (++informational_ > kMaxInformational) return fail(ClientError::protocol_error, rules::kTooManyInformational.name);
  handler_->on_informational(head);
}

void H1Client::begin_answer(ResponseHead& head, const ResponseFacts& facts) {
  keep_alive_ = facts.keep_alive;
  handle_->response_started_ = true;
  BodyPipe::Reader body;
  if (!head.has_body) {
    answer_ = Answer::ending;  // end_answer() follows, when this head's place in the input is known
  } else {
    answer_ = Answer::body;
    decoder_.start(facts.framing, options_.limits, *arena_);
    BodyPipe::Ends ends = BodyPipe::make(*arena_, worker_.loop, worker_.buffers);
    answer_body_ = std::move(ends.writer);
    body = std::move(ends.reader);
    answer_body_.pipe()->set_expected_length(head.content_length);
    long_body_ = head.content_length >= kLongBody;
    answer_body_.set_source(this);
  }
  handler_->on_response(head, std::move(body));
}

// Stops behind the end of the body, which it leaves in Answer::ending.
std::size_t H1Client::feed_body(ByteView in) {
  ByteView rest = in;
  while (answer_ == Answer::body || answer_ == Answer::draining) {
    ByteView data;
    switch (decoder_.next(rest, data)) {
      case H1BodyDecoder::Step::data:
        if (answer_body_) {
          if (decoder_.remaining() == 0) tell_end(nullptr);  // before its last bytes can reach anyone
          if (answer_body_) answer_body_.write(data);        // unless that end made its reader go
        } else if ((drained_ += data.size()) > options_.max_drain) {
          if (handler_ != nullptr) {
            fail(ClientError::request_aborted);
          } else {
            close();
          }
        }
        break;
      case H1BodyDecoder::Step::end: answer_ = Answer::ending; return in.size() - rest.size();
      case H1BodyDecoder::Step::bad: fail(ClientError::protocol_error, decoder_.rule()->name); return in.size();
      case H1BodyDecoder::Step::more: return in.size();
    }
  }
  return in.size();
}

void H1Client::on_fin() {
  const bool whole = (answer_ == Answer::body || answer_ == Answer::draining) && decoder_.ends_at_close();
  if (whole) {
    answer_ = Answer::ending;
    return end_answer();
  }
  if (handler_ != nullptr) return fail(ClientError::closed);
  close();
}

void H1Client::on_body_dropped() {
  answer_body_.drop();
  drained_ = 0;
  set_reading(true);
}

// --- Ends ------------------------------------------------------------------------------------------------------------

// The last byte of the answer was read. The facts are told first, then the pipe ends (which may complete the
// exchange), then the pool.
void H1Client::end_answer() {
  const bool clean = keep_alive_ && !closing_ && !sending_ && !left_over_ && output_.empty() && !output_.broken();
  left_over_ = false;
  BodyPipe::Writer body = std::move(answer_body_);
  timer_.disarm();
  const Headers* trailers = decoder_.trailers();
  tell_end(trailers);
  if (body) body.finish(trailers);
  if (!clean || closing_) return close();
  request_aborted_ = false;
  decoder_.forget();
  arena_ = nullptr;
  arena_hold_.reset();
  answer_ = Answer::idle;
  set_reading(true);
  pool_.on_available();
}

void H1Client::tell_end(const Headers* trailers) {
  detach();
  drop_request_body();
  if (ClientStreamHandler* handler = std::exchange(handler_, nullptr)) handler->on_end(trailers);
}

void H1Client::fail(ClientError error, std::string_view rule) {
  ClientFailure failure;
  failure.error = error;
  failure.anything_sent = output_.sent() > sent_before_;
  failure.anything_received = received_;
  failure.reused = opened_ > 1;
  failure.rule = rule;
  failure.detail = stream_->failure();
  ClientStreamHandler* handler = std::exchange(handler_, nullptr);
  BodyPipe::Writer body = std::move(answer_body_);
  if (error != ClientError::closed) stream_->reset();
  close();
  if (handler != nullptr) handler->on_failure(failure);
  if (!body) return;
  if (error == ClientError::protocol_error) return body.abort(BodyAbort::protocol_error);
  body.abort(error == ClientError::reset ? BodyAbort::reset : BodyAbort::peer_gone);
}

// The caller wants no more of it. A short rest of the answer is read away; anything else costs the
// connection.
void H1Client::dropped() {
  handle_ = nullptr;
  handler_ = nullptr;
  if (answer_ == Answer::ending) return;  // end_answer() is on its way
  if (!worth_draining()) {
    stream_->reset();
    return close();
  }
  answer_ = Answer::draining;
  answer_body_.drop();
  drained_ = 0;
  timer_.arm(options_.max_drain_time);
  set_reading(true);
}

bool H1Client::worth_draining() const {
  if (answer_ != Answer::body || !keep_alive_ || closing_ || sending_ || !output_.empty() || output_.broken()) return false;
  if (decoder_.ends_at_close()) return false;
  return decoder_.remaining() <= static_cast<std::int64_t>(options_.max_drain);  // -1, chunked: it may be short
}

void H1Client::on_timer() {
  if (answer_ == Answer::draining) close();
}

void H1Client::close_when_idle() {
  closing_ = true;
  if (answer_ == Answer::idle) close();
}

void H1Client::detach() {
  if (H1ClientStream* handle = std::exchange(handle_, nullptr)) handle->connection_ = nullptr;
}

void H1Client::close() {
  if (answer_ == Answer::closed) return;
  answer_ = Answer::closed;
  stream_->set_handler(nullptr);
  timer_.disarm();
  handler_ = nullptr;
  detach();
  held_.clear();
  answer_body_.drop();
  drop_request_body();
  arena_ = nullptr;
  arena_hold_.reset();
  turn_.schedule();
}

}  // namespace weir
