#include "proxy/cli/demo_table.h"

#include <algorithm>

namespace weir::demo {
namespace {

const char* breaker_name(double state) {
  if (state < 0.5) return "closed";
  if (state < 1.5) return "OPEN";
  if (state < 2.5) return "half-open";
  return "recovering";
}

std::string bar(double share, std::size_t width) {  // '#' answered well, '.' the rest
  const auto full = static_cast<std::size_t>(std::clamp(share, 0.0, 1.0) * static_cast<double>(width) + 0.5);
  return std::string(full, '#') + std::string(width - full, '.');
}

}  // namespace

double metric_sum(const std::vector<MetricsRegistry::Snapshot>& scrape, std::string_view name,
                  std::initializer_list<std::pair<std::string_view, std::string_view>> labels) {
  double sum = 0;
  for (const auto& family : scrape) {
    if (family.name != name) continue;
    for (const auto& sample : family.samples) {
      const bool wanted = std::all_of(labels.begin(), labels.end(), [&](const auto& label) {
        for (std::size_t i = 0; i < family.label_names.size(); ++i) {
          if (family.label_names[i] == label.first) return sample.labels[i] == label.second;
        }
        return false;
      });
      if (wanted) sum += sample.value;
    }
  }
  return sum;
}

void Table::header(const std::string& metrics_url, const std::string& proxy_url) {
  std::fprintf(out_, "weir demo: an application calls a service through weir (%s); the service misbehaves by turns.\n", proxy_url.c_str());
  std::fprintf(out_, "The same figures, while this runs: curl %s\n", metrics_url.c_str());
}

void Table::scene(Duration at, std::string_view title, std::string_view what_to_see) {
  const char* bold = terminal_ ? "\033[1m" : "";
  const char* plain = terminal_ ? "\033[0m" : "";
  std::fprintf(out_, "\n%s%3.0fs  %.*s%s: %.*s\n", bold, seconds(at), static_cast<int>(title.size()), title.data(), plain,
               static_cast<int>(what_to_see.size()), what_to_see.data());
  std::fprintf(out_, "       %-20s %6s %6s %6s %6s | %8s %8s | %7s %7s | %-9s %9s %5s\n", "answered well", "req/s", "ok/s", "shed/s",
               "err/s", "p50 ms", "p99 ms", "tries/s", "retry/s", "breaker", "in flight", "queue");
  std::fflush(out_);
}

void Table::row(Duration at, Duration elapsed, const Figures& now) {
  const double s = std::max(seconds(elapsed), 1e-3);
  const double sent = now.ok + now.rejected + now.failed - before_.ok - before_.rejected - before_.failed;
  const double ok = now.ok - before_.ok;
  const char* color = "";
  const char* plain = terminal_ ? "\033[0m" : "";
  if (terminal_) color = ok >= 0.99 * sent ? "\033[32m" : ok >= 0.5 * sent ? "\033[33m" : "\033[31m";
  std::fprintf(out_, "%5.1fs %s%s%s %6.0f %6.0f %6.0f %6.0f | %8.1f %8.1f | %7.0f %7.0f | %-9s %4.0f/%-4.0f %5.0f\n", seconds(at), color,
               bar(sent > 0 ? ok / sent : 0, 20).c_str(), plain, sent / s, ok / s, (now.rejected - before_.rejected) / s,
               (now.failed - before_.failed) / s, now.p50_ms, now.p99_ms, (now.attempts - before_.attempts) / s,
               (now.retried - before_.retried) / s, breaker_name(now.breaker), now.in_flight, now.limit, now.queue);
  std::fflush(out_);
  before_ = now;
}

}  // namespace weir::demo
