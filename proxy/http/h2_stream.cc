#include "proxy/http/h2_stream.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "proxy/base/check.h"
#include "proxy/http/h2_server.h"

namespace weir {

namespace {

// Of one request's body, beside the window: lower than a pipe's own marks, because a connection has many streams.
constexpr std::size_t kPipeHigh = std::size_t{16} * 1024;
constexpr std::size_t kPipeLow = std::size_t{8} * 1024;
// Of the answers of all streams, and of each at least and at most.
constexpr std::size_t kAnswersHigh = std::size_t{1024} * 1024;
constexpr std::size_t kAnswerLeast = std::size_t{16} * 1024;
constexpr std::size_t kDiscardMax = std::size_t{256} * 1024;  // of a body that nobody wants, while its answer is not out
constexpr Duration kEarlyReset = std::chrono::seconds(1);     // a stream that lived longer made no work by being reset

}  // namespace

H2Stream& H2Stream::make(H2Server& server, std::int32_t id, const HttpLimits& limits) {
  Arena& arena = server.worker().arenas.open();
  return *arena.make<H2Stream>(server, id, arena, limits);
}

H2Stream::H2Stream(H2Server& server, std::int32_t id, Arena& arena, const HttpLimits& limits)
    : server_(server), arena_(arena), id_(id), head_(arena, limits) {}

void H2Stream::destroy() noexcept {
  Arena& arena = arena_;
  this->~H2Stream();
  arena.release();
}

void H2Stream::let_go(EventLoop& loop) { loop.bury(*this); }

// --- The request ------------------------------------------------------------------------------------------------------

bool H2Stream::on_field(std::string_view name, std::string_view value) {
  if (request_ == Request::head) {
    head_.add(name, value);
  } else {
    head_.add_trailer(name, value);
  }
  return !head_.bomb();
}

void H2Stream::on_head(bool end_of_stream) {
  const Rule* broken = head_.finish(end_of_stream);
  RequestHead& request = head_.head();
  if (request.scheme.empty()) request.scheme = server_.scheme();
  request_ = end_of_stream ? Request::complete : Request::body;
  if (!end_of_stream) server_.body_begins();
  answer_ = Answer::due;
  begun_at_ = progress_at_ = server_.now();
  server_.begun(*this, head_.bytes());
  arena_.retain();  // for the exchange
  if (broken != nullptr) {
    server_.connection().on_bad_request(*this, arena_, BadMessage{broken->status, broken->name});
  } else {
    begin_request(request);
  }
  CHECK(handler_ != nullptr || answer_ == Answer::none);
}

void H2Stream::begin_request(RequestHead& request) {
  BodyPipe::Reader body;
  expects_continue_ = request.expects_continue;
  if (request.has_body) {
    BodyPipe::Ends ends = BodyPipe::make(arena_, server_.worker().loop, server_.worker().buffers);
    request_body_ = std::move(ends.writer);
    body = std::move(ends.reader);
    BodyPipe& pipe = *request_body_.pipe();
    pipe.set_expected_length(request.content_length);
    pipe.set_marks(kPipeHigh, kPipeLow);
    request_body_.set_source(this);
  }
  server_.connection().on_request(*this, arena_, request, std::move(body));
}

void H2Stream::on_data(ByteView bytes) {
  progress_at_ = server_.now();
  expects_continue_ = false;  // it comes without being asked for
  if (request_body_) {
    request_body_.write(bytes);
    if (request_body_ && request_body_.paused()) {
      held_back_ += bytes.size();
      return server_.hold(bytes.size());
    }
    server_.session().consume_connection(bytes.size());
    return give_back(bytes.size());
  }
  server_.session().consume_connection(bytes.size());
  discarded_ += bytes.size();
  if (discarded_ <= kDiscardMax) give_back(bytes.size());
}

void H2Stream::give_back(std::size_t bytes) {
  if (bytes == 0 || closed_) return;
  server_.session().consume_stream(id_, bytes);
  server_.wake();
}

void H2Stream::give_back_held() {
  const std::size_t bytes = std::exchange(held_back_, 0);
  if (bytes == 0) return;
  server_.unhold(bytes);
  give_back(bytes);
}

void H2Stream::on_peer_reset() {
  peer_reset_ = true;
  if (request_ != Request::head && server_.now() - begun_at_ >= kEarlyReset) server_.floods().on_late_reset();
}

void H2Stream::on_trailers() {
  if (!head_.trailers_too_large()) return on_request_end();
  end_of_request();
  break_off(Http2Error::protocol_error, StreamError::bad_body);
}

void H2Stream::on_request_end() {
  end_of_request();
  BodyPipe::Writer writer = std::move(request_body_);
  if (!writer) return;
  if (held_back_ == 0) return writer.finish(head_.trailers());
  writer.tell_when_taken();
  ended_body_ = std::move(writer);
  ended_body_.finish(head_.trailers());
}

void H2Stream::on_body_taken() {
  ended_body_.drop();
  server_.unhold(std::exchange(held_back_, 0));  // the stream itself needs no window any more
}

void H2Stream::end_of_request() {
  if (request_ == Request::body) server_.body_ends();
  request_ = Request::complete;
}

void H2Stream::on_body_wanted() {
  if (!expects_continue_ || answer_ != Answer::due) return;
  expects_continue_ = false;
  progress_at_ = server_.now();
  const Http2Field field{":status", "100"};
  if (!closed_) static_cast<void>(server_.session().submit_informational(id_, {&field, 1}));  // fails where the stream has ended
  server_.expect_progress();
  server_.wake();
}

void H2Stream::on_body_resume() {
  progress_at_ = server_.now();
  give_back_held();
  server_.expect_progress();
}

void H2Stream::on_body_dropped() {
  request_body_.drop();
  discarded_ = 0;
  give_back_held();
}

// --- The answer -------------------------------------------------------------------------------------------------------

void H2Stream::send_informational(const ResponseHead& head) {
  if (answer_ != Answer::due || closed_ || failed_ || head.status == 101) return;
  if (head.status == 100 && !std::exchange(expects_continue_, false)) return;  // once, whoever says it first
  const Http2Answer answer = frame_http2_answer(arena_, head, head_.head().method, false);
  static_cast<void>(server_.session().submit_informational(id_, answer.fields));  // fails where the stream has ended
  server_.wake();
}

void H2Stream::send_response(const ResponseHead& head, BodyPipe::Reader body) {
  if (answer_ != Answer::due || closed_ || failed_) return;  // detached, or its end is about to be told
  CHECK(head.status >= 200);
  const Http2Answer answer = frame_http2_answer(arena_, head, head_.head().method, static_cast<bool>(body));
  answer_ = Answer::streaming;
  expected_bytes_ = answer.length;
  submitted_at_ = server_.submitted();
  const bool submitted = server_.session().submit_answer(id_, answer.fields, answer.has_body);
  if (answer.has_body && submitted) {
    const std::size_t high = std::clamp(kAnswersHigh / server_.live(), kAnswerLeast, BodyPipe::kHighMark);
    body.pipe()->set_marks(high, high / 4);
    answer_body_ = std::move(body);
    answer_body_.set_sink(this);
  } else {
    body.drop();
  }
  if (!submitted) return break_off(Http2Error::internal_error, StreamError::write_failed);
  server_.write_soon(*this, 0);
}

void H2Stream::close_after_response() { server_.drain(); }

void H2Stream::reset() {
  if (answer_ == Answer::none) return;
  handler_ = nullptr;
  answer_ = Answer::none;
  has_data_ = false;
  BodyPipe::Writer writer = std::move(request_body_);
  BodyPipe::Reader reader = std::move(answer_body_);
  if (closed_) return server_.ended(*this);
  server_.reset_stream(id_, Http2Error::internal_error, submitted_at_);
}

// Not now, unless it is being pulled: the session says when it has a frame to fill.
std::size_t H2Stream::on_body(ByteView bytes) {
  if (answer_ != Answer::streaming || failed_) return bytes.size();
  if (!pulling_) {
    has_data_ = true;
    have_something(bytes.size());
    return 0;
  }
  const std::size_t n = std::min(room_.size(), bytes.size());
  if (expected_bytes_ >= 0 && answer_bytes_ + n > static_cast<std::uint64_t>(expected_bytes_)) {
    break_off(Http2Error::internal_error, StreamError::response_aborted);
    return bytes.size();
  }
  if (n > 0) std::memcpy(room_.data(), bytes.data(), n);
  room_ = room_.subspan(n);
  answer_bytes_ += n;
  has_data_ = n < bytes.size();
  return n;
}

void H2Stream::have_something(std::size_t bytes) {
  progress_at_ = server_.now();
  if (!closed_) server_.session().resume(id_);
  server_.expect_progress();
  server_.write_soon(*this, bytes);
}

void H2Stream::on_body_end(const Headers* trailers) {
  answer_ended_ = true;
  if (trailers != nullptr) {
    auto* copy = arena_.make<Headers>(arena_);
    trailers->copy_to(*copy);
    answer_trailers_ = copy;
  }
  if (!pulling_) have_something(waiting());
}

void H2Stream::on_body_abort(BodyAbort /*reason*/) { break_off(Http2Error::internal_error, StreamError::response_aborted); }

std::size_t H2Stream::waiting() const { return has_data_ && answer_body_ ? answer_body_.pipe()->kept() : 0; }

std::size_t H2Stream::pull(std::span<std::uint8_t> into, bool& ended, std::span<const Http2Field>& trailers) {
  if (answer_ != Answer::streaming || failed_) return 0;
  room_ = into;
  if (has_data_) {
    pulling_ = true;
    answer_body_.resume();
    pulling_ = false;
  }
  const std::size_t taken = into.size() - room_.size();
  if (taken > 0) progress_at_ = server_.now();
  if (failed_ || !answer_ended_) return taken;
  if (expected_bytes_ >= 0 && answer_bytes_ != static_cast<std::uint64_t>(expected_bytes_)) {
    break_off(Http2Error::internal_error, StreamError::response_aborted);
    return taken;
  }
  ended = true;
  if (answer_trailers_ != nullptr) trailers = http2_trailers(arena_, *answer_trailers_);
  return taken;
}

void H2Stream::on_produced(bool behind) {
  // RFC 9113 8.1: what is still to come of the request is not wanted, and that is no error.
  if (request_ != Request::complete) server_.session().reset_stream(id_, Http2Error::no_error);
  if (answer_ != Answer::streaming || failed_) return;
  answer_ = Answer::produced;
  server_.produced(*this, behind);
}

void H2Stream::on_not_sent() {
  if (answer_ == Answer::due || answer_ == Answer::streaming) break_off(Http2Error::internal_error, StreamError::write_failed);
}

// --- Ends -------------------------------------------------------------------------------------------------------------

void H2Stream::break_off(Http2Error code, StreamError error) {
  if (failed_) return;
  if (!closed_) server_.reset_stream(id_, code, submitted_at_);
  fail(error);
}

void H2Stream::fail(StreamError error) {
  if (!failed_) error_ = error;
  failed_ = true;
  server_.ended(*this);
}

void H2Stream::on_closed() {
  closed_ = true;
  end_of_request();
  give_back_held();
  if (answer_ == Answer::produced && !failed_) return;  // the connection tells when the kernel has it
  // A reset that is neither the client's nor ours is nghttp2's: of DATA or trailers that do not fit the head.
  if (handler_ != nullptr) return fail(peer_reset_ ? StreamError::client_reset : StreamError::bad_body);
  server_.ended(*this);
}

void H2Stream::abandon(StreamError error) {
  closed_ = true;
  end_of_request();
  give_back_held();
  fail(error);
}

void H2Stream::time_out() {
  if (answer_ == Answer::due) {
    const Http2Field fields[] = {{":status", "408"}, {"content-length", "0"}};
    if (server_.session().submit_answer(id_, fields, false)) {
      answered_ = 408;
    } else {
      server_.session().reset_stream(id_, Http2Error::cancel);
    }
  } else {
    server_.session().reset_stream(id_, Http2Error::cancel);
  }
  fail(StreamError::timeout);
}

void H2Stream::cut_short() {
  end_of_request();
  break_off(Http2Error::cancel, StreamError::client_closed);
}

std::optional<MonotonicTime> H2Stream::due(Duration progress) const {
  const bool owes_body = request_ == Request::body && request_body_ && !request_body_.paused() && !expects_continue_;
  const bool owes_reading = answer_ == Answer::streaming && (has_data_ || answer_ended_);
  if (failed_ || (!owes_body && !owes_reading)) return std::nullopt;
  return progress_at_ + progress;
}

void H2Stream::tell_end() {
  ServerStreamHandler* handler = std::exchange(handler_, nullptr);
  BodyPipe::Writer writer = std::move(request_body_);
  BodyPipe::Reader reader = std::move(answer_body_);
  answer_ = Answer::none;
  reader.drop();
  if (closed_) server_.release(*this);  // its memory stays until the callback is over
  // First the exchange, which drops what it runs; a link that still reads the request then learns that it is not whole.
  if (handler != nullptr) {
    if (failed_) {
      handler->on_stream_error(error_, answered_);
    } else {
      server_.floods().on_served();
      handler->on_response_sent();
    }
  }
  if (writer && failed_) writer.abort(error_ == StreamError::bad_body ? BodyAbort::protocol_error : BodyAbort::peer_gone);
}

}  // namespace weir
