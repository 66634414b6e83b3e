// ServiceConfig: the configured form of one service: what is called, its endpoints, and the policies that belong to the service as a whole.
// Plain values, owned by the configuration snapshot; the defaults here are those of acceptance/default.yaml.
// It decides nothing; config/schema declares its fields for YAML.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "proxy/base/text.h"
#include "proxy/base/time.h"
#include "proxy/chain/causes.h"
#include "proxy/chain/filter.h"
#include "proxy/net/tls_context.h"
#include "proxy/runtime/address.h"
#include "proxy/runtime/name_resolver.h"
#include "proxy/upstream/hash_key.h"

namespace weir {

enum class Balance : std::uint8_t { round_robin, least_request, peak_ewma, random, ring_hash, maglev };
inline bool is_hashing(Balance balance) { return balance == Balance::ring_hash || balance == Balance::maglev; }
enum class Protocol : std::uint8_t { http1, http2 };

struct EndpointConfig {
  enum class Kind : std::uint8_t { address, dns, srv, file };
  Kind kind = Kind::address;
  Address address;       // kind address (ip:port or unix:/path)
  std::string dns_host;  // kind dns: `dns:host:port`; kind srv: the name of the records
  std::uint16_t dns_port = 0;
  std::string path;          // kind file
  std::uint32_t weight = 1;  // 1 to 1000; of kinds address and dns
  std::string text;          // as written
};

struct KeepAliveConfig {
  Duration idle = std::chrono::seconds(4);
  std::uint64_t max_requests = 0;  // 0: no cap
  Duration max_age{0};             // 0: no cap
};

// Of connections that carry many requests. A service with protocol http2 keeps idle ones for kHttp2Idle, unless it says otherwise: such a
// connection is closed with notice (GOAWAY), and a request that crosses it is safe to send again.
inline constexpr Duration kHttp2Idle = std::chrono::minutes(5);
struct Http2Config {
  std::uint32_t max_streams = 100;  // requests at once on one connection
  Duration ping_interval = std::chrono::seconds(30);
  Duration ping_timeout = std::chrono::seconds(10);
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

// An endpoint whose typical latency, to the response head, is so many times that of the others.
struct OutlierLatency {
  std::uint32_t times_median_of_others = 5;
  Duration min_latency = std::chrono::milliseconds(50);  // below it nobody is slow
  std::uint32_t min_calls = 50;                          // in the window, of whoever is compared
};

struct OutlierConfig {
  Causes causes;  // default: connect_failure
  std::uint32_t consecutive_failures = 5;
  std::optional<Ratio> failure_ratio;  // absent: not looked at
  std::uint32_t min_calls = 20;        // in the window, before the ratio says anything
  Duration window = std::chrono::seconds(10);
  std::optional<OutlierLatency> latency;  // absent: not looked at
  Duration eject_base = std::chrono::seconds(5);
  Duration eject_max = std::chrono::seconds(60);
  double max_ejected = 0.5;
  FilterMode mode = FilterMode::enforce;
};

struct HttpCheck {
  std::string path = "/";
  std::string host;  // empty: the endpoint's address
  std::vector<std::pair<int, int>> expected_statuses = {{200, 399}};
};
struct TcpCheck {};     // a connection that is accepted
struct GrpcCheck {      // grpc.health.v1.Health/Check
  std::string service;  // empty: the server as a whole
  std::string host;     // empty: the endpoint's address
};

struct HealthCheckConfig {
  std::optional<HttpCheck> http;  // one of the three
  std::optional<TcpCheck> tcp;
  std::optional<GrpcCheck> grpc;
  Duration interval = std::chrono::seconds(5);
  Duration fast_interval{0};  // while the state is not known or about to change; 0: a quarter of the interval
  Duration timeout = std::chrono::seconds(1);
  std::uint32_t healthy_after = 2;    // checks passed in a row, of an endpoint that was unhealthy
  std::uint32_t unhealthy_after = 3;  // checks failed in a row
  FilterMode mode = FilterMode::enforce;
};

struct DnsConfig {
  Duration min_ttl = std::chrono::seconds(1);
  Duration max_ttl = std::chrono::seconds(60);
  AddressFamilies addresses = AddressFamilies::both;
};

struct ServiceTlsConfig {
  std::string ca;                // a file; empty: the system's authorities
  std::string certificate, key;  // files; empty: none is shown
  std::string server_name;       // empty: the name of the endpoints, or their address
  std::vector<std::string> allow_names;
  TlsVersion min_version = TlsVersion::v1_2;
  std::shared_ptr<const TlsClientContext> context;  // what the loader made of all that
};

inline constexpr double kUnboundedLoad = 1e9;

struct ServiceConfig {
  std::string name;
  std::vector<EndpointConfig> endpoints;
  Protocol protocol = Protocol::http1;
  std::string host;  // told instead of the client's; empty: the client's
  Http2Config http2;
  Balance balance = Balance::least_request;
  std::vector<HashKeyPart> hash_key;  // of ring_hash and maglev; empty: the request's id
  double hash_max_load = 1.25;        // of the average in flight; kUnboundedLoad: no bound
  Duration slow_start{0};             // 0: none
  std::string policy;                 // empty: the built-in one of the listener's direction
  Duration connect_timeout = std::chrono::seconds(3);
  Duration pending_timeout = std::chrono::seconds(3);  // how long a request may wait for a connection
  KeepAliveConfig keep_alive;
  ServiceLimits limits;
  RetryBudgetConfig retry_budget;
  OutlierConfig outlier_detection;
  std::optional<HealthCheckConfig> health_check;  // absent: nothing is probed
  DnsConfig dns;
  std::optional<ServiceTlsConfig> tls;  // absent: clear text
  double panic_below = 0.5;
  std::vector<std::pair<std::string, std::string>> annotations;
  PolicyPlace place;
};

}  // namespace weir
