#include "proxy/message/match.h"

#include <algorithm>

#include "proxy/base/text.h"

namespace weir {
namespace {

// The host of an authority: without port, and without the dot that ends an absolute name. Brackets of IPv6
// stay.
std::string_view host_of(std::string_view authority) {
  const std::size_t bracket = authority.rfind(']');
  const std::size_t colon = authority.rfind(':');
  const bool has_port = colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket);
  if (has_port) authority = authority.substr(0, colon);
  if (authority.ends_with('.')) authority.remove_suffix(1);
  return authority;
}

bool host_matches(std::string_view host, std::string_view pattern) {
  if (!pattern.starts_with("*.")) return equal_ignoring_case(host, pattern);
  const std::string_view suffix = pattern.substr(1);  // with its dot, so that *.a.b never matches xa.b
  return host.size() > suffix.size() && equal_ignoring_case(host.substr(host.size() - suffix.size()), suffix);
}

bool has_field(const Headers& headers, std::string_view name, std::string_view value) {
  return std::any_of(headers.begin(), headers.end(),
                     [=](const HeaderField& field) { return field.id != HeaderId::removed && field.value == value && field.name == name; });
}

}  // namespace

bool path_has_prefix(std::string_view path, std::string_view prefix) {
  if (prefix.empty() || prefix == "/") return true;
  if (!path.starts_with(prefix)) return false;
  return prefix.ends_with('/') || path.size() == prefix.size() || path[prefix.size()] == '/';
}

Matcher::Mismatch Matcher::compare(const RequestHead& head) const {
  if (!methods.empty() && std::find(methods.begin(), methods.end(), head.method_text) == methods.end()) return Mismatch::methods;
  if (!path.empty() && head.path() != path) return Mismatch::path;
  if (!path_prefix.empty() && !path_has_prefix(head.path(), path_prefix)) return Mismatch::path_prefix;
  if (!hosts.empty()) {
    const std::string_view host = host_of(head.authority);
    const auto fits = [host](const std::string& pattern) { return host_matches(host, pattern); };
    if (!std::any_of(hosts.begin(), hosts.end(), fits)) return Mismatch::hosts;
  }
  const bool all_fields =
      std::all_of(headers.begin(), headers.end(), [&](const auto& wanted) { return has_field(head.headers, wanted.first, wanted.second); });
  return all_fields ? Mismatch::none : Mismatch::headers;
}

}  // namespace weir
