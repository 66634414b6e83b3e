// Limiter: how many calls may be in flight: a fixed number, or one learned from latency (gradient2, vegas) or from timeouts (aimd).
// The concurrency limit policy owns one and tells it how calls went; windows of samples, not single ones, move the limit.
// It never lowers the limit in order to measure, and it does not count what is in flight.
//
// Collapse: where nearly all calls time out, the algorithms' small steps come too late: the upstream still works on what was given up, and
// every further try lengthens the queue that makes it time out. So, as TCP does when no acknowledgement comes at all, any of them falls to
// its minimum, once a round trip, and then doubles with every round that goes well until half of the former limit is reached again.
#pragma once

#include <cstdint>
#include <optional>

#include "proxy/base/random.h"
#include "proxy/base/time.h"

namespace weir {

struct AdaptiveLimitConfig {
  enum class Algorithm : std::uint8_t { gradient2, vegas, aimd };
  Algorithm algorithm = Algorithm::gradient2;
  std::uint32_t initial = 20;
  std::uint32_t min = 5;
  std::uint32_t max = 1000;
};

struct LimitSample {
  MonotonicTime admitted{};
  Duration rtt{0};              // Outcome::to_headers; of a call that timed out, as long as it had waited
  std::uint32_t in_flight = 0;  // when it was admitted, itself included
  bool dropped = false;         // a timeout: a sign of overload, whatever its rtt
  bool given_up = false;        // cancelled before its answer: its rtt counts, but it was neither answered nor dropped
};

class Limiter {
 public:
  static constexpr std::uint32_t kWindowSamples = 10;
  static constexpr Duration kWindow = std::chrono::seconds(1);
  static constexpr Duration kLeastRtt = std::chrono::microseconds(100);  // below, a sample says more of us than of the upstream

  explicit Limiter(std::uint32_t fixed) : limit_(fixed) {}
  explicit Limiter(const AdaptiveLimitConfig& config);

  std::uint32_t limit() const { return static_cast<std::uint32_t>(limit_); }
  bool adaptive() const { return adaptive_.has_value(); }
  // How long a call usually takes, as far as is known (else 0): a cancelled call that waited longer is a sample too.
  Duration usual_rtt() const { return Duration{static_cast<std::int64_t>(adaptive_ ? reference_rtt_ : 0)}; }

  void add(MonotonicTime now, const LimitSample& sample, Random& random);

  // New parameters: what was learned stays, within the new bounds, as long as the algorithm does.
  void set_fixed(std::uint32_t limit);
  void set_adaptive(const AdaptiveLimitConfig& config);

 private:
  struct Window {
    std::uint32_t samples = 0;
    double rtt_sum = 0;  // nanoseconds
    std::uint32_t max_in_flight = 0;
    bool dropped = false;
    MonotonicTime ends{};
  };

  // Calls that were admitted since the limit last collapsed or was doubled: those before say nothing about it.
  struct Round {
    MonotonicTime began{};
    std::uint32_t run = 0;  // timeouts in a row, where an answer between takes kAnswerWeighs of them away
    std::uint32_t answered = 0;
    std::uint32_t dropped = 0;
    double answered_rtt_sum = 0;
  };

  std::uint32_t round_size() const;
  bool collapses(MonotonicTime now, const LimitSample& sample);
  bool restores(MonotonicTime now);
  void update(const Window& window, Random& random);
  double gradient2(double rtt, std::uint32_t in_flight);
  double vegas(double rtt, const Window& window, Random& random);
  double aimd(const Window& window) const;

  std::optional<AdaptiveLimitConfig> adaptive_;
  double limit_;
  Window window_;
  Round round_;
  double restore_to_ = 0;  // after a collapse, how far the limit may double; 0: no collapse to recover from
  // gradient2: the long average of the rtt. vegas: the least rtt seen since the last probe. Nanoseconds; 0: not known yet.
  double reference_rtt_ = 0;
  double warmup_sum_ = 0;  // gradient2
  std::uint32_t warmup_count_ = 0;
  double samples_since_probe_ = 0;  // vegas
  double probe_jitter_ = 0.75;
};

}  // namespace weir
