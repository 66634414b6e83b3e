#include "filters/concurrency_limit/limiter.h"

#include <algorithm>
#include <cmath>

namespace weir {

namespace {

// Gradient2 and Vegas as Netflix's concurrency-limits defines them, with its defaults.
constexpr double kTolerance = 1.5;       // the rtt may be half longer than usual before the limit falls (gradient2), or is not restored
constexpr double kSmoothing = 0.2;       // gradient2: weight of the newest limit
constexpr double kQueueAllowance = 4;    // gradient2: room to grow into
constexpr double kLongWindow = 600;      // gradient2: samples of the long average ...
constexpr std::uint32_t kWarmup = 10;    // ... which starts as a plain mean of so many
constexpr double kDrift = 0.95;          // gradient2: the long average comes down by this when twice the present rtt
constexpr double kProbeMultiplier = 30;  // vegas: the least rtt is learned anew every jitter x 30 x limit samples
constexpr double kAimdBackoff = 0.9;
constexpr std::uint32_t kAnswerWeighs = 9;  // so where one call in ten is answered, or more, a run of timeouts does not grow

double log10_at_least_1(double limit) { return std::max(1.0, std::floor(std::log10(limit))); }

}  // namespace

Limiter::Limiter(const AdaptiveLimitConfig& config) : adaptive_(config), limit_(config.initial) {}

void Limiter::set_fixed(std::uint32_t limit) { *this = Limiter(limit); }

void Limiter::set_adaptive(const AdaptiveLimitConfig& config) {
  if (!adaptive_ || adaptive_->algorithm != config.algorithm) {
    *this = Limiter(config);
    return;
  }
  adaptive_ = config;
  limit_ = std::clamp(limit_, static_cast<double>(config.min), static_cast<double>(config.max));
}

void Limiter::add(MonotonicTime now, const LimitSample& sample, Random& random) {
  if (!adaptive_ || (sample.rtt < kLeastRtt && !sample.dropped)) return;
  if (collapses(now, sample) || restores(now)) {
    window_ = Window{};  // what it holds was seen under another limit
    return;
  }
  if (window_.samples == 0) window_.ends = now + kWindow;
  ++window_.samples;
  window_.rtt_sum += static_cast<double>(std::max(sample.rtt, kLeastRtt).count());
  window_.max_in_flight = std::max(window_.max_in_flight, sample.in_flight);
  window_.dropped = window_.dropped || sample.dropped;
  if (now < window_.ends || window_.samples < kWindowSamples) return;
  const Window full = window_;
  window_ = Window{};
  update(full, random);
}

// As many calls as may be in flight at once.
std::uint32_t Limiter::round_size() const { return std::max(limit(), kWindowSamples); }

bool Limiter::collapses(MonotonicTime now, const LimitSample& sample) {
  if (sample.admitted < round_.began || sample.given_up) return false;
  if (sample.dropped) {
    ++round_.dropped;
    ++round_.run;
  } else {
    ++round_.answered;
    round_.run -= std::min(round_.run, kAnswerWeighs);
    round_.answered_rtt_sum += static_cast<double>(sample.rtt.count());
  }
  if (round_.run < round_size()) return false;
  const double min = adaptive_->min;
  if (limit_ > min) restore_to_ = limit_ / 2;  // at the minimum nothing is learned of higher limits
  limit_ = min;
  round_ = Round{};
  round_.began = now;
  return true;
}

bool Limiter::restores(MonotonicTime now) {
  if (round_.answered + round_.dropped < round_size()) return false;
  const Round full = round_;
  round_ = Round{};
  round_.began = full.began;
  round_.run = full.run;
  if (restore_to_ <= limit_) {
    restore_to_ = 0;
    return false;
  }
  const bool quick = reference_rtt_ == 0 || full.answered_rtt_sum <= kTolerance * reference_rtt_ * full.answered;
  if (full.answered < full.dropped || !quick) return false;
  limit_ = std::min({limit_ * 2, restore_to_, static_cast<double>(adaptive_->max)});
  round_.began = now;
  return true;
}

void Limiter::update(const Window& window, Random& random) {
  const double rtt = window.rtt_sum / window.samples;
  double limit = limit_;
  switch (adaptive_->algorithm) {
    case AdaptiveLimitConfig::Algorithm::gradient2: limit = gradient2(rtt, window.max_in_flight); break;
    case AdaptiveLimitConfig::Algorithm::vegas: limit = vegas(rtt, window, random); break;
    case AdaptiveLimitConfig::Algorithm::aimd: limit = aimd(window); break;
  }
  limit_ = std::clamp(limit, static_cast<double>(adaptive_->min), static_cast<double>(adaptive_->max));
}

double Limiter::gradient2(double rtt, std::uint32_t in_flight) {
  if (warmup_count_ < kWarmup) {
    warmup_sum_ += rtt;
    reference_rtt_ = warmup_sum_ / ++warmup_count_;
  } else {
    const double weight = 2 / (kLongWindow + 1);
    reference_rtt_ = reference_rtt_ * (1 - weight) + rtt * weight;
  }
  const double ratio = reference_rtt_ / rtt;
  if (ratio > 2) reference_rtt_ *= kDrift;    // overload lasted so long that it looks usual: forget it faster
  if (in_flight < limit_ / 2) return limit_;  // the limit was not what limited
  const double gradient = std::clamp(kTolerance * ratio, 0.5, 1.0);
  const double wanted = limit_ * gradient + kQueueAllowance;
  return limit_ * (1 - kSmoothing) + wanted * kSmoothing;
}

double Limiter::vegas(double rtt, const Window& window, Random& random) {
  samples_since_probe_ += window.samples;
  if (samples_since_probe_ >= probe_jitter_ * kProbeMultiplier * limit_) {
    // Only what counts as the least rtt is renewed, from live traffic: the limit stays.
    samples_since_probe_ = 0;
    probe_jitter_ = 0.5 + random.unit() / 2;
    reference_rtt_ = rtt;
    return limit_;
  }
  if (reference_rtt_ == 0 || rtt < reference_rtt_) {
    reference_rtt_ = rtt;
    return limit_;
  }
  const double step = log10_at_least_1(limit_);
  if (window.dropped) return limit_ - step;
  if (window.max_in_flight * 2.0 < limit_) return limit_;
  const double queue = std::ceil(limit_ * (1 - reference_rtt_ / rtt));
  const double alpha = 3 * step;
  const double beta = 6 * step;
  if (queue <= step) return limit_ + beta;
  if (queue < alpha) return limit_ + step;
  if (queue > beta) return limit_ - step;
  return limit_;
}

double Limiter::aimd(const Window& window) const {
  if (window.dropped) return limit_ * kAimdBackoff;
  if (window.max_in_flight * 2.0 >= limit_) return limit_ + 1;
  return limit_;
}

}  // namespace weir
