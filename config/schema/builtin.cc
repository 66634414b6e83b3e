#include "config/schema/builtin.h"

namespace weir {

std::string_view builtin_yaml() {
  return R"yaml(# What weir does where no policy is named: it helps an unknown service and never harms it. `weir validate --print` shows it resolved.
# Milder than what one would choose for a service one knows: only failures to connect are acted on, the rest is watched in shadow.
version: 1
services:                            # the built-in fields of every service
  any:
    endpoints: [127.0.0.1:1]
    balance: least_request
    connect_timeout: 3s              # survives one lost SYN
    keep_alive: { idle: 4s }         # below the 5 s of common servers
    limits: { connections: 10000, pending: 1024 }
    retry_budget: { ratio: 20%, min_rate: 1/s, window: 10s }
    outlier_detection: { causes: [connect_failure], consecutive_failures: 5, eject_for: { base: 5s, max: 60s }, max_ejected: 50% }
    panic_below: 50%
policies:
  default-outbound:
    filters:
      - timeout: { name: leak, idle: 1h }
      - timeout: { name: slow, response_headers: 30s, mode: shadow }
      - retry: { max_attempts: 2, causes: [connect_failure, refused_stream], methods: idempotent, backoff: { base: 25ms, max: 250ms }, max_replay: 64KiB }
      - circuit_breaker: { name: dead, causes: [connect_failure], window: 10s, min_calls: 20, failure_ratio: 90%, open_for: { base: 1s, max: 10s }, half_open: { probes: 3, successes: 2 } }
      - circuit_breaker: { name: errors, causes: [5xx, reset, timeout], window: 10s, min_calls: 50, failure_ratio: 50%, mode: shadow }
      - concurrency_limit: { adaptive: { algorithm: gradient2, initial: 100, min: 20, max: 1000 }, mode: shadow }
  default-inbound:                   # no retry, breaker or hedge: the caller's side decides those
    filters:
      - load_shed: { memory: 95%, open_files: 95% }
      - timeout: { idle: 1h }
      - concurrency_limit: { adaptive: { algorithm: gradient2, initial: 100, min: 20, max: 1000 }, mode: shadow }
)yaml";
}

}  // namespace weir
