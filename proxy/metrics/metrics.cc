#include "proxy/metrics/metrics.h"

#include <algorithm>
#include <array>
#include <bit>
#include <deque>
#include <map>
#include <utility>

#include "proxy/base/check.h"

namespace weir {

const Duration Histogram::kBounds[Histogram::kBuckets - 1] = {
    50us, 100us, 250us, 500us, 1ms, 2500us, 5ms, 10ms, 25ms, 50ms, 100ms, 250ms, 500ms, 1s, 2500ms, 5s, 10s, 30s, 60s,
};

namespace {

// By the number of significant bits of a value in nanoseconds: the first bucket that it can be in. Observing is on the hot path,
// several times a request; from here it is at most a few steps.
struct FirstBuckets {
  std::uint8_t of_width[65] = {};
  FirstBuckets() {
    for (unsigned width = 1; width <= 64; ++width) {
      const std::uint64_t least = std::uint64_t{1} << (width - 1);
      std::uint8_t bucket = 0;
      while (bucket < Histogram::kBuckets - 1 && least > static_cast<std::uint64_t>(Histogram::kBounds[bucket].count())) ++bucket;
      of_width[width] = bucket;
    }
  }
};
const FirstBuckets kFirst;

}  // namespace

std::size_t Histogram::bucket_of(Duration value) {
  std::size_t bucket = value > Duration::zero() ? kFirst.of_width[std::bit_width(static_cast<std::uint64_t>(value.count()))] : 0;
  while (bucket < kBuckets - 1 && value > kBounds[bucket]) ++bucket;
  return bucket;
}

namespace {

constexpr std::size_t kHistogramCells = Histogram::kBuckets + 1;
constexpr std::string_view kOverflow = "overflow";

std::size_t cells_of(MetricKind kind) { return kind == MetricKind::histogram ? kHistogramCells : 1; }

// The cells of one shard: blocks that never move, so that handles stay good, and that no other thread's cells share a line with.
class CellStore {
 public:
  MetricCell* take(std::size_t count) {
    if (blocks_.empty() || used_ + count > kCells) {
      blocks_.push_back(std::make_unique<Block>());
      used_ = 0;
    }
    MetricCell* first = &blocks_.back()->cells[used_];
    used_ += count;
    return first;
  }

 private:
  static constexpr std::size_t kCells = 512;
  struct alignas(64) Block {
    std::array<MetricCell, kCells> cells{};
  };
  std::vector<std::unique_ptr<Block>> blocks_;
  std::size_t used_ = 0;
};

struct Series {
  std::vector<std::string> labels;
  std::vector<MetricCell*> cells;  // by shard; null where the shard has never asked
};

struct Family {
  std::string name, help;
  MetricKind kind = MetricKind::counter;
  std::vector<std::string> label_names;
  std::map<std::string, Series> series;  // by the values, joined
  Series overflow;
  bool overflowed = false;
};

bool is_word(std::string_view name, bool colon) {
  if (name.empty() || (name[0] >= '0' && name[0] <= '9')) return false;
  return std::all_of(name.begin(), name.end(), [colon](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || (colon && c == ':');
  });
}

// A byte outside UTF-8 would make Prometheus refuse the whole scrape: each becomes a question mark. Length of a valid sequence, or 0.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f)) return 0;  // overlong, surrogate
  if ((first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) > 0x8f)) return 0;
  return length;
}

std::string to_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0) {
      out += '?';
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return out;
}

std::string joined(const std::vector<std::string>& values) {
  std::string key;
  for (const std::string& value : values) {
    key += value;
    key += '\xff';  // never in UTF-8, so that no two lists of values join to the same key
  }
  return key;
}

MetricsRegistry::Sample sample_of(const Series& series, MetricKind kind) {
  MetricsRegistry::Sample sample;
  sample.labels = series.labels;
  if (kind == MetricKind::histogram) sample.buckets.assign(Histogram::kBuckets, 0);
  std::uint64_t sum = 0;
  for (const MetricCell* cells : series.cells) {
    if (cells == nullptr) continue;
    if (kind == MetricKind::histogram) {
      for (std::size_t i = 0; i < Histogram::kBuckets; ++i) {
        sample.buckets[i] += cells[i].load(std::memory_order_relaxed);
      }
      sum += cells[Histogram::kBuckets].load(std::memory_order_relaxed);
    } else {
      sum += cells->load(std::memory_order_relaxed);  // gauges too: two's complement adds up
    }
  }
  if (kind == MetricKind::histogram) {
    sample.sum_seconds = static_cast<double>(sum) * 1e-9;
  } else if (kind == MetricKind::gauge) {
    sample.value = static_cast<double>(static_cast<std::int64_t>(sum));
  } else {
    sample.value = static_cast<double>(sum);
  }
  return sample;
}

// Outlives the registry in its tokens.
struct Collectors {
  std::mutex mutex;
  std::map<std::uint64_t, MetricsRegistry::Collector> all;
  std::uint64_t next = 1;
};

// Families of one name become one, and of equal label sets the first stays: a duplicate makes Prometheus refuse the scrape.
void merge_same_names(std::vector<MetricsRegistry::Snapshot>& rows) {
  std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  std::vector<MetricsRegistry::Snapshot> merged;
  for (MetricsRegistry::Snapshot& row : rows) {
    if (merged.empty() || merged.back().name != row.name) {
      merged.push_back(std::move(row));
    } else if (merged.back().kind == row.kind && merged.back().label_names == row.label_names) {
      std::move(row.samples.begin(), row.samples.end(), std::back_inserter(merged.back().samples));
    }
  }
  for (MetricsRegistry::Snapshot& row : merged) {
    const auto by_labels = [](const auto& a, const auto& b) { return a.labels < b.labels; };
    std::stable_sort(row.samples.begin(), row.samples.end(), by_labels);
    row.samples.erase(
        std::unique(row.samples.begin(), row.samples.end(), [](const auto& a, const auto& b) { return a.labels == b.labels; }),
        row.samples.end());
  }
  rows = std::move(merged);
}

}  // namespace

