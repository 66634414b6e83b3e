// Hop headers: fields that concern one hop only are taken out, and what a proxy says about the hop behind it
// is put in. Free functions over a head that the caller owns; the HTTP/1 parser calls the first, the exchange
// the others. They never decide whom to trust: the caller says so.
#pragma once

#include <string_view>

#include "proxy/base/random.h"
#include "proxy/base/time.h"
#include "proxy/message/head.h"
#include "proxy/runtime/address.h"
#include "proxy/runtime/tls_info.h"

namespace weir {

// Removes the hop-by-hop fields (RFC 9110 7.6.1): Connection and what it names, Keep-Alive, Proxy-Connection,
// Upgrade, HTTP2-Settings, and TE but for "trailers". Fields that are known to be end-to-end stay even when
// Connection names them: a client must not be able to take Authorization or X-Forwarded-For off the message
// of somebody behind it. Answers whether the sender keeps the connection open after this message (RFC
// 9112 9.3).
bool take_connection_fields(Headers& headers, HttpVersion version);

// The same for a head that came by another version, or whose Connection field is gone. Idempotent.
void strip_hop_by_hop(Headers& headers);

// Via: "1.1 weir", "1.0 weir" or "2 weir", by the version that the message came with; one field, appended to
// what is there (RFC 9110 7.6.3).
void add_via(Headers& headers, HttpVersion received);

// X-Forwarded-For, -Proto and -Host, and Forwarded. From a trusted peer they are believed: the peer's address
// is appended, -Proto and -Host are set where missing. From any other they are overwritten, and Forwarded
// (RFC 7239) is removed. X-Forwarded-Client-Cert is what this connection's certificate says, and is believed from nobody: a client
// that could set it would be whoever it likes.
struct ForwardedFacts {
  std::string_view client;          // the peer's address without port; empty for unix sockets
  std::string_view proto = "http";  // of the connection that the request came by
  bool trusted = false;
  const TlsInfo* tls = nullptr;  // of the connection; null: clear text
};
void set_forwarded_fields(RequestHead& head, const ForwardedFacts& facts);

// X-Request-Id: kept when `keep` and it is sane (1 to 128 visible ASCII characters without quotes, commas or
// backslashes), otherwise made: 32 hexadecimal digits. Answers the value, which lives in the head's arena.
std::string_view set_request_id(RequestHead& head, bool keep, Random& random);

// The Date field's text (RFC 9110 6.6.1), made once a second. One per worker.
class DateCache {
 public:
  std::string_view text(WallTime now);  // valid until the next call

 private:
  std::int64_t second_ = -1;
  char text_[29] = {};
};

}  // namespace weir
