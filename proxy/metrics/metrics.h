// Metrics: counters, gauges and histograms as worker-local cells, merged at scrape; rendered by prometheus-cpp (prometheus.h).
// main owns the one MetricsRegistry, which owns a MetricsShard for each worker; handles are resolved once, when chains and services
// are built, and stay valid as long as the registry lives. The data path never looks up a label and never takes a lock.
//
// A cell is a relaxed atomic written by one thread and read by the scrape. Series are bounded: past `max_series` (of all families together)
// a family's further label sets share one overflow series (every label "overflow"), and weir_metrics_overflow_total counts them.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/time.h"

namespace weir {

using MetricCell = std::atomic<std::uint64_t>;

inline void cell_add(MetricCell& cell, std::uint64_t n) { cell.store(cell.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }

// Each handle may be default-constructed: it then counts into nothing.
class Counter {
 public:
  Counter() = default;
  explicit Counter(MetricCell* cell) : cell_(cell) {}
  void add(std::uint64_t n = 1) const {
    if (cell_ != nullptr) cell_add(*cell_, n);
  }
  std::uint64_t value() const { return cell_ == nullptr ? 0 : cell_->load(std::memory_order_relaxed); }
  explicit operator bool() const { return cell_ != nullptr; }

 private:
  MetricCell* cell_ = nullptr;
};

class Gauge {  // summed over the workers
 public:
  Gauge() = default;
  explicit Gauge(MetricCell* cell) : cell_(cell) {}
  void add(std::int64_t n) const {
    if (cell_ != nullptr) cell_add(*cell_, static_cast<std::uint64_t>(n));
  }
  void set(std::int64_t n) const {
    if (cell_ != nullptr) cell_->store(static_cast<std::uint64_t>(n), std::memory_order_relaxed);
  }
  std::int64_t value() const { return cell_ == nullptr ? 0 : static_cast<std::int64_t>(cell_->load(std::memory_order_relaxed)); }

 private:
  MetricCell* cell_ = nullptr;
};

// Durations in fixed buckets (kBounds), plus a sum in nanoseconds.
class Histogram {
 public:
  static constexpr std::size_t kBuckets = 20;   // the last is +Inf
  static const Duration kBounds[kBuckets - 1];  // 50 us .. 60 s, inclusive upper bounds
  Histogram() = default;
  explicit Histogram(MetricCell* cells) : cells_(cells) {}
  void observe(Duration value) const { observe(value, bucket_of(value)); }
  // For who observes one duration in many histograms.
  static std::size_t bucket_of(Duration value);
  void observe(Duration value, std::size_t bucket) const {
    if (cells_ == nullptr) return;
    cell_add(cells_[bucket], 1);
    if (value > Duration::zero()) cell_add(cells_[kBuckets], static_cast<std::uint64_t>(value.count()));
  }

 private:
  MetricCell* cells_ = nullptr;  // kBuckets counts, then the sum
};

enum class MetricKind : std::uint8_t { counter, gauge, histogram };

struct MetricFamily {  // a constant: name, help, label names; families are declared as constants beside their user
  const char* name;    // weir_..., with its unit
  const char* help;
  MetricKind kind;
  std::vector<const char*> labels;
};

class MetricsRegistry;

class MetricsShard {
 public:
  using Labels = std::initializer_list<std::string_view>;  // values, in the order of the family's label names
  Counter counter(const MetricFamily& family, Labels values);
  Gauge gauge(const MetricFamily& family, Labels values);
  Histogram histogram(const MetricFamily& family, Labels values);

 private:
  friend class MetricsRegistry;
  explicit MetricsShard(MetricsRegistry& registry, std::size_t index) : registry_(registry), index_(index) {}
  MetricsRegistry& registry_;
  std::size_t index_;
};

class MetricsRegistry {
 public:
  explicit MetricsRegistry(std::size_t max_series = 10000);
  ~MetricsRegistry();
  MetricsShard& shard(std::size_t index);  // made on first use; thread-safe
  void set_max_series(std::size_t max_series);

  // One row of a scrape; values of all shards summed.
  struct Sample {
    std::vector<std::string> labels;
    double value = 0;                    // counter, gauge
    std::vector<std::uint64_t> buckets;  // histogram, not cumulative
    double sum_seconds = 0;
  };
  struct Snapshot {
    std::string name, help;
    MetricKind kind;
    std::vector<std::string> label_names;
    std::vector<Sample> samples;
  };
  // State that is host-wide (breaker state, limits) is read at scrape by a collector, on the scraping thread. The returned
  // token unregisters on destruction, waiting for a scrape that runs; a collector must not register or unregister collectors.
  using Collector = std::function<void(std::vector<Snapshot>&)>;
  [[nodiscard]] std::shared_ptr<void> add_collector(Collector collector);
  std::vector<Snapshot> collect() const;  // sorted by name; any thread

 private:
  friend class MetricsShard;
  struct State;
  MetricCell* cells(const MetricFamily& family, MetricsShard::Labels values, std::size_t shard);
  std::unique_ptr<State> state_;
};

}  // namespace weir