struct MetricsRegistry::State {
  explicit State(std::size_t max) : max_series(max) {}

  mutable std::mutex mutex;
  std::size_t max_series;
  std::size_t series_count = 0;
  std::uint64_t overflowed = 0;
  std::map<std::string, Family, std::less<>> families;
  std::vector<std::unique_ptr<CellStore>> stores;  // by shard
  std::vector<std::unique_ptr<MetricsShard>> shards;
  std::shared_ptr<Collectors> collectors = std::make_shared<Collectors>();

  Family& family(const MetricFamily& wanted) {
    const auto found = families.find(wanted.name);
    if (found != families.end()) {
      CHECK(found->second.kind == wanted.kind && found->second.label_names.size() == wanted.labels.size());
      return found->second;
    }
    Family made;
    made.name = wanted.name;
    made.help = wanted.help;
    made.kind = wanted.kind;
    CHECK(is_word(made.name, true) && made.help.find('\n') == std::string::npos);
    for (const char* label : wanted.labels) {
      made.label_names.emplace_back(label);
      CHECK(is_word(made.label_names.back(), false) && made.label_names.back() != "le");
    }
    return families.emplace(made.name, std::move(made)).first->second;
  }

  Series& series(Family& family, MetricsShard::Labels values) {
    std::vector<std::string> labels;
    for (const std::string_view value : values) labels.push_back(to_utf8(value));
    CHECK(labels.size() == family.label_names.size());
    std::string key = joined(labels);
    const auto found = family.series.find(key);
    if (found != family.series.end()) return found->second;
    if (series_count >= max_series && !labels.empty()) {
      ++overflowed;
      family.overflowed = true;
      family.overflow.labels.assign(labels.size(), std::string(kOverflow));
      return family.overflow;
    }
    ++series_count;
    Series& made = family.series[std::move(key)];
    made.labels = std::move(labels);
    return made;
  }

  std::vector<Snapshot> read() const {
    std::vector<Snapshot> rows;
    const std::lock_guard lock(mutex);
    for (const auto& [name, family] : families) {
      Snapshot row{family.name, family.help, family.kind, family.label_names, {}};
      for (const auto& [key, one] : family.series) row.samples.push_back(sample_of(one, family.kind));
      if (family.overflowed) row.samples.push_back(sample_of(family.overflow, family.kind));
      rows.push_back(std::move(row));
    }
    Snapshot overflow{
        "weir_metrics_overflow_total", "Label sets that found no room and share an overflow series.", MetricKind::counter, {}, {}};
    overflow.samples.emplace_back().value = static_cast<double>(overflowed);
    rows.push_back(std::move(overflow));
    return rows;
  }
};

MetricsRegistry::MetricsRegistry(std::size_t max_series) : state_(std::make_unique<State>(max_series)) {}
MetricsRegistry::~MetricsRegistry() = default;

MetricsShard& MetricsRegistry::shard(std::size_t index) {
  const std::lock_guard lock(state_->mutex);
  while (state_->shards.size() <= index) {
    state_->shards.push_back(std::unique_ptr<MetricsShard>(new MetricsShard(*this, state_->shards.size())));
    state_->stores.push_back(std::make_unique<CellStore>());
  }
  return *state_->shards[index];
}

void MetricsRegistry::set_max_series(std::size_t max_series) {
  const std::lock_guard lock(state_->mutex);
  state_->max_series = max_series;
}

MetricCell* MetricsRegistry::cells(const MetricFamily& family, MetricsShard::Labels values, std::size_t shard) {
  const std::lock_guard lock(state_->mutex);
  Family& found = state_->family(family);
  Series& series = state_->series(found, values);
  if (series.cells.size() <= shard) series.cells.resize(shard + 1, nullptr);
  MetricCell*& cells = series.cells[shard];
  if (cells == nullptr) cells = state_->stores[shard]->take(cells_of(found.kind));
  return cells;
}

std::shared_ptr<void> MetricsRegistry::add_collector(Collector collector) {
  const std::shared_ptr<Collectors> collectors = state_->collectors;
  const std::lock_guard lock(collectors->mutex);
  const std::uint64_t id = collectors->next++;
  collectors->all.emplace(id, std::move(collector));
  return {this, [collectors, id](void*) {
            const std::lock_guard inner(collectors->mutex);
            collectors->all.erase(id);
          }};
}

std::vector<MetricsRegistry::Snapshot> MetricsRegistry::collect() const {
  std::vector<Snapshot> rows = state_->read();
  {
    const std::lock_guard lock(state_->collectors->mutex);
    for (const auto& [id, collector] : state_->collectors->all) collector(rows);
  }
  merge_same_names(rows);
  return rows;
}

Counter MetricsShard::counter(const MetricFamily& family, Labels values) {
  CHECK(family.kind == MetricKind::counter);
  return Counter(registry_.cells(family, values, index_));
}

Gauge MetricsShard::gauge(const MetricFamily& family, Labels values) {
  CHECK(family.kind == MetricKind::gauge);
  return Gauge(registry_.cells(family, values, index_));
}

Histogram MetricsShard::histogram(const MetricFamily& family, Labels values) {
  CHECK(family.kind == MetricKind::histogram);
  return Histogram(registry_.cells(family, values, index_));
}

}  // namespace weir
