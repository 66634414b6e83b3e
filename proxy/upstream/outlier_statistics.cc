#include "proxy/upstream/outlier_statistics.h"

#include <utility>

namespace weir {
namespace {

template <class Parts>
void forget(Parts& parts) {
  for (auto& part : parts) {
    part.sum = {};
    part.slices = {};
  }
}

}  // namespace

Duration LatencyScale::middle_of(std::size_t index) {
  const std::uint64_t unit = std::uint64_t{1} << kUnitBits;
  if (index < 4) return Duration(static_cast<Duration::rep>(index * unit + unit / 2));
  const std::size_t shift = index / 4 - 1;
  const std::uint64_t low = (std::uint64_t{4} + index % 4) << shift;
  const std::uint64_t width = std::uint64_t{1} << shift;
  return Duration(static_cast<Duration::rep>(low * unit + width * unit / 2));
}

void OutlierWindow::advance(const EndpointStatistics& counted, bool with_latency, bool keep) {
  at_ = (at_ + 1) % kSlices;
  const std::uint32_t successes = counted.successes.load(std::memory_order_relaxed);
  Slice fresh{successes - std::exchange(seen_successes_, successes), std::exchange(fresh_failures_, 0)};
  if (!keep) fresh = {};
  Slice& oldest = slices_[at_];
  sums_.successes += fresh.successes - oldest.successes;
  sums_.failures += fresh.failures - oldest.failures;
  oldest = fresh;
  if (with_latency) {
    advance_latencies(counted, keep);
  } else {  // not looked at any more, nor counted: what was seen of the counts stays for the day that they are
    forget(latency_);
    latency_calls_ = 0;
  }
}

void OutlierWindow::advance_latencies(const EndpointStatistics& counted, bool keep) {
  if (latency_.empty()) latency_.resize(1);
  LatencyPart& part = latency_.front();
  Latencies& oldest = part.slices[at_];
  for (std::size_t i = 0; i < LatencyScale::kClasses; ++i) {
    const std::uint32_t now = counted.latencies[i].load(std::memory_order_relaxed);
    const std::uint32_t since = now - std::exchange(part.seen[i], now);
    const std::uint32_t fresh = keep ? since : 0;
    latency_calls_ += fresh - oldest[i];
    part.sum[i] += fresh - oldest[i];
    oldest[i] = fresh;
  }
}

void OutlierWindow::clear() {
  sums_ = {};
  slices_ = {};
  fresh_failures_ = 0;
  latency_calls_ = 0;
  forget(latency_);
}

void OutlierWindow::restart(const EndpointStatistics& counted, bool with_latency) {
  clear();
  seen_successes_ = counted.successes.load(std::memory_order_relaxed);
  if (!with_latency) return;
  if (latency_.empty()) latency_.resize(1);
  for (std::size_t i = 0; i < LatencyScale::kClasses; ++i) latency_.front().seen[i] = counted.latencies[i].load(std::memory_order_relaxed);
}

Duration OutlierWindow::median_latency() const {
  if (latency_calls_ == 0) return Duration(0);
  const std::uint32_t half = (latency_calls_ + 1) / 2;
  std::uint32_t below = 0;
  for (std::size_t i = 0; i < LatencyScale::kClasses; ++i) {
    below += latency_.front().sum[i];
    if (below >= half) return LatencyScale::middle_of(i);
  }
  return Duration(0);
}

}  // namespace weir
