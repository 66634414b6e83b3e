#include "filters/retry/retry_policy.h"

#include <catch2/catch.hpp>

#include "proxy/chain/causes_type.h"

using namespace weir;

namespace {

using Verdict = RetryDecision::Verdict;

RetryConfig config_of(std::initializer_list<const char*> causes, std::uint32_t max_attempts = 3) {
  RetryConfig config;
  config.causes = causes_of(causes);
  config.max_attempts = max_attempts;
  return config;
}

TryEnd answer(int status) {
  TryEnd end;
  end.answered = true;
  end.status = status;
  return end;
}

TryEnd failure(FailureKind kind, bool sent = true) {
  TryEnd end;
  end.failure = kind;
  end.request_sent = sent;
  return end;
}

RetryDecision decide(const RetryConfig& config, const TryEnd& end, RetryState state = {}) {
  Random random(1);
  return decide_retry(config, end, state, random);
}

}  // namespace

TEST_CASE("what is no configured cause is passed on without a word") {
  const RetryConfig config = config_of({"reset", "gateway_error"});
  CHECK(decide(config, answer(200)).verdict == Verdict::pass);
  CHECK(decide(config, answer(500)).reason.empty());
  CHECK(decide(config, failure(FailureKind::connect_failure)).reason.empty());
  CHECK(decide(config, failure(FailureKind::total_timeout)).verdict == Verdict::pass);
}

TEST_CASE("configured causes are retried, by their names") {
  const RetryConfig config =
      config_of({"connect_failure", "reset", "refused_stream", "timeout", "gateway_error", "429", "grpc_unavailable"});
  CHECK(decide(config, failure(FailureKind::reset)).verdict == Verdict::retry);
  CHECK(decide(config, failure(FailureKind::reset)).reason == "reset");
  CHECK(decide(config, failure(FailureKind::response_timeout)).reason == "response_timeout");
  CHECK(decide(config, answer(503)).reason == "503");
  CHECK(decide(config, answer(429)).reason == "429");
  TryEnd grpc = answer(200);
  grpc.grpc_status = GrpcStatus::unavailable;
  CHECK(decide(config, grpc).reason == "grpc_unavailable");
  grpc.grpc_status = GrpcStatus::internal;
  CHECK(decide(config, grpc).verdict == Verdict::pass);
}

TEST_CASE("the last attempt is not retried, and says so; one attempt means no retry and no word") {
  const RetryConfig config = config_of({"reset"}, 3);
  RetryState state;
  state.tries = 2;
  CHECK(decide(config, failure(FailureKind::reset), state).verdict == Verdict::retry);
  state.tries = 3;
  CHECK(decide(config, failure(FailureKind::reset), state).verdict == Verdict::pass);
  CHECK(decide(config, failure(FailureKind::reset), state).reason == "attempts");
  CHECK(decide(config_of({"reset"}, 1), failure(FailureKind::reset)).reason.empty());
}

TEST_CASE("an unsafe method is repeated only when nothing of it was sent, or the upstream refused it unseen") {
  const RetryConfig config = config_of({"connect_failure", "reset", "refused_stream", "503"});
  RetryState state;
  state.method_allowed = false;
  CHECK(decide(config, failure(FailureKind::reset, true), state).reason == "method");
  CHECK(decide(config, answer(503), state).reason == "method");
  CHECK(decide(config, failure(FailureKind::reset, false), state).verdict == Verdict::retry);
  CHECK(decide(config, failure(FailureKind::connect_failure, false), state).verdict == Verdict::retry);
  CHECK(decide(config, failure(FailureKind::refused_stream, true), state).verdict == Verdict::retry);
}

TEST_CASE("what weir rejected is never retried, be it this one or the next") {
  RetryConfig config = config_of({"5xx", "429"});
  config.causes.add(Causes::parse_word("rejected").value());
  CHECK(decide(config, failure(FailureKind::breaker_open, false)).verdict == Verdict::pass);
  TryEnd end = answer(503);
  end.failure = FailureKind::shed;  // as another weir's Proxy-Status says
  CHECK(decide(config, end).verdict == Verdict::pass);
  end.failure = FailureKind::connect_failure;  // it failed to reach the service: another endpoint may do better
  CHECK(decide(config, end).verdict == Verdict::retry);
}

TEST_CASE("a body that was not kept, or broke off, is not sent again") {
  const RetryConfig config = config_of({"reset"});
  RetryState state;
  state.replayable = false;
  CHECK(decide(config, failure(FailureKind::reset), state).reason == "body_too_large");
  state.replayable = true;
  state.client_broke = true;
  CHECK(decide(config, failure(FailureKind::reset), state).verdict == Verdict::pass);
}

