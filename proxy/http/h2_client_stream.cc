#include "proxy/http/h2_client_stream.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "proxy/base/check.h"
#include "proxy/http/h2_client.h"

namespace weir {

namespace {

// Of one answer's body, beside the window: lower than a pipe's own marks, because a connection has many streams.
constexpr std::size_t kPipeHigh = std::size_t{64} * 1024;
constexpr std::size_t kPipeLow = std::size_t{16} * 1024;

}  // namespace

H2ClientStream& H2ClientStream::make(H2Client& client, Arena& arena, Method method, ClientStreamHandler& handler, bool reused) {
  arena.retain();
  return *arena.make<H2ClientStream>(client, arena, method, handler, reused);
}

H2ClientStream::H2ClientStream(H2Client& client, Arena& arena, Method method, ClientStreamHandler& handler, bool reused)
    : client_(&client),
      loop_(client.loop()),
      arena_(arena),
      handler_(&handler),
      head_(arena, client.options().limits),
      heard_at_(client.received()),
      method_(method),
      reused_(reused) {}

void H2ClientStream::destroy() noexcept {
  Arena& arena = arena_;
  this->~H2ClientStream();
  arena.release();
}

// --- The request ------------------------------------------------------------------------------------------------------

void H2ClientStream::begin(const Http2Request& request, BodyPipe::Reader body) {
  expected_request_ = request.length;
  id_ = client_->session().submit_request(request.fields, request.has_body, *this);
  if (id_ == 0) return fail(ClientError::refused_stream);
  if (!request.has_body) return;
  CHECK(body);
  request_body_ = std::move(body);
  request_body_.set_sink(this);
}

void H2ClientStream::refuse(const Rule& rule) { fail(ClientError::protocol_error, rule.name); }

// Not now, unless it is being pulled: the session says when it has a frame to fill.
std::size_t H2ClientStream::on_body(ByteView bytes) {
  if (failed_ || client_ == nullptr) return bytes.size();
  if (!pulling_) {
    has_data_ = true;
    have_something();
    return 0;
  }
  const std::size_t n = std::min(room_.size(), bytes.size());
  if (expected_request_ >= 0 && sent_ + n > static_cast<std::uint64_t>(expected_request_)) {
    break_off(Http2Error::cancel, ClientError::request_aborted);
    return bytes.size();
  }
  if (n > 0) std::memcpy(room_.data(), bytes.data(), n);
  room_ = room_.subspan(n);
  sent_ += n;
  has_data_ = n < bytes.size();
  return n;
}

void H2ClientStream::have_something() {
  if (client_ == nullptr || closed_) return;
  client_->session().resume(id_);
  client_->wake();
}

void H2ClientStream::on_body_end(const Headers* trailers) {
  request_ended_ = true;
  if (trailers != nullptr) {
    auto* copy = arena_.make<Headers>(arena_);
    trailers->copy_to(*copy);
    request_trailers_ = copy;
  }
  if (!pulling_) have_something();
}

void H2ClientStream::on_body_abort(BodyAbort /*reason*/) { break_off(Http2Error::cancel, ClientError::request_aborted); }

std::size_t H2ClientStream::pull(std::span<std::uint8_t> into, bool& ended, std::span<const Http2Field>& trailers) {
  if (failed_ || !request_body_) return 0;
  room_ = into;
  if (has_data_) {
    pulling_ = true;
    request_body_.resume();
    pulling_ = false;
  }
  const std::size_t taken = into.size() - room_.size();
  if (failed_ || !request_ended_) return taken;
  if (expected_request_ >= 0 && sent_ != static_cast<std::uint64_t>(expected_request_)) {
    break_off(Http2Error::cancel, ClientError::request_aborted);
    return taken;
  }
  ended = true;
  if (request_trailers_ != nullptr) trailers = http2_trailers(arena_, *request_trailers_);
  return taken;
}

void H2ClientStream::on_made(bool end_of_stream) {
  if (!std::exchange(request_made_, true)) made_at_ = client_->made();
  request_complete_ = request_complete_ || end_of_stream;
}

// --- The answer -------------------------------------------------------------------------------------------------------

void H2ClientStream::on_begin_fields() {
  received_any_ = true;
  if (answer_ == Answer::head) {
    head_.begin_head();
  } else {
    head_.begin_trailers();
  }
}

void H2ClientStream::on_field(std::string_view name, std::string_view value) {
  if (failed_ || handler_ == nullptr) return;
  head_.add(name, value);
  if (head_.broken() != nullptr) break_off(*head_.broken());
}

void H2ClientStream::on_fields(bool end_of_stream) {
  if (failed_ || handler_ == nullptr) return;
  if (answer_ == Answer::body) {
    if (const Rule* broken = head_.finish_trailers(end_of_stream)) return break_off(*broken);
    if (!is_whole()) return break_off(rules::kLengthMismatch);
    return end_answer(head_.trailers());
  }
  if (const Rule* broken = head_.finish_head(method_, end_of_stream)) return break_off(*broken);
  ResponseHead& head = head_.head();
  if (head.status >= 200) return begin_answer(end_of_stream);
  if (++informational_ > kMaxInformational) return break_off(rules::kTooManyInformational);
  handler_->on_informational(head);
}

void H2ClientStream::begin_answer(bool end_of_stream) {
  ResponseHead& head = head_.head();
  answer_ = Answer::body;
  response_started_ = true;
  client_->answer_begins();
  BodyPipe::Reader body;
  if (head.has_body) {
    expected_answer_ = head.content_length;
    BodyPipe::Ends ends = BodyPipe::make(arena_, loop_, client_->worker().buffers);
    answer_body_ = std::move(ends.writer);
    body = std::move(ends.reader);
    answer_body_.pipe()->set_expected_length(head.content_length);
    answer_body_.pipe()->set_marks(kPipeHigh, kPipeLow);
    answer_body_.set_source(this);
  }
  handler_->on_response(head, std::move(body));
  if (end_of_stream && handler_ != nullptr) end_answer(nullptr);
}

void H2ClientStream::on_data(ByteView bytes, bool last) {
  if (failed_ || handler_ == nullptr) return;
  if (answer_ == Answer::head) return break_off(rules::kBodyBeforeHead);
  if (!head_.has_content()) return break_off(rules::kUnaskedBody);
  received_ += bytes.size();
  if (expected_answer_ >= 0 && received_ > static_cast<std::uint64_t>(expected_answer_)) return break_off(rules::kLengthMismatch);
  if (!answer_body_) {  // nobody reads it
    give_back(bytes.size());
    discarded_ += bytes.size();
    if (discarded_ > client_->options().max_drain) break_off(Http2Error::cancel, ClientError::request_aborted);
    return;
  }
  if (last && is_whole()) return end_answer(nullptr, bytes);
  answer_body_.write(bytes);
  if (answer_body_ && answer_body_.paused()) {
    held_back_ += bytes.size();
  } else {
    give_back(bytes.size());
  }
}

void H2ClientStream::on_data_end() {
  if (failed_ || handler_ == nullptr) return;
  if (answer_ == Answer::head) return break_off(rules::kBodyBeforeHead);
  if (!is_whole()) return break_off(rules::kLengthMismatch);
  end_answer(nullptr);
}

// The facts are told first, before the last bytes can reach anyone, then the pipe ends (which may complete the exchange).
void H2ClientStream::end_answer(const Headers* trailers, ByteView last_bytes) {
  answer_ = Answer::complete;
  BodyPipe::Writer body = std::move(answer_body_);
  request_body_.drop();
  has_data_ = false;
  if (!request_complete_) reset(Http2Error::cancel);  // RFC 9113 8.1: an answer need not wait for the whole request
  std::exchange(handler_, nullptr)->on_end(trailers);
  if (!body) return;
  body.write(last_bytes);
  body.finish(trailers);
}

void H2ClientStream::give_back(std::size_t bytes) {
  if (bytes == 0 || closed_ || client_ == nullptr) return;
  client_->session().consume_stream(id_, bytes);
  client_->wake();
}

void H2ClientStream::on_body_resume() { give_back(std::exchange(held_back_, 0)); }

void H2ClientStream::on_body_dropped() {
  answer_body_.drop();
  give_back(std::exchange(held_back_, 0));
}

// --- Ends -------------------------------------------------------------------------------------------------------------

void H2ClientStream::reset(Http2Error code) {
  if (closed_ || client_ == nullptr || id_ == 0 || std::exchange(reset_, true)) return;
  client_->session().reset_stream(id_, code);
  client_->wake();
}

void H2ClientStream::break_off(const Rule& rule) {
  const bool too_large = &rule == &rules::kHeadTooLarge || &rule == &rules::kTooManyFields;
  break_off(Http2Error::protocol_error, too_large ? ClientError::head_too_large : ClientError::protocol_error, rule.name);
}

void H2ClientStream::break_off(Http2Error code, ClientError error, std::string_view rule) {
  if (failed_ || handler_ == nullptr) return;
  reset(code);
  fail(error, rule);
}

void H2ClientStream::fail(ClientError error, std::string_view rule) {
  if (failed_ || handler_ == nullptr) return;
  failed_ = true;
  error_ = error;
  rule_ = rule;
  client_->failed(*this);
}

// What the session says when a stream is over without the end of its answer.
ClientError H2ClientStream::error_of(std::uint32_t code) const {
  // By the upstream, or above the last stream of its GOAWAY, or not begun before it: it was not looked at.
  if (code == static_cast<std::uint32_t>(Http2Error::refused_stream) && !response_started_) return ClientError::refused_stream;
  return peer_reset_ ? ClientError::reset : ClientError::protocol_error;
}

void H2ClientStream::on_closed(std::uint32_t error) {
  closed_ = true;
  if (handler_ == nullptr) return leave_session();
  const ClientError why = error_of(error);
  fail(why, why == ClientError::protocol_error ? rules::kHttp2Frame.name : std::string_view());
}

void H2ClientStream::abandon(ClientError error, std::string_view rule) {
  closed_ = true;
  if (handler_ == nullptr) return leave_session();
  fail(error, rule);
}

// The connection is being destroyed.
void H2ClientStream::orphan() noexcept {
  closed_ = true;
  handler_ = nullptr;
  answer_body_.drop();
  request_body_.drop();
  static_cast<H2ClientListed&>(*this).unlink();
  static_cast<H2ClientDue&>(*this).unlink();
  client_ = nullptr;
  if (!held_) destroy();
}

void H2ClientStream::tell_failure() {
  ClientStreamHandler* handler = std::exchange(handler_, nullptr);
  BodyPipe::Writer body = std::move(answer_body_);
  request_body_.drop();
  ClientFailure failure;
  failure.error = error_;
  failure.anything_sent = error_ != ClientError::refused_stream && request_made_ && client_->sent() > made_at_;
  failure.anything_received = received_any_;
  failure.reused = reused_ && client_->received() == heard_at_;  // else it lived when the request was sent
  failure.rule = rule_;
  failure.detail = client_->failure();
  const ClientError error = error_;
  if (closed_ || id_ == 0) leave_session();  // its memory stays until the callback is over
  if (handler != nullptr) handler->on_failure(failure);
  if (!body) return;
  if (error == ClientError::protocol_error) return body.abort(BodyAbort::protocol_error);
  body.abort(error == ClientError::closed ? BodyAbort::peer_gone : BodyAbort::reset);
}

void H2ClientStream::drop() noexcept {
  held_ = false;
  if (client_ == nullptr) return loop_.bury(*this);
  const bool over = handler_ == nullptr;
  handler_ = nullptr;
  static_cast<H2ClientDue&>(*this).unlink();
  has_data_ = false;
  answer_body_.drop();
  request_body_.drop();
  if (over && !failed_) return;  // the session is done with it by itself, or was told to reset it
  if (closed_ || id_ == 0) return leave_session();
  reset(Http2Error::cancel);
}

// The connection knows it no more.
void H2ClientStream::leave_session() {
  H2Client* client = std::exchange(client_, nullptr);
  if (client == nullptr) return;
  static_cast<H2ClientListed&>(*this).unlink();
  static_cast<H2ClientDue&>(*this).unlink();
  closed_ = true;
  if (!held_) loop_.bury(*this);
  client->left();
}

}  // namespace weir
