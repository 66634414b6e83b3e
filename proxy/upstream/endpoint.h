// Endpoint: one address of a service, with the state that all workers share; EndpointSet: the endpoints that are balanced over now.
// Service makes them; sets and pools hold them by shared_ptr, for as long as a connection to them may be open.
// Plain atomics and values: it decides nothing (outlier_detection.h, balancer.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/time.h"
#include "proxy/runtime/address.h"
#include "proxy/upstream/hash_circle.h"
#include "proxy/upstream/health_check.h"
#include "proxy/upstream/latency_estimate.h"
#include "proxy/upstream/outlier_detection.h"

namespace weir {

struct Endpoint {
  Endpoint(std::uint32_t id_, const Address& address_) : id(id_), address(address_), text(address_.text()) {}

  const std::uint32_t id;  // never 0, unique in the process
  const Address address;
  const std::string text;

  // Hot, written by every worker; relaxed.
  alignas(64) std::atomic<std::uint32_t> active{0};  // requests that wait for, or use, a connection to it
  std::atomic<std::uint32_t> consecutive{0};         // mirror of outlier.consecutive: a success looks here first
  std::atomic<std::uint32_t> generation{0};          // mirror of outlier.generation
  std::atomic<std::int64_t> ejected_until{0};        // nanoseconds of MonotonicTime (kEjectedForNow); only while ejection is enforced
  std::atomic<bool> unhealthy{false};                // by its health checks; only while they are enforced
  std::atomic<std::uint64_t> attempts{0};
  std::atomic<std::uint64_t> failures{0};   // as outlier detection counts them
  LatencyEstimate latency;                  // for peak_ewma, and kept only with it
  std::atomic<std::int64_t> warm_since{0};  // nanoseconds of MonotonicTime: slow start began; 0: never (Service::begin_slow_start)

  EndpointStatistics statistics;  // hot too, where outlier detection looks at ratio or latency

  OutlierState outlier;  // under the service's lock, as is `health`
  HealthState health;
  bool present = true;  // in the service's set; late failures of one that left eject nobody

  static constexpr std::int64_t kEjectedForNow = INT64_MAX;  // until a check passes
  bool ejected(MonotonicTime now) const { return now.time_since_epoch().count() < ejected_until.load(std::memory_order_relaxed); }
  bool usable(MonotonicTime now) const { return !unhealthy.load(std::memory_order_relaxed) && !ejected(now); }
};

struct EndpointSlot {
  std::shared_ptr<Endpoint> endpoint;
  std::uint32_t weight = 1;
};

// Immutable once published.
struct EndpointSet {
  std::vector<EndpointSlot> slots;
  std::vector<std::uint64_t> weight_up_to;   // cumulative, including the slot's own
  bool uniform = true;                       // all weights are equal
  bool dual_stack = false;                   // there are addresses of IPv4 and of IPv6
  std::shared_ptr<const HashCircle> circle;  // of ring_hash and maglev, else null

  EndpointSet() = default;
  explicit EndpointSet(std::vector<EndpointSlot> from) : slots(std::move(from)) {
    std::uint64_t sum = 0;
    bool ipv4 = false, ipv6 = false;
    for (const EndpointSlot& slot : slots) {
      ipv4 = ipv4 || slot.endpoint->address.family() == Address::Family::ipv4;
      ipv6 = ipv6 || slot.endpoint->address.family() == Address::Family::ipv6;
      sum += slot.weight;
      weight_up_to.push_back(sum);
      uniform = uniform && slot.weight == slots.front().weight;
    }
    dual_stack = ipv4 && ipv6;
  }
  std::size_t size() const { return slots.size(); }
  std::uint64_t total_weight() const { return weight_up_to.empty() ? 0 : weight_up_to.back(); }
};

// Why all endpoints are used, the unusable ones too: fewer than `panic_below` are usable, or none. The reason is what keeps more of them
// out. A look at every endpoint: for who has a reason to look.
enum class PanicReason : std::uint8_t { none, ejected, unhealthy };

inline PanicReason panic_reason(const EndpointSet& set, double panic_below, MonotonicTime now) {
  std::size_t unhealthy = 0;
  std::size_t ejected = 0;
  for (const EndpointSlot& slot : set.slots) {
    if (slot.endpoint->unhealthy.load(std::memory_order_relaxed)) {
      ++unhealthy;
    } else if (slot.endpoint->ejected(now)) {
      ++ejected;
    }
  }
  if (unhealthy + ejected == 0) return PanicReason::none;
  const std::size_t usable = set.size() - unhealthy - ejected;
  if (usable != 0 && static_cast<double>(usable) >= panic_below * static_cast<double>(set.size())) return PanicReason::none;
  return unhealthy >= ejected ? PanicReason::unhealthy : PanicReason::ejected;
}

inline std::string_view to_word(PanicReason reason) {
  return reason == PanicReason::unhealthy ? "unhealthy" : reason == PanicReason::ejected ? "ejected" : std::string_view();
}

}  // namespace weir
