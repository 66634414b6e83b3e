#include "proxy/http/h2_session.h"

#include <nghttp2/nghttp2.h>

#include "proxy/base/check.h"

namespace weir {

void H2Session::Delete::operator()(nghttp2_session* session) const noexcept { nghttp2_session_del(session); }

H2Session::~H2Session() { CHECK(!inside_); }

bool H2Session::receive(ByteView bytes, Http2Error& error) {
  CHECK(!inside_);
  inside_ = true;
  const ssize_t result = nghttp2_session_mem_recv(session_.get(), bytes.data(), bytes.size());
  inside_ = false;
  if (result >= 0) return true;
  const bool flood = result == NGHTTP2_ERR_FLOODED || result == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS;
  error = flood ? Http2Error::enhance_your_calm : Http2Error::protocol_error;
  return false;
}

bool H2Session::make_frame(ByteView& piece) {
  CHECK(!inside_);
  inside_ = true;
  const std::uint8_t* data = nullptr;
  const ssize_t result = nghttp2_session_mem_send(session_.get(), &data);
  inside_ = false;
  if (result < 0) return false;
  piece = {data, static_cast<std::size_t>(result)};
  return true;
}

bool H2Session::over() const { return nghttp2_session_want_read(session_.get()) == 0 && nghttp2_session_want_write(session_.get()) == 0; }

std::size_t H2Session::queued() const { return nghttp2_session_get_outbound_queue_size(session_.get()); }

// The result of these says no more than that the stream is closed, or was not waiting.
void H2Session::resume(std::int32_t id) { static_cast<void>(nghttp2_session_resume_data(session_.get(), id)); }

void H2Session::reset_stream(std::int32_t id, Http2Error error) {
  static_cast<void>(nghttp2_submit_rst_stream(session_.get(), NGHTTP2_FLAG_NONE, id, static_cast<std::uint32_t>(error)));
}

void H2Session::consume_stream(std::int32_t id, std::size_t bytes) {
  static_cast<void>(nghttp2_session_consume_stream(session_.get(), id, bytes));
}

void H2Session::ping() { static_cast<void>(nghttp2_submit_ping(session_.get(), NGHTTP2_FLAG_NONE, nullptr)); }

void H2Session::terminate(Http2Error error) {
  static_cast<void>(nghttp2_session_terminate_session(session_.get(), static_cast<std::uint32_t>(error)));
}

}  // namespace weir
