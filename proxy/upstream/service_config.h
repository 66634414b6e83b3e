// ServiceConfig: the configured form of one service: what is called, its endpoints, and the policies that belong to the service as a whole.
// Plain values, owned by the configuration snapshot; the defaults here are those of acceptance/default.yaml.
// It decides nothing; config/schema declares its fields for YAML.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "proxy/base/time.h"
#include "proxy/chain/causes.h"
#include "proxy/chain/filter.h"
#include "proxy/runtime/address.h"

namespace weir {

enum class Balance : std::uint8_t { round_robin, least_request };
enum class Protocol : std::uint8_t { http1 };

struct EndpointConfig {
  enum class Kind : std::uint8_t { address, dns };
  Kind kind = Kind::address;
  Address address;         // kind address (ip:port or unix:/path)
  std::string dns_host;    // kind dns: `dns:host:port`
  std::uint16_t dns_port = 0;
  std::uint32_t weight = 1;  // 1 to 1000
  std::string text;        // as written
};

struct KeepAliveConfig {
  Duration idle = std::chrono::seconds(4);
  std::uint64_t max_requests = 0;  // 0: no cap
  Duration max_age{0};             // 0: no cap
};

struct ServiceLimits {  // host-wide, exact
  std::uint32_t connections = 10000;
  std::uint32_t pending = 1024;
  std::uint32_t requests = 0;  // 0: no limit of its own
  FilterMode mode = FilterMode::enforce;
};

struct RetryBudgetConfig {
  double ratio = 0.20;
  double min_rate_per_second = 1;
  Duration window = std::chrono::seconds(10);
};

struct OutlierConfig {
  Causes causes;  // default: connect_failure
  std::uint32_t consecutive_failures = 5;
  Duration eject_base = std::chrono::seconds(5);
  Duration eject_max = std::chrono::seconds(60);
  double max_ejected = 0.5;
  FilterMode mode = FilterMode::enforce;
};

struct DnsConfig {
  Duration min_ttl = std::chrono::seconds(1);
  Duration max_ttl = std::chrono::seconds(60);
};

struct ServiceConfig {
  std::string name;
  std::vector<EndpointConfig> endpoints;
  Protocol protocol = Protocol::http1;
  Balance balance = Balance::least_request;
  std::string policy;  // empty: the built-in one of the listener's direction
  Duration connect_timeout = std::chrono::seconds(3);
  Duration pending_timeout = std::chrono::seconds(3);  // how long a request may wait for a connection
  KeepAliveConfig keep_alive;
  ServiceLimits limits;
  RetryBudgetConfig retry_budget;
  OutlierConfig outlier_detection;
  DnsConfig dns;
  double panic_below = 0.5;
  std::vector<std::pair<std::string, std::string>> annotations;
  PolicyPlace place;
};

}  // namespace weir
