// Header values that we parse. The input is a list of fields, "name: value" a line; every value goes through every parser of one value,
// and the list as a whole through what hop_headers.h does to heads. Plain second implementations (plain_fields.h, the C library's
// calendar) say what must come out.
#include <algorithm>
#include <cstdint>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>

#include "filters/retry/retry_policy.h"
#include "proxy/base/hash.h"
#include "proxy/base/text.h"
#include "proxy/chain/local_reply.h"
#include "proxy/http/framing_rules.h"
#include "proxy/http/hop_headers.h"
#include "proxy/message/grpc.h"
#include "proxy/message/match.h"
#include "proxy/observe/json_line.h"
#include "proxy/server/request_target.h"
#include "proxy/upstream/grpc_health.h"
#include "tests/fuzz/fuzz_support.h"
#include "tests/fuzz/plain_fields.h"

namespace weir {

namespace {

struct Scratch {
  ArenaPool pool;
  Arena& arena = pool.open();
  ~Scratch() { arena.release(); }
};

// --- One value -------------------------------------------------------------------------------------------------------

// The text of an IMF-fixdate by the C library; empty where it has none.
std::string c_date(std::int64_t second) {
  const std::time_t when = second;
  std::tm parts{};
  char text[64];
  if (::gmtime_r(&when, &parts) == nullptr) return {};
  return std::string(text, std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts));
}

void check_date(std::string_view value) {
  const std::optional<Duration> since = parse_retry_after(value, WallTime{});
  if (!since || is_digits(value)) return;
  const std::int64_t second = *since / std::chrono::seconds(1);
  const std::string written = c_date(second);
  if (value.substr(23, 2) == "60") {  // a leap second is the next minute
    require(written.substr(17, 8).ends_with(":00"), "a leap second", value);
  } else {
    require(written.substr(4) == value.substr(4), "a date as the calendar writes it", value);
  }
  DateCache cache;
  require(cache.text(WallTime{*since}) == written, "the Date field as the calendar writes it", value);
}

void check_retry_after(std::string_view value) {
  const WallTime now{std::chrono::seconds(784111777)};  // 6 November 1994, RFC 9110's example
  const std::optional<Duration> ours = parse_retry_after(value, now);
  if (!value.empty() && value.find_first_not_of("0123456789") == std::string_view::npos) {
    const std::int64_t number = plain::content_length(value).value_or(1'000'000'000);
    require(ours == std::chrono::seconds(std::min<std::int64_t>(number, 1'000'000'000)), "seconds", value);
  }
  if (ours) require(*ours >= Duration::zero(), "the past is no time to wait", value);
  const std::optional<Duration> from_start = parse_retry_after(value, WallTime{});
  require(ours.has_value() == from_start.has_value(), "now does not decide what is a date", value);
  if (ours && !is_digits(value))
    require(*ours == std::max(Duration::zero(), *from_start - now.time_since_epoch()), "a date from now", value);
  check_date(value);
}

// The other way round: every date that we write is one that we read.
void check_date_of(std::string_view value) {
  std::uint64_t bits = hash_text(value);
  constexpr std::uint64_t kLast = 7289654399;  // the end of 2200
  const auto second = static_cast<std::int64_t>(bits % kLast);
  DateCache cache;
  const std::string_view text = cache.text(WallTime{std::chrono::seconds(second)});
  require(text == c_date(second), "a date written as the calendar does", text);
  require(parse_retry_after(text, WallTime{}) == std::chrono::seconds(second), "a date written and read", text);
}

void check_framing(std::string_view value) {
  std::int64_t length = -1;
  const bool good = check_content_length(value, length) == nullptr;
  const std::optional<std::int64_t> plain = plain::content_length(value);
  require(good == plain.has_value() && (!good || length == *plain), "Content-Length", value);

  FramingFields fields;
  fields.encoding = value;
  fields.encodings = 1;
  const Rule* broken = check_transfer_encoding(fields, HttpVersion::http11);
  require((broken == nullptr) == (plain::lower(value) == "chunked"), "Transfer-Encoding", value);
  if (broken == &rules::kEncodingUnknown) {  // 501 promises that the end is certain: chunked once, at the end
    const std::vector<std::string> codings = plain::elements(value);
    require(plain::lower(value).ends_with("chunked") && codings.size() <= value.size(), "an unknown coding before chunked", value);
    require(plain::lower(value).find("chunked") == value.size() - 7, "chunked once", value);
  }
  require(check_transfer_encoding(fields, HttpVersion::http10) != nullptr, "no codings in HTTP/1.0", value);
  fields.encodings = 2;
  require(check_transfer_encoding(fields, HttpVersion::http11) != nullptr, "one Transfer-Encoding", value);
}

void check_authority(Scratch& scratch, std::string_view value) {
  const Normalized made = normalize_authority(scratch.arena, value);
  const std::optional<std::string> plain = plain::authority(value);
  require(made.refused.empty() == plain.has_value(), "the same hosts are refused", value);
  const bool wire_takes = check_host(value) == nullptr;
  const bool plain_characters = value.find('%') == std::string_view::npos;  // encodings pass the parser and are refused here
  if (wire_takes && plain_characters && !plain) {
    const std::string_view host = value.substr(0, value.find(':'));
    require(host == "." || host.ends_with(".."), "what the parser takes is a host", value);
  }
  if (check_connect_authority(value) == nullptr) require(wire_takes && value.rfind(':') < value.size() - 1, "host and port", value);
  if (!plain) return;
  require(made.text == *plain, "the same normal host", value);
  const Normalized again = normalize_authority(scratch.arena, made.text);
  require(again.refused.empty() && again.text == made.text, "normalising a host is idempotent", value);
  if (made.text.empty()) return;
  require(check_host(made.text) == nullptr, "a normal host passes the parser", value);

  RequestHead head(scratch.arena);
  Matcher matcher;
  const std::size_t port = made.text.rfind(':');
  const bool has_port = port != std::string_view::npos && made.text.find(']', port) == std::string_view::npos;
  matcher.hosts = {std::string(made.text.substr(0, has_port ? port : made.text.size()))};
  for (const std::string_view written : {value, made.text}) {
    head.authority = written;
    require(matcher.matches(head) || matcher.hosts[0].starts_with("*."), "a host matches itself, with port and without", value);
  }
}

void check_json(std::string_view value) {
  std::string memory(value.size() * 6 + 16, '\0');
  JsonLine line(memory.data(), memory.data() + memory.size());
  line.string(value, value.size() + 1);
  require(line.fits(), "six bytes for each are enough", value);
  const std::string_view text(memory.data(), line.size());
  const nlohmann::json parsed = nlohmann::json::parse(text, nullptr, false);
  require(parsed.is_string(), "a log line is JSON", value);
  const bool utf8 =
      nlohmann::json(std::string(value)).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).find("\xef\xbf\xbd") ==
      std::string::npos;
  if (utf8) require(parsed.get<std::string>() == value, "a text is logged as it was", value);
}

// --- A head ----------------------------------------------------------------------------------------------------------

plain::Fields fields_of(const std::vector<std::string_view>& lines) {
  plain::Fields fields;
  for (const std::string_view line : lines) {
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || colon == 0) continue;
    const std::string name = plain::lower(line.substr(0, colon));
    std::string value = plain::trimmed(line.substr(colon + 1));
    if (!std::all_of(name.begin(), name.end(), is_token_byte)) continue;
    if (!std::all_of(value.begin(), value.end(), is_value_byte)) continue;
    fields.emplace_back(name, std::move(value));
  }
  return fields;
}

struct Head {
  explicit Head(const plain::Fields& fields) {
    for (const auto& [name, value] : fields) head.headers.add(name, value);
  }
  plain::Fields fields() const {
    plain::Fields out;
    for (const HeaderField& field : head.headers) {
      if (field.id != HeaderId::removed) out.emplace_back(field.name, field.value);
    }
    return out;
  }
  Scratch scratch;
  RequestHead head{scratch.arena};
};

void check_connection(const plain::Fields& fields, std::string_view input) {
  for (const bool http10 : {false, true}) {
    Head made(fields);
    const bool keep = take_connection_fields(made.head.headers, http10 ? HttpVersion::http10 : HttpVersion::http11);
    const plain::Connection expected = plain::take_connection_fields(fields, http10);
    require(keep == expected.keep, "whether the connection is kept", input);
    require(made.fields() == expected.fields, "what Connection leaves", input);
    strip_hop_by_hop(made.head.headers);
    require(made.fields() == expected.fields, "stripping is idempotent", input);
  }
}

void check_forwarded(const plain::Fields& fields, std::string_view input) {
  Head trusted(fields), other(fields);
  trusted.head.authority = other.head.authority = "h.example:1";
  set_forwarded_fields(trusted.head, {"10.1.2.3", "http", true});
  set_forwarded_fields(other.head, {"10.1.2.3", "http", false});

  plain::Fields expected = plain::appended(fields, "x-forwarded-for", "10.1.2.3");
  if (plain::values(fields, "x-forwarded-proto").empty()) expected.emplace_back("x-forwarded-proto", "http");
  if (plain::values(fields, "x-forwarded-host").empty()) expected.emplace_back("x-forwarded-host", "h.example:1");
  require(trusted.fields() == expected, "a trusted peer is believed", input);

  plain::Fields rest = fields;
  for (const char* name : {"forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}) rest = plain::without(rest, name);
  rest.emplace_back("x-forwarded-for", "10.1.2.3");
  rest.emplace_back("x-forwarded-proto", "http");
  rest.emplace_back("x-forwarded-host", "h.example:1");
  require(other.fields() == rest, "any other peer is overruled", input);
}

void check_via(const plain::Fields& fields, std::string_view input) {
  for (const auto& [version, entry] :
       {std::pair{HttpVersion::http10, "1.0 weir"}, {HttpVersion::http11, "1.1 weir"}, {HttpVersion::http2, "2 weir"}}) {
    Head made(fields);
    add_via(made.head.headers, version);
    require(made.fields() == plain::appended(fields, "via", entry), "Via", input);
  }
}

void check_request_id(const plain::Fields& fields, std::string_view input) {
  constexpr std::string_view kNever = "\"',;\\<>";
  const std::vector<std::string> given = plain::values(fields, "x-request-id");
  for (const bool keep : {true, false}) {
    Head made(fields);
    Random random(7);
    const std::string id(set_request_id(made.head, keep, random));
    const plain::Fields after = made.fields();
    require(plain::values(after, "x-request-id") == std::vector<std::string>{id}, "one request ID", input);
    require(plain::without(after, "x-request-id") == plain::without(fields, "x-request-id"), "nothing else changes", input);
    const bool sane = !id.empty() && id.size() <= 128 && std::all_of(id.begin(), id.end(), [&](char c) {
      return c > ' ' && c < 0x7f && kNever.find(c) == std::string_view::npos;
    });
    require(sane, "a request ID is sane", input);
    const bool made_here = id.size() == 32 && id.find_first_not_of("0123456789abcdef") == std::string::npos;
    const bool kept = keep && given.size() == 1 && given[0] == id;
    require(kept || made_here, "a request ID is kept or made", input);
    if (!keep && given.size() == 1) require(id != given[0] || given[0].size() == 32, "a request ID that nobody trusts is replaced", input);
  }
}

void check_proxy_status(const plain::Fields& fields, std::string_view input) {
  Scratch scratch;
  ResponseHead head(scratch.arena);
  for (const auto& [name, value] : fields) head.headers.add(name, value);
  const FailureKind kind = kind_of_local_reply(head);
  if (kind == FailureKind::none) return;
  bool ours = false;
  for (const std::string& value : plain::values(fields, "proxy-status")) ours = ours || value.find("weir") != std::string::npos;
  require(ours, "only what names us is ours", input);
}

// What a field of gRPC's may say, by a second reading; and what we write is read back.
void check_grpc(Scratch& scratch, const std::string& value) {
  Headers fields(scratch.arena);
  fields.add("grpc-status", value);
  fields.add("grpc-retry-pushback-ms", value);
  GrpcStatus expected = GrpcStatus::unknown;
  for (int code = 0; code <= 16; ++code) {
    if (value == std::to_string(code)) expected = static_cast<GrpcStatus>(code);
  }
  require(grpc_status_of(fields) == expected, "grpc-status", value);
  const bool number = !value.empty() && value.size() <= 12 && value.find_first_not_of("0123456789") == std::string::npos;
  require(grpc_pushback_of(fields).wait.has_value() == number, "grpc-retry-pushback-ms", value);
  const std::string_view read = decode_grpc_message(scratch.arena, value);
  const std::string_view written = encode_grpc_message(scratch.arena, read);
  require(decode_grpc_message(scratch.arena, written) == read, "grpc-message is read back", value);
  require(std::all_of(written.begin(), written.end(), [](char c) { return c >= ' ' && c <= '~'; }), "grpc-message is plain", value);
  static_cast<void>(parse_grpc_health_reply(value));
  const auto timeout = parse_grpc_timeout(value);
  if (!timeout) return;
  require(*timeout >= Duration(0) && *timeout <= kLongestGrpcTimeout, "grpc-timeout is bounded", value);
  const auto again = parse_grpc_timeout(GrpcTimeoutText(*timeout).text());
  require(again && *again <= *timeout, "grpc-timeout never grows", value);
  require(GrpcTimeoutText(*again).text() == GrpcTimeoutText(*timeout).text(), "grpc-timeout is read back", value);
}

void run(std::string_view input) {
  const std::vector<std::string_view> lines = lines_of(input, 40);
  Scratch scratch;
  for (const std::string_view line : lines) {
    const std::string value = plain::trimmed(line.substr(std::min(line.find(':') + 1, line.size())));
    check_retry_after(value);
    check_date_of(value);
    check_framing(value);
    check_authority(scratch, value);
    check_json(value);
    check_grpc(scratch, value);
  }
  const plain::Fields fields = fields_of(lines);
  check_connection(fields, input);
  check_forwarded(fields, input);
  check_via(fields, input);
  check_request_id(fields, input);
  check_proxy_status(fields, input);
}

}  // namespace

}  // namespace weir

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  weir::run(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
