// A breaker policy with a clock and chance of its own, and the outcomes that its tests feed it.
// Each test case owns one.
// It never advances time by itself, except where wait_open() says so.
#pragma once

#include <catch2/catch.hpp>

#include "filters/circuit_breaker/circuit_breaker_policy.h"

namespace weir {

struct BreakerBench {
  explicit BreakerBench(const CircuitBreakerConfig& config, std::uint64_t seed = 1) : policy(config), random(seed) {}

  Admission admit() { return policy.admit(now, AdmissionFacts{}, random); }
  Ticket admitted() {
    const Admission admission = admit();
    REQUIRE(admission.verdict == Admission::Verdict::admit);
    return admission.ticket;
  }
  void record(const Ticket& ticket, const Outcome& outcome) { policy.record(now, ticket, outcome, random); }
  void call(const Outcome& outcome, int times = 1) {
    for (int i = 0; i < times; ++i) record(admitted(), outcome);
  }
  CircuitBreakerPolicy::State state() { return policy.view(now).state; }
  // Trips the breaker and waits until it would probe.
  void trip() {
    while (state() != CircuitBreakerPolicy::State::open) call(failure());
  }
  void wait_open() { now += policy.view(now).until_half_open; }

  static Outcome status(int code, Duration to_headers = 1ms) {
    Outcome outcome;
    outcome.cls = Outcome::Class::answered;
    outcome.status = code;
    outcome.to_headers = to_headers;
    outcome.total = to_headers;
    return outcome;
  }
  static Outcome success() { return status(200); }
  static Outcome failure() { return status(503); }
  static Outcome failed(FailureKind kind, Duration after = 1ms) {
    Outcome outcome;
    outcome.cls = Outcome::Class::failed;
    outcome.failure = kind;
    outcome.clean = false;
    outcome.total = after;
    return outcome;
  }
  static Outcome cancelled(Duration after, bool owed = true) {
    Outcome outcome;
    outcome.clean = false;
    outcome.cut_short = owed;
    outcome.total = after;
    return outcome;
  }

  CircuitBreakerPolicy policy;
  Random random;
  MonotonicTime now{1h};
};

}  // namespace weir
