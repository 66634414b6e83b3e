// LoadShedPolicy: refuses a share of the calls while the host is near one of its limits, more of them the nearer it is.
// Each worker's link has one of its own: the decision is by chance, so nothing has to be shared.
// It never sheds for a reading that is not known (0), and it never measures anything itself.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "proxy/base/text.h"
#include "proxy/chain/host_pressure.h"
#include "proxy/chain/policy.h"

namespace weir {

struct LoadShedConfig {  // absent: not looked at
  std::optional<Ratio> cpu;
  std::optional<Ratio> memory;
  std::optional<Ratio> open_files;
  std::optional<Duration> loop_delay;
};

class LoadShedPolicy final : public AdmissionPolicy {
 public:
  // `pressure` may be null: then nothing is known. It outlives the policy.
  LoadShedPolicy(const LoadShedConfig& config, const HostPressure* pressure) : config_(config), pressure_(pressure) {}

  Admission admit(MonotonicTime now, const AdmissionFacts& facts, Random& random) override;
  void record(MonotonicTime, const Ticket&, const Outcome&, Random&) override {}

  // The share of calls to shed now, and for which resource.
  struct Share {
    double probability = 0;
    std::string_view resource;
  };
  Share share(MonotonicTime now);

 private:
  static constexpr std::size_t kResources = 4;
  // Rises at once with the pressure, but falls slowly: shedding relieves the host, and to stop at once would bring the load back at once.
  struct Held {
    double probability = 0;
    MonotonicTime at{};
  };

  LoadShedConfig config_;
  const HostPressure* pressure_;
  std::array<Held, kResources> held_{};
};

}  // namespace weir
