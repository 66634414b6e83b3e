#include "proxy/metrics/metrics.h"
#include "proxy/base/random.h"

#include <catch2/catch.hpp>
#include <regex>
#include <set>
#include <thread>

#include "proxy/metrics/prometheus.h"

using namespace weir;

namespace {

const MetricFamily kRequests{"weir_test_requests_total", "Requests.", MetricKind::counter, {"route", "code"}};
const MetricFamily kOpen{"weir_test_open", "Open things.", MetricKind::gauge, {}};
const MetricFamily kSeconds{"weir_test_duration_seconds", "Time.", MetricKind::histogram, {"route"}};

const MetricsRegistry::Snapshot& find(const std::vector<MetricsRegistry::Snapshot>& rows, const std::string& name) {
  for (const auto& row : rows) {
    if (row.name == name) return row;
  }
  FAIL("no family " << name);
  return rows.front();
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::size_t start = 0;
  while (start < text.size()) {
    const std::size_t end = text.find('\n', start);
    lines.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return lines;
}

}  // namespace

TEST_CASE("a handle without a cell counts into nothing") {
  Counter().add();
  Gauge().set(3);
  Histogram().observe(1s);
  CHECK(Counter().value() == 0);
  CHECK(Gauge().value() == 0);
}

TEST_CASE("the values of all shards are summed, gauges may go below zero in one of them") {
  MetricsRegistry registry;
  registry.shard(0).counter(kRequests, {"a", "200"}).add(2);
  registry.shard(1).counter(kRequests, {"a", "200"}).add(3);
  registry.shard(0).gauge(kOpen, {}).add(5);
  registry.shard(1).gauge(kOpen, {}).add(-7);
  const auto rows = registry.collect();
  REQUIRE(find(rows, "weir_test_requests_total").samples.size() == 1);
  CHECK(find(rows, "weir_test_requests_total").samples[0].value == 5);
  CHECK(find(rows, "weir_test_open").samples[0].value == -2);
}

TEST_CASE("the same labels give the same cell, other labels another, and cells never move") {
  MetricsRegistry registry;
  MetricsShard& shard = registry.shard(0);
  const Counter first = shard.counter(kRequests, {"a", "200"});
  for (int i = 0; i < 5000; ++i) shard.counter(kRequests, {"r" + std::to_string(i), "200"}).add();
  first.add();
  shard.counter(kRequests, {"a", "200"}).add();
  CHECK(first.value() == 2);
  CHECK(shard.counter(kRequests, {"ab", "c"}).value() == 0);
  shard.counter(kRequests, {"ab", "c"}).add();
  CHECK(shard.counter(kRequests, {"a", "bc"}).value() == 0);
}

TEST_CASE("a histogram's bounds are inclusive, and its count is its +Inf bucket") {
  MetricsRegistry registry;
  const Histogram histogram = registry.shard(0).histogram(kSeconds, {"a"});
  histogram.observe(1ms);
  histogram.observe(1ms + 1ns);
  histogram.observe(-5ms);
  histogram.observe(61s);
  const auto rows = registry.collect();
  const auto& sample = find(rows, "weir_test_duration_seconds").samples[0];
  CHECK(sample.buckets[0] == 1);                        // the negative one
  CHECK(sample.buckets[4] == 1);                        // up to 1 ms
  CHECK(sample.buckets[5] == 1);                        // up to 2.5 ms
  CHECK(sample.buckets[Histogram::kBuckets - 1] == 1);  // above 60 s
  CHECK(sample.sum_seconds == Approx(61.002).epsilon(1e-9));

  const std::string text = render_prometheus(registry);
  CHECK(text.find("weir_test_duration_seconds_count{route=\"a\"} 4\n") != std::string::npos);
  CHECK(text.find("weir_test_duration_seconds_bucket{route=\"a\",le=\"+Inf\"} 4\n") != std::string::npos);
  CHECK(text.find("weir_test_duration_seconds_bucket{route=\"a\",le=\"0.001\"} 2\n") != std::string::npos);
}

TEST_CASE("each duration falls into the first bucket whose bound it does not pass") {
  MetricCell cells[Histogram::kBuckets + 1] = {};
  const Histogram histogram(cells);
  Random random(3);
  for (int i = 0; i < 20000; ++i) {
    const Duration value(static_cast<Duration::rep>(random.next() >> (1 + random.below(63))));
    std::size_t expected = 0;
    while (expected < Histogram::kBuckets - 1 && value > Histogram::kBounds[expected]) ++expected;
    const std::uint64_t before = cells[expected].load();
    histogram.observe(value);
    REQUIRE(cells[expected].load() == before + 1);
  }
}

TEST_CASE("past max_series further label sets share one overflow series a family, and are counted") {
  MetricsRegistry registry(2);
  MetricsShard& shard = registry.shard(0);
  const Counter kept = shard.counter(kRequests, {"a", "200"});
  shard.counter(kRequests, {"b", "200"}).add();
  shard.counter(kRequests, {"c", "200"}).add();
  shard.counter(kRequests, {"d", "200"}).add();
  shard.histogram(kSeconds, {"a"}).observe(1ms);
  shard.gauge(kOpen, {}).set(1);  // without labels there is nothing to bound
  shard.counter(kRequests, {"a", "200"}).add();
  const auto rows = registry.collect();
  const auto& requests = find(rows, "weir_test_requests_total");
  REQUIRE(requests.samples.size() == 3);
  CHECK(kept.value() == 1);
  for (const auto& sample : requests.samples) {
    if (sample.labels[0] == "overflow") {
      CHECK(sample.labels[1] == "overflow");
      CHECK(sample.value == 2);
    }
  }
  CHECK(find(rows, "weir_metrics_overflow_total").samples[0].value == 3);
  CHECK(find(rows, "weir_test_open").samples[0].labels.empty());
  registry.set_max_series(100);
  shard.counter(kRequests, {"e", "200"}).add();
  CHECK(find(registry.collect(), "weir_test_requests_total").samples.size() == 4);
}

TEST_CASE("collectors add families at scrape until their token goes, and outlive nothing") {
  auto registry = std::make_unique<MetricsRegistry>();
  int state = 1;
  std::shared_ptr<void> token = registry->add_collector([&state](std::vector<MetricsRegistry::Snapshot>& rows) {
    MetricsRegistry::Snapshot row{"weir_breaker_state", "State.", MetricKind::gauge, {"service"}, {}};
    MetricsRegistry::Sample sample;
    sample.labels = {"payments"};
    sample.value = state;
    row.samples.push_back(sample);
    row.samples.push_back(sample);  // a duplicate makes Prometheus refuse the scrape
    rows.push_back(row);
    rows.push_back(row);
  });
  state = 2;
  const auto rows = registry->collect();
  REQUIRE(find(rows, "weir_breaker_state").samples.size() == 1);
  CHECK(find(rows, "weir_breaker_state").samples[0].value == 2);
  token.reset();
  for (const auto& row : registry->collect()) CHECK(row.name != "weir_breaker_state");
  token = registry->add_collector([](std::vector<MetricsRegistry::Snapshot>&) {});
  registry.reset();
  token.reset();
}

TEST_CASE("label values are escaped, and bytes outside UTF-8 become question marks") {
  MetricsRegistry registry;
  registry.shard(0).counter(kRequests, {"a\"b\\c\nd", "\xc3\xa4\xff\xe0\x80\x80"}).add();
  const std::string text = render_prometheus(registry);
  CHECK(text.find("route=\"a\\\"b\\\\c\\nd\"") != std::string::npos);
  CHECK(text.find("code=\"\xc3\xa4????\"") != std::string::npos);
}

TEST_CASE("the exposition is what promtool accepts: one HELP and TYPE a family, no series twice, good names") {
  MetricsRegistry registry;
  for (const char* route : {"b", "a", "c"}) {
    registry.shard(0).counter(kRequests, {route, "200"}).add();
    registry.shard(1).counter(kRequests, {route, "200"}).add();
    registry.shard(1).histogram(kSeconds, {route}).observe(3ms);
  }
  registry.shard(0).gauge(kOpen, {}).set(2);
  std::set<std::string> series, types;
  const std::regex line_form(R"re(([a-z_]+)(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? [0-9.e+-]+)re");
  for (const std::string& line : lines_of(render_prometheus(registry))) {
    if (line.rfind("# TYPE ", 0) == 0) {
      CHECK(types.insert(line.substr(7, line.find(' ', 7) - 7)).second);
      const bool counter = line.find(" counter") != std::string::npos;
      CHECK(counter == (line.find("_total ") != std::string::npos));
    } else if (line.rfind("# HELP ", 0) != 0) {
      INFO(line);
      CHECK(std::regex_match(line, line_form));
      CHECK(series.insert(line.substr(0, line.rfind(' '))).second);
    }
  }
  CHECK(types.size() == 4);
}

TEST_CASE("counting in workers and scraping beside them agree in the end") {
  MetricsRegistry registry;
  std::vector<std::thread> workers;
  for (std::size_t w = 0; w < 3; ++w) {
    workers.emplace_back([&registry, w] {
      MetricsShard& shard = registry.shard(w);
      const Histogram histogram = shard.histogram(kSeconds, {"a"});
      const Counter counter = shard.counter(kRequests, {"a", std::to_string(w)});
      for (int i = 0; i < 20000; ++i) {
        counter.add();
        histogram.observe(1ms);
      }
    });
  }
  for (int i = 0; i < 20; ++i) static_cast<void>(render_prometheus(registry));
  for (std::thread& worker : workers) worker.join();
  const auto rows = registry.collect();
  CHECK(find(rows, "weir_test_duration_seconds").samples[0].buckets[4] == 60000);
  CHECK(find(rows, "weir_test_requests_total").samples.size() == 3);
}
