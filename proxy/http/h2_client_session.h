// H2ClientSession: nghttp2 as a client: a session with our options whose callbacks lead to H2Client and H2ClientStream.
// H2Client owns it.
// It judges frames and flow control, never messages: nghttp2's own judgement of those is switched off, because it does not say which rule
// was broken; Http2ResponseHead and H2ClientStream do.
#pragma once

#include "proxy/http/h2_session.h"

namespace weir {

class H2Client;
class H2ClientStream;
struct Http2ClientOptions;

class H2ClientSession final : public H2Session {
 public:
  // What may come of one answer after its pipe was paused; the connection's window is larger, and given back at once.
  static constexpr std::uint32_t kStreamWindow = 256 * 1024;
  static constexpr std::int32_t kConnectionWindow = 16 * 1024 * 1024;
  static constexpr std::size_t kMaxAcks = 1000;          // answers to PING and SETTINGS that wait to be sent
  static constexpr std::uint32_t kAssumedStreams = 100;  // that the upstream allows, before its first SETTINGS have come
  static constexpr std::size_t kMaxRequestHead = std::size_t{256} * 1024;

  H2ClientSession(H2Client& client, const HttpLimits& limits, const Http2ClientOptions& options);

  // The stream's id; 0: there can be no more. The fields live until the session has forgotten the stream.
  std::int32_t submit_request(std::span<const Http2Field> fields, bool has_body, H2ClientStream& stream);
  std::uint32_t allowed_streams() const;  // at once, by the upstream
  bool may_open() const;                  // ids are left, and nobody has said GOAWAY

 private:
  struct Callbacks;
};

}  // namespace weir
