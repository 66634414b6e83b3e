// The retry policy: whether a try that failed is repeated, when, and if not why: a pure decision over one failed try and what came before.
// The retry filter owns the configuration; decide_retry() keeps nothing.
// It never charges the budget: it says that a retry is wanted, and the filter asks the service's budget last.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/random.h"
#include "proxy/base/time.h"
#include "proxy/chain/causes.h"
#include "proxy/message/grpc.h"
#include "proxy/message/head.h"

namespace weir {

struct BackoffConfig {
  Duration base = 25ms;
  Duration max = 250ms;
};

struct RetryAfterConfig {
  Duration max = 5s;
};

struct RetryMethods {  // `methods: idempotent`, `any`, or a list
  enum class Rule : std::uint8_t { idempotent, any, listed };
  Rule rule = Rule::idempotent;
  std::vector<std::string> listed;

  // Whether a request that the upstream may have seen may be sent again. An Idempotency-Key makes any method idempotent.
  bool allow(const RequestHead& head) const;
  bool repeats_unsafe() const;  // some method that is not idempotent, without asking for a key
};

struct RetryConfig {
  std::uint32_t max_attempts = 2;  // tries in all, the first one included
  Causes causes;
  RetryMethods methods;
  BackoffConfig backoff;
  RetryAfterConfig retry_after;
  Duration grpc_hold = 50ms;  // of the head of a gRPC answer, until it shows whether a message comes
  std::uint64_t max_replay = std::uint64_t{64} * 1024;
};

// How one try ended.
struct TryEnd {
  int status = 0;                             // of an upstream answer; 0: none
  GrpcStatus grpc_status = GrpcStatus::none;  // of a gRPC answer, when it is known before a message came
  FailureKind failure = FailureKind::none;    // no answer; or what the weir that answered said of itself
  bool answered = false;
  bool request_sent = true;  // a byte of the request may have reached the upstream
  bool stale_connection = false;
  std::optional<Duration> retry_after;
  GrpcPushback pushback;
};

// What came before, and what is left.
struct RetryState {
  std::uint32_t tries = 1;     // made so far, without free resends
  bool resent = false;         // the one free resend was used
  bool method_allowed = true;  // RetryMethods::allow()
  bool replayable = true;      // the request body was kept whole
  bool client_broke = false;   // the client's body broke off: nothing whole is left to send
  MonotonicTime now{};
  MonotonicTime deadline = kNever;
};

struct RetryDecision {
  enum class Verdict : std::uint8_t {
    pass,    // tell it outward; `reason` says why it was not retried, empty when it was no cause
    retry,   // after `delay`, if the budget allows
    resend,  // at once, free of the budget and the count
  };
  Verdict verdict = Verdict::pass;
  std::string_view reason;  // retry: the cause; static
  Duration delay{0};
};

RetryDecision decide_retry(const RetryConfig& config, const TryEnd& end, const RetryState& state, Random& random);

// U(0, min(max, base * 2^(n-1))) before the n-th retry (n >= 1): full jitter.
Duration full_jitter(const BackoffConfig& backoff, std::uint32_t n, Random& random);

// Retry-After (RFC 9110 10.2.3): seconds, or an HTTP-date read against `now`; absent when it is neither. Past dates are 0.
std::optional<Duration> parse_retry_after(std::string_view value, WallTime now);

}  // namespace weir
