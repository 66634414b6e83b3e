// What gRPC puts into HTTP: which requests are gRPC calls, the status of an answer, its message, its timeout. Pure functions over heads.
// Nobody owns anything here. The one place that knows gRPC's fields; who asks decides what a status means.
// It never looks into a body: to weir messages are bytes.
//
// An answer says its status in its head where nothing else follows ("trailers-only"), else in its trailers. One that says none is
// `unknown`; one whose HTTP status is not 200 came from something that does not speak gRPC, and its HTTP status is translated.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "proxy/base/time.h"
#include "proxy/message/head.h"

namespace weir {

// The names of https://grpc.github.io/grpc/core/md_doc_statuscodes.html.
enum class GrpcStatus : std::int8_t {
  none = -1,  // no gRPC call, or not known yet
  ok,
  cancelled,
  unknown,
  invalid_argument,
  deadline_exceeded,
  not_found,
  already_exists,
  permission_denied,
  resource_exhausted,
  failed_precondition,
  aborted,
  out_of_range,
  unimplemented,
  internal,
  unavailable,
  data_loss,
  unauthenticated,
};
inline constexpr std::size_t kGrpcStatuses = 17;  // beside none

// "grpc_unavailable": as causes and metrics name them; static. Empty for none.
std::string_view grpc_cause_name(GrpcStatus status);
// "unavailable".
std::string_view grpc_status_name(GrpcStatus status);

// A POST whose content type is application/grpc, with or without a suffix (+proto); grpc-web is ordinary HTTP.
bool is_grpc(const RequestHead& head);
inline constexpr std::string_view kGrpcContentType = "application/grpc";

// What a field `grpc-status` says: 0 to 16 without further zeros; anything else is `unknown`; `none` when there is no such field.
GrpcStatus grpc_status_of(const Headers& fields);
// Of a gRPC answer at its head: `none` while the trailers will say it.
GrpcStatus grpc_status_at_head(const ResponseHead& head);
// ... and at its clean end, when the head did not say it.
GrpcStatus grpc_status_at_end(const Headers* trailers);

// For answers that do not speak gRPC (http-grpc-status-mapping.md of the gRPC project).
GrpcStatus grpc_status_of_http(int http_status);
// The HTTP status that says most nearly the same: for rules that are written in HTTP's words.
int http_status_of_grpc(GrpcStatus status);
// The service or its host failed, or had no room; not the request: what 5xx and 429 are to HTTP.
bool is_grpc_server_trouble(GrpcStatus status);

// grpc-timeout: up to 8 digits and one of H M S m u n. Absent when it is not of that form; more than kLongestGrpcTimeout is that.
std::optional<Duration> parse_grpc_timeout(std::string_view value);
inline constexpr Duration kLongestGrpcTimeout = std::chrono::hours(24 * 365);

// The finest unit that holds the value in 8 digits, rounded down: a hop never gives the next one more time than it has.
class GrpcTimeoutText {
 public:
  explicit GrpcTimeoutText(Duration value);  // not negative
  std::string_view text() const { return {text_.data(), size_}; }

 private:
  std::array<char, 12> text_;
  std::size_t size_ = 0;
};

// grpc-message: what is not printable ASCII, and the percent sign, as %XX.
std::string_view encode_grpc_message(Arena& arena, std::string_view text);
std::string_view decode_grpc_message(Arena& arena, std::string_view value);  // a percent sign that begins no %XX stands for itself

// grpc-retry-pushback-ms (gRFC A6): how long to wait before trying again; negative or malformed: do not.
struct GrpcPushback {
  bool given = false;
  std::optional<Duration> wait;  // nothing although given: do not try again
};
GrpcPushback grpc_pushback_of(const Headers& fields);

inline constexpr std::string_view kGrpcStatusField = "grpc-status";
inline constexpr std::string_view kGrpcMessageField = "grpc-message";
inline constexpr std::string_view kGrpcTimeoutField = "grpc-timeout";
inline constexpr std::string_view kGrpcPushbackField = "grpc-retry-pushback-ms";
inline constexpr std::string_view kGrpcPreviousAttemptsField = "grpc-previous-rpc-attempts";

}  // namespace weir
