#include "proxy/server/request_target.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "proxy/base/hex.h"

namespace weir {
namespace {

bool is_alphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

bool is_unreserved(char c) {  // RFC 3986 2.3
  return is_alphanumeric(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

// One segment, decoded. "..;x" is a parent directory to servlet containers, so it counts as one.
bool is_dot_segment(std::string_view segment) {
  segment = segment.substr(0, segment.find(';'));
  return segment == "." || segment == "..";
}

bool has_dot_segment(std::string_view path) {
  if (path.find("/.") == std::string_view::npos) return false;
  while (!path.empty()) {
    path.remove_prefix(1);  // the slash
    const std::size_t end = std::min(path.find('/'), path.size());
    if (is_dot_segment(path.substr(0, end))) return true;
    path.remove_prefix(end);
  }
  return false;
}

// The path with its encodings in normal form; `refused` where that cannot be.
Normalized decode_path(Arena& arena, std::string_view path) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  char* out = arena.make_array<char>(path.size());
  std::size_t size = 0;
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (path[i] != '%') {
      out[size++] = path[i];
      continue;
    }
    const int high = i + 2 < path.size() ? hex_value(path[i + 1]) : -1;
    const int low = i + 2 < path.size() ? hex_value(path[i + 2]) : -1;
    if (high < 0 || low < 0) return {{}, "broken percent-encoding in the path"};
    const char c = static_cast<char>(high * 16 + low);
    if (c == '/' || c == '\\') return {{}, "encoded slash in the path"};
    if (c == '\0') return {{}, "encoded NUL in the path"};
    if (is_unreserved(c)) {
      out[size++] = c;
    } else {
      out[size++] = '%';
      out[size++] = kHex[high];
      out[size++] = kHex[low];
    }
    i += 2;
  }
  return {std::string_view(out, size), {}};
}

// reg-name without encodings (RFC 3986 3.2.2); underscores are common inside clusters. Upper case is marked, to be lowered.
enum HostByte : std::uint8_t { kNotHost, kHost, kUpper };
constexpr std::array<std::uint8_t, 256> host_bytes() {
  std::array<std::uint8_t, 256> table{};
  for (std::size_t c = 'a'; c <= 'z'; ++c) table[c] = kHost;
  for (std::size_t c = '0'; c <= '9'; ++c) table[c] = kHost;
  for (std::size_t c = 'A'; c <= 'Z'; ++c) table[c] = kUpper;
  for (const char c : std::string_view("-._~!$&'()*+,;=")) table[static_cast<unsigned char>(c)] = kHost;
  return table;
}
constexpr std::array<std::uint8_t, 256> kHostBytes = host_bytes();

bool is_port(std::string_view port) {
  if (port.size() > 5) return false;
  unsigned value = 0;
  for (const char c : port) {
    if (c < '0' || c > '9') return false;
    value = value * 10 + static_cast<unsigned>(c - '0');
  }
  return value <= 65535;
}

}  // namespace

Normalized normalize_target(Arena& arena, std::string_view target) {
  if (target == "*") return {target, {}};
  if (target.empty() || target[0] != '/') return {{}, "the target is no path"};
  if (target.find('#') != std::string_view::npos) return {{}, "fragment in the target"};
  const std::size_t path_end = std::min(target.find('?'), target.size());
  const std::string_view path = target.substr(0, path_end);
  if (path.find('\\') != std::string_view::npos) return {{}, "backslash in the path"};
  Normalized decoded{path, {}};
  if (path.find('%') != std::string_view::npos) {
    decoded = decode_path(arena, path);
    if (!decoded.refused.empty()) return decoded;
  }
  if (has_dot_segment(decoded.text)) return {{}, "dot segment in the path"};
  if (decoded.text.data() == path.data()) return {target, {}};
  const std::string_view query = target.substr(path_end);
  char* joined = arena.make_array<char>(decoded.text.size() + query.size());
  std::memcpy(joined, decoded.text.data(), decoded.text.size());
  if (!query.empty()) std::memcpy(joined + decoded.text.size(), query.data(), query.size());
  return {std::string_view(joined, decoded.text.size() + query.size()), {}};
}

Normalized normalize_authority(Arena& arena, std::string_view authority) {
  std::string_view host = authority;
  std::string_view port;  // with its colon
  bool upper = false;
  if (!authority.empty() && authority[0] == '[') {
    const std::size_t close = authority.find(']');
    if (close == std::string_view::npos) return {{}, "broken address in the host"};
    host = authority.substr(0, close + 1);
    port = authority.substr(close + 1);
    const auto literal = [](char c) { return hex_value(c) >= 0 || c == ':' || c == '.'; };
    if (host.size() < 4 || !std::all_of(host.begin() + 1, host.end() - 1, literal)) return {{}, "broken address in the host"};
    upper = true;  // maybe: they are rare
  } else {
    std::size_t at = 0;
    for (; at < authority.size() && authority[at] != ':'; ++at) {
      const std::uint8_t kind = kHostBytes[static_cast<unsigned char>(authority[at])];
      if (kind == kNotHost) return {{}, "broken host"};
      upper = upper || kind == kUpper;
    }
    host = authority.substr(0, at);
    port = authority.substr(at);
  }
  if (!port.empty() && (port[0] != ':' || !is_port(port.substr(1)))) return {{}, "broken port in the host"};
  if (port == ":") port = {};
  if (host.empty() && !authority.empty()) return {{}, "broken host"};
  const std::string_view name = host.ends_with('.') ? host.substr(0, host.size() - 1) : host;
  if (name.ends_with('.') || (name.empty() && !host.empty())) return {{}, "broken host"};  // "a..": who takes one dot off has another host
  if (!upper && name.size() + port.size() == authority.size()) return {authority, {}};
  char* out = arena.make_array<char>(name.size() + port.size());
  std::transform(name.begin(), name.end(), out, [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  std::copy(port.begin(), port.end(), out + name.size());
  return {std::string_view(out, name.size() + port.size()), {}};
}

std::string_view normalize_request(Arena& arena, RequestHead& head) {
  const Normalized authority = normalize_authority(arena, head.authority);
  if (!authority.refused.empty()) return authority.refused;
  head.authority = authority.text;
  if (head.method == Method::connect) return {};  // has no target
  const Normalized target = normalize_target(arena, head.target);
  if (target.refused.empty()) head.target = target.text;
  return target.refused;
}

std::string_view rewrite_prefix(Arena& arena, std::string_view target, std::string_view prefix, std::string_view replacement) {
  std::string_view rest = target.substr(std::min(prefix.size(), target.size()));
  // Exactly one slash where the two meet: /cart/ -> /, /cart -> /basket and /cart -> / all join by segment.
  const bool rest_is_path = !rest.empty() && rest[0] != '?';
  if (rest_is_path && rest[0] == '/' && !replacement.empty() && replacement.back() == '/') rest.remove_prefix(1);
  const bool slash =
      (rest_is_path && rest[0] != '/' && (replacement.empty() || replacement.back() != '/')) || (!rest_is_path && replacement.empty());
  const std::size_t size = replacement.size() + (slash ? 1 : 0) + rest.size();
  char* out = arena.make_array<char>(size);
  char* at = std::copy(replacement.begin(), replacement.end(), out);
  if (slash) *at++ = '/';
  std::copy(rest.begin(), rest.end(), at);
  return {out, size};
}

}  // namespace weir
