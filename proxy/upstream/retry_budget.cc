#include "proxy/upstream/retry_budget.h"

#include <algorithm>
#include <cmath>

namespace weir {

void WindowedRetryBudget::configure(const RetryBudgetConfig& config) {
  ratio_ = config.ratio;
  floor_ = config.min_rate_per_second * seconds(config.window);
  if (config.window == window_) return;
  window_ = config.window;
  width_ = std::max(config.window / static_cast<std::int64_t>(kBuckets), Duration(1));
  buckets_ = {};
  requests_ = retries_ = 0;
  current_ = 0;
}

void WindowedRetryBudget::advance(MonotonicTime now) {
  const std::int64_t bucket = now.time_since_epoch() / width_;
  // Workers read their clocks one by one: a `now` that is a little behind counts into the present bucket.
  if (bucket <= current_) return;
  const std::int64_t steps = std::min<std::int64_t>(bucket - current_, static_cast<std::int64_t>(kBuckets));
  for (std::int64_t i = 1; i <= steps; ++i) {
    Bucket& old = buckets_[static_cast<std::size_t>(bucket - steps + i) % kBuckets];
    requests_ -= old.requests;
    retries_ -= old.retries;
    old = {};
  }
  current_ = bucket;
}

double WindowedRetryBudget::credit() const {
  // The tiny addition keeps 20% of 5 a whole retry in binary fractions.
  return ratio_ * static_cast<double>(requests_) + floor_ - static_cast<double>(retries_) + 1e-9;
}

void WindowedRetryBudget::on_request(MonotonicTime now) {
  advance(now);
  ++buckets_[static_cast<std::size_t>(current_) % kBuckets].requests;
  ++requests_;
}

bool WindowedRetryBudget::try_take(MonotonicTime now) {
  advance(now);
  if (credit() < 1) return false;
  ++taken_;
  ++buckets_[static_cast<std::size_t>(current_) % kBuckets].retries;
  ++retries_;
  return true;
}

void WindowedRetryBudget::refund(MonotonicTime now) {
  advance(now);
  --taken_;
  // The newest charge: which one it was makes no difference to the sum, and an older one would be forgotten sooner.
  for (std::int64_t back = 0; back < static_cast<std::int64_t>(kBuckets) && back <= current_; ++back) {
    Bucket& bucket = buckets_[static_cast<std::size_t>(current_ - back) % kBuckets];
    if (bucket.retries == 0) continue;
    --bucket.retries;
    --retries_;
    return;
  }
}

double WindowedRetryBudget::remaining(MonotonicTime now) {
  advance(now);
  return std::max(0.0, std::floor(credit()));
}

}  // namespace weir
