#include "proxy/metrics/prometheus.h"

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <limits>

namespace weir {
namespace {

prometheus::MetricType type_of(MetricKind kind) {
  switch (kind) {
    case MetricKind::counter: return prometheus::MetricType::Counter;
    case MetricKind::gauge: return prometheus::MetricType::Gauge;
    case MetricKind::histogram: return prometheus::MetricType::Histogram;
  }
  return prometheus::MetricType::Untyped;
}

prometheus::ClientMetric::Histogram histogram_of(const MetricsRegistry::Sample& sample) {
  prometheus::ClientMetric::Histogram out;
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < sample.buckets.size(); ++i) {
    total += sample.buckets[i];
    const bool last = i + 1 >= Histogram::kBuckets;
    const double bound = last ? std::numeric_limits<double>::infinity() : std::chrono::duration<double>(Histogram::kBounds[i]).count();
    prometheus::ClientMetric::Bucket bucket;
    bucket.cumulative_count = total;
    bucket.upper_bound = bound;
    out.bucket.push_back(bucket);
  }
  out.sample_count = total;  // from the same reading as the buckets: count and +Inf must be equal
  out.sample_sum = sample.sum_seconds;
  return out;
}

prometheus::ClientMetric metric_of(const MetricsRegistry::Snapshot& family, const MetricsRegistry::Sample& sample) {
  prometheus::ClientMetric metric;
  for (std::size_t i = 0; i < family.label_names.size() && i < sample.labels.size(); ++i) {
    metric.label.push_back({family.label_names[i], sample.labels[i]});
  }
  switch (family.kind) {
    case MetricKind::counter: metric.counter.value = sample.value; break;
    case MetricKind::gauge: metric.gauge.value = sample.value; break;
    case MetricKind::histogram: metric.histogram = histogram_of(sample); break;
  }
  return metric;
}

class RegistryView : public prometheus::Collectable {
 public:
  explicit RegistryView(const MetricsRegistry& registry) : registry_(registry) {}

  std::vector<prometheus::MetricFamily> Collect() const override {
    std::vector<prometheus::MetricFamily> out;
    for (const MetricsRegistry::Snapshot& family : registry_.collect()) {
      if (family.samples.empty()) continue;
      prometheus::MetricFamily made;
      made.name = family.name;
      made.help = family.help;
      made.type = type_of(family.kind);
      made.metric.reserve(family.samples.size());
      for (const MetricsRegistry::Sample& sample : family.samples) made.metric.push_back(metric_of(family, sample));
      out.push_back(std::move(made));
    }
    return out;
  }

 private:
  const MetricsRegistry& registry_;
};

}  // namespace

std::string render_prometheus(const MetricsRegistry& registry) {
  return prometheus::TextSerializer().Serialize(RegistryView(registry).Collect());
}

}  // namespace weir
