#include "config/schema/lint.h"
#include "config/schema/sections.h"
#include "config/schema/types.h"
#include "proxy/chain/causes_type.h"

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
                 "How long one is kept; shorter than the server's own limit. 0s: none is kept.")
          .field("max_requests", &KeepAliveConfig::max_requests, integer(0, kMany * 1000),
                 "Requests on one connection; 0: no cap.")
          .example("10000")
          .field("max_age", &KeepAliveConfig::max_age, duration(0s),
                 "Age at which one is replaced; 0s: no cap.")
          .example("1h");
  return section;
}

const Section<ServiceLimits>& service_limits_section() {
  static const Section<ServiceLimits> section =
      Section<ServiceLimits>("limits",
                             "Host-wide limits of the service, exact whatever the number of workers.")
          .field("connections", &ServiceLimits::connections, integer(1, kMany),
                 "Open connections to all its endpoints.")
          .field("pending", &ServiceLimits::pending, integer(1, kMany),
                 "Requests that wait for a connection.")
          .field("requests", &ServiceLimits::requests, integer(0, kMany),
                 "Requests in flight; 0: no limit of its own.")
          .example("1024")
          .field("mode", &ServiceLimits::mode, filter_mode(),
                 "Whether they refuse, or only count what they would refuse.");
  return section;
}

const Section<RetryBudgetConfig>& retry_budget_section() {
  static const Section<RetryBudgetConfig> section =
      Section<RetryBudgetConfig>(
          "retry_budget", "How many extra tries the service may be given, by all its policies together.")
          .field("ratio", &RetryBudgetConfig::ratio, share(),
                 "Extra tries, as a share of the requests in the window.")
          .field("min_rate", &RetryBudgetConfig::min_rate_per_second, per_second(),
                 "Extra tries that are always allowed.")
          .field("window", &RetryBudgetConfig::window, duration(1s, 10min),
                 "Over which requests are counted.");
  return section;
}

struct EjectFor {
  Duration base = 5s;
  Duration max = 60s;
};

const Section<EjectFor>& eject_for_section() {
  static const Section<EjectFor> section =
      Section<EjectFor>("eject_for", "How long an endpoint is left out.")
          .field("base", &EjectFor::base, duration(1ms, 24h),
                 "The first time; longer for each further ejection.")
          .field("max", &EjectFor::max, duration(1ms, 24h), "Never longer.")
          .check([](const EjectFor& times, const Value& value, Reader& reader) {
            if (times.base <= times.max) return true;
            reader.error(value.place, concat("base (", format_duration(times.base), ") is above max (",
                                             format_duration(times.max), ")"));
            return false;
          });
  return section;
}

OutlierConfig outlier_defaults() {
  OutlierConfig defaults;
  defaults.causes = causes_of({"connect_failure"});
  return defaults;
}

const Section<OutlierConfig>& outlier_section() {
  static const Section<OutlierConfig> section =
      Section<OutlierConfig>("outlier_detection", "Leaves endpoints out that fail while others do not.",
                             outlier_defaults())
          .field("causes", &OutlierConfig::causes, causes_type(), "What counts as a failure of an endpoint.")
          .field("consecutive_failures", &OutlierConfig::consecutive_failures, integer(1, 1000),
                 "Failures in a row that eject it.")
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
          .field("mode", &OutlierConfig::mode, filter_mode(),
                 "Whether it ejects, or only counts what it would eject.");
  return section;
}

const Section<DnsConfig>& dns_section() {
  static const Section<DnsConfig> section =
      Section<DnsConfig>("dns", "How long answers for dns: endpoints are believed.")
          .field("min_ttl", &DnsConfig::min_ttl, duration(100ms, 24h), "Never asked more often.")
          .field("max_ttl", &DnsConfig::max_ttl, duration(100ms, 24h), "Never believed for longer.")
          .check([](const DnsConfig& dns, const Value& value, Reader& reader) {
            if (dns.min_ttl <= dns.max_ttl) return true;
            reader.error(value.place, "min_ttl is above max_ttl");
            return false;
          });
  return section;
}

ServiceConfig service_defaults() {
  ServiceConfig defaults;
  defaults.outlier_detection = outlier_defaults();
  return defaults;
}

Section<ServiceConfig> make_service_section() {
  using config::enumeration;
  return Section<ServiceConfig>(
             "service", "What is called: its endpoints, and what holds for all policies that call it.",
             service_defaults())
      .field("endpoints", &ServiceConfig::endpoints, config::list_of(endpoint(), 1),
             "host:port, unix:/path, dns:host:port (every address of the name), or { address:, weight: }.")
      .required()
      .example("[127.0.0.1:9001, { address: 127.0.0.1:9002, weight: 2 }]")
      .field("protocol", &ServiceConfig::protocol, enumeration<Protocol>({{"http1", Protocol::http1}}),
             "What its endpoints speak.")
      .field("balance", &ServiceConfig::balance,
             enumeration<Balance>(
                 {{"round_robin", Balance::round_robin}, {"least_request", Balance::least_request}}),
             "How an endpoint is chosen: in turn, or the less busy of two chosen by chance.")
      .field("policy", &ServiceConfig::policy, config::reference("policy"),
             "For routes that name none; without it, the built-in default of the listener's direction.")
      .absent()
      .example("careful")
      .field("connect_timeout", &ServiceConfig::connect_timeout, duration(1ms, 10min),
             "For one connection; the default survives one lost SYN.")
      .field("pending_timeout", &ServiceConfig::pending_timeout, duration(1ms, 10min),
             "How long a request may wait for a connection.")
      .field("keep_alive", &ServiceConfig::keep_alive, object(keep_alive_section()), "Idle connections.")
      .field("limits", &ServiceConfig::limits, object(service_limits_section()), "Host-wide limits.")
      .field("retry_budget", &ServiceConfig::retry_budget, object(retry_budget_section()), "Extra tries.")
      .field("outlier_detection", &ServiceConfig::outlier_detection, object(outlier_section()),
             "Ejection of endpoints.")
      .field("dns", &ServiceConfig::dns, object(dns_section()), "For dns: endpoints.")
      .field("panic_below", &ServiceConfig::panic_below, share(),
             "Share of usable endpoints below which all are used again.")
      .field("annotations", &ServiceConfig::annotations, config::map_of(config::name(), config::text()),
             "Words of your own, shown on the pages.")
      .absent()
      .example("{ owner: team-payments }")
      .check([](const ServiceConfig& service, const Value& value, Reader& reader) {
        const Value::Member* outliers = value.find("outlier_detection");
        if (outliers != nullptr) lint_outliers(service, outliers->value, reader);
        return true;
      });
}

}  // namespace

const Section<ServiceConfig>& service_section() {
  static const Section<ServiceConfig> section = make_service_section();
  return section;
}

}  // namespace weir
