#include "tests/fuzz/plain_fields.h"

#include <algorithm>
#include <set>

namespace weir::plain {

namespace {

constexpr std::string_view kDigits = "0123456789";
constexpr std::string_view kBlanks = " \t";

const std::set<std::string> kHopByHop = {"connection", "keep-alive", "proxy-connection", "http2-settings", "transfer-encoding", "upgrade"};

// What a Connection field cannot take away (hop_headers.h says why).
bool is_protected(const std::string& name) {
  static const std::set<std::string> kNames = {"te",
                                               "via",
                                               "host",
                                               "date",
                                               "cookie",
                                               "expect",
                                               "server",
                                               "trailer",
                                               "forwarded",
                                               "grpc-status",
                                               "retry-after",
                                               "grpc-timeout",
                                               "proxy-status",
                                               "x-request-id",
                                               "origin",
                                               "authorization",
                                               "tracestate",
                                               "idempotency-key",
                                               "x-forwarded-for",
                                               "x-forwarded-host",
                                               "x-forwarded-proto",
                                               "etag",
                                               "vary",
                                               "location",
                                               "set-cookie",
                                               "cache-control",
                                               "traceparent",
                                               "proxy-authenticate",
                                               "proxy-authorization"};
  return kNames.count(name) != 0 || name.rfind("x-weir-", 0) == 0 || name.rfind("content-", 0) == 0;
}

}  // namespace

std::string trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1));
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  }
  return out;
}

std::vector<std::string> elements(std::string_view list) {
  std::vector<std::string> out;
  std::string element;
  for (const char c : std::string(list) + ',') {
    if (c != ',') {
      element += c;
      continue;
    }
    element = trimmed(element);
    if (!element.empty()) out.push_back(element);
    element.clear();
  }
  return out;
}

Connection take_connection_fields(const Fields& fields, bool http10) {
  std::set<std::string> options;
  bool trailers = false;
  for (const auto& [name, value] : fields) {
    for (const std::string& element : elements(value)) {
      if (name == "connection") options.insert(lower(element));
      if (name == "te") trailers = trailers || lower(trimmed(element.substr(0, element.find(';')))) == "trailers";
    }
  }
  Connection out;
  out.keep = options.count("close") == 0 && (!http10 || options.count("keep-alive") != 0);
  for (const auto& field : fields) {
    const std::string& name = field.first;
    const bool named = options.count(name) != 0 && name != "close" && !is_protected(name);
    if (kHopByHop.count(name) == 0 && name != "te" && !named) out.fields.push_back(field);
  }
  if (trailers) out.fields.emplace_back("te", "trailers");
  return out;
}

std::vector<std::string> values(const Fields& fields, const std::string& name) {
  std::vector<std::string> out;
  for (const auto& field : fields) {
    if (field.first == name) out.push_back(field.second);
  }
  return out;
}

Fields without(const Fields& fields, const std::string& name) {
  Fields out;
  for (const auto& field : fields) {
    if (field.first != name) out.push_back(field);
  }
  return out;
}

Fields appended(const Fields& fields, const std::string& name, const std::string& entry) {
  std::string joined;
  for (const std::string& value : values(fields, name)) joined += value + ", ";
  Fields out = without(fields, name);
  out.emplace_back(name, joined + entry);
  return out;
}

std::optional<std::int64_t> content_length(std::string_view value) {
  if (value.empty() || value.find_first_not_of(kDigits) != std::string_view::npos) return std::nullopt;
  value.remove_prefix(std::min(value.find_first_not_of('0'), value.size()));
  constexpr std::string_view kMost = "9223372036854775807";
  if (value.size() > kMost.size() || (value.size() == kMost.size() && value > kMost)) return std::nullopt;
  std::int64_t number = 0;
  for (const char c : value) number = number * 10 + static_cast<std::int64_t>(kDigits.find(c));
  return number;
}

std::optional<std::string> authority(std::string_view text) {
  constexpr std::string_view kName = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=";
  constexpr std::string_view kLiteral = "abcdefABCDEF0123456789:.";
  if (text.empty()) return std::string();
  std::size_t end = 0;
  if (text[0] == '[') {
    end = text.find_first_not_of(kLiteral, 1);
    if (end == std::string_view::npos || text[end] != ']' || end < 3) return std::nullopt;
    ++end;
  } else {
    end = std::min(text.find_first_not_of(kName), text.size());
    if (end == 0) return std::nullopt;
  }
  std::string host = lower(text.substr(0, end));
  if (host.back() == '.') host.pop_back();
  if (host.empty() || host.back() == '.') return std::nullopt;  // an empty label
  if (end == text.size()) return host;
  const std::string_view port = text.substr(end + 1);
  if (text[end] != ':' || port.find_first_not_of(kDigits) != std::string_view::npos || port.size() > 5) return std::nullopt;
  if (port.empty()) return host;
  if (*content_length(port) > 65535) return std::nullopt;
  return host + ":" + std::string(port);
}

}  // namespace weir::plain
