#include "proxy/http/h2_flood.h"

#include <algorithm>

namespace weir {

namespace {

constexpr Rule kRules[kHttp2Floods] = {
    {"http2-flood-resets", "RFC 9113 10.5, CVE-2023-44487", 400},
    {"http2-flood-malformed", "RFC 9113 10.5, CVE-2025-8671", 400},
    {"http2-flood-pings", "RFC 9113 10.5, CVE-2019-9512", 400},
    {"http2-flood-settings", "RFC 9113 10.5, CVE-2019-9515", 400},
    {"http2-flood-priorities", "RFC 9113 10.5, CVE-2019-9513", 400},
    {"http2-flood-window-updates", "RFC 9113 10.5, CVE-2019-9517", 400},
    {"http2-flood-empty-data", "RFC 9113 10.5, CVE-2019-9518", 400},
    {"http2-flood-unknown-frames", "RFC 9113 10.5", 400},
    {"http2-flood-continuations", "RFC 9113 10.5, CVE-2024-28182", 400},
    {"http2-flood-headers", "RFC 9113 10.5.1, RFC 7541 7.3", 400},
};

struct Allowance {
  std::int32_t burst;       // at once
  std::int32_t per_second;  // and on end
};

constexpr Allowance kAllowances[kHttp2Floods] = {
    {0, 0},  // resets: as configured
    {100, 10},   {1000, 100}, {100, 10}, {1000, 100},
    {1000, 100}, {100, 10},   {100, 10}, {0, 0},  // never borne with: the counting is done for each header block
    {0, 0},
};

Allowance allowance_of(Http2Flood kind, std::int32_t resets) {
  if (kind == Http2Flood::resets) return {10 * resets, resets};
  return kAllowances[static_cast<std::size_t>(kind)];
}

}  // namespace

const Rule& rule_of(Http2Flood kind) { return kRules[static_cast<std::size_t>(kind)]; }

Http2Floods::Http2Floods(std::uint32_t resets, MonotonicTime now)
    : start_(now), resets_(static_cast<std::int32_t>(std::min<std::uint32_t>(resets, 10'000))) {
  for (std::size_t i = 0; i < kHttp2Floods; ++i) balances_[i].left = allowance_of(static_cast<Http2Flood>(i), resets_).burst * kUnit;
}

bool Http2Floods::bear(Http2Flood kind, MonotonicTime now) {
  const Allowance allowed = allowance_of(kind, resets_);
  Balance& balance = balances_[static_cast<std::size_t>(kind)];
  const auto at = static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now - start_).count());
  const std::int64_t passed = at - balance.at;  // wraps around as it should
  balance.at = at;
  const std::int64_t full = std::int64_t{allowed.burst} * kUnit;
  if (balance.left < full) balance.left = static_cast<std::int32_t>(std::min(balance.left + passed * allowed.per_second, full));
  if (balance.left < kUnit) return false;
  balance.left -= kUnit;
  return true;
}

void Http2Floods::earn_one(Http2Flood kind, std::int32_t count) {
  Balance& balance = balances_[static_cast<std::size_t>(kind)];
  const std::int32_t burst = allowance_of(kind, resets_).burst;
  const std::int32_t most = kind == Http2Flood::resets ? burst * kUnit : burst * kUnit * kMostEarned;
  if (balance.left < most) balance.left = std::min(balance.left + count * kUnit, most);
}

}  // namespace weir
