#include "proxy/http/hop_headers.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>

#include "proxy/http/framing_rules.h"

namespace weir {

namespace {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// The elements of a comma-separated list; empty ones are skipped (RFC 9110 5.6.1.2).
template <class Each>
void for_each_element(std::string_view list, const Each& each) {
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    const std::string_view element = trimmed(list.substr(0, comma));
    list.remove_prefix(std::min(comma + 1, list.size()));
    if (!element.empty()) each(element);
  }
}

constexpr HeaderId kHopByHop[] = {HeaderId::connection, HeaderId::keep_alive,     HeaderId::proxy_connection,
                                  HeaderId::upgrade,    HeaderId::http2_settings, HeaderId::transfer_encoding};

constexpr std::uint64_t kHopByHopBits = [] {
  std::uint64_t bits = 0;
  for (const HeaderId id : kHopByHop) bits |= std::uint64_t{1} << static_cast<unsigned>(id);
  return bits;
}();

bool is_hop_by_hop(HeaderId id) { return (kHopByHopBits >> static_cast<unsigned>(id) & 1) != 0; }

// End-to-end, whatever a Connection field says (RFC 9110 7.6.1 forbids senders to name fields that are meant
// for all recipients).
bool is_end_to_end(const HeaderField& field) {
  if (field.id != HeaderId::other) return !is_hop_by_hop(field.id);
  if (field.name.substr(0, 7) == "x-weir-" || field.name.substr(0, 8) == "content-") return true;
  constexpr std::string_view kOthers[] = {"cache-control", "set-cookie", "location", "vary", "etag", "origin", "traceparent", "tracestate"};
  for (const std::string_view name : kOthers) {
    if (field.name == name) return true;
  }
  return false;
}

// What a Connection field names is of this hop. The fields that it may name are sorted first, so that a head full of options costs little
// more than one that is full of anything else. Those with an id of their own need no look: they are end-to-end, or removed anyway.
class NamedFields {
 public:
  explicit NamedFields(Headers& headers) : begin_(headers.arena().make_array<HeaderField*>(headers.size())), end_(begin_) {
    for (HeaderField& field : headers) {
      if (field.id == HeaderId::other && !is_end_to_end(field)) *end_++ = &field;
    }
    std::sort(begin_, end_, [](const HeaderField* a, const HeaderField* b) { return a->name < b->name; });
  }
  void remove(std::string_view option) {
    const auto before = [](const HeaderField* field, std::string_view name) { return order(field->name, name) < 0; };
    HeaderField** at = std::lower_bound(begin_, end_, option, before);
    if (at != end_ && (*at)->id == HeaderId::removed) return;  // named before, with all of its name
    for (; at != end_ && order((*at)->name, option) == 0; ++at) (*at)->id = HeaderId::removed;
  }

 private:
  static int order(std::string_view lower, std::string_view option) {
    const std::size_t size = std::min(lower.size(), option.size());
    for (std::size_t i = 0; i < size; ++i) {
      const char c = option[i] >= 'A' && option[i] <= 'Z' ? static_cast<char>(option[i] - 'A' + 'a') : option[i];
      if (lower[i] != c) return static_cast<unsigned char>(lower[i]) < static_cast<unsigned char>(c) ? -1 : 1;
    }
    return lower.size() == option.size() ? 0 : lower.size() < option.size() ? -1 : 1;
  }
  HeaderField** begin_;
  HeaderField** end_;
};

// TE: "trailers" is worth telling the next hop (gRPC demands it); what else it lists is this hop's affair.
void reduce_te(Headers& headers) {
  bool trailers = false;
  for (HeaderField& field : headers) {
    if (field.id != HeaderId::te) continue;
    for_each_element(field.value, [&](std::string_view element) {
      trailers = trailers || equals_ignoring_case(trimmed(element.substr(0, element.find(';'))), "trailers");
    });
    field.id = HeaderId::removed;
  }
  if (trailers) headers.add_view("te", "trailers", HeaderId::te);
}

}  // namespace

void strip_hop_by_hop(Headers& headers) {
  if (headers.may_have(kHopByHop)) {
    for (HeaderField& field : headers) {
      if (is_hop_by_hop(field.id)) field.id = HeaderId::removed;
    }
  }
  if (headers.has(HeaderId::te)) reduce_te(headers);
}

bool take_connection_fields(Headers& headers, HttpVersion version) {
  bool close = false;
  bool keep_alive = false;
  if (headers.has(HeaderId::connection)) {
    std::optional<NamedFields> named;
    for (const HeaderField& connection : headers) {
      if (connection.id != HeaderId::connection) continue;
      if (connection.value == "keep-alive") {  // what nearly all say who say something
        keep_alive = true;
        continue;
      }
      for_each_element(connection.value, [&](std::string_view option) {
        if (equals_ignoring_case(option, "close")) {
          close = true;
        } else if (equals_ignoring_case(option, "keep-alive")) {
          keep_alive = true;
        } else {
          if (!named) named.emplace(headers);
          named->remove(option);
        }
      });
    }
  }
  strip_hop_by_hop(headers);
  return !close && (version != HttpVersion::http10 || keep_alive);
}

