// Heartbeat: asks every worker's loop for a turn, measures how long that took, and samples the host's pressure beside it.
// The server owns it, on main's loop; it writes HostPressure, feeds the supervisor's watchdog, and has the workers tidy up.
// It never decides what to shed, and it never feeds the watchdog while a single worker does not turn.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "proxy/chain/host_pressure.h"
#include "proxy/server/platform.h"
#include "proxy/server/worker.h"

namespace weir {

class Heartbeat {
 public:
  static constexpr Duration kBusyPeriod = std::chrono::milliseconds(100);
  static constexpr Duration kIdlePeriod = std::chrono::seconds(1);  // while nothing was served since the last beat
  static constexpr Duration kPressurePeriod = std::chrono::milliseconds(500);
  static constexpr Duration kTidyPeriod = std::chrono::seconds(10);

  Heartbeat(Platform& platform, HostPressure& pressure, std::vector<std::unique_ptr<Worker>>& workers);

  void start();
  void stop() { timer_.disarm(); }
  bool all_turn() const;                                     // every worker answered the last beat
  Duration worst_delay() const;                              // of the last beat, so far
  Duration longest_delay() const { return longest_delay_; }  // of all beats

 private:
  struct Pulse {  // of one worker; written by it, read by main
    std::atomic<std::uint64_t> answered{0};
    std::atomic<std::int64_t> delay_nanos{0};
    std::atomic<std::uint64_t> served{0};
  };
  void beat();
  void feed_watchdog();
  void read_pressure(MonotonicTime now);

  Platform& platform_;
  HostPressure& pressure_;
  std::vector<std::unique_ptr<Worker>>& workers_;
  std::vector<std::shared_ptr<Pulse>> pulses_;
  Timer timer_;
  std::uint64_t sent_ = 0;
  std::uint64_t served_ = 0;
  Duration longest_delay_{0};
  bool tidied_ = false;  // the workers were asked to, and main's part is still due
  MonotonicTime sent_at_{}, fed_at_{}, tidied_at_{}, pressure_at_{};
};

}  // namespace weir
