// The demo's table: one line of figures for each half second, drawn live on a terminal, or line by line where there is none.
// The demo owns it; it reads the metrics registry as a scrape does. It never changes anything.
#pragma once

#include <cstdio>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proxy/base/time.h"
#include "proxy/cli/demo_load.h"
#include "proxy/metrics/metrics.h"

namespace weir::demo {

// The sum of the samples of a family that carry these labels.
double metric_sum(const std::vector<MetricsRegistry::Snapshot>& scrape, std::string_view name,
                  std::initializer_list<std::pair<std::string_view, std::string_view>> labels = {});

struct Figures {  // totals since the start
  double sent = 0, ok = 0, rejected = 0, failed = 0, attempts = 0, retried = 0;
  double breaker = 0, limit = 0, in_flight = 0, queue = 0, budget = 0;
  double p50_ms = 0, p99_ms = 0;
};

class Table {
 public:
  Table(std::FILE* out, bool terminal) : out_(out), terminal_(terminal) {}
  void header(const std::string& metrics_url, const std::string& proxy_url);
  void scene(Duration at, std::string_view title, std::string_view what_to_see);
  void row(Duration at, Duration elapsed, const Figures& now);
  bool read() const { return std::ferror(out_) == 0; }  // false once nobody takes what is written

 private:
  std::FILE* out_;
  bool terminal_;
  Figures before_;
};

}  // namespace weir::demo
