#include "proxy/http/framing_rules.h"

#include <limits>

#include "proxy/base/hex.h"

namespace weir {

namespace {

constexpr std::array<std::uint8_t, 256> make_name_bytes() {
  std::array<std::uint8_t, 256> table{};
  for (const char c : std::string_view("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")) {
    table[static_cast<std::uint8_t>(c)] = static_cast<std::uint8_t>(c);
  }
  for (char c = 'A'; c <= 'Z'; ++c) table[static_cast<std::uint8_t>(c)] = static_cast<std::uint8_t>(c - 'A' + 'a');
  return table;
}

// reg-name of RFC 3986 3.2.2: unreserved, sub-delims, and '%' of a percent-encoding.
constexpr std::array<bool, 256> make_host_bytes() {
  std::array<bool, 256> table{};
  for (const char c : std::string_view("-._~!$&'()*+,;=%0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")) {
    table[static_cast<std::uint8_t>(c)] = true;
  }
  return table;
}
constexpr std::array<bool, 256> kHostByte = make_host_bytes();

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hex(char c) { return hex_value(c) >= 0; }

// The length of the host part, 0 when it is bad. An IPv6 literal is checked for its characters only:
// resolving is not ours.
std::size_t host_length(std::string_view text) {
  if (!text.empty() && text.front() == '[') {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos || close < 3) return 0;
    for (const char c : text.substr(1, close - 1)) {
      if (!is_hex(c) && c != ':' && c != '.') return 0;
    }
    return close + 1;
  }
  std::size_t n = 0;
  for (; n < text.size() && text[n] != ':'; ++n) {
    if (!kHostByte[static_cast<std::uint8_t>(text[n])]) return 0;
    if (text[n] == '%' && (n + 2 >= text.size() || !is_hex(text[n + 1]) || !is_hex(text[n + 2]))) return 0;
  }
  return n;
}

bool is_port(std::string_view text) {
  if (text.empty() || text.size() > 5) return false;
  unsigned value = 0;
  for (const char c : text) {
    if (!is_digit(c)) return false;
    value = value * 10 + static_cast<unsigned>(c - '0');
  }
  return value <= 65535;
}

}  // namespace

const std::array<std::uint8_t, 256> kNameByte = make_name_bytes();

bool equals_ignoring_case(std::string_view text, std::string_view lower) {
  if (text.size() != lower.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i] >= 'A' && text[i] <= 'Z' ? static_cast<char>(text[i] - 'A' + 'a') : text[i];
    if (c != lower[i]) return false;
  }
  return true;
}

const Rule* check_content_length(std::string_view value, std::int64_t& length) {
  if (value.empty()) return &rules::kLengthValue;
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  std::int64_t sum = 0;
  for (const char c : value) {  // "5, 5", "+5", "0x5" and "5 " all fail here
    if (!is_digit(c)) return &rules::kLengthValue;
    const std::int64_t digit = c - '0';
    if (sum > (kMax - digit) / 10) return &rules::kLengthOverflow;
    sum = sum * 10 + digit;
  }
  length = sum;
  return nullptr;
}

// RFC 9112 6.1 allows codings before chunked; we know none, and a recipient that does not know one answers
// 501. A coding list in which chunked is not last, or comes twice, has no certain end.
const Rule* check_transfer_encoding(const FramingFields& fields, HttpVersion version) {
  if (version == HttpVersion::http10) return &rules::kEncodingOnHttp10;
  if (fields.encodings != 1) return &rules::kEncodingValue;
  const std::string_view value = fields.encoding;
  if (equals_ignoring_case(value, "chunked")) return nullptr;
  constexpr std::size_t kChunked = 7;
  const bool ends_chunked = value.size() > kChunked && equals_ignoring_case(value.substr(value.size() - kChunked), "chunked");
  const char before = ends_chunked ? value[value.size() - kChunked - 1] : '\0';
  if (before != ',' && before != ' ' && before != '\t') return &rules::kEncodingValue;
  std::string_view codings = value.substr(0, value.size() - kChunked);
  for (std::size_t i = 0; i + kChunked <= codings.size(); ++i) {
    if (equals_ignoring_case(codings.substr(i, kChunked), "chunked")) return &rules::kEncodingValue;
  }
  return &rules::kEncodingUnknown;
}

