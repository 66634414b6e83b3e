// RateLimitPolicy: a token bucket for all requests, or one for each key: so many a second and no more, exact over all workers.
// One for each (service, policy, filter name), host-wide, behind the lock of its SharedPolicy.
// It never waits and never learns: what came of an admitted request is no matter to it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "filters/rate_limit/keyed_buckets.h"
#include "filters/rate_limit/token_bucket.h"
#include "proxy/base/text.h"
#include "proxy/chain/policy.h"

namespace weir {

struct RateKeyPart {
  enum class Kind : std::uint8_t { header, client_address, client_identity, path, method };
  Kind kind = Kind::client_address;
  std::string header;  // lower case; of kind header
  bool operator==(const RateKeyPart&) const = default;
};
Result<RateKeyPart> parse_rate_key_part(std::string_view text);
std::string to_text(const RateKeyPart& part);

struct RateLimitConfig {
  Rate rate{1, std::chrono::seconds(1)};
  std::optional<std::uint64_t> burst;  // absent: what the rate gives in one second, at least 1
  std::vector<RateKeyPart> key;        // empty: one bucket for all
  std::uint32_t max_keys = 10000;

  std::uint64_t effective_burst() const;
};

class RateLimitPolicy final : public AdmissionPolicy {
 public:
  RateLimitPolicy(const RateLimitConfig& config, std::uint64_t seed);

  Admission admit(MonotonicTime now, const AdmissionFacts& facts, Random& random) override;
  void record(MonotonicTime, const Ticket&, const Outcome&, Random&) override {}
  void describe(MonotonicTime now, std::vector<StateFact>& facts) const override;

  // Takes effect at the next admit, which knows the time: tokens are kept as far as the new burst holds them.
  void set_config(const RateLimitConfig& config);
  std::size_t keys() const { return buckets_.size(); }

 private:
  KeyFingerprint fingerprint(const AdmissionFacts& facts) const;
  void apply_pending(MonotonicTime now);

  RateLimitConfig config_;
  BucketRules rules_;
  std::optional<RateLimitConfig> pending_;
  KeyFingerprint seeded_;
  TokenBucket single_;
  KeyedBuckets buckets_;
};

}  // namespace weir