void add_via(Headers& headers, HttpVersion received) {
  std::string_view entry = "1.1 weir";
  if (received == HttpVersion::http10) entry = "1.0 weir";
  if (received == HttpVersion::http2) entry = "2 weir";
  std::size_t size = entry.size();
  for (const HeaderField& field : headers) {
    if (field.id == HeaderId::via) size += field.value.size() + 2;
  }
  if (size == entry.size()) {
    headers.add_view("via", entry, HeaderId::via);
    return;
  }
  auto* text = static_cast<char*>(headers.arena().allocate(size, 1));
  char* at = text;
  for (HeaderField& field : headers) {
    if (field.id != HeaderId::via) continue;
    if (!field.value.empty()) std::memcpy(at, field.value.data(), field.value.size());
    at += field.value.size();
    std::memcpy(at, ", ", 2);
    at += 2;
    field.id = HeaderId::removed;
  }
  std::memcpy(at, entry.data(), entry.size());
  headers.add_view("via", {text, size}, HeaderId::via);
}

namespace {

void append_client(Headers& headers, std::string_view client) {
  std::size_t size = client.size();
  for (const HeaderField& field : headers) {
    if (field.id == HeaderId::x_forwarded_for) size += field.value.size() + 2;
  }
  auto* text = static_cast<char*>(headers.arena().allocate(size, 1));
  char* at = text;
  for (HeaderField& field : headers) {
    if (field.id != HeaderId::x_forwarded_for) continue;
    if (!field.value.empty()) std::memcpy(at, field.value.data(), field.value.size());
    at += field.value.size();
    std::memcpy(at, ", ", 2);
    at += 2;
    field.id = HeaderId::removed;
  }
  std::memcpy(at, client.data(), client.size());
  headers.add_view("x-forwarded-for", {text, size}, HeaderId::x_forwarded_for);
}

// Sets one of the fields whose first hop is what counts.
void set_first(Headers& headers, HeaderId id, std::string_view name, std::string_view value, bool trusted) {
  if (trusted && headers.has(id)) return;
  headers.remove(id);
  if (!value.empty()) headers.add_view(name, headers.arena().copy(value), id);
}

// Writes elements into a part of the arena that is large enough for all of them escaped.
class CertificateWriter {
 public:
  explicit CertificateWriter(char* at) : begin_(at), at_(at) {}

  void add(std::string_view key, std::string_view value) {
    start(key);
    for (const char c : value) {
      if (is_control(c)) continue;
      if (c != ',' && c != ';' && c != '=' && c != '"') {
        *at_++ = c;
        continue;
      }
      constexpr std::string_view kHex = "0123456789ABCDEF";
      *at_++ = '%';
      *at_++ = kHex[static_cast<unsigned char>(c) >> 4U];
      *at_++ = kHex[static_cast<unsigned char>(c) & 15U];
    }
  }
  void add_quoted(std::string_view key, std::string_view value) {
    start(key);
    *at_++ = '"';
    for (const char c : value) {
      if (c == '"' || c == '\\') *at_++ = '\\';
      if (!is_control(c)) *at_++ = c;
    }
    *at_++ = '"';
  }
  std::string_view text() const { return {begin_, static_cast<std::size_t>(at_ - begin_)}; }

 private:
  static bool is_control(char c) { return (c >= 0 && c < 0x20) || c == 0x7f; }
  void start(std::string_view key) {
    if (at_ != begin_) *at_++ = ';';
    at_ = std::copy(key.begin(), key.end(), at_);
    *at_++ = '=';
  }
  char* begin_;
  char* at_;
};

// Envoy's form: By=...;Hash=...;Subject="...";URI=...;DNS=... The values come from a certificate that was verified; what could end an
// element is escaped all the same.
void set_client_certificate(Headers& headers, const TlsInfo& tls) {
  constexpr std::size_t kEach = 16;                     // key and punctuation
  constexpr std::size_t kEscape = 3;                    // times as long, at worst
  constexpr std::size_t kMost = std::size_t{8} * 1024;  // names beyond it are left out, the last ones first: nobody's head is to be so long
  const std::size_t least = 3 * kEach + kEscape * (tls.local_uri.size() + tls.peer_fingerprint.size() + tls.peer_subject.size());
  const auto size_of = [](const std::string& name) { return kEach + kEscape * name.size(); };
  std::size_t wanted = 0;
  for (const std::string& name : tls.peer_uris) wanted += size_of(name);
  for (const std::string& name : tls.peer_names) wanted += size_of(name);
  std::size_t left = std::min(wanted, kMost);
  CertificateWriter writer(static_cast<char*>(headers.arena().allocate(least + left, 1)));
  if (!tls.local_uri.empty()) writer.add("By", tls.local_uri);
  writer.add("Hash", tls.peer_fingerprint);
  writer.add_quoted("Subject", tls.peer_subject);
  const auto add_names = [&](std::string_view key, const std::vector<std::string>& names) {
    for (const std::string& name : names) {
      if (size_of(name) > left) return;
      left -= size_of(name);
      writer.add(key, name);
    }
  };
  add_names("URI", tls.peer_uris);
  add_names("DNS", tls.peer_names);
  headers.add_view("x-forwarded-client-cert", writer.text(), HeaderId::x_forwarded_client_cert);
}

}  // namespace

