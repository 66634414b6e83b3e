// H2ServerSession: nghttp2 as a server: a session with our options whose callbacks lead to H2Server and H2Stream.
// H2Server owns it.
// It decides nothing: what nghttp2 does not judge, H2Server and Http2RequestHead do.
#pragma once

#include "proxy/http/h2_session.h"

namespace weir {

class H2Server;

class H2ServerSession final : public H2Session {
 public:
  // Of one stream, and so of the bytes that may come after a pipe was paused; the connection's is larger, and given back at once unless
  // much is held (H2Server::hold).
  static constexpr std::uint32_t kStreamWindow = 256 * 1024;
  static constexpr std::int32_t kConnectionWindow = 1024 * 1024;
  static constexpr std::size_t kMaxAcks = 1000;  // answers to PING and SETTINGS that wait to be sent
  static constexpr std::size_t kMaxAnswerHead = std::size_t{256} * 1024;

  H2ServerSession(H2Server& server, const HttpLimits& limits);

  bool submit_informational(std::int32_t id, std::span<const Http2Field> fields);
  // The fields live until the session has made their frame, or forgotten the stream.
  bool submit_answer(std::int32_t id, std::span<const Http2Field> fields, bool has_body);
  void consume_connection(std::size_t bytes);
  bool knows(std::int32_t id);  // the stream is not closed
  void shutdown_notice();       // GOAWAY that names no stream yet, and a PING behind it
  void go_away();               // GOAWAY with the last stream that was taken

 private:
  struct Callbacks;
};

}  // namespace weir
