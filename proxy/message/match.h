// Matcher: a compiled match block (`match:` of a route, `when:` of a filter): hosts, path, path_prefix, methods, headers.
// Configuration owns it, immutable once built. Matching never allocates and never changes the head.
// All given kinds must hold (and); within a kind any entry suffices (or), but every named header must be equal.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "proxy/message/head.h"

namespace weir {

struct Matcher {
  std::vector<std::string> hosts;    // lower case; "*.example.com" matches one or more labels before; port of the request is ignored
  std::string path;                  // exact, without query
  std::string path_prefix;           // by segment: /cart matches /cart and /cart/x, not /carton; "/" matches all
  std::vector<std::string> methods;  // case-sensitive
  std::vector<std::pair<std::string, std::string>> headers;  // lower-case name, exact value

  // The first that does not hold; `none`: it matches.
  enum class Mismatch : std::uint8_t { none, methods, path, path_prefix, hosts, headers };
  Mismatch compare(const RequestHead& head) const;
  bool matches(const RequestHead& head) const { return compare(head) == Mismatch::none; }
  bool unconditional() const { return hosts.empty() && path.empty() && path_prefix.empty() && methods.empty() && headers.empty(); }
};

bool path_has_prefix(std::string_view path, std::string_view prefix);  // by segment

}  // namespace weir
