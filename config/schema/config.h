// Config: the whole typed configuration, one immutable snapshot; what every acceptance file of this stage loads into.
// The loader (load.h) builds it and main publishes it as shared_ptr<const Config>; exchanges keep the one they started with.
// Plain values: it opens nothing, resolves nothing and decides nothing.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "proxy/base/text.h"
#include "proxy/base/time.h"
#include "proxy/chain/filter.h"
#include "proxy/message/match.h"
#include "proxy/runtime/address.h"
#include "proxy/runtime/name_resolver.h"
#include "proxy/upstream/service_config.h"

namespace weir {

enum class Direction : std::uint8_t { outbound, inbound };
enum class LogLevel : std::uint8_t;  // proxy/base/log.h

struct AdminConfig {
  std::optional<Address> listen;            // changes included; unix (0600) or loopback only
  std::optional<Address> read_only_listen;  // GET only
};

struct LogConfig {
  std::string level = "info";  // debug | info | warning | error
  bool json = false;
};

struct AccessLogWhen {                        // a line is always written when any of these holds
  std::vector<std::pair<int, int>> statuses;  // ranges, inclusive
  std::optional<Duration> slower_than;
  bool decided = false;
};

struct AccessLogConfig {
  std::string path;
  bool json = true;  // the one format of this stage
  AccessLogWhen when;
  double sample = 1.0;  // share of the rest
};

struct MetricsConfig {
  bool endpoint_labels = false;
  std::uint32_t max_series = 10000;
};

struct ListenerLimits {
  std::uint32_t connections = 10000;
  std::size_t header_bytes = std::size_t{60} * 1024;
  std::uint32_t headers = 100;
  std::uint32_t streams = 100;
  Rate resets{100, 1s};
  std::uint32_t handshakes = 1000;
};

struct ListenerTimeouts {
  Duration request_headers = std::chrono::seconds(10);
  Duration idle = std::chrono::hours(1);
  Duration tls_handshake = std::chrono::seconds(5);
};

struct TlsFiles {
  std::string certificate, key;
};

struct ClientAuthConfig {
  std::string ca;       // a file
  bool require = true;  // false: who has no certificate is let in too
  std::vector<std::string> allow_names;
};

enum class AlpnProtocol : std::uint8_t { h2, http11 };

struct ListenerTlsConfig {
  std::string certificate, key;        // files: one pair ...
  std::vector<TlsFiles> certificates;  // ... or several, by the name that the client asks for
  TlsVersion min_version = TlsVersion::v1_2;
  std::vector<AlpnProtocol> alpn = {AlpnProtocol::h2, AlpnProtocol::http11};
  std::optional<ClientAuthConfig> client;     // absent: clients are not asked for a certificate
  std::shared_ptr<TlsServerContext> context;  // what the loader made of all that
};

struct HeaderEdits {
  std::vector<std::pair<std::string, std::string>> set;
  std::vector<std::string> remove;
};

struct RespondConfig {
  int status = 200;
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};

struct SplitTarget {
  std::string service;
  std::uint32_t weight = 1;
};

struct RouteConfig {
  std::string name;  // the user's, or "route-N" by position
  Matcher match;
  // Exactly one of: targets (one or, for a split, several), respond.
  std::vector<SplitTarget> targets;
  std::optional<RespondConfig> respond;
  std::string policy;                         // empty: the service's, else the direction's built-in
  std::optional<std::string> rewrite_prefix;  // replaces match.path_prefix
  HeaderEdits request_headers;
  HeaderEdits response_headers;
  PolicyPlace place;
};

struct ListenerConfig {
  std::string name;
  Direction direction = Direction::outbound;
  Address listen;
  ListenerLimits limits;
  ListenerTimeouts timeouts;
  bool half_close = false;
  std::optional<ListenerTlsConfig> tls;  // absent: clear text
  std::vector<RouteConfig> routes;
  PolicyPlace place;
};

struct PolicyChoice {
  enum class By : std::uint8_t { route, service, direction };
  const PolicySpec* policy = nullptr;
  By by = By::direction;
};

struct Config {
  std::uint32_t workers = 0;  // 0: auto
  AdminConfig admin;
  LogConfig log;
  std::optional<AccessLogConfig> access_log;
  Duration drain_timeout = std::chrono::seconds(25);
  MetricsConfig metrics;
  ResolverOptions resolver;
  std::vector<ListenerConfig> listeners;
  std::map<std::string, ServiceConfig> services;
  std::map<std::string, std::shared_ptr<const PolicySpec>> policies;  // default-outbound and default-inbound always among them
  std::map<std::string, std::string> substituted;                     // texts that came from elsewhere, and from where: "${env:NAME}"
  std::shared_ptr<const void> files;                                  // keeps the file names alive that PolicyPlace points at

  // The policy of a request by the rule of the contract: the route's, else the service's, else the direction's built-in.
  PolicyChoice choose_policy(const ListenerConfig& listener, const RouteConfig& route, const std::string& service) const;
  const PolicySpec& policy_for(const ListenerConfig& listener, const RouteConfig& route, const std::string& service) const {
    return *choose_policy(listener, route, service).policy;
  }
};

}  // namespace weir
