// The breaker against a list of calls that is counted anew each time: at which call it opens, in every order of outcomes.
#include <catch2/catch.hpp>

#include <algorithm>
#include <vector>

#include "filters/circuit_breaker/circuit_breaker_policy.h"

namespace weir {
namespace {

using State = CircuitBreakerPolicy::State;
using Verdict = Admission::Verdict;

enum class Result : std::uint8_t { good, failure, slow, failure_and_slow, cancelled };

constexpr Duration kSlow = std::chrono::milliseconds(100);

Outcome outcome_of(Result result) {
  Outcome outcome;
  const bool slow = result == Result::slow || result == Result::failure_and_slow;
  outcome.to_headers = slow ? kSlow * 2 : kSlow / 2;
  outcome.total = outcome.to_headers;
  if (result == Result::cancelled) {
    outcome.clean = false;
    return outcome;
  }
  outcome.cls = Outcome::Class::answered;
  outcome.status = result == Result::failure || result == Result::failure_and_slow ? 503 : 200;
  return outcome;
}

// All that a breaker knows while it is closed: the calls that ended, each with the tenth of a window in which it did.
class NaiveBreaker {
 public:
  explicit NaiveBreaker(const CircuitBreakerConfig& config) : config_(config) {}

  // Whether this call opens it.
  bool ends(MonotonicTime now, Result result) {
    if (result == Result::cancelled) return false;
    tenth_ = std::max(tenth_, now.time_since_epoch().count() / (config_.window.count() / 10));
    calls_.push_back({tenth_, result});
    std::uint64_t calls = 0, failures = 0, slow = 0, in_a_row = 0;
    for (const Call& call : calls_) {
      const bool failed = call.result == Result::failure || call.result == Result::failure_and_slow;
      in_a_row = failed ? in_a_row + 1 : 0;
      if (call.tenth <= tenth_ - 10) continue;
      ++calls;
      if (failed) ++failures;
      if (call.result == Result::slow || call.result == Result::failure_and_slow) ++slow;
    }
    if (config_.consecutive_failures && in_a_row >= *config_.consecutive_failures) return true;
    if (calls < config_.min_calls) return false;
    const auto is_share = [calls](std::uint64_t part, Ratio ratio) { return part * 1'000'000 >= ratio.millionths * calls; };
    return is_share(failures, config_.failure_ratio) || (config_.slow_call && is_share(slow, config_.slow_call->ratio));
  }
  void forget() { calls_.clear(); }

 private:
  struct Call {
    std::int64_t tenth;
    Result result;
  };
  CircuitBreakerConfig config_;
  std::vector<Call> calls_;
  std::int64_t tenth_ = 0;
};

Duration nanoseconds_below(Random& random, Duration bound) {
  return Duration{static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(bound.count())))};
}

// A proxy's life around a breaker: calls of four workers, whose clocks differ a little, begin and end in any order.
class BreakerRun {
 public:
  explicit BreakerRun(std::uint64_t seed) : random_(seed), config_(drawn()), policy_(config_), model_(config_) {
    failing_ = random_.unit();
    slow_ = config_.slow_call ? random_.unit() : 0;
    pace_ = config_.window / static_cast<std::int64_t>(5 + random_.below(60));
  }

  void run(int steps) {
    for (int step = 0; step < steps; ++step) {
      now_ += random_.chance(0.01) ? nanoseconds_below(random_, config_.window * 2) : nanoseconds_below(random_, pace_);
      if (random_.chance(0.02)) failing_ = random_.unit();
      if (random_.chance(0.5)) {
        begin();
      } else if (!in_flight_.empty()) {
        end();
      }
    }
  }

  int opened = 0;
  int refused_late = 0;  // results of calls that an earlier state admitted
  int wrong = 0;

 private:
  struct Running {
    Ticket ticket;
    int epoch;  // of the model: results of calls that were admitted before the last change of state mean nothing
  };

  CircuitBreakerConfig drawn() {
    CircuitBreakerConfig config;
    config.window = 100ms + nanoseconds_below(random_, 5s);
    config.min_calls = static_cast<std::uint32_t>(1 + random_.below(40));
    config.failure_ratio = Ratio{static_cast<std::uint32_t>(1 + random_.below(Ratio::kWhole))};
    if (random_.chance(0.3)) config.failure_ratio = Ratio::percent(50);
    if (random_.chance(0.5)) config.slow_call = SlowCallConfig{kSlow, Ratio{static_cast<std::uint32_t>(1 + random_.below(Ratio::kWhole))}};
    if (random_.chance(0.3)) config.consecutive_failures = static_cast<std::uint32_t>(1 + random_.below(12));
    config.half_open = HalfOpenConfig{1, 1, 1h};
    return config;
  }
  MonotonicTime worker_now() { return now_ - nanoseconds_below(random_, 5ms); }

  void begin() {
    const Admission admission = policy_.admit(worker_now(), AdmissionFacts{}, random_);
    if (admission.verdict != Verdict::admit) ++wrong;  // it is closed
    in_flight_.push_back({admission.ticket, epoch_});
  }

