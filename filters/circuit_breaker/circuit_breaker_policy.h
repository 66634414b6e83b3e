// CircuitBreakerPolicy: decides whether calls go to a service that may be failing: closed, open, half-open, recovering.
// One for each (service, policy, filter name[, route]), host-wide, behind the lock of its SharedPolicy.
// It never looks at a clock, and it never counts what says nothing about the upstream (Outcome::ignored), unless that was cut short too late.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "proxy/base/random.h"
#include "proxy/base/text.h"
#include "proxy/base/time.h"
#include "proxy/chain/causes.h"
#include "proxy/chain/policy.h"

namespace weir {

struct SlowCallConfig {
  Duration longer_than = std::chrono::milliseconds(500);
  Ratio ratio = Ratio::percent(80);
};

struct OpenForConfig {
  Duration base = std::chrono::seconds(5);
  Duration max = std::chrono::seconds(60);
};

struct HalfOpenConfig {
  std::uint32_t probes = 3;
  std::uint32_t successes = 2;
  Duration expire_after = std::chrono::seconds(30);
};

struct CircuitBreakerConfig {
  enum class Scope : std::uint8_t { service, route };
  CircuitBreakerConfig();  // causes: connect_failure, reset, timeout, 5xx

  Scope scope = Scope::service;  // of what there is one state; the policy does not look at it
  Causes causes;
  Duration window = std::chrono::seconds(10);
  std::uint32_t min_calls = 20;
  Ratio failure_ratio = Ratio::percent(50);
  std::optional<SlowCallConfig> slow_call;
  std::optional<std::uint32_t> consecutive_failures;
  OpenForConfig open_for;
  HalfOpenConfig half_open;
  std::optional<Duration> recover_over;  // absent: all traffic at once
};

// Exact counts over the last `window`, in ten buckets: the current one and the nine before it.
class CallWindow {
 public:
  struct Counts {
    std::uint64_t calls = 0, failures = 0, slow = 0;
  };
  static constexpr std::int64_t kBuckets = 10;

  explicit CallWindow(Duration window) : width_(width_of(window)) {}
  void add(MonotonicTime now, bool failure, bool slow);
  const Counts& counts(MonotonicTime now);  // what is older than the window is forgotten first
  const Counts& last_counts() const { return total_; }
  void set_window(Duration window);  // another width forgets everything: counts of two widths do not add up
  void clear();

 private:
  static Duration width_of(Duration window) { return std::max(window / kBuckets, Duration{1}); }
  void advance(MonotonicTime now);

  Duration width_;
  std::int64_t current_ = 0;  // the bucket's number since the epoch; never goes back, though workers' clocks differ a little
  std::array<Counts, kBuckets> buckets_{};
  Counts total_;
};

class CircuitBreakerPolicy final : public AdmissionPolicy {
 public:
  enum class State : std::uint8_t { closed, open, half_open, recovering };  // the values of weir_breaker_state
  static constexpr std::size_t kStates = 4;
  // What an operator ordered; anything but automatic starts from a clean closed state when it ends.
  enum class Control : std::uint8_t { automatic, force_open, force_closed, disabled };

  struct View {
    State state = State::closed;
    Control control = Control::automatic;
    CallWindow::Counts counts;
    std::uint32_t consecutive_failures = 0;
    std::uint32_t opens_in_a_row = 0;
    std::uint32_t probes_out = 0;
    Duration until_half_open{0};                     // while open
    std::string_view reason;                         // of the last transition
    std::array<std::uint64_t, kStates> transitions;  // into each state
  };

  explicit CircuitBreakerPolicy(const CircuitBreakerConfig& config);

  Admission admit(MonotonicTime now, const AdmissionFacts& facts, Random& random) override;
  void record(MonotonicTime now, const Ticket& ticket, const Outcome& outcome, Random& random) override;
  void describe(MonotonicTime now, std::vector<StateFact>& facts) const override;

  void set_config(const CircuitBreakerConfig& config);  // the state stays what it is
  void set_control(MonotonicTime now, Control control);
  View view(MonotonicTime now) const;

 private:
  struct Probe {
    bool out = false;
    MonotonicTime admitted{};
  };
  enum class Judgement : std::uint8_t { nothing, good, failure, slow, failure_and_slow };

  Judgement judge(const Outcome& outcome) const;
  std::string_view trips(MonotonicTime now);  // why the closed breaker has to open; empty: it need not
  Admission reject_open(MonotonicTime now) const;
  Admission admit_probe(MonotonicTime now);
  void record_probe(MonotonicTime now, const Ticket& ticket, Judgement judgement, Random& random);
  void settle(MonotonicTime now, Random& random);  // half-open: closes or opens once the probes have said enough
  void open(MonotonicTime now, std::string_view reason, Random& random);
  void half_open(MonotonicTime now);
  void close(MonotonicTime now);
  void enter(State state, MonotonicTime now, std::string_view reason);
  double recovered_share(MonotonicTime now) const;
  std::uint32_t probes_out(MonotonicTime now) const;
  Duration healthy_period() const;

  CircuitBreakerConfig config_;
  State state_ = State::closed;
  Control control_ = Control::automatic;
  std::uint64_t generation_ = 1;  // results of calls that an earlier state admitted are late, and ignored
  MonotonicTime since_{};         // when the state was entered
  MonotonicTime open_until_{};
  MonotonicTime closed_at_ = MonotonicTime::min();  // when it last left half-open for good; min: never opened
  Duration last_open_{0};
  std::uint32_t opens_in_a_row_ = 0;
  std::uint32_t consecutive_ = 0;
  CallWindow window_;
  std::vector<Probe> probes_;
  std::uint32_t succeeded_ = 0;  // probes judged in this half-open state
  std::uint32_t failed_ = 0;
  std::string_view reason_;
  std::array<std::uint64_t, kStates> transitions_{};
};

std::string_view to_word(CircuitBreakerPolicy::State state);
std::string_view to_word(CircuitBreakerPolicy::Control control);

}  // namespace weir
