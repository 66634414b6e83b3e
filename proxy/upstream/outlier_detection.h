// Outlier detection: which endpoint is taken out of the balancing for a while, because it alone keeps failing.
// Service owns the one detector, under its lock, and a state for each endpoint; this is the pure decision.
// It never takes out the last endpoint, nor any while all of them fail alike: then the trouble is not the endpoint's.
#pragma once

#include <cstdint>
#include <span>

#include "proxy/base/random.h"
#include "proxy/base/time.h"
#include "proxy/upstream/service_config.h"

namespace weir {

struct OutlierState {  // of one endpoint
  std::uint32_t consecutive = 0;  // failures in a row
  std::uint32_t ejections = 0;    // in a row; each spell of health as long as the last ejection takes one off
  std::uint32_t generation = 0;   // tries that began before an ejection say nothing after it
  MonotonicTime ejected_until{};
  Duration last_ejection{0};

  bool ejected(MonotonicTime now) const { return now < ejected_until; }
};

enum class OutlierVerdict : std::uint8_t {
  none,
  eject,          // state.ejected_until says until when
  last_usable,    // held back: nothing else would be left
  max_ejected,    // held back: the share of ejected endpoints is used up
  all_fail_alike  // held back: no other endpoint is free of failures
};

class OutlierDetector {
 public:
  explicit OutlierDetector(const OutlierConfig& config) : config_(config) {}
  void configure(const OutlierConfig& config) { config_ = config; }
  const OutlierConfig& config() const { return config_; }

  // `generation` is what state.generation was when the try began. `all` are the present endpoints' states, `state` usually among them.
  void record_success(OutlierState& state, std::uint32_t generation, MonotonicTime now) const;
  OutlierVerdict record_failure(OutlierState& state, std::uint32_t generation, std::span<OutlierState* const> all, MonotonicTime now,
                                Random& random) const;

 private:
  OutlierVerdict may_eject(const OutlierState& state, std::span<OutlierState* const> all, MonotonicTime now) const;
  Duration eject_for(std::uint32_t ejections, Random& random) const;

  OutlierConfig config_;
};

}  // namespace weir
