// Failure: why there is no (whole) answer: kind, origin, who is to blame, whether trying again may help.
// A value that travels outward through the links. One table (failure.cc) turns its kind into HTTP status, gRPC status, response flag,
// Proxy-Status token and metric label; nothing else in the project maps failures.
#pragma once

#include <cstdint>
#include <string_view>

#include "proxy/base/time.h"

namespace weir {

enum class FailureKind : std::uint8_t {
  none,
  // connect: nothing of the request was sent
  connect_failure,  // refused, unreachable
  connect_timeout,
  tls_failure,      // connected, but no handshake: no TLS there, no version or protocol in common, an alert
  tls_certificate,  // the certificate of the other side was not accepted
  no_endpoint,      // nothing resolved, none usable
  // upstream, after something may have been sent
  refused_stream,
  reset,              // RST, or FIN before the head
  truncated,          // the answer broke off after its head
  upstream_protocol,  // an answer that the framing rules refuse
  response_timeout,   // timeout.response_headers: a try's timeout
  idle_timeout,
  // ended by a deadline of the whole exchange
  total_timeout,
  deadline_exceeded,  // one that the client imposed (grpc-timeout): nobody's failure
  // weir's own rejections: `rejected`
  rate_limited,
  breaker_open,
  queue_full,
  queue_timeout,
  limit_reached,  // concurrency limit without a queue
  shed,
  pool_overflow,  // the service's limits: connections, pending, requests
  pool_timeout,   // pending too long
  // the client
  client_gone,
  client_body,     // its body broke off or was malformed
  client_timeout,  // it stalled
  // weir itself
  no_route,
  bad_request,
  internal,
  count_,
};

enum class FailureOrigin : std::uint8_t { client, local, upstream, connect };

struct FailureFacts {        // one row of the table
  const char* name;          // metric label and log word: "connect_failure"
  const char* flag;          // short response flag for the log, in Envoy's vocabulary where one fits: "UF"
  const char* proxy_status;  // RFC 9209 error token
  int http_status;
  int grpc_status;
  FailureOrigin origin;
  bool blames_upstream;  // counts as a failure for breakers, outlier detection and adaptive limits
  bool rejected;         // weir's own rejection: never retried, never a failure anywhere
  bool retryable;        // trying again may help; whether it is allowed is the retry policy's business
};
const FailureFacts& facts(FailureKind kind);
FailureKind failure_kind_of(std::string_view name);  // by FailureFacts::name; none when there is none of that name

// Where in the configuration a decision comes from: file:line of a filter; `file` outlives every snapshot that names it.
struct PolicyPlace {
  const char* file = nullptr;
  std::uint32_t line = 0;
};

// Which configured filter decided; lives as long as the chain.
struct LinkIdentity {
  std::string_view service, policy, filter, kind, route;  // kind: "retry"; filter: its name
  PolicyPlace place;
  bool shadow = false;
};

struct Failure {
  FailureKind kind = FailureKind::none;
  bool request_sent = false;                 // a byte of the request reached the kernel in this try
  bool stale_connection = false;             // a reused connection broke before any byte of the answer
  Duration retry_after{0};                   // > 0: the rejecting filter knows when to come back
  std::string_view detail;                   // static text or in the arena; a sentence part for logs and Proxy-Status
  const LinkIdentity* decided_by = nullptr;  // the filter that made it up; null: upstream or client did

  const FailureFacts& facts() const { return weir::facts(kind); }
  bool rejected() const { return facts().rejected; }
};

}  // namespace weir
