// The retry budget of a service: extra tries may be `ratio` of the first tries within a sliding window, plus a floor per second.
// Service owns the locked one and lends it to the retry filters of every worker; WindowedRetryBudget is the pure decision.
// It never limits first tries and never reads a clock.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "proxy/chain/retry_budget.h"
#include "proxy/upstream/service_config.h"

namespace weir {

// A ring of ten buckets. A retry stays counted at least as long as the request that paid for it, so no request pays twice:
// over any run the retries are at most ratio x requests + floor x windows.
class WindowedRetryBudget {
 public:
  static constexpr std::size_t kBuckets = 10;

  explicit WindowedRetryBudget(const RetryBudgetConfig& config) { configure(config); }
  void configure(const RetryBudgetConfig& config);  // a changed window starts empty, otherwise counts are kept

  void on_request(MonotonicTime now);
  bool try_take(MonotonicTime now);
  void refund(MonotonicTime now);
  double remaining(MonotonicTime now);
  std::uint64_t taken() const { return taken_; }  // since the beginning, refunds taken off

 private:
  struct Bucket {
    std::uint64_t requests = 0;
    std::uint64_t retries = 0;
  };
  void advance(MonotonicTime now);
  double credit() const;

  std::array<Bucket, kBuckets> buckets_{};
  std::int64_t current_ = 0;  // number of the present bucket since the clock's epoch
  std::uint64_t requests_ = 0;
  std::uint64_t retries_ = 0;
  std::uint64_t taken_ = 0;
  double ratio_ = 0;
  double floor_ = 0;  // whole window's
  Duration window_{0};
  Duration width_{1};
};

class ServiceRetryBudget final : public RetryBudget {
 public:
  explicit ServiceRetryBudget(const RetryBudgetConfig& config) : budget_(config) {}
  void configure(const RetryBudgetConfig& config) {
    const std::lock_guard lock(mutex_);
    budget_.configure(config);
  }
  void on_request(MonotonicTime now) override {
    const std::lock_guard lock(mutex_);
    budget_.on_request(now);
  }
  bool try_take(MonotonicTime now) override {
    const std::lock_guard lock(mutex_);
    return budget_.try_take(now);
  }
  void refund(MonotonicTime now) override {
    const std::lock_guard lock(mutex_);
    budget_.refund(now);
  }
  double remaining(MonotonicTime now) override {
    const std::lock_guard lock(mutex_);
    return budget_.remaining(now);
  }
  std::uint64_t taken() const {
    const std::lock_guard lock(mutex_);
    return budget_.taken();
  }

 private:
  alignas(64) mutable std::mutex mutex_;  // its own cache line: taken once a request by every worker
  WindowedRetryBudget budget_;
};

}  // namespace weir
