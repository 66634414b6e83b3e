// HappyEyeballs: where a service has endpoints of IPv4 and of IPv6, a family that does not answer costs a request a quarter of a second at
// most (in the spirit of RFC 8305). Here is whom to ask beside, and which family is not to be waited for; UpstreamCall does the asking.
// Each worker's ServicePool owns one. Pure.
//
// A connect that is neither made nor refused after kAttemptDelay gets a second one beside it, to an endpoint of the other family; the first
// that is made serves. A connect that fails goes on with the other family at once, within the same try. One second endpoint a try: more
// is the retry filter's business. A family that was overtaken while no connection of it is open is not asked first for kDistrust.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>

#include "proxy/base/random.h"
#include "proxy/base/time.h"
#include "proxy/chain/link.h"
#include "proxy/upstream/endpoint.h"

namespace weir {

class HappyEyeballs {
 public:
  using Family = Address::Family;
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  static constexpr Duration kAttemptDelay = std::chrono::milliseconds(250);  // RFC 8305, section 5
  static constexpr Duration kDistrust = std::chrono::seconds(60);

  // A usable endpoint of the family that `first` is not, by weight, one not tried before if there is any; kNone without one.
  static std::size_t pick_other(const EndpointSet& set, std::size_t first, const PickContext& context, MonotonicTime now, Random& random);

  // Whom to ask first when the balancer picked `picked`: that one, unless its family is distrusted and the other is not.
  std::size_t first(const EndpointSet& set, std::size_t picked, const PickContext& context, MonotonicTime now, Random& random) const;

  void distrust(Family family, MonotonicTime now) { until_[index(family)] = now + kDistrust; }
  void trust(Family family) { until_[index(family)] = {}; }  // a connect was made
  bool distrusted(Family family, MonotonicTime now) const { return now < until_[index(family)]; }

 private:
  static std::size_t index(Family family) { return static_cast<std::size_t>(family); }
  std::array<MonotonicTime, 4> until_{};
};

}  // namespace weir
