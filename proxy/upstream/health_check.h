// HealthPolicy: what the results of active checks make of an endpoint, and when it is asked again.
// Service owns the one policy of a service, under its lock, and a state for each endpoint; this is the pure decision.
// It never probes (health_probe.h, health_checker.h), and an endpoint of which nothing is known yet counts as usable.
#pragma once

#include <cstdint>
#include <string_view>

#include "proxy/base/random.h"
#include "proxy/base/time.h"
#include "proxy/upstream/service_config.h"

namespace weir {

enum class CheckResult : std::uint8_t {
  none,  // not asked yet
  passed,
  wrong_status,
  timeout,
  connect_failure,
  tls_failure,        // connected, but no handshake, or a certificate that is not accepted
  broken,             // closed or reset before the answer
  bad_answer,         // not HTTP, or too large; of a gRPC check also a message that is none
  not_serving,        // gRPC: it says so itself, or does not know the service
  not_implemented,    // gRPC: it speaks gRPC, but not grpc.health.v1.Health
  wrong_grpc_status,  // gRPC: the call failed otherwise
  count_,
};
std::string_view to_word(CheckResult result);

enum class Health : std::uint8_t { unknown, healthy, unhealthy };
std::string_view to_word(Health health);

struct HealthState {  // of one endpoint
  Health health = Health::unknown;
  std::uint32_t in_a_row = 0;  // results like the last one
  CheckResult last = CheckResult::none;
  int last_status = 0;  // of the answer, if there was one

  bool last_passed() const { return last == CheckResult::passed; }
};

class HealthPolicy {
 public:
  explicit HealthPolicy(const HealthCheckConfig& config = {}) : config_(config) {}
  void configure(const HealthCheckConfig& config) { config_ = config; }  // states keep what they are, and their counts

  // True: `state.health` has changed. The first check that passes makes an unknown endpoint healthy.
  bool record(HealthState& state, CheckResult result, int status) const;

  // From the beginning of the last check to that of the next. Faster at the edges: while nothing is known, while the last result speaks
  // against the state, and while `awaited` (an ejected endpoint returns only when a check has passed).
  Duration next_check(const HealthState& state, bool awaited, Random& random) const;

 private:
  HealthCheckConfig config_;
};

}  // namespace weir
