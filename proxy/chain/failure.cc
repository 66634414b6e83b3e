#include "proxy/chain/failure.h"

#include "proxy/base/check.h"

namespace weir {
namespace {

using Origin = FailureOrigin;

// Statuses are those that users of Envoy and HAProxy expect: 503 where nothing usable was reached or weir refused, 502 where the upstream's
// answer is no answer, 504 where it came too late. gRPC codes: 4 deadline_exceeded, 8 resource_exhausted, 14 unavailable, ...
// Tokens are those of RFC 9209 section 2.3; where none says it, the nearest.
constexpr FailureFacts kFacts[] = {
    // name, flag, proxy_status, http, grpc, origin, blames_upstream, rejected, retryable
    {"none", "-", "", 200, 0, Origin::local, false, false, false},
    {"connect_failure", "UF", "connection_refused", 503, 14, Origin::connect, true, false, true},
    {"connect_timeout", "UF", "connection_timeout", 503, 14, Origin::connect, true, false, true},
    {"tls_failure", "UF", "tls_protocol_error", 503, 14, Origin::connect, true, false, true},
    {"tls_certificate", "UF", "tls_certificate_error", 503, 14, Origin::connect, true, false, true},
    {"no_endpoint", "UH", "destination_unavailable", 503, 14, Origin::connect, true, false, true},
    {"refused_stream", "UR", "connection_terminated", 503, 14, Origin::upstream, true, false, true},
    {"reset", "UC", "connection_terminated", 502, 14, Origin::upstream, true, false, true},
    {"truncated", "UC", "http_response_incomplete", 502, 14, Origin::upstream, true, false, true},
    {"upstream_protocol", "UPE", "http_protocol_error", 502, 13, Origin::upstream, true, false, true},
    {"response_timeout", "UT", "http_response_timeout", 504, 4, Origin::upstream, true, false, true},
    {"idle_timeout", "SI", "connection_read_timeout", 504, 4, Origin::upstream, true, false, true},
    {"total_timeout", "UT", "http_response_timeout", 504, 4, Origin::local, false, false, false},
    {"deadline_exceeded", "DE", "http_response_timeout", 504, 4, Origin::client, false, false, false},
    {"rate_limited", "RL", "http_request_denied", 429, 8, Origin::local, false, true, false},
    {"breaker_open", "CB", "destination_unavailable", 503, 14, Origin::local, false, true, false},
    {"queue_full", "QF", "http_request_denied", 503, 14, Origin::local, false, true, false},
    {"queue_timeout", "QT", "http_request_denied", 503, 14, Origin::local, false, true, false},
    {"limit_reached", "LR", "http_request_denied", 503, 14, Origin::local, false, true, false},
    {"shed", "OM", "http_request_denied", 503, 14, Origin::local, false, true, false},
    {"pool_overflow", "UO", "connection_limit_reached", 503, 14, Origin::local, false, true, false},
    {"pool_timeout", "UO", "connection_limit_reached", 503, 14, Origin::local, false, true, false},
    {"client_gone", "DC", "http_request_error", 499, 1, Origin::client, false, false, false},
    {"client_body", "DPE", "http_request_error", 400, 3, Origin::client, false, false, false},
    {"client_timeout", "DT", "http_request_error", 408, 4, Origin::client, false, false, false},
    {"no_route", "NR", "destination_not_found", 404, 12, Origin::local, false, false, false},
    {"bad_request", "DPE", "http_request_error", 400, 3, Origin::client, false, false, false},
    {"internal", "IE", "proxy_internal_error", 500, 13, Origin::local, false, false, false},
};
static_assert(sizeof(kFacts) / sizeof(kFacts[0]) == static_cast<std::size_t>(FailureKind::count_), "one row for each kind");

}  // namespace

const FailureFacts& facts(FailureKind kind) {
  CHECK(kind < FailureKind::count_);
  return kFacts[static_cast<std::size_t>(kind)];
}

FailureKind failure_kind_of(std::string_view name) {
  for (std::size_t i = 0; i < static_cast<std::size_t>(FailureKind::count_); ++i) {
    if (name == kFacts[i].name) return static_cast<FailureKind>(i);
  }
  return FailureKind::none;
}

}  // namespace weir
