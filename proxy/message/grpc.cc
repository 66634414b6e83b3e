#include "proxy/message/grpc.h"

#include <algorithm>
#include <charconv>

#include "proxy/base/check.h"
#include "proxy/base/hex.h"
#include "proxy/base/text.h"

namespace weir {
namespace {

constexpr std::string_view kCauseNames[] = {
    "grpc_ok",        "grpc_cancelled",      "grpc_unknown",           "grpc_invalid_argument",   "grpc_deadline_exceeded",
    "grpc_not_found", "grpc_already_exists", "grpc_permission_denied", "grpc_resource_exhausted", "grpc_failed_precondition",
    "grpc_aborted",   "grpc_out_of_range",   "grpc_unimplemented",     "grpc_internal",           "grpc_unavailable",
    "grpc_data_loss", "grpc_unauthenticated"};
static_assert(std::size(kCauseNames) == kGrpcStatuses);
constexpr std::string_view kCausePrefix = "grpc_";

constexpr std::size_t kTimeoutDigits = 8;

struct TimeoutUnit {
  char letter;
  Duration length;
};
constexpr TimeoutUnit kUnits[] = {  // the finest first
    {'n', 1ns}, {'u', 1us}, {'m', 1ms}, {'S', 1s}, {'M', 1min}, {'H', 1h}};

}  // namespace

std::string_view grpc_cause_name(GrpcStatus status) {
  if (status == GrpcStatus::none) return {};
  const auto index = static_cast<std::size_t>(status);
  CHECK(index < kGrpcStatuses);
  return kCauseNames[index];
}

std::string_view grpc_status_name(GrpcStatus status) {
  return status == GrpcStatus::none ? std::string_view() : grpc_cause_name(status).substr(kCausePrefix.size());
}

bool is_grpc(const RequestHead& head) {
  if (head.method != Method::post) return false;
  const std::string_view type = head.headers.value(HeaderId::content_type);
  if (type.size() < kGrpcContentType.size() || !equal_ignoring_case(type.substr(0, kGrpcContentType.size()), kGrpcContentType)) {
    return false;
  }
  const std::string_view rest = type.substr(kGrpcContentType.size());
  return rest.empty() || rest[0] == '+' || rest[0] == ';' || rest[0] == ' ' || rest[0] == '\t';
}

GrpcStatus grpc_status_of(const Headers& fields) {
  const HeaderField* field = fields.find(HeaderId::grpc_status);
  if (field == nullptr) return GrpcStatus::none;
  const std::string_view value = field->value;
  if (value.empty() || value.size() > 2 || !is_digits(value) || (value.size() == 2 && value[0] == '0')) return GrpcStatus::unknown;
  int code = 0;
  for (const char c : value) code = code * 10 + (c - '0');
  return code < static_cast<int>(kGrpcStatuses) ? static_cast<GrpcStatus>(code) : GrpcStatus::unknown;
}

GrpcStatus grpc_status_at_head(const ResponseHead& head) {
  const GrpcStatus said = grpc_status_of(head.headers);
  if (said != GrpcStatus::none) return said;
  if (head.status != 200) return grpc_status_of_http(head.status);
  return head.has_body ? GrpcStatus::none : GrpcStatus::unknown;
}

GrpcStatus grpc_status_at_end(const Headers* trailers) {
  const GrpcStatus said = trailers == nullptr ? GrpcStatus::none : grpc_status_of(*trailers);
  return said == GrpcStatus::none ? GrpcStatus::unknown : said;
}

GrpcStatus grpc_status_of_http(int http_status) {
  switch (http_status) {
    case 400: return GrpcStatus::internal;
    case 401: return GrpcStatus::unauthenticated;
    case 403: return GrpcStatus::permission_denied;
    case 404: return GrpcStatus::unimplemented;
    case 429:
    case 502:
    case 503:
    case 504: return GrpcStatus::unavailable;
    default: return GrpcStatus::unknown;
  }
}

int http_status_of_grpc(GrpcStatus status) {
  switch (status) {
    case GrpcStatus::none:
    case GrpcStatus::ok: return 200;
    case GrpcStatus::cancelled: return 499;
    case GrpcStatus::invalid_argument:
    case GrpcStatus::failed_precondition:
    case GrpcStatus::out_of_range: return 400;
    case GrpcStatus::deadline_exceeded: return 504;
    case GrpcStatus::not_found: return 404;
    case GrpcStatus::already_exists:
    case GrpcStatus::aborted: return 409;
    case GrpcStatus::permission_denied: return 403;
    case GrpcStatus::resource_exhausted: return 429;
    case GrpcStatus::unimplemented: return 501;
    case GrpcStatus::unavailable: return 503;
    case GrpcStatus::unauthenticated: return 401;
    case GrpcStatus::unknown:
    case GrpcStatus::internal:
    case GrpcStatus::data_loss: return 500;
  }
  return 500;
}

bool is_grpc_server_trouble(GrpcStatus status) {
  const int http = http_status_of_grpc(status);
  return http >= 500 || http == 429;
}

std::optional<Duration> parse_grpc_timeout(std::string_view value) {
  if (value.size() < 2 || value.size() > kTimeoutDigits + 1) return std::nullopt;
  const std::string_view digits = value.substr(0, value.size() - 1);
  if (!is_digits(digits)) return std::nullopt;
  std::int64_t count = 0;
  for (const char c : digits) count = count * 10 + (c - '0');
  for (const TimeoutUnit& unit : kUnits) {
    if (unit.letter != value.back()) continue;
    return count > kLongestGrpcTimeout / unit.length ? kLongestGrpcTimeout : count * unit.length;
  }
  return std::nullopt;
}

GrpcTimeoutText::GrpcTimeoutText(Duration value) {
  DCHECK(value >= Duration::zero());
  constexpr std::int64_t kMost = 99'999'999;
  const TimeoutUnit* unit = std::begin(kUnits);
  while (value / unit->length > kMost && unit + 1 != std::end(kUnits)) ++unit;
  const auto written = std::to_chars(text_.data(), text_.data() + kTimeoutDigits, std::min<std::int64_t>(value / unit->length, kMost));
  *written.ptr = unit->letter;
  size_ = static_cast<std::size_t>(written.ptr + 1 - text_.data());
}

std::string_view encode_grpc_message(Arena& arena, std::string_view text) {
  const auto plain = [](char c) { return c >= ' ' && c <= '~' && c != '%'; };
  const auto hidden = static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [&](char c) { return !plain(c); }));
  if (hidden == 0) return text;
  auto* out = static_cast<char*>(arena.allocate(text.size() + 2 * hidden, 1));
  std::size_t size = 0;
  for (const char c : text) {
    if (plain(c)) {
      out[size++] = c;
      continue;
    }
    constexpr char kHex[] = "0123456789ABCDEF";
    const auto byte = static_cast<unsigned char>(c);
    out[size++] = '%';
    out[size++] = kHex[byte >> 4];
    out[size++] = kHex[byte & 15];
  }
  return {out, size};
}

std::string_view decode_grpc_message(Arena& arena, std::string_view value) {
  if (value.find('%') == std::string_view::npos) return value;
  auto* out = static_cast<char*>(arena.allocate(value.size(), 1));
  return {out, percent_decode(value, out)};
}

GrpcPushback grpc_pushback_of(const Headers& fields) {
  GrpcPushback pushback;
  const HeaderField* field = fields.find(kGrpcPushbackField);
  if (field == nullptr) return pushback;
  pushback.given = true;
  const std::string_view value = field->value;
  constexpr std::size_t kDigits = 12;  // of milliseconds: years
  if (!is_digits(value) || value.size() > kDigits) return pushback;
  std::int64_t count = 0;
  for (const char c : value) count = count * 10 + (c - '0');
  pushback.wait = std::chrono::milliseconds(count);
  return pushback;
}

}  // namespace weir
