// Half-open against a list of probes: how many are let through, what they decide, and that reloads and late results break neither.
#include <catch2/catch.hpp>

#include <algorithm>
#include <vector>

#include "filters/circuit_breaker/circuit_breaker_policy.h"

namespace weir {
namespace {

using State = CircuitBreakerPolicy::State;
using Verdict = Admission::Verdict;

Outcome answer(int status) {
  Outcome outcome;
  outcome.cls = Outcome::Class::answered;
  outcome.status = status;
  outcome.to_headers = outcome.total = 1ms;
  return outcome;
}

Outcome cancel() {
  Outcome outcome;
  outcome.clean = false;
  return outcome;
}

// One half-open state after the other, and beside the breaker all of their probes, in the order in which they came.
class HalfOpenRun {
 public:
  explicit HalfOpenRun(std::uint64_t seed, bool reloads) : random_(seed), reloads_(reloads), config_(drawn()), policy_(config_) {}

  void run(int steps) {
    trip();
    for (int step = 0; step < steps && wrong == 0; ++step) {
      now_ += Duration{static_cast<std::int64_t>(random_.below(40'000'000))};
      const std::uint64_t dice = random_.below(100);
      if (reloads_ && dice < 5) {
        reload();
      } else if (dice < 50) {
        call();
      } else if (!out_.empty()) {
        end();
      }
      if (policy_.view(now_).state == State::closed) trip();
    }
  }

  int wrong = 0;
  int verdicts = 0;
  int expired = 0;
  int late = 0;
  std::uint32_t most_out = 0;

 private:
  struct Probe {
    Ticket ticket;
    int epoch;
  };

  CircuitBreakerConfig drawn() {
    CircuitBreakerConfig config;
    config.min_calls = 1 + static_cast<std::uint32_t>(random_.below(5));
    config.open_for = OpenForConfig{20ms, 80ms};
    config.half_open = drawn_probes();
    return config;
  }
  HalfOpenConfig drawn_probes() {
    HalfOpenConfig drawn;
    drawn.probes = 1 + static_cast<std::uint32_t>(random_.below(7));
    drawn.successes = 1 + static_cast<std::uint32_t>(random_.below(drawn.probes));
    drawn.expire_after = reloads_ || random_.chance(0.5) ? Duration(1h) : Duration(300ms);
    return drawn;
  }

  void expect(bool right) {
    if (!right) ++wrong;
  }
  State state() { return policy_.view(now_).state; }
  // Probes whose permit is still theirs.
  std::uint32_t out() const {
    return static_cast<std::uint32_t>(std::count_if(out_.begin(), out_.end(), [this](const Probe& probe) {
      return probe.epoch == epoch_ && now_ < probe.ticket.admitted + config_.half_open.expire_after;
    }));
  }

  void trip() {
    half_open_ = false;
    ++epoch_;
    for (int i = 0; i < 1000 && state() == State::closed; ++i) {
      const Admission admission = policy_.admit(now_, AdmissionFacts{}, random_);
      expect(admission.verdict == Verdict::admit && !admission.ticket.probe);
      if (random_.chance(0.3)) {
        out_.push_back({admission.ticket, 0});  // it ends some day, and says nothing any more
      } else {
        policy_.record(now_, admission.ticket, answer(503), random_);
      }
    }
    expect(state() == State::open);
  }

  // What the breaker is to be when it has been asked or told something: after enough good ones closed, after too many bad ones open.
  void judge() {
    const HalfOpenConfig& rules = config_.half_open;
    if (good_ >= rules.successes) {
      expect(state() == State::closed);
    } else if (bad_ > rules.probes - rules.successes) {
      expect(state() == State::open);
    } else {
      expect(state() == State::half_open);
      return;
    }
    ++verdicts;
    half_open_ = false;
    ++epoch_;
  }

  void call() {
    const bool was_open = state() == State::open;
    const Duration wait = policy_.view(now_).until_half_open;
    const std::uint32_t before = out();
    const Admission admission = policy_.admit(now_, AdmissionFacts{}, random_);
    if (was_open && wait > Duration{0}) {
      expect(admission.verdict == Verdict::reject && state() == State::open);
      return;
    }
    if (was_open) {
      half_open_ = true;
      ++epoch_;
      good_ = bad_ = 0;
      expect(admission.verdict == Verdict::admit && admission.ticket.probe);
      out_.push_back({admission.ticket, epoch_});
      return;
    }
    judge();  // a reload may have made it due
    if (!half_open_) {
      expect(admission.verdict == (state() == State::open ? Verdict::reject : Verdict::admit) && !admission.ticket.probe);
      if (admission.verdict == Verdict::admit) out_.push_back({admission.ticket, 0});
      return;
    }
    const bool room = good_ + bad_ + before < config_.half_open.probes;
    expect((admission.verdict == Verdict::admit) == room);
    if (admission.verdict != Verdict::admit) return;
    expect(admission.ticket.probe);
    out_.push_back({admission.ticket, epoch_});
    most_out = std::max(most_out, out());
    expect(good_ + bad_ + out() <= config_.half_open.probes);
  }

