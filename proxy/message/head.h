// RequestHead and ResponseHead: the start line and fields of a message, free of any protocol version's syntax.
// A request head lives in its exchange's arena for the whole exchange; a response head lives only during the callback that tells it.
// They never hold a body, and what is in them has passed the framing rules.
#pragma once

#include <cstdint>
#include <string_view>

#include "proxy/message/headers.h"

namespace weir {

enum class Method : std::uint8_t { other, get, head, post, put, del, connect, options, trace, patch };
enum class HttpVersion : std::uint8_t { http10, http11, http2 };

Method method_of(std::string_view name);  // case-sensitive (RFC 9110 9.1)
inline bool is_safe(Method m) { return m == Method::get || m == Method::head || m == Method::options || m == Method::trace; }
inline bool is_idempotent(Method m) { return is_safe(m) || m == Method::put || m == Method::del; }  // RFC 9110 9.2.2

struct RequestHead {
  explicit RequestHead(Arena& arena) : headers(arena) {}

  std::string_view method_text;
  std::string_view scheme;     // "http" or "https"
  std::string_view authority;  // host[:port] as received, from the target or Host; no Host field is kept in `headers`
  std::string_view target;     // origin-form (path and query) or "*"; for CONNECT empty. Starts as received, minus scheme and authority
  Method method = Method::other;
  HttpVersion version = HttpVersion::http11;
  bool expects_continue = false;  // Expect: 100-continue; the field itself is removed
  bool has_body = false;
  std::int64_t content_length = -1;  // -1: no body, or a length that is not known ahead (chunked)
  Headers headers;                   // without host, content-length, transfer-encoding, connection: the codecs write those

  std::string_view path() const { return target.substr(0, target.find('?')); }
};

struct ResponseHead {
  explicit ResponseHead(Arena& arena) : headers(arena) {}

  int status = 0;
  std::string_view reason;  // may be empty
  HttpVersion version = HttpVersion::http11;
  bool has_body = true;              // false: HEAD, 204, 304, or nothing follows
  std::int64_t content_length = -1;  // as announced; for HEAD and 304 it may be set though no body follows
  Headers headers;                   // without content-length, transfer-encoding, connection
};

}  // namespace weir