void set_forwarded_fields(RequestHead& head, const ForwardedFacts& facts) {
  Headers& headers = head.headers;
  headers.remove(HeaderId::x_forwarded_client_cert);
  if (facts.tls != nullptr && facts.tls->peer_verified) set_client_certificate(headers, *facts.tls);
  if (!facts.trusted) {
    headers.remove(HeaderId::forwarded);
    headers.remove(HeaderId::x_forwarded_for);
    headers.remove(HeaderId::x_weir_attempt);  // it says which try of ours this is
  }
  if (!facts.client.empty()) append_client(headers, facts.client);
  set_first(headers, HeaderId::x_forwarded_proto, "x-forwarded-proto", facts.proto, facts.trusted);
  set_first(headers, HeaderId::x_forwarded_host, "x-forwarded-host", head.authority, facts.trusted);
}

namespace {

// Eight hexadecimal digits, one for each four bits, all at once.
std::uint64_t hex_digits(std::uint32_t bits) {
  constexpr std::uint64_t kEach = 0x0101010101010101U;
  std::uint64_t nibbles = bits;  // spread until each byte holds one
  nibbles = (nibbles | nibbles << 16) & 0x0000ffff0000ffffU;
  nibbles = (nibbles | nibbles << 8) & 0x00ff00ff00ff00ffU;
  nibbles = (nibbles | nibbles << 4) & 0x0f0f0f0f0f0f0f0fU;
  const std::uint64_t letters = (nibbles + kEach * 6) >> 4 & kEach;  // 1 where it is ten or more
  return nibbles + kEach * '0' + letters * ('a' - '0' - 10);
}

// A request ID ends up in logs, metrics exemplars and other people's databases.
bool is_sane_id(std::string_view id) {
  constexpr std::size_t kLongest = 128;
  if (id.empty() || id.size() > kLongest) return false;
  for (const char c : id) {
    if (c <= 0x20 || c >= 0x7f || c == '"' || c == '\'' || c == ',' || c == ';' || c == '\\' || c == '<' || c == '>') return false;
  }
  return true;
}

}  // namespace

std::string_view set_request_id(RequestHead& head, bool keep, Random& random) {
  Headers& headers = head.headers;
  if (keep && headers.count(HeaderId::x_request_id) == 1) {
    const std::string_view id = headers.value(HeaderId::x_request_id);
    if (is_sane_id(id)) return id;
  }
  headers.remove(HeaderId::x_request_id);
  constexpr std::size_t kDigits = 32;
  auto* text = static_cast<char*>(headers.arena().allocate(kDigits, 1));
  for (std::size_t at = 0; at < kDigits; at += 16) {
    const std::uint64_t bits = random.next();
    const std::uint64_t digits[2] = {hex_digits(static_cast<std::uint32_t>(bits)), hex_digits(static_cast<std::uint32_t>(bits >> 32))};
    std::memcpy(text + at, digits, sizeof digits);
  }
  headers.add_view("x-request-id", {text, kDigits}, HeaderId::x_request_id);
  return {text, kDigits};
}

namespace {

void put_two(char* at, unsigned value) {
  at[0] = static_cast<char>('0' + value / 10 % 10);
  at[1] = static_cast<char>('0' + value % 10);
}

}  // namespace

std::string_view DateCache::text(WallTime now) {
  using std::chrono::days;
  const std::int64_t second = std::chrono::floor<std::chrono::seconds>(now.time_since_epoch()).count();
  if (second == second_) return {text_, sizeof text_};
  second_ = second;
  const auto since = std::chrono::seconds(second);
  const std::chrono::sys_days day{std::chrono::floor<days>(since)};
  const std::chrono::year_month_day date(day);
  const unsigned weekday = std::chrono::weekday(day).c_encoding();
  const auto of_day = static_cast<unsigned>((since - std::chrono::floor<days>(since)).count());
  const auto year = static_cast<unsigned>(static_cast<int>(date.year()));
  std::memcpy(text_, "Sun, 00 Jan 0000 00:00:00 GMT", sizeof text_);
  std::memcpy(text_, &"SunMonTueWedThuFriSat"[std::size_t{weekday} * 3], 3);
  put_two(text_ + 5, static_cast<unsigned>(date.day()));
  std::memcpy(text_ + 8, &"JanFebMarAprMayJunJulAugSepOctNovDec"[std::size_t{static_cast<unsigned>(date.month()) - 1} * 3], 3);
  put_two(text_ + 12, year / 100);
  put_two(text_ + 14, year % 100);
  put_two(text_ + 17, of_day / 3600);
  put_two(text_ + 20, of_day / 60 % 60);
  put_two(text_ + 23, of_day % 60);
  return {text_, sizeof text_};
}

}  // namespace weir