TEST_CASE("full jitter: uniform up to a bound that doubles and is capped") {
  const BackoffConfig backoff{25ms, 250ms};
  Random random(7);
  const Duration bounds[] = {25ms, 50ms, 100ms, 200ms, 250ms, 250ms};
  for (std::uint32_t n = 1; n <= 6; ++n) {
    Duration most{0}, least = 1h, sum{0};
    for (int i = 0; i < 4000; ++i) {
      const Duration wait = full_jitter(backoff, n, random);
      most = std::max(most, wait);
      least = std::min(least, wait);
      sum += wait;
    }
    const Duration bound = bounds[n - 1];
    INFO(n);
    CHECK(most <= bound);
    CHECK(most > bound * 98 / 100);
    CHECK(least < bound * 2 / 100);
    CHECK(sum / 4000 > bound * 46 / 100);
    CHECK(sum / 4000 < bound * 54 / 100);
  }
  CHECK(full_jitter({1h, 10min}, 4'000'000, random) <= 10min);  // no overflow however many
}

TEST_CASE("a wait that the deadline does not leave room for is not begun") {
  const RetryConfig config = config_of({"reset", "503"});
  RetryState state;
  state.now = MonotonicTime(10s);
  state.deadline = MonotonicTime(10s);
  CHECK(decide(config, failure(FailureKind::reset), state).reason == "deadline");
  state.deadline = MonotonicTime(10s) + 26ms;
  CHECK(decide(config, failure(FailureKind::reset), state).verdict == Verdict::retry);
  TryEnd end = answer(503);
  end.retry_after = 1s;
  CHECK(decide(config, end, state).reason == "deadline");
}

TEST_CASE("Retry-After is honoured up to its limit, and above it there is no retry") {
  RetryConfig config = config_of({"503"});
  config.retry_after.max = 5s;
  TryEnd end = answer(503);
  end.retry_after = 5s;
  const RetryDecision decision = decide(config, end);
  CHECK(decision.verdict == Verdict::retry);
  CHECK(decision.delay >= 5s);
  CHECK(decision.delay <= 5s + 25ms);
  end.retry_after = 5s + 1ns;
  CHECK(decide(config, end).verdict == Verdict::pass);
  CHECK(decide(config, end).reason == "retry_after");
}

TEST_CASE("a stale connection is resent once, at once, whatever the causes, when that is safe") {
  const RetryConfig config = config_of({"connect_failure"}, 1);
  TryEnd stale = failure(FailureKind::reset, true);
  stale.stale_connection = true;
  CHECK(decide(config, stale).verdict == Verdict::resend);
  CHECK(decide(config, stale).reason == "stale_connection");
  CHECK(decide(config, stale).delay == 0ns);
  RetryState state;
  state.resent = true;
  CHECK(decide(config, stale, state).verdict == Verdict::pass);
  state = {};
  state.method_allowed = false;
  CHECK(decide(config, stale, state).verdict == Verdict::pass);
  stale.request_sent = false;
  CHECK(decide(config, stale, state).verdict == Verdict::resend);
  state.replayable = false;
  CHECK(decide(config, stale, state).verdict == Verdict::pass);
}

TEST_CASE("methods: idempotent ones, those with a key, any, or a list") {
  ArenaPool arenas;
  Arena& arena = arenas.open();
  {
    RequestHead head(arena);
    RetryMethods methods;
    const auto set = [&](std::string_view name) {
      head.method_text = name;
      head.method = method_of(name);
    };
    for (const char* name : {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"}) {
      set(name);
      CHECK(methods.allow(head));
    }
    for (const char* name : {"POST", "PATCH", "PROPFIND"}) {
      set(name);
      CHECK_FALSE(methods.allow(head));
    }
    methods.rule = RetryMethods::Rule::listed;
    methods.listed = {"GET", "PROPFIND"};
    CHECK(methods.allow(head));
    CHECK(methods.repeats_unsafe());
    methods.listed = {"GET"};
    CHECK_FALSE(methods.repeats_unsafe());
    head.headers.add("idempotency-key", "k1");
    CHECK_FALSE(methods.allow(head));
    methods.rule = RetryMethods::Rule::idempotent;
    CHECK(methods.allow(head));
    methods.rule = RetryMethods::Rule::any;
    CHECK(methods.allow(head));
    CHECK(methods.repeats_unsafe());
  }
  arena.release();
}

TEST_CASE("Retry-After is read as seconds or as an HTTP-date") {
  const WallTime now{std::chrono::seconds(784111777)};  // Sun, 06 Nov 1994 08:49:37 GMT
  CHECK(parse_retry_after("0", now) == 0s);
  CHECK(parse_retry_after("120", now) == 120s);
  CHECK(parse_retry_after("99999999999999999999", now) == 1'000'000'000s);
  CHECK(parse_retry_after("Sun, 06 Nov 1994 08:49:40 GMT", now) == 3s);
  CHECK(parse_retry_after("Sun, 06 Nov 1994 08:49:30 GMT", now) == 0s);
  CHECK(parse_retry_after("Thu, 29 Feb 1996 00:00:00 GMT", WallTime{}) == std::chrono::seconds(825552000));
  for (const char* bad : {"", "-1", "1.5", "soon", "Sun, 06 Nov 1994 08:49:40 CET", "Sun, 31 Feb 1994 08:49:40 GMT",
                          "Sun, 06 Nvv 1994 08:49:40 GMT", "Sun, 06 Nov 1994 24:49:40 GMT", "Sunday, 06-Nov-94 08:49:37 GMT"}) {
    INFO(bad);
    CHECK_FALSE(parse_retry_after(bad, now));
  }
}