  void end() {
    const std::size_t pick = random_.below(in_flight_.size());
    const Running call = in_flight_[pick];
    in_flight_.erase(in_flight_.begin() + static_cast<std::ptrdiff_t>(pick));
    const bool failure = random_.chance(failing_);
    Result result = random_.chance(slow_) ? (failure ? Result::failure_and_slow : Result::slow) : failure ? Result::failure : Result::good;
    if (random_.chance(0.1)) result = Result::cancelled;
    const MonotonicTime now = worker_now();
    policy_.record(now, call.ticket, outcome_of(result), random_);
    bool opens = false;
    if (call.epoch == epoch_) {
      opens = model_.ends(now, result);
    } else {
      ++refused_late;
    }
    if (opens != (policy_.view(now).state == State::open)) ++wrong;
    if (policy_.view(now).state == State::open) reclose();
  }

  void reclose() {
    ++opened;
    ++epoch_;
    now_ += policy_.view(now_).until_half_open + 10ms;
    const Admission probe = policy_.admit(now_, AdmissionFacts{}, random_);
    if (!probe.ticket.probe) ++wrong;
    policy_.record(now_, probe.ticket, outcome_of(Result::good), random_);
    if (policy_.view(now_).state != State::closed) ++wrong;
    model_.forget();
  }

  Random random_;
  CircuitBreakerConfig config_;
  CircuitBreakerPolicy policy_;
  NaiveBreaker model_;
  std::vector<Running> in_flight_;
  MonotonicTime now_{1h};
  Duration pace_{};
  double failing_ = 0;
  double slow_ = 0;
  int epoch_ = 0;
};

// At which call, from 1, a breaker with these outcomes opens; 0: not at all.
std::size_t opens_at(const CircuitBreakerConfig& config, const std::vector<bool>& failures) {
  CircuitBreakerPolicy policy(config);
  Random random(1);
  const MonotonicTime now{1h};
  for (std::size_t i = 0; i < failures.size(); ++i) {
    const Admission admission = policy.admit(now, AdmissionFacts{}, random);
    if (admission.verdict != Verdict::admit) return i;
    policy.record(now, admission.ticket, outcome_of(failures[i] ? Result::failure : Result::good), random);
  }
  return policy.admit(now, AdmissionFacts{}, random).verdict == Verdict::admit ? 0 : failures.size();
}

std::size_t should_open_at(std::size_t min_calls, const std::vector<bool>& failures) {
  std::size_t failed = 0;
  for (std::size_t i = 1; i <= failures.size(); ++i) {
    if (failures[i - 1]) ++failed;
    if (i >= min_calls && failed * 2 >= i) return i;
  }
  return 0;
}

}  // namespace

TEST_CASE("in every order of fourteen outcomes a breaker opens at the very call that makes half of six or more failures") {
  CircuitBreakerConfig config;
  config.min_calls = 6;
  int wrong = 0;
  std::vector<int> opened(15);
  for (std::uint32_t order = 0; order < (1U << 14); ++order) {
    std::vector<bool> failures;
    for (unsigned i = 0; i < 14; ++i) failures.push_back((order >> i & 1U) != 0);
    const std::size_t at = opens_at(config, failures);
    if (at != should_open_at(6, failures)) ++wrong;
    ++opened[at];
  }
  CHECK(wrong == 0);
  CHECK(opened[6] > 0);
  CHECK(opened[7] == 0);  // two of six and one more: three of seven are less than half
  CHECK(opened[8] > 0);
  CHECK(opened[14] > 0);
}

TEST_CASE("with 50% of 20 calls a breaker opens at exactly that call, whatever the order of ten failures and ten successes") {
  const CircuitBreakerConfig config;
  std::vector<bool> failures(20);
  std::fill(failures.begin(), failures.begin() + 10, true);
  Random random(20);
  int wrong = 0;
  for (int round = 0; round < 3000; ++round) {
    for (std::size_t i = failures.size() - 1; i > 0; --i) {
      const std::size_t other = random.below(i + 1);
      const bool kept = failures[i];
      failures[i] = failures[other];
      failures[other] = kept;
    }
    if (opens_at(config, failures) != 20) ++wrong;
    std::vector<bool> one_less = failures;
    *std::find(one_less.begin(), one_less.end(), true) = false;
    if (opens_at(config, one_less) != 0) ++wrong;
  }
  CHECK(wrong == 0);
}

TEST_CASE("a breaker opens when the list of calls says so and at no other, whatever windows, gaps, clocks and late results") {
  int opened = 0;
  int late = 0;
  for (std::uint64_t seed = 1; seed <= 1500; ++seed) {
    BreakerRun run(seed);
    run.run(400);
    INFO("seed " << seed);
    REQUIRE(run.wrong == 0);
    opened += run.opened;
    late += run.refused_late;
  }
  CHECK(opened > 1500);
  CHECK(late > 1500);
}

}  // namespace weir
