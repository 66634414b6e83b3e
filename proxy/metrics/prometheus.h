// Prometheus exposition: a registry's snapshot as Prometheus text 0.0.4, through prometheus-cpp's Collectable and TextSerializer.
// Main calls it for a scrape; nothing is kept between two calls.
// It never runs on a worker's loop: ten thousand series cost some ten milliseconds.
#pragma once

#include <string>

#include "proxy/metrics/metrics.h"

namespace weir {

inline constexpr const char* kPrometheusContentType = "text/plain; version=0.0.4; charset=utf-8";

std::string render_prometheus(const MetricsRegistry& registry);

}  // namespace weir
