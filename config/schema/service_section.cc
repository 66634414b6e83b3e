#include <cmath>

#include "config/schema/lint.h"
#include "config/schema/sections.h"
#include "config/schema/types.h"
#include "proxy/chain/causes_type.h"
#include "proxy/http/framing_rules.h"

namespace weir {
namespace {

using config::duration;
using config::integer;
using config::object;
using config::Reader;
using config::Section;
using config::Value;

constexpr std::int64_t kMany = 1'000'000;

const Section<KeepAliveConfig>& keep_alive_section() {
  static const Section<KeepAliveConfig> section =
      Section<KeepAliveConfig>("keep_alive", "Idle connections to the endpoints, kept for the next request.")
          .field("idle", &KeepAliveConfig::idle, duration(0s, 24h),
                 "How long one is kept; shorter than the server's own limit. 0s: none is kept. With protocol http2 it is 5m unless given.")
          .field("max_requests", &KeepAliveConfig::max_requests, integer(0, kMany * 1000), "Requests on one connection; 0: no cap.")
          .example("10000")
          .field("max_age", &KeepAliveConfig::max_age, duration(0s), "Age at which one is replaced; 0s: no cap.")
          .example("1h");
  return section;
}

const Section<Http2Config>& http2_section() {
  static const Section<Http2Config> section =
      Section<Http2Config>("http2", "Connections to the endpoints that carry many requests: with protocol http2.")
          .field("max_streams", &Http2Config::max_streams, integer(1, 10'000),
                 "Requests at once on one connection, if the endpoint allows as many; beyond it another one is opened.")
          .field("ping_interval", &Http2Config::ping_interval, duration(0s, 24h),
                 "While requests are open and nothing has come for so long, a PING asks whether the connection lives; and again only when "
                 "something else has come since, or after 5m: servers of gRPC take offense at more. 0s: never.")
          .field("ping_timeout", &Http2Config::ping_timeout, duration(1ms, 1h),
                 "Without any answer to a PING for so long, the connection is lost, and its requests with it.");
  return section;
}

const Section<ServiceLimits>& service_limits_section() {
  static const Section<ServiceLimits> section =
      Section<ServiceLimits>("limits", "Host-wide limits of the service, exact whatever the number of workers.")
          .field("connections", &ServiceLimits::connections, integer(1, kMany), "Open connections to all its endpoints.")
          .field("pending", &ServiceLimits::pending, integer(1, kMany), "Requests that wait for a connection.")
          .field("requests", &ServiceLimits::requests, integer(0, kMany), "Requests in flight; 0: no limit of its own.")
          .example("1024")
          .field("mode", &ServiceLimits::mode, filter_mode(), "Whether they refuse, or only count what they would refuse.");
  return section;
}

const Section<RetryBudgetConfig>& retry_budget_section() {
  static const Section<RetryBudgetConfig> section =
      Section<RetryBudgetConfig>("retry_budget", "How many extra tries the service may be given, by all its policies together.")
          .field("ratio", &RetryBudgetConfig::ratio, share(), "Extra tries, as a share of the requests in the window.")
          .field("min_rate", &RetryBudgetConfig::min_rate_per_second, per_second(), "Extra tries that are always allowed.")
          .field("window", &RetryBudgetConfig::window, duration(1s, 10min), "Over which requests are counted.");
  return section;
}

struct EjectFor {
  Duration base = 5s;
  Duration max = 60s;
};

const Section<EjectFor>& eject_for_section() {
  static const Section<EjectFor> section =
      Section<EjectFor>("eject_for", "How long an endpoint is left out.")
          .field("base", &EjectFor::base, duration(1ms, 24h), "The first time; longer for each further ejection.")
          .field("max", &EjectFor::max, duration(1ms, 24h), "Never longer.")
          .check([](const EjectFor& times, const Value& value, Reader& reader) {
            if (times.base <= times.max) return true;
            reader.error(value.place, concat("base (", format_duration(times.base), ") is above max (", format_duration(times.max), ")"));
            return false;
          });
  return section;
}

OutlierConfig outlier_defaults() {
  OutlierConfig defaults;
  defaults.causes = causes_of({"connect_failure"});
  return defaults;
}

const Section<OutlierLatency>& outlier_latency_section() {
  static const Section<OutlierLatency> section =
      Section<OutlierLatency>("latency", "Ejects an endpoint whose median time to the response head is far above that of the others.")
          .field("times_median_of_others", &OutlierLatency::times_median_of_others, integer(2, 1000),
                 "How many times the median of the others' medians.")
          .field("min_latency", &OutlierLatency::min_latency, duration(1ms, 1h), "Faster than this, nobody is slow.")
          .field("min_calls", &OutlierLatency::min_calls, integer(1, kMany), "In the window, of each endpoint that is compared.");
  return section;
}

const Section<OutlierConfig>& outlier_section() {
  static const Section<OutlierConfig> section =
      Section<OutlierConfig>("outlier_detection", "Leaves endpoints out that fail while others do not.", outlier_defaults())
          .field("causes", &OutlierConfig::causes, causes_type(), "What counts as a failure of an endpoint.")
          .field("consecutive_failures", &OutlierConfig::consecutive_failures, integer(1, 1000), "Failures in a row that eject it.")
          .field("failure_ratio", &OutlierConfig::failure_ratio, config::ratio(Ratio{1}),
                 "Share of its calls in the window that failed, which ejects it.")
          .absent()
          .example("50%")
          .field("min_calls", &OutlierConfig::min_calls, integer(1, kMany), "Calls in the window before the ratio counts.")
          .field("window", &OutlierConfig::window, duration(1s, 10min), "Over which calls are counted, for ratio and latency.")
          .field("latency", &OutlierConfig::latency, object(outlier_latency_section()),
                 "Ejects an endpoint that is far slower than the others.")
          .absent()
          .example("{ times_median_of_others: 5, min_latency: 50ms, min_calls: 50 }")
          .projected<EjectFor>(
              "eject_for",
              [](const OutlierConfig& config) {
                return EjectFor{config.eject_base, config.eject_max};
              },
              [](OutlierConfig& config, EjectFor times) {
                config.eject_base = times.base;
                config.eject_max = times.max;
              },
              object(eject_for_section()), "How long it is left out.")
          .field("max_ejected", &OutlierConfig::max_ejected, share(),
                 "Share of the endpoints that may be out at once; of two or more, one always may, the last "
                 "never.")
          .field("mode", &OutlierConfig::mode, filter_mode(), "Whether it ejects, or only counts what it would eject.");
  return section;
}

const Section<HttpCheck>& http_check_section() {
  static const Section<HttpCheck> section =
      Section<HttpCheck>("http", "Checks by a GET, on a connection of its own.")
          .field("path", &HttpCheck::path, config::url_path(), "What is asked for.")
          .field("host", &HttpCheck::host, config::header_value(), "The Host; without it, the service's, or the endpoint's address.")
          .absent()
          .example("payments.local")
          .field("expected_statuses", &HttpCheck::expected_statuses, status_ranges(), "What a healthy endpoint answers.");
  return section;
}

const Section<GrpcCheck>& grpc_check_section() {
  static const Section<GrpcCheck> section =
      Section<GrpcCheck>("grpc", "Checks by grpc.health.v1.Health/Check, on a connection of its own; only SERVING is healthy.")
          .field("service", &GrpcCheck::service, config::text(),
                 "Which of the server's services is asked for; without it, the server as a whole.")
          .absent()
          .example("shop.Cart")
          .field("host", &GrpcCheck::host, config::header_value(),
                 "The authority; without it, the service's host, or the endpoint's address.")
          .absent()
          .example("payments.local");
  return section;
}

const Section<TcpCheck>& tcp_check_section() {
  static const Section<TcpCheck> section = Section<TcpCheck>("tcp", "Checks that a connection is accepted; written as `tcp: {}`.");
  return section;
}

const Section<HealthCheckConfig>& health_check_section() {
  using Config = HealthCheckConfig;
  static const Section<Config> section =
      Section<Config>("health_check",
                      "Asks every endpoint, once for the whole host, whether it is well; exactly one of http, grpc and tcp.")
          .field("http", &Config::http, object(http_check_section()), "By a GET.")
          .absent()
          .example("{ path: /healthz, expected_statuses: [200] }")
          .field("grpc", &Config::grpc, object(grpc_check_section()), "By gRPC's health protocol; for services of protocol http2.")
          .absent()
          .example("{ service: shop.Cart }")
          .field("tcp", &Config::tcp, object(tcp_check_section()), "By a connection.")
          .absent()
          .example("{}")
          .field("interval", &Config::interval, duration(100ms, 1h), "From one check to the next, give or take a tenth.")
          .field("fast_interval", &Config::fast_interval, duration(0s, 1h),
                 "The same while the state is not known, is about to change, or an ejected endpoint waits to return; 0s: a quarter of the "
                 "interval.")
          .field("timeout", &Config::timeout, duration(1ms, 10min), "For connection and answer; then the check has failed.")
          .field("healthy_after", &Config::healthy_after, integer(1, 1000),
                 "Checks passed in a row that make an unhealthy endpoint healthy.")
          .field("unhealthy_after", &Config::unhealthy_after, integer(1, 1000), "Checks failed in a row that make it unhealthy.")
          .field("mode", &Config::mode, filter_mode(), "Whether unhealthy endpoints are left out, or are only shown as such.")
          .check([](const Config& check, const Value& value, Reader& reader) {
            const int ways = int{check.http.has_value()} + int{check.grpc.has_value()} + int{check.tcp.has_value()};
            if (ways == 1) {
              if (check.fast_interval <= check.interval) return true;
              reader.error(value.place, concat("fast_interval (", format_duration(check.fast_interval), ") is above interval (",
                                               format_duration(check.interval), ")"));
              return false;
            }
            reader.error(value.place, ways > 1 ? "one of http, grpc and tcp, not several" : "how to check is missing: http, grpc or tcp");
            return false;
          });
  return section;
}

const Section<DnsConfig>& dns_section() {
  using config::enumeration;
  static const Section<DnsConfig> section =
      Section<DnsConfig>("dns", "How names are resolved, and how long answers are believed.")
          .field("min_ttl", &DnsConfig::min_ttl, duration(100ms, 24h), "Never asked more often.")
          .field("max_ttl", &DnsConfig::max_ttl, duration(100ms, 24h), "Never believed for longer.")
          .field("addresses", &DnsConfig::addresses,
                 enumeration<AddressFamilies>(
                     {{"both", AddressFamilies::both}, {"ipv4", AddressFamilies::ipv4}, {"ipv6", AddressFamilies::ipv6}}),
                 "Which addresses of a name are endpoints.")
          .check([](const DnsConfig& dns, const Value& value, Reader& reader) {
            if (dns.min_ttl <= dns.max_ttl) return true;
            reader.error(value.place, "min_ttl is above max_ttl");
            return false;
          });
  return section;
}

const Section<ServiceTlsConfig>& service_tls_section() {
  using Tls = ServiceTlsConfig;
  static const Section<Tls> section =
      Section<Tls>("tls", "TLS towards the endpoints, whose certificates are always verified. Files are read again when they change.")
          .field("ca", &Tls::ca, file_path(), "The authorities whose certificates are accepted, PEM; without it, the system's.")
          .absent()
          .example("/etc/weir/tls/ca.crt")
          .field("certificate", &Tls::certificate, file_path(), "mTLS: the certificate to show, PEM.")
          .absent()
          .example("/etc/weir/tls/client.crt")
          .field("key", &Tls::key, file_path(), "mTLS: its private key, PEM, not encrypted.")
          .absent()
          .example("/etc/weir/tls/client.key")
          .field("server_name", &Tls::server_name, server_name(),
                 "The name that is asked for (SNI), and that the certificate must have; without it the service's host, else the name of "
                 "the dns: "
                 "endpoints, else their address.")
          .absent()
          .example("payments.local")
          .field("allow_names", &Tls::allow_names, config::list_of(allowed_name()),
                 "Instead: the certificate must have one of these: a URI, whose last * stands for any rest, or a DNS name, whose first "
                 "label may "
                 "be *.")
          .absent()
          .example("[\"spiffe://cluster.local/ns/shop/sa/payments\"]")
          .field("min_version", &Tls::min_version, tls_version(), "The oldest version that is spoken.")
          .check([](const Tls& tls, const Value& value, Reader& reader) {
            if (tls.certificate.empty() == tls.key.empty()) return true;
            reader.error(value.place, tls.key.empty() ? "key is missing" : "certificate is missing");
            return false;
          });
  return section;
}

config::Type<HashKeyPart> hash_key_part() {
  config::Description description;
  description.json = config::Description::Json::string;
  description.form = "header:NAME, cookie:NAME, query:NAME, client_address or path";
  description.pattern = "^((header|cookie|query):.+|client_address|path)$";
  return config::scalar<HashKeyPart>(
      std::move(description), [](std::string_view text) { return parse_hash_key_part(text); },
      [](const HashKeyPart& part) { return Value::string(to_text(part)); });
}

config::Type<std::string> host_and_port() {
  config::Description description;
  description.json = config::Description::Json::string;
  description.form = "a host name or address, with a port where it is told";
  description.pattern = "^[^/@\\s]+$";
  return config::scalar<std::string>(
      std::move(description),
      [](std::string_view text) -> Result<std::string> {
        if (check_host(text) == nullptr) return std::string(text);
        return Error{concat("expected a host, or host:port, got ", text), 0};
      },
      [](const std::string& host) { return Value::string(host); });
}

config::Type<double> max_load() {
  constexpr std::int64_t kLeast = 101;
  constexpr std::int64_t kMost = 10'000;
  config::Description description;
  description.json = config::Description::Json::string;
  description.form = "101% to 10000%, or unbounded";
  description.pattern = "^([0-9]+%|unbounded)$";
  return config::scalar<double>(
      std::move(description),
      [](std::string_view text) -> Result<double> {
        if (text == "unbounded") return kUnboundedLoad;
        if (text.ends_with('%')) {
          const Result<std::int64_t> number = parse_integer(text.substr(0, text.size() - 1));
          if (number && *number >= kLeast && *number <= kMost) return static_cast<double>(*number) / 100;
        }
        return Error{concat("expected 101% to 10000%, or unbounded, got ", text), 0};
      },
      [](const double& value) {
        return Value::string(value == kUnboundedLoad ? std::string("unbounded") : concat(std::llround(value * 100), "%"));
      });
}

ServiceConfig service_defaults() {
  ServiceConfig defaults;
  defaults.outlier_detection = outlier_defaults();
  return defaults;
}

Section<ServiceConfig> make_service_section() {
  using config::enumeration;
  return Section<ServiceConfig>("service", "What is called: its endpoints, and what holds for all policies that call it.",
                                service_defaults())
      .on_read([](ServiceConfig& service, const Value& value, Reader&) {
        const Value::Member* protocol = value.find("protocol");
        if (protocol != nullptr && protocol->value.text == "http2") service.keep_alive.idle = kHttp2Idle;
      })
      .field("endpoints", &ServiceConfig::endpoints, config::list_of(endpoint(), 1),
             "host:port, unix:/path, dns:host:port (every address of the name), srv:name (the targets of its SRV records), file:/path (a "
             "YAML list of the same forms, watched), or { address:, weight: }.")
      .required()
      .example("[127.0.0.1:9001, { address: 127.0.0.1:9002, weight: 2 }]")
      .field("protocol", &ServiceConfig::protocol, enumeration<Protocol>({{"http1", Protocol::http1}, {"http2", Protocol::http2}}),
             "What its endpoints speak: HTTP/1.1, or HTTP/2 from the first byte on, whatever the client speaks.")
      .field("host", &ServiceConfig::host, host_and_port(),
             "What the endpoints are told as Host or :authority, instead of what the client said; health checks use it too.")
      .absent()
      .example("payments.local")
      .field("http2", &ServiceConfig::http2, object(http2_section()), "Connections that carry many requests.")
      .field(
          "balance", &ServiceConfig::balance,
          enumeration<Balance>({{"round_robin", Balance::round_robin},
                                {"least_request", Balance::least_request},
                                {"peak_ewma", Balance::peak_ewma},
                                {"random", Balance::random},
                                {"ring_hash", Balance::ring_hash},
                                {"maglev", Balance::maglev}}),
          "How an endpoint is chosen: in turn; the better of two chosen by chance, which is the less busy or (peak_ewma) the one with less "
          "to wait, failed tries counted as 5s; by chance; or by a hash of the request.")
      .field("hash_key", &ServiceConfig::hash_key, config::list_of(hash_key_part(), 0, 8),
             "What ring_hash and maglev hash, all parts together; without it the request's id. Who has none of it goes by chance.")
      .absent()
      .example("[header:x-user]")
      .field("hash_max_load", &ServiceConfig::hash_max_load, max_load(),
             "Of an endpoint under ring_hash and maglev, by the average of requests in flight: above it the next on the circle is taken.")
      .field("slow_start", &ServiceConfig::slow_start, duration(0s, 24h),
             "How long an endpoint that joins others, or is back from an ejection, takes to get its whole weight: it grows evenly, from a "
             "tenth. Not with ring_hash and maglev. 0s: at once.")
      .example("30s")
      .field("policy", &ServiceConfig::policy, config::reference("policy"),
             "For routes that name none; without it, the built-in default of the listener's direction.")
      .absent()
      .example("careful")
      .field("connect_timeout", &ServiceConfig::connect_timeout, duration(1ms, 10min),
             "For one connection; the default survives one lost SYN.")
      .field("pending_timeout", &ServiceConfig::pending_timeout, duration(1ms, 10min), "How long a request may wait for a connection.")
      .field("keep_alive", &ServiceConfig::keep_alive, object(keep_alive_section()), "Idle connections.")
      .field("limits", &ServiceConfig::limits, object(service_limits_section()), "Host-wide limits.")
      .field("retry_budget", &ServiceConfig::retry_budget, object(retry_budget_section()), "Extra tries.")
      .field("outlier_detection", &ServiceConfig::outlier_detection, object(outlier_section()), "Ejection of endpoints.")
      .field("health_check", &ServiceConfig::health_check, object(health_check_section()), "Active checks of the endpoints.")
      .absent()
      .example("{ http: { path: /healthz }, interval: 5s, timeout: 1s }")
      .field("dns", &ServiceConfig::dns, object(dns_section()), "For dns: and srv: endpoints.")
      .field("tls", &ServiceConfig::tls, object(service_tls_section()), "TLS; without it, clear text.")
      .absent()
      .example("{ ca: /etc/weir/tls/ca.crt, server_name: payments.local }")
      .field("panic_below", &ServiceConfig::panic_below, share(), "Share of usable endpoints below which all are used again.")
      .field("annotations", &ServiceConfig::annotations, config::map_of(config::name(), config::text()),
             "Words of your own, shown on the pages.")
      .absent()
      .example("{ owner: team-payments }")
      .check([](const ServiceConfig& service, const Value& value, Reader& reader) {
        const Value::Member* outliers = value.find("outlier_detection");
        if (outliers != nullptr) lint_outliers(service, outliers->value, reader);
        if (service.health_check && service.health_check->grpc && service.protocol != Protocol::http2) {
          reader.error(value.find("health_check")->value.place, "gRPC is spoken over HTTP/2: this check needs protocol: http2");
          return false;
        }
        lint_balance(service, value, reader);
        lint_protocol(service, value, reader);
        return true;
      });
}

}  // namespace

const Section<ServiceConfig>& service_section() {
  static const Section<ServiceConfig> section = make_service_section();
  return section;
}

}  // namespace weir
