#include "config/schema/lint.h"
#include "config/schema/sections.h"
#include "config/schema/types.h"

namespace weir {
namespace {

using config::duration;
using config::enumeration;
using config::integer;
using config::object;
using config::Reader;
using config::Section;
using config::Type;
using config::Value;

const Section<AdminConfig>& admin_section() {
  static const Section<AdminConfig> section = Section<AdminConfig>("admin", "Where operators look and change things.")
                                                  .field("listen", &AdminConfig::listen, private_address(),
                                                         "Everything, changes included: a unix socket (mode 0600) or a loopback address.")
                                                  .example("unix:/run/weir/admin.sock")
                                                  .field("read_only_listen", &AdminConfig::read_only_listen, listen_address(),
                                                         "/metrics, /healthz, /readyz and the pages; GET only.")
                                                  .example("127.0.0.1:9901");
  return section;
}

const Section<LogConfig>& log_section() {
  static const Section<LogConfig> section =
      Section<LogConfig>("log", "weir's own log, on standard error.")
          .field("level", &LogConfig::level,
                 enumeration<std::string>({{"debug", "debug"}, {"info", "info"}, {"warning", "warning"}, {"error", "error"}}),
                 "The least that is logged.")
          .field("format", &LogConfig::json, enumeration<bool>({{"text", false}, {"json", true}}), "For people or for machines.");
  return section;
}

const Section<AccessLogWhen>& access_log_when_section() {
  static const Section<AccessLogWhen> section =
      Section<AccessLogWhen>("when", "Exchanges that are always written.")
          .field("statuses", &AccessLogWhen::statuses, status_ranges(),
                 "Answers with these statuses; a failed gRPC call counts as what its status is in HTTP: unavailable as 503, "
                 "deadline_exceeded as 504, resource_exhausted as 429.")
          .absent()
          .example("[5xx]")
          .field("slower_than", &AccessLogWhen::slower_than, duration(), "Exchanges that took longer.")
          .example("1s")
          .field("decided", &AccessLogWhen::decided, config::boolean(),
                 "Exchanges that weir retried, rejected or answered, or would have.");
  return section;
}

const Section<AccessLogConfig>& access_log_section() {
  static const Section<AccessLogConfig> section =
      Section<AccessLogConfig>("access_log", "One line an exchange; without this block none is written.")
          .field("path", &AccessLogConfig::path, file_path(), "A file, or /dev/stdout.")
          .required()
          .example("/var/log/weir/access.log")
          .field("format", &AccessLogConfig::json, enumeration<bool>({{"json", true}}), "How a line is written.")
          .field("when", &AccessLogConfig::when, object(access_log_when_section()), "Always these.")
          .absent()
          .example("{ statuses: [5xx], slower_than: 1s, decided: true }")
          .field("sample", &AccessLogConfig::sample, share(), "And this share of the rest.");
  return section;
}

const Section<MetricsConfig>& metrics_section() {
  static const Section<MetricsConfig> section =
      Section<MetricsConfig>("metrics", "What /metrics shows.")
          .field("endpoint_labels", &MetricsConfig::endpoint_labels, config::boolean(), "Series for each endpoint too.")
          .field("max_series", &MetricsConfig::max_series, integer(100, 1'000'000),
                 "Series beyond are counted in one that is called overflow.");
  return section;
}

const Section<ResolverOptions>& resolver_section() {
  static const Section<ResolverOptions> section =
      Section<ResolverOptions>("resolver", "Who is asked for names. /etc/hosts comes first, always.")
          .field("servers", &ResolverOptions::servers, config::list_of(name_server(), 1, 16), "Instead of those that resolv_conf names.")
          .absent()
          .example("[10.0.0.10:53]")
          .field("resolv_conf", &ResolverOptions::resolv_conf, file_path(), "Read afresh for each lookup, instead of /etc/resolv.conf.")
          .absent()
          .example("/run/systemd/resolve/resolv.conf")
          .field("port", &ResolverOptions::port, integer(1, 65'535), "Of the servers that resolv_conf names.")
          .field("timeout", &ResolverOptions::timeout, duration(10ms, 30s), "Of one query to one server; doubles with each try.")
          .field("tries", &ResolverOptions::tries, integer(1, 10), "Of each server.");
  return section;
}

struct Drain {
  Duration timeout = 25s;
};

const Section<Drain>& drain_section() {
  static const Section<Drain> section =
      Section<Drain>("drain", "How weir ends.")
          .field("timeout", &Drain::timeout, duration(0s, 24h), "From SIGTERM until what still runs is cut off.");
  return section;
}

Type<std::uint32_t> workers_type() {
  static constexpr std::int64_t kMost = 64;
  config::Description description;
  description.json = config::Description::Json::string;
  description.form = "auto, or 1 to 64";
  description.pattern = "^auto$";
  description.minimum = 1;
  description.maximum = kMost;
  return config::scalar<std::uint32_t>(
      description,
      [](std::string_view text) -> Result<std::uint32_t> {
        if (text == "auto") return std::uint32_t{0};
        const Result<std::int64_t> number = parse_integer(text);
        if (!number || *number < 1 || *number > kMost) return Error{concat("expected auto or 1 to ", kMost, ", got ", text)};
        return static_cast<std::uint32_t>(*number);
      },
      [](const std::uint32_t& workers) { return Value::plain(workers == 0 ? "auto" : concat(workers)); });
}

// The second of two listeners that share a name or an address. From the tree, so that it is said even of a
// listener that is wrong otherwise.
void report_twins(const Value& list, Reader& reader, const char* key, bool addresses) {
  std::map<std::string, config::Place> seen;
  for (std::size_t i = 0; i < list.items.size(); ++i) {
    const Value::Member* member = list.items[i].find(key);
    if (member == nullptr || !member->value.is(Value::Kind::scalar)) continue;
    std::string text = member->value.text;
    if (addresses) {
      const Result<Address> address = Address::parse(text);
      if (!address || (text.ends_with(":0") && address->family() != Address::Family::unix_path)) continue;  // port 0 is a new one each time
      text = std::string(address.value().text());
    }
    const auto [first, fresh] = seen.emplace(text, member->value.place);
    if (fresh) continue;
    const auto item_scope = reader.enter(i);
    const auto scope = reader.enter(key);
    const std::string where = reader.files() == nullptr ? concat("line ", first->second.line) : reader.files()->print_line(first->second);
    reader.error(member->value.place, concat(member->value.shown(), " is taken, first at ", where));
  }
}

Type<std::vector<ListenerConfig>> listeners_type() {
  const Type<std::vector<ListenerConfig>> list = config::list_of(object(listener_section()));
  return Type<std::vector<ListenerConfig>>(
      list.describe(),
      [list](const Value& value, Reader& reader, std::vector<ListenerConfig>& out) {
        const std::size_t before = reader.errors();
        const bool good = list.read(value, reader, out);
        report_twins(value, reader, "name", false);
        report_twins(value, reader, "listen", true);
        return good && reader.errors() == before;
      },
      [list](const std::vector<ListenerConfig>& listeners) { return list.print(listeners); });
}

using Services = std::map<std::string, ServiceConfig>;

bool read_services(const Value& value, Reader& reader, const ServiceConfig& defaults, Services& out) {
  if (!reader.expect(value, Value::Kind::map, "a map of services")) return false;
  bool good = true;
  for (const Value::Member& member : value.members) {
    const auto scope = reader.enter(member.key);
    Value key = Value::plain(member.key);
    key.place = member.place;
    ServiceConfig service = defaults;
    service.place = policy_place(reader, member.place);
    const bool name_good = config::name().read(key, reader, service.name);
    const bool fields_good = service_section().read(member.value, reader, service);
    good = good && name_good && fields_good;
    if (name_good && fields_good) out.emplace(member.key, std::move(service));
  }
  return good;
}

Type<Services> services_type(const ServiceConfig& defaults) {
  config::Description description;
  description.json = config::Description::Json::map;
  description.form = "map of names to services";
  description.parts = {object(service_section()).describe()};
  return Type<Services>(
      std::move(description),
      [defaults](const Value& value, Reader& reader, Services& out) { return read_services(value, reader, defaults, out); },
      [](const Services& services) {
        Value out = Value::map();
        for (const auto& [name, service] : services) out.add(name, service_section().print(service));
        return out;
      });
}

}  // namespace

Section<ConfigDraft> root_section(const FilterCatalog& catalog, const ServiceConfig& defaults) {
  using Drafts = std::vector<PolicyDraft>;
  return Section<ConfigDraft>("weir", "The whole file.")
      .field("version", &ConfigDraft::version, integer(1, 1), "Of the configuration language.")
      .required()
      .example("1")
      .field("workers", &ConfigDraft::workers, workers_type(),
             "Threads that carry traffic; auto: the CPUs that cgroup and affinity allow, at most 4.")
      .field("admin", &ConfigDraft::admin, object(admin_section()), "For operators.")
      .absent()
      .example("{ read_only_listen: 127.0.0.1:9901 }")
      .field("log", &ConfigDraft::log, object(log_section()), "weir's own log.")
      .field("access_log", &ConfigDraft::access_log, object(access_log_section()), "One line an exchange.")
      .example("{ path: /dev/stdout }")
      .projected<Drain>(
          "drain", [](const ConfigDraft& config) { return Drain{config.drain_timeout}; },
          [](ConfigDraft& config, Drain drain) { config.drain_timeout = drain.timeout; }, object(drain_section()), "How weir ends.")
      .field("metrics", &ConfigDraft::metrics, object(metrics_section()), "What /metrics shows.")
      .field("resolver", &ConfigDraft::resolver, object(resolver_section()), "Who is asked for names.")
      .field("listeners", &ConfigDraft::listeners, listeners_type(),
             "Where clients connect. Without any, the file validates but does not run.")
      .absent()
      .field("services", &ConfigDraft::services, services_type(defaults), "What is called, by name.")
      .absent()
      .projected<Drafts>(
          "policies",
          [](const ConfigDraft& config) {
            Drafts drafts;
            for (const auto& [name, policy] : config.policies) drafts.push_back(draft_of(*policy));
            return drafts;
          },
          [](ConfigDraft& config, Drafts drafts) { config.drafts = std::move(drafts); }, policies_type(catalog),
          "Lists of filters, by name.")
      .absent();
}

}  // namespace weir
