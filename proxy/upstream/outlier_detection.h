// Outlier detection: which endpoint is taken out of the balancing for a while, because it alone fails or is slow.
// Service owns the one detector, under its lock, and a state for each endpoint; this is the pure decision.
// It never takes out the last endpoint, nor any while all of them fail alike: then the trouble is not the endpoint's.
//
// Three signs: failures in a row, judged at each failure; the share of failures and the typical latency in the window, judged at each
// sweep. An ejection ends by time; where health checks are enforced, only when a check begun after that time has passed too.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "proxy/base/random.h"
#include "proxy/base/time.h"
#include "proxy/upstream/outlier_statistics.h"
#include "proxy/upstream/service_config.h"

namespace weir {

enum class OutlierSign : std::uint8_t { consecutive_failures, failure_ratio, latency };
std::string_view to_word(OutlierSign sign);

struct OutlierState {             // of one endpoint
  std::uint32_t consecutive = 0;  // failures in a row
  std::uint32_t ejections = 0;    // in a row; each spell of health as long as the last ejection takes one off
  std::uint32_t generation = 0;   // tries that began before an ejection say nothing after it
  MonotonicTime ejected_until{};
  Duration last_ejection{0};
  OutlierSign sign = OutlierSign::consecutive_failures;  // of the last ejection
  bool awaits_check = false;                             // ejected until a check has passed, however long ago ejected_until was
  bool unhealthy = false;                                // left out by its health checks: counts among the ejected
  OutlierWindow window;

  bool ejected(MonotonicTime now) const { return awaits_check || now < ejected_until; }
  bool out(MonotonicTime now) const { return unhealthy || ejected(now); }
};

enum class OutlierVerdict : std::uint8_t {
  none,
  eject,          // state.ejected_until says until when
  last_usable,    // held back: nothing else would be left
  max_ejected,    // held back: the share of ejected endpoints is used up
  all_fail_alike  // held back: no other endpoint is free of failures
};

struct OutlierFinding {
  std::size_t index = 0;  // into the states that were swept
  OutlierSign sign = OutlierSign::failure_ratio;
  OutlierVerdict verdict = OutlierVerdict::none;
};

class OutlierDetector {
 public:
  explicit OutlierDetector(const OutlierConfig& config) : config_(config) {}
  // `gated`: an ejected endpoint returns only when a health check has passed.
  void configure(const OutlierConfig& config, bool gated = false) {
    config_ = config;
    gated_ = gated;
  }
  const OutlierConfig& config() const { return config_; }

  // `generation` is what state.generation was when the try began. `all` are the present endpoints' states, `state` usually among them.
  void record_success(OutlierState& state, std::uint32_t generation, MonotonicTime now) const;
  OutlierVerdict record_failure(OutlierState& state, std::uint32_t generation, std::span<OutlierState* const> all, MonotonicTime now,
                                Random& random) const;

  // The windows have moved on: judges ratio and latency, the worst first, and says what it found.
  std::vector<OutlierFinding> sweep(std::span<OutlierState* const> all, MonotonicTime now, Random& random) const;
  bool sweeps() const { return config_.mode != FilterMode::disabled && (config_.failure_ratio || config_.latency); }

  // A health check that began then has passed. True: the endpoint returns.
  bool record_check_passed(OutlierState& state, MonotonicTime began, MonotonicTime now) const;

 private:
  using All = std::span<OutlierState* const>;
  void sweep_ratios(All all, MonotonicTime now, Random& random, std::vector<OutlierFinding>& found) const;
  void sweep_latencies(All all, MonotonicTime now, Random& random, std::vector<OutlierFinding>& found) const;
  Duration typical_of_others(All all, std::size_t except, MonotonicTime now) const;
  template <class StandsOut>
  OutlierVerdict may_eject(const OutlierState& state, All all, MonotonicTime now, const StandsOut& stands_out) const;
  void eject(OutlierState& state, OutlierSign sign, MonotonicTime now, Random& random) const;
  Duration eject_for(std::uint32_t ejections, Random& random) const;

  OutlierConfig config_;
  bool gated_ = false;
};

}  // namespace weir
