#include <catch2/catch.hpp>

#include <vector>

#include "tests/filters/breaker_bench.h"

namespace weir {
namespace {

using State = CircuitBreakerPolicy::State;
using Bench = BreakerBench;

TEST_CASE("half-open admits so many probes and no more") {
  Bench bench{CircuitBreakerConfig{}};
  bench.trip();
  bench.wait_open();
  for (int i = 0; i < 3; ++i) CHECK(bench.admitted().probe);
  const Admission refused = bench.admit();
  CHECK(refused.verdict == Admission::Verdict::reject);
  CHECK(refused.reason == "half_open");
}

TEST_CASE("enough good probes close a breaker, with clean counts") {
  Bench bench{CircuitBreakerConfig{}};
  bench.trip();
  bench.wait_open();
  bench.call(Bench::success());
  CHECK(bench.state() == State::half_open);
  bench.call(Bench::success());
  CHECK(bench.state() == State::closed);
  CHECK(bench.policy.view(bench.now).counts.calls == 0);
}

TEST_CASE("a breaker opens again as soon as the successes cannot be reached") {
  CircuitBreakerConfig config;
  config.half_open = HalfOpenConfig{10, 7, 30s};
  Bench bench(config);
  bench.trip();
  bench.wait_open();
  bench.call(Bench::success(), 6);
  bench.call(Bench::failure(), 3);
  CHECK(bench.state() == State::half_open);
  bench.call(Bench::failure());
  CHECK(bench.state() == State::open);
  CHECK(bench.policy.view(bench.now).reason == "probes_failed");
}

TEST_CASE("a slow probe is a bad one") {
  CircuitBreakerConfig config;
  config.slow_call = SlowCallConfig{300ms, Ratio::percent(80)};
  config.half_open = HalfOpenConfig{1, 1, 30s};
  Bench bench(config);
  bench.trip();
  bench.wait_open();
  bench.call(Bench::status(200, 1s));
  CHECK(bench.state() == State::open);
}

TEST_CASE("a probe that was cancelled gives its permit back") {
  CircuitBreakerConfig config;
  config.half_open = HalfOpenConfig{1, 1, 30s};
  Bench bench(config);
  bench.trip();
  bench.wait_open();
  const Ticket probe = bench.admitted();
  CHECK(bench.admit().verdict == Admission::Verdict::reject);
  bench.record(probe, Bench::cancelled(1s));
  bench.call(Bench::success());
  CHECK(bench.state() == State::closed);
}

TEST_CASE("a probe that never ends cannot keep a breaker half-open") {
  CircuitBreakerConfig config;
  config.half_open = HalfOpenConfig{1, 1, 30s};
  Bench bench(config);
  bench.trip();
  bench.wait_open();
  const Ticket lost = bench.admitted();
  bench.now += 30s - 1ns;
  CHECK(bench.admit().verdict == Admission::Verdict::reject);
  bench.now += 1ns;
  const Ticket other = bench.admitted();
  CHECK(bench.admit().verdict == Admission::Verdict::reject);
  // The first one comes back after all: it says something, but its permit is the other's now.
  bench.record(lost, Bench::cancelled(31s));
  CHECK(bench.admit().verdict == Admission::Verdict::reject);
  bench.record(other, Bench::success());
  CHECK(bench.state() == State::closed);
}

TEST_CASE("calls that take longer than a probe's permit still close a breaker") {
  CircuitBreakerConfig config;
  config.half_open = HalfOpenConfig{1, 1, 1s};
  Bench bench(config);
  bench.trip();
  bench.wait_open();
  const Ticket slow = bench.admitted();
  bench.now += 2s;
  bench.admitted();
  bench.record(slow, Bench::success());
  CHECK(bench.state() == State::closed);
}

TEST_CASE("late results of an earlier state are ignored") {
  Bench bench{CircuitBreakerConfig{}};
  std::vector<Ticket> old;
  for (int i = 0; i < 50; ++i) old.push_back(bench.admitted());
  bench.trip();
  bench.record(old[0], Bench::success());
  CHECK(bench.policy.view(bench.now).counts.calls == 20);
  bench.wait_open();
  bench.call(Bench::success());
  for (int i = 1; i < 10; ++i) bench.record(old[static_cast<std::size_t>(i)], Bench::success());
  CHECK(bench.state() == State::half_open);  // those were no probes
  bench.call(Bench::success());
  CHECK(bench.state() == State::closed);
  for (std::size_t i = 10; i < old.size(); ++i) bench.record(old[i], Bench::failure());
  CHECK(bench.state() == State::closed);
  CHECK(bench.policy.view(bench.now).counts.calls == 0);
}

TEST_CASE("the open time doubles up to its cap while probes fail, with jitter below it") {
  CircuitBreakerConfig config;
  config.open_for = OpenForConfig{1s, 10s};
  config.half_open = HalfOpenConfig{1, 1, 30s};
  for (std::uint64_t seed = 1; seed < 50; ++seed) {
    Bench bench(config, seed);
    bench.trip();
    for (const Duration full : {1s, 2s, 4s, 8s, 10s, 10s, 10s}) {
      const Duration until = bench.policy.view(bench.now).until_half_open;
      REQUIRE(until >= full / 2);
      REQUIRE(until <= full);
      bench.wait_open();
      bench.call(Bench::failure());
      REQUIRE(bench.state() == State::open);
    }
  }
}

TEST_CASE("the open time goes on growing after a short relapse, and starts anew after a healthy period") {
  CircuitBreakerConfig config;
  config.open_for = OpenForConfig{8s, 1h};
  Bench bench(config);
  const auto close = [&bench] {
    bench.wait_open();
    bench.call(Bench::success(), 2);
    REQUIRE(bench.state() == State::closed);
  };
  bench.trip();
  close();
  bench.now += 1s;
  bench.trip();
  CHECK(bench.policy.view(bench.now).opens_in_a_row == 2);
  CHECK(bench.policy.view(bench.now).until_half_open >= 8s);
  close();
  bench.now += 33s;  // at least the window, and twice the last open time (16 s at most)
  bench.trip();
  CHECK(bench.policy.view(bench.now).opens_in_a_row == 1);
  CHECK(bench.policy.view(bench.now).until_half_open <= 8s);
}

// Whatever the schedule: probes judged and out never exceed `probes` (but for expired ones, which the schedule avoids), only results of
// probes close it, and it never stays half-open for ever.
TEST_CASE("half-open never admits more than its probes, whatever the schedule") {
  std::uint64_t seen = 0;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Random random(seed);
    CircuitBreakerConfig config;
    config.half_open.probes = 1 + static_cast<std::uint32_t>(random.below(6));
    config.half_open.successes = 1 + static_cast<std::uint32_t>(random.below(config.half_open.probes));
    config.half_open.expire_after = 1h;
    config.min_calls = 1 + static_cast<std::uint32_t>(random.below(5));
    config.open_for = OpenForConfig{50ms, 400ms};
    Bench bench(config, seed);
    std::vector<Ticket> out;
    std::uint64_t half_opens = 0;
    std::uint64_t generation = 0;  // of the tickets of the present half-open state
    std::uint32_t good = 0, bad = 0, probes_out = 0;
    for (int step = 0; step < 600; ++step) {
      bench.now += Duration{static_cast<std::int64_t>(random.below(20'000'000))};
      if (random.chance(0.55)) {
        const Admission admission = bench.admit();
        const auto view = bench.policy.view(bench.now);
        if (view.transitions[static_cast<std::size_t>(State::half_open)] != half_opens) {
          half_opens = view.transitions[static_cast<std::size_t>(State::half_open)];
          good = bad = probes_out = 0;
        }
        if (admission.verdict == Admission::Verdict::admit) {
          out.push_back(admission.ticket);
          if (admission.ticket.probe) {
            generation = admission.ticket.generation;
            ++probes_out;
          }
        }
        if (view.state == State::half_open) {
          REQUIRE(admission.ticket.probe == (admission.verdict == Admission::Verdict::admit));
          REQUIRE(good + bad + probes_out <= config.half_open.probes);
          const bool room = good + bad + probes_out < config.half_open.probes;
          if (admission.verdict == Admission::Verdict::reject) REQUIRE(!room);
        }
      } else if (!out.empty()) {
        const std::size_t pick = random.below(out.size());
        const Ticket ticket = out[pick];
        out.erase(out.begin() + static_cast<std::ptrdiff_t>(pick));
        const bool live = bench.state() == State::half_open && ticket.generation == generation;
        const std::uint64_t kind = random.below(3);
        bench.record(ticket, kind == 0 ? Bench::success() : kind == 1 ? Bench::failure() : Bench::cancelled(1ms));
        if (!live) continue;
        --probes_out;
        if (kind == 0) ++good;
        if (kind == 1) ++bad;
        if (good >= config.half_open.successes) {
          REQUIRE(bench.state() == State::closed);
        } else if (bad > config.half_open.probes - config.half_open.successes) {
          REQUIRE(bench.state() == State::open);
        } else {
          REQUIRE(bench.state() == State::half_open);
        }
      }
    }
    seen += half_opens;
  }
  CHECK(seen > 300);
}

}  // namespace
}  // namespace weir
