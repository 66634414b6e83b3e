// H2Session: nghttp2 behind typed verbs, the same for both roles; H2ServerSession and H2ClientSession make it, with their callbacks.
// The codec's connection owns the one it has. A frame's stream is found as the session's stream user data.
// nghttp2's header is included by h2_session.cc, h2_server_session.cc and h2_client_session.cc alone. No verb but receive() and
// make_frame() calls back.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "proxy/http/h2_head.h"

struct nghttp2_session;

namespace weir {

enum class Http2Error : std::uint32_t {
  no_error = 0,
  protocol_error = 1,
  internal_error = 2,
  flow_control_error = 3,
  stream_closed = 5,
  refused_stream = 7,
  cancel = 8,
  enhance_your_calm = 11,
};

class H2Session {
 public:
  H2Session(const H2Session&) = delete;
  H2Session& operator=(const H2Session&) = delete;

  // Takes frames apart. False: the session is broken; `error` says why.
  bool receive(ByteView bytes, Http2Error& error);
  // The next piece to be sent, valid until the next call; empty: none now. False: the session is broken.
  bool make_frame(ByteView& piece);
  bool inside() const { return inside_; }  // one of the two is under way
  std::size_t queued() const;              // frames that wait to be made, DATA not counted
  bool over() const;                       // neither reads nor writes any more

  void resume(std::int32_t id);  // a body that had nothing has something
  void reset_stream(std::int32_t id, Http2Error error);
  void consume_stream(std::int32_t id, std::size_t bytes);
  void ping();
  void terminate(Http2Error error);  // GOAWAY, and nothing after it

 protected:
  H2Session() = default;
  ~H2Session();
  nghttp2_session& raw() const { return *session_; }
  void adopt(nghttp2_session* made) { session_.reset(made); }

 private:
  struct Delete {
    void operator()(nghttp2_session* session) const noexcept;
  };
  std::unique_ptr<nghttp2_session, Delete> session_;
  bool inside_ = false;
};

}  // namespace weir