const Rule* frame_request(const FramingFields& fields, HttpVersion version, Method method, Framing& framing) {
  framing = Framing{};
  if (fields.encodings > 0) {
    if (const Rule* broken = check_transfer_encoding(fields, version)) return broken;
    if (fields.lengths > 0) return &rules::kLengthWithEncoding;
    if (method == Method::connect) return &rules::kConnectBody;
    framing.body = BodyFraming::chunked;
    return nullptr;
  }
  if (fields.lengths == 0) return nullptr;  // RFC 9112 6.3: a request without either has no body
  if (fields.lengths > 1) return &rules::kLengthRepeated;
  if (const Rule* broken = check_content_length(fields.length, framing.length)) return broken;
  if (framing.length > 0 && method == Method::connect) return &rules::kConnectBody;
  if (framing.length > 0) framing.body = BodyFraming::length;
  return nullptr;
}

const Rule* frame_response(const FramingFields& fields, HttpVersion version, int status, Method request, Framing& framing) {
  framing = Framing{};
  if (fields.encodings > 0) {
    if (const Rule* broken = check_transfer_encoding(fields, version)) return broken;
    if (fields.lengths > 0) return &rules::kLengthWithEncoding;
  }
  if (fields.lengths > 1) return &rules::kLengthRepeated;
  if (fields.lengths == 1) {
    if (const Rule* broken = check_content_length(fields.length, framing.length)) return broken;
  }
  if (status < 200 || status == 204) {
    // RFC 9110 8.6, RFC 9112 6.1: neither field may stand here. There is no body, but a sender that announces
    // one may send it.
    framing.reusable = fields.encodings == 0 && framing.length <= 0;
    framing.length = -1;
    return nullptr;
  }
  if (status == 304 || request == Method::head) return nullptr;  // the fields tell of the body that a GET would have got
  if (fields.encodings > 0) {
    framing.body = BodyFraming::chunked;
  } else if (fields.lengths == 0) {
    framing.body = BodyFraming::until_close;
    framing.reusable = false;
  } else if (framing.length > 0) {
    framing.body = BodyFraming::length;
  }
  return nullptr;
}

// RFC 9110 4.2.1: an http URI without a host is invalid. User information is told apart for the log; it is
// refused all the same.
const Rule* check_host(std::string_view authority) {
  if (authority.empty()) return &rules::kHostCharacters;
  const std::size_t host = host_length(authority);
  if (host != 0 && host == authority.size()) return nullptr;
  if (host != 0 && authority[host] == ':' && is_port(authority.substr(host + 1))) return nullptr;
  return authority.find('@') != std::string_view::npos ? &rules::kUserinfo : &rules::kHostCharacters;
}

const Rule* check_connect_authority(std::string_view authority) {
  if (check_host(authority) != nullptr) return &rules::kAuthorityForm;
  return host_length(authority) == authority.size() ? &rules::kAuthorityForm : nullptr;
}

const Rule* check_request_version(std::string_view text, HttpVersion& version) {
  if (text == "HTTP/1.1") {
    version = HttpVersion::http11;
    return nullptr;
  }
  if (text == "HTTP/1.0") {
    version = HttpVersion::http10;
    return nullptr;
  }
  const bool syntax = text.size() == 8 && text.substr(0, 5) == "HTTP/" && is_digit(text[5]) && text[6] == '.' && is_digit(text[7]);
  return syntax ? &rules::kVersion : &rules::kVersionSyntax;
}

bool may_be_trailer(const HeaderField& field) {
  switch (field.id) {
    case HeaderId::host:
    case HeaderId::content_length:
    case HeaderId::transfer_encoding:
    case HeaderId::connection:
    case HeaderId::keep_alive:
    case HeaderId::proxy_connection:
    case HeaderId::te:
    case HeaderId::trailer:
    case HeaderId::upgrade:
    case HeaderId::expect:
    case HeaderId::http2_settings:
    case HeaderId::content_type:
    case HeaderId::authorization:
    case HeaderId::cookie:
    case HeaderId::proxy_authorization:
    case HeaderId::proxy_authenticate:
    case HeaderId::via:
    case HeaderId::forwarded:
    case HeaderId::x_forwarded_for:
    case HeaderId::x_forwarded_host:
    case HeaderId::x_forwarded_proto:
    case HeaderId::x_forwarded_client_cert:
    case HeaderId::x_request_id:
    case HeaderId::x_weir_attempt:
    case HeaderId::grpc_timeout:
    case HeaderId::retry_after:
    case HeaderId::idempotency_key:
    case HeaderId::removed: return false;
    default: break;
  }
  constexpr std::string_view kOthers[] = {"content-encoding", "content-range", "cache-control", "set-cookie",       "location",
                                          "max-forwards",     "pragma",        "range",         "www-authenticate", "vary"};
  for (const std::string_view name : kOthers) {
    if (field.name == name) return false;
  }
  return true;
}

}  // namespace weir
