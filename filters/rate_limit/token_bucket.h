// TokenBucket: one number, the moment at which the bucket is full again, in time scaled so that every token is a whole number of units.
// The policy that holds it passes the rules and the time; it is a value of 16 bytes.
// It never rounds: after any history it has let through exactly what rate and burst allow.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "proxy/base/text.h"
#include "proxy/base/time.h"

namespace weir {

__extension__ using WideTime = __int128;

// A rate of 3/s fills a token each 333333333.3 ns. So time is counted in units of 1 ns / 3, of which a token takes 10^9: all integers.
struct BucketRules {
  static constexpr std::uint64_t kMaxBurst = 1'000'000'000;

  BucketRules() = default;
  BucketRules(Rate rate, std::uint64_t burst) {
    const auto period = static_cast<std::uint64_t>(rate.per.count());
    const std::uint64_t divisor = std::gcd(rate.count, period);
    units_per_ns = static_cast<WideTime>(rate.count / divisor);
    token = static_cast<WideTime>(period / divisor);
    capacity = token * static_cast<WideTime>(burst);
  }
  WideTime scaled(MonotonicTime now) const { return units_per_ns * now.time_since_epoch().count(); }
  Duration rounded_up(WideTime units) const { return Duration{static_cast<std::int64_t>((units + units_per_ns - 1) / units_per_ns)}; }
  bool operator==(const BucketRules&) const = default;

  WideTime units_per_ns = 1;
  WideTime token = 1;
  WideTime capacity = 1;
};

class TokenBucket {
 public:
  // A new bucket is full, whatever the time.
  TokenBucket() = default;

  // Zero: a token was taken. Otherwise nothing was, and one will be there after that long.
  Duration take(const BucketRules& rules, MonotonicTime now) {
    const WideTime start = rules.scaled(now);
    const WideTime full_at = std::max(full_at_, start) + rules.token;
    if (full_at - start > rules.capacity) return rules.rounded_up(full_at - start - rules.capacity);
    full_at_ = full_at;
    return Duration{0};
  }
  bool full(const BucketRules& rules, MonotonicTime now) const { return full_at_ <= rules.scaled(now); }
  WideTime full_at() const { return full_at_; }

  // Whole and part tokens are kept, as far as the new capacity holds them; a full bucket stays full.
  void change_rules(const BucketRules& from, const BucketRules& to, MonotonicTime now) {
    if (full(from, now)) {
      full_at_ = kLongAgo;
      return;
    }
    const WideTime level = from.capacity - (full_at_ - from.scaled(now));
    const WideTime kept = std::clamp(level / from.token * to.token + level % from.token * to.token / from.token, WideTime{0}, to.capacity);
    full_at_ = to.scaled(now) + (to.capacity - kept);
  }

 private:
  static constexpr WideTime kLongAgo = -(WideTime{1} << 120);
  WideTime full_at_ = kLongAgo;
};

}  // namespace weir