  void end() {
    const std::size_t pick = random_.below(out_.size());
    const Probe probe = out_[pick];
    out_.erase(out_.begin() + static_cast<std::ptrdiff_t>(pick));
    const State before = state();
    const auto counted = policy_.view(now_).counts.calls;
    const std::uint64_t kind = random_.below(3);
    policy_.record(now_, probe.ticket, kind == 0 ? answer(200) : kind == 1 ? answer(503) : cancel(), random_);
    if (probe.epoch != epoch_ || !half_open_) {
      ++late;
      expect(state() == before && policy_.view(now_).counts.calls == counted);
      return;
    }
    if (now_ >= probe.ticket.admitted + config_.half_open.expire_after) ++expired;
    if (kind == 0) ++good_;
    if (kind == 1) ++bad_;
    if (kind != 2) judge();
  }

  void reload() {
    config_.half_open = drawn_probes();
    policy_.set_config(config_);
  }

  Random random_;
  const bool reloads_;
  CircuitBreakerConfig config_;
  CircuitBreakerPolicy policy_;
  MonotonicTime now_{1h};
  std::vector<Probe> out_;  // and calls of earlier states, of epoch 0
  bool half_open_ = false;
  int epoch_ = 1;
  std::uint32_t good_ = 0;
  std::uint32_t bad_ = 0;
};

}  // namespace

TEST_CASE("half-open lets through what its list of probes has room for, and what they say decides it, in any schedule") {
  int verdicts = 0, expired = 0, late = 0;
  std::uint32_t most_out = 0;
  for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
    HalfOpenRun run(seed, false);
    run.run(300);
    INFO("seed " << seed);
    REQUIRE(run.wrong == 0);
    verdicts += run.verdicts;
    expired += run.expired;
    late += run.late;
    most_out = std::max(most_out, run.most_out);
  }
  CHECK(verdicts > 10'000);
  CHECK(expired > 1000);
  CHECK(late > 10'000);
  CHECK(most_out == 7);
}

TEST_CASE("a reload while half-open lets no probe too many through, and a verdict is still to be had") {
  int verdicts = 0;
  for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
    HalfOpenRun run(seed, true);
    run.run(300);
    INFO("seed " << seed);
    REQUIRE(run.wrong == 0);
    verdicts += run.verdicts;
  }
  CHECK(verdicts > 10'000);
}

TEST_CASE("of a thousand calls at once a half-open breaker lets exactly its probes through, and no other until they have spoken") {
  for (std::uint32_t probes = 1; probes <= 100; ++probes) {
    CircuitBreakerConfig config;
    config.min_calls = 1;
    config.half_open = HalfOpenConfig{probes, probes, 1h};
    CircuitBreakerPolicy policy(config);
    Random random(probes);
    MonotonicTime now{1h};
    policy.record(now, policy.admit(now, AdmissionFacts{}, random).ticket, answer(503), random);
    now += policy.view(now).until_half_open;
    std::vector<Ticket> out;
    for (int i = 0; i < 1000; ++i) {
      const Admission admission = policy.admit(now, AdmissionFacts{}, random);
      if (admission.verdict == Verdict::admit) out.push_back(admission.ticket);
    }
    REQUIRE(out.size() == probes);
    for (std::size_t i = 0; i < out.size(); ++i) {
      REQUIRE(policy.admit(now, AdmissionFacts{}, random).verdict == Verdict::reject);
      policy.record(now, out[i], answer(200), random);
    }
    REQUIRE(policy.view(now).state == State::closed);
  }
}

// A breaker that has opened and lets five probes through now, of which three must go well.
struct HalfOpen {
  HalfOpen() {
    policy.record(now, policy.admit(now, AdmissionFacts{}, random).ticket, answer(503), random);
    now += policy.view(now).until_half_open;
  }
  static CircuitBreakerConfig of_five() {
    CircuitBreakerConfig made;
    made.min_calls = 1;
    made.half_open = HalfOpenConfig{5, 3, 1h};
    return made;
  }
  CircuitBreakerConfig config = of_five();
  CircuitBreakerPolicy policy{config};
  Random random{1};
  MonotonicTime now{1h};
};

TEST_CASE("fewer probes after a reload do not leave a breaker half-open for ever") {
  HalfOpen breaker;
  auto& [config, policy, random, now] = breaker;
  for (const int status : {200, 503, 200, 503}) {
    policy.record(now, policy.admit(now, AdmissionFacts{}, random).ticket, answer(status), random);
  }
  REQUIRE(policy.view(now).state == State::half_open);
  config.half_open = HalfOpenConfig{4, 3, 1h};  // two good, two bad: three good ones of four cannot be had any more
  policy.set_config(config);
  CHECK(policy.admit(now, AdmissionFacts{}, random).verdict == Verdict::reject);
  CHECK(policy.view(now).state == State::open);
}

TEST_CASE("probes under way are not forgotten by a reload to fewer probes and back") {
  HalfOpen breaker;
  auto& [config, policy, random, now] = breaker;
  for (int i = 0; i < 5; ++i) REQUIRE(policy.admit(now, AdmissionFacts{}, random).verdict == Verdict::admit);
  const HalfOpenConfig before = config.half_open;
  config.half_open = HalfOpenConfig{2, 1, 1h};
  policy.set_config(config);
  CHECK(policy.admit(now, AdmissionFacts{}, random).verdict == Verdict::reject);
  config.half_open = before;
  policy.set_config(config);
  CHECK(policy.admit(now, AdmissionFacts{}, random).verdict == Verdict::reject);
}

}  // namespace weir
