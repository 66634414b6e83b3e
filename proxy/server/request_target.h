// Request targets: normalising path and host before anything is matched, and rewriting a path's prefix.
// Pure functions; results are views of the input where nothing changed, else of the exchange's arena.
// They never guess: what two readers could understand differently is refused (RFC 3986 6.2.2, RFC 9110 4.2.3).
#pragma once

#include <string_view>

#include "proxy/message/head.h"
#include "proxy/runtime/arena.h"

namespace weir {

struct Normalized {
  std::string_view text;
  std::string_view refused;  // not empty: why it is answered with 400; static text
};

// `target` in origin-form ("/path?query") or "*". Percent-encoded unreserved characters are decoded, other encodings get upper-case
// hexadecimals. Refused: dot segments (encoded ones and "..;x" too), encoded slashes, backslashes and NUL, broken encodings, fragments.
// The query is left as it is.
Normalized normalize_target(Arena& arena, std::string_view target);

// "Example.COM.:8080" becomes "example.com:8080". Refused: user information, blanks, anything that is no host and port.
Normalized normalize_authority(Arena& arena, std::string_view authority);

// Both of a request, in place: all that happens to it before routes are matched. Empty, or why it is refused; static text.
std::string_view normalize_request(Arena& arena, RequestHead& head);

// /cart/x?q with /cart -> / becomes /x?q. The caller has matched the prefix by segment; never leaves an empty path.
std::string_view rewrite_prefix(Arena& arena, std::string_view target, std::string_view prefix, std::string_view replacement);

}  // namespace weir
