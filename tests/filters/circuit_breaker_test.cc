#include <catch2/catch.hpp>

#include <deque>
#include <vector>

#include "proxy/chain/causes_type.h"
#include "tests/filters/breaker_bench.h"

namespace weir {
namespace {

using State = CircuitBreakerPolicy::State;
using Control = CircuitBreakerPolicy::Control;
using Bench = BreakerBench;

TEST_CASE("a breaker opens at exactly the call that completes the volume") {
  Bench bench{CircuitBreakerConfig{}};
  for (int i = 0; i < 19; ++i) {
    bench.call(i % 2 == 0 ? Bench::failure() : Bench::success());
    CHECK(bench.state() == State::closed);
  }
  bench.call(Bench::failure());
  CHECK(bench.state() == State::open);
  CHECK(bench.policy.view(bench.now).reason == "failure_ratio");
}

TEST_CASE("a breaker opens at its ratio, not only above it") {
  Bench bench{CircuitBreakerConfig{}};
  bench.call(Bench::success(), 10);
  bench.call(Bench::failure(), 9);
  CHECK(bench.state() == State::closed);
  bench.call(Bench::failure());  // 10 of 20
  CHECK(bench.state() == State::open);
}

TEST_CASE("a breaker stays closed one failure below its ratio") {
  CircuitBreakerConfig config;
  config.failure_ratio = Ratio::percent(55);
  Bench bench(config);
  bench.call(Bench::failure(), 10);
  bench.call(Bench::success(), 10);
  CHECK(bench.state() == State::closed);
  // 55% of 20 is 11 exactly; as a double it would be a little more.
  Bench exact(config);
  exact.call(Bench::success(), 9);
  exact.call(Bench::failure(), 11);
  CHECK(exact.state() == State::open);
}

TEST_CASE("failures older than the window do not count") {
  Bench bench{CircuitBreakerConfig{}};
  bench.call(Bench::failure(), 19);
  bench.now += 10s;
  bench.call(Bench::failure());
  CHECK(bench.state() == State::closed);
  CHECK(bench.policy.view(bench.now).counts.calls == 1);
}

TEST_CASE("a gap longer than the window forgets everything") {
  CallWindow window(10s);
  MonotonicTime now{1h};
  window.add(now, true, true);
  CHECK(window.counts(now + 8999ms).calls == 1);
  now += 25s;
  CHECK(window.counts(now).calls == 0);
  CHECK(window.counts(now).failures == 0);
  CHECK(window.counts(now).slow == 0);
}

TEST_CASE("the window counts exactly what fell into its ten buckets") {
  Random random(7);
  CallWindow window(1s);
  struct Call {
    std::int64_t bucket;
    bool failure, slow;
  };
  std::deque<Call> model;
  MonotonicTime now{5min};
  for (int i = 0; i < 20'000; ++i) {
    now += Duration{static_cast<std::int64_t>(random.below(random.below(50) == 0 ? 3'000'000'000U : 30'000'000U))};
    const std::int64_t bucket = now.time_since_epoch() / 100ms;
    const Call call{bucket, random.chance(0.3), random.chance(0.2)};
    window.add(now, call.failure, call.slow);
    model.push_back(call);
    while (model.front().bucket <= bucket - 10) model.pop_front();
    CallWindow::Counts expected;
    for (const Call& c : model) {
      ++expected.calls;
      expected.failures += c.failure ? 1U : 0U;
      expected.slow += c.slow ? 1U : 0U;
    }
    const CallWindow::Counts& counts = window.counts(now);
    REQUIRE(counts.calls == expected.calls);
    REQUIRE(counts.failures == expected.failures);
    REQUIRE(counts.slow == expected.slow);
  }
}

TEST_CASE("a clock that is a little behind another worker's changes nothing") {
  CallWindow window(10s);
  const MonotonicTime now{1h};
  window.add(now, true, false);
  window.add(now - 2s, true, false);
  CHECK(window.counts(now - 5s).failures == 2);
  CHECK(window.counts(now + 9s).failures == 2);
  CHECK(window.counts(now + 10s).failures == 0);
}

TEST_CASE("what counts as a failure is what the causes name") {
  CircuitBreakerConfig config;
  config.causes = causes_of({"connect_failure", "503"});
  config.min_calls = 1;
  struct Row {
    Outcome outcome;
    bool opens;
  };
  const Row rows[] = {
      {Bench::failed(FailureKind::connect_failure), true},
      {Bench::failed(FailureKind::reset), false},
      {Bench::failed(FailureKind::response_timeout), false},
      {Bench::status(503), true},
      {Bench::status(500), false},
      {Bench::status(404), false},
  };
  for (const Row& row : rows) {
    Bench bench(config);
    bench.call(row.outcome);
    CHECK((bench.state() == State::open) == row.opens);
    CHECK(bench.policy.view(bench.now).counts.calls == 1);
  }
}

TEST_CASE("an answer that broke off is a failure by its cause") {
  CircuitBreakerConfig config;
  config.min_calls = 1;
  Bench bench(config);
  Outcome torn = Bench::success();
  torn.clean = false;
  torn.failure = FailureKind::truncated;  // belongs to reset
  bench.call(torn);
  CHECK(bench.state() == State::open);
}

TEST_CASE("what says nothing about the upstream is not counted") {
  Bench bench{CircuitBreakerConfig{}};
  bench.call(Bench::cancelled(10min), 100);
  Outcome rejected;
  rejected.failure = FailureKind::queue_full;
  bench.call(rejected, 100);
  CHECK(bench.policy.view(bench.now).counts.calls == 0);
}

CircuitBreakerConfig slow_config() {
  CircuitBreakerConfig config;
  config.slow_call = SlowCallConfig{300ms, Ratio::percent(80)};
  config.min_calls = 10;
  return config;
}

TEST_CASE("slow calls open a breaker") {
  Bench bench{slow_config()};
  bench.call(Bench::status(200, 300ms), 2);  // not longer than the limit
  bench.call(Bench::status(200, 301ms), 7);
  CHECK(bench.state() == State::closed);
  bench.call(Bench::status(200, 301ms));
  CHECK(bench.state() == State::open);
  CHECK(bench.policy.view(bench.now).reason == "slow_ratio");
}

TEST_CASE("a cancel counts as slow when it came late and the upstream owed the answer") {
  Bench bench{slow_config()};
  bench.call(Bench::cancelled(300ms));       // in time
  bench.call(Bench::cancelled(10s, false));  // it was the client who had not sent everything
  CHECK(bench.policy.view(bench.now).counts.calls == 0);
  bench.call(Bench::cancelled(301ms), 10);
  CHECK(bench.state() == State::open);
}

TEST_CASE("a cancel after quick headers is not slow, however long the body took") {
  Bench bench{slow_config()};
  Outcome outcome = Bench::cancelled(10min);
  outcome.to_headers = 5ms;
  bench.call(outcome);
  CHECK(bench.policy.view(bench.now).counts.slow == 0);
}

TEST_CASE("a timeout is slow by the time it waited") {
  CircuitBreakerConfig config = slow_config();
  config.causes = causes_of({"connect_failure"});
  Bench bench(config);
  bench.call(Bench::failed(FailureKind::response_timeout, 500ms), 10);
  CHECK(bench.state() == State::open);
}

TEST_CASE("consecutive failures open a breaker below its volume") {
  CircuitBreakerConfig config;
  config.consecutive_failures = 3;
  Bench bench(config);
  bench.call(Bench::failure(), 2);
  bench.call(Bench::success());
  bench.call(Bench::failure(), 2);
  bench.call(Bench::cancelled(1s));  // neither
  CHECK(bench.state() == State::closed);
  bench.call(Bench::failure());
  CHECK(bench.state() == State::open);
  CHECK(bench.policy.view(bench.now).reason == "consecutive_failures");
}

TEST_CASE("an open breaker refuses and says when to come back") {
  Bench bench{CircuitBreakerConfig{}};
  bench.trip();
  const Duration until = bench.policy.view(bench.now).until_half_open;
  CHECK(until >= 2500ms);
  CHECK(until <= 5s);
  bench.now += 100ms;
  const Admission refused = bench.admit();
  CHECK(refused.verdict == Admission::Verdict::reject);
  CHECK(refused.kind == FailureKind::breaker_open);
  CHECK(refused.reason == "open");
  CHECK(refused.retry_after == until - 100ms);
  bench.now += until - 101ms;
  CHECK(bench.admit().verdict == Admission::Verdict::reject);
  bench.now += 1ms;
  CHECK(bench.admit().verdict == Admission::Verdict::admit);
  CHECK(bench.state() == State::half_open);
}

TEST_CASE("a recovering breaker lets through a share that grows to everything") {
  CircuitBreakerConfig config;
  config.recover_over = 10s;
  Bench bench(config);
  bench.trip();
  bench.wait_open();
  bench.call(Bench::success(), 2);
  CHECK(bench.state() == State::recovering);
  const auto share = [&bench] {
    int admitted = 0;
    for (int i = 0; i < 10'000; ++i) admitted += bench.admit().verdict == Admission::Verdict::admit ? 1 : 0;
    return admitted / 10'000.0;
  };
  CHECK(share() == Approx(0.1).margin(0.02));
  bench.now += 5s;
  CHECK(share() == Approx(0.5).margin(0.02));
  bench.now += 5s;
  CHECK(share() == 1.0);
  CHECK(bench.state() == State::closed);
}

TEST_CASE("a recovering breaker opens again when it trips") {
  CircuitBreakerConfig config;
  config.recover_over = 10s;
  Bench bench(config);
  bench.trip();
  bench.wait_open();
  bench.call(Bench::success(), 2);
  bench.now += 9s;
  int failures = 0;
  while (bench.state() == State::recovering) {
    const Admission admission = bench.admit();
    if (admission.verdict == Admission::Verdict::admit) bench.record(admission.ticket, Bench::failure()), ++failures;
    REQUIRE(failures <= 20);
  }
  CHECK(bench.state() == State::open);
  CHECK(bench.policy.view(bench.now).opens_in_a_row == 2);
}

TEST_CASE("an operator's orders stand above what the breaker sees") {
  Bench bench{CircuitBreakerConfig{}};
  bench.policy.set_control(bench.now, Control::force_open);
  CHECK(bench.admit().verdict == Admission::Verdict::reject);
  CHECK(bench.admit().reason == "forced_open");
  CHECK(bench.state() == State::open);

  bench.policy.set_control(bench.now, Control::force_closed);
  bench.call(Bench::failure(), 100);
  CHECK(bench.state() == State::closed);
  CHECK(bench.policy.view(bench.now).counts.failures == 100);  // seen, not acted on

  bench.policy.set_control(bench.now, Control::disabled);
  bench.call(Bench::failure(), 100);
  CHECK(bench.policy.view(bench.now).counts.calls == 0);

  const Ticket late = bench.admitted();
  bench.policy.set_control(bench.now, Control::automatic);
  bench.record(late, Bench::failure());
  CHECK(bench.policy.view(bench.now).counts.calls == 0);  // a clean start
  bench.call(Bench::failure(), 20);
  CHECK(bench.state() == State::open);
}

TEST_CASE("new parameters leave a breaker in its state") {
  CircuitBreakerConfig config;
  Bench bench(config);
  bench.call(Bench::failure(), 15);
  config.min_calls = 16;
  bench.policy.set_config(config);
  CHECK(bench.policy.view(bench.now).counts.calls == 15);
  bench.call(Bench::failure());
  CHECK(bench.state() == State::open);
  config.open_for = OpenForConfig{100ms, 1s};
  bench.policy.set_config(config);
  CHECK(bench.state() == State::open);
  CHECK(bench.policy.view(bench.now).until_half_open <= 1s);
  bench.now += 1s;
  const Ticket probe = bench.admitted();
  const Ticket last = (bench.admitted(), bench.admitted());
  config.half_open = HalfOpenConfig{1, 1, 30s};  // fewer than are out
  bench.policy.set_config(config);
  CHECK(bench.admit().verdict == Admission::Verdict::reject);
  bench.record(last, Bench::cancelled(1ms));  // its place is no more
  bench.record(probe, Bench::success());
  CHECK(bench.state() == State::closed);
}

TEST_CASE("transitions are counted by the state they lead to") {
  Bench bench{CircuitBreakerConfig{}};
  bench.trip();
  bench.wait_open();
  bench.call(Bench::failure(), 2);
  bench.wait_open();
  bench.call(Bench::success(), 2);
  std::vector<StateFact> facts;
  bench.policy.describe(bench.now, facts);
  const auto value = [&facts](std::string_view name, std::string_view text) {
    for (const StateFact& fact : facts) {
      if (fact.name == name && (text.empty() || fact.text == text)) return fact.value;
    }
    return -1.0;
  };
  CHECK(value("breaker_state", "closed") == 0);
  CHECK(value("breaker_transitions_total", "open") == 2);
  CHECK(value("breaker_transitions_total", "half_open") == 2);
  CHECK(value("breaker_transitions_total", "closed") == 1);
}

}  // namespace
}  // namespace weir
