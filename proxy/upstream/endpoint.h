// Endpoint: one address of a service, with the state that all workers share; EndpointSet: the endpoints that are balanced over now.
// Service makes them; sets and pools hold them by shared_ptr, for as long as a connection to them may be open.
// Plain atomics and values: it decides nothing (outlier_detection.h, balancer.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proxy/base/time.h"
#include "proxy/runtime/address.h"
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
  std::atomic<std::int64_t> ejected_until{0};        // nanoseconds of MonotonicTime; only while ejection is enforced
  std::atomic<std::uint64_t> attempts{0};
  std::atomic<std::uint64_t> failures{0};            // as outlier detection counts them

  OutlierState outlier;  // under the service's lock

  bool ejected(MonotonicTime now) const {
    return now.time_since_epoch().count() < ejected_until.load(std::memory_order_relaxed);
  }
};

struct EndpointSlot {
  std::shared_ptr<Endpoint> endpoint;
  std::uint32_t weight = 1;
};

// Immutable once published.
struct EndpointSet {
  std::vector<EndpointSlot> slots;
  std::vector<std::uint64_t> weight_up_to;  // cumulative, including the slot's own
  bool uniform = true;                      // all weights are equal

  EndpointSet() = default;
  explicit EndpointSet(std::vector<EndpointSlot> from) : slots(std::move(from)) {
    std::uint64_t sum = 0;
    for (const EndpointSlot& slot : slots) {
      sum += slot.weight;
      weight_up_to.push_back(sum);
      uniform = uniform && slot.weight == slots.front().weight;
    }
  }
  std::size_t size() const { return slots.size(); }
  std::uint64_t total_weight() const { return weight_up_to.empty() ? 0 : weight_up_to.back(); }
};

}  // namespace weir
