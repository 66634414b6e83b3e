#include "config/schema/lint.h"
#include "config/schema/sections.h"
#include "config/schema/types.h"

namespace weir {
namespace {

using config::duration;
using config::integer;
using config::object;
using config::Reader;
using config::Section;
using config::Value;

const Section<ListenerLimits>& listener_limits_section() {
  static const Section<ListenerLimits> section =
      Section<ListenerLimits>("limits", "What clients may ask of the listener.")
          .field("connections", &ListenerLimits::connections, integer(1, 1'000'000),
                 "Open connections of clients.")
          .field("header_bytes", &ListenerLimits::header_bytes, config::size(1024, 1024 * 1024),
                 "A request's line and fields together.")
          .field("headers", &ListenerLimits::headers, integer(1, 1000), "Fields of a request.");
  return section;
}

const Section<ListenerTimeouts>& listener_timeouts_section() {
  static const Section<ListenerTimeouts> section =
      Section<ListenerTimeouts>("timeouts", "How long slow or silent clients are borne with.")
          .field("request_headers", &ListenerTimeouts::request_headers, duration(10ms, 1h),
                 "From the first byte of a request to the end of its fields.")
          .field("idle", &ListenerTimeouts::idle, duration(10ms, 24h), "Between requests of a connection.");
  return section;
}

const Section<HeaderEdits>& header_edits_section() {
  static const Section<HeaderEdits> section =
      Section<HeaderEdits>("headers", "Fields that are set and removed.")
          .field("set", &HeaderEdits::set, config::map_of(edited_header_name(), config::header_value()),
                 "Set, in place of any of that name.")
          .absent()
          .example("{ x-route: charge }")
          .field("remove", &HeaderEdits::remove, config::list_of(edited_header_name()),
                 "Removed, before any is set.")
          .absent()
          .example("[x-debug]");
  return section;
}

const Section<RespondConfig>& respond_section() {
  static const Section<RespondConfig> section =
      Section<RespondConfig>("respond", "An answer of weir's own.")
          .field("status", &RespondConfig::status, integer(200, 599), "Its status.")
          .field("body", &RespondConfig::body, config::text(), "Its body.")
          .absent()
          .example("\"hello\\n\"")
          .field("headers", &RespondConfig::headers,
                 config::map_of(edited_header_name(), config::header_value()), "Its fields.")
          .absent()
          .example("{ content-type: text/plain }");
  return section;
}

const Section<SplitTarget>& split_section() {
  static const Section<SplitTarget> section =
      Section<SplitTarget>("split", "One of the services that share a route's requests.")
          .field("service", &SplitTarget::service, config::reference("service"), "Its name.")
          .required()
          .example("payments")
          .field("weight", &SplitTarget::weight, integer(0, 10'000),
                 "Its share, beside the weights of the others; 0: none.");
  return section;
}

struct Rewrite {
  std::string path_prefix;
};

const Section<Rewrite>& rewrite_section() {
  static const Section<Rewrite> section =
      Section<Rewrite>("rewrite", "What the path becomes before it is sent on.")
          .field("path_prefix", &Rewrite::path_prefix, config::url_path(), "In place of match.path_prefix.")
          .required()
          .example("/");
  return section;
}

bool check_route(const RouteConfig& route, const Value& value, Reader& reader) {
  int answers = 0;
  for (const char* key : {"service", "split", "respond"}) answers += value.find(key) != nullptr ? 1 : 0;
  if (answers != 1) {
    reader.error(value.place, concat("expected one of service, split and respond, got ",
                                     answers == 0 ? "none" : "several"));
    return false;
  }
  std::uint64_t weights = 0;
  for (const SplitTarget& target : route.targets) weights += target.weight;
  if (!route.targets.empty() && weights == 0) {
    reader.error(value.find("split") == nullptr ? value.place : value.find("split")->value.place,
                 "the weights are all 0");
    return false;
  }
  if (route.rewrite_prefix && route.match.path_prefix.empty()) {
    reader.error(value.find("rewrite")->place, "rewrite.path_prefix needs a match.path_prefix to replace");
    return false;
  }
  return true;
}

Section<RouteConfig> make_route_section() {
  using Targets = std::vector<SplitTarget>;
  return Section<RouteConfig>(
             "route",
             "Which requests go where. The first route that matches wins; without one the answer is 404.")
      .on_read([](RouteConfig& route, const Value& value, Reader& reader) {
        route.place = policy_place(reader, value.place);
      })
      .field("name", &RouteConfig::name, config::name(),
             "For logs and metrics; by default route-1, route-2 and so on, by position.")
      .absent()
      .example("charge")
      .field("match", &RouteConfig::match, object(matcher_section()), "Which requests; without it, all.")
      .absent()
      .example("{ hosts: [payments.local], path_prefix: /v1/ }")
      .projected<std::string>(
          "service",
          [](const RouteConfig& route) {
            return route.targets.size() == 1 ? std::optional(route.targets[0].service) : std::nullopt;
          },
          [](RouteConfig& route, std::string service) {
            route.targets = {SplitTarget{std::move(service), 1}};
          },
          config::reference("service"), "The service that answers.")
      .example("payments")
      .projected<Targets>(
          "split",
          [](const RouteConfig& route) {
            return route.targets.size() > 1 ? std::optional(route.targets) : std::nullopt;
          },
          [](RouteConfig& route, Targets targets) { route.targets = std::move(targets); },
          config::list_of(object(split_section()), 1, 100), "Several services, by weight.")
      .example("[{ service: payments, weight: 95 }, { service: payments-next, weight: 5 }]")
      .field("respond", &RouteConfig::respond, object(respond_section()),
             "An answer of weir's own, without a service.")
      .example("{ status: 200, body: \"hello\\n\" }")
      .field("policy", &RouteConfig::policy, config::reference("policy"), "In place of the service's.")
      .absent()
      .example("careful")
      .projected<Rewrite>(
          "rewrite",
          [](const RouteConfig& route) {
            return route.rewrite_prefix ? std::optional(Rewrite{*route.rewrite_prefix}) : std::nullopt;
          },
          [](RouteConfig& route, Rewrite rewrite) { route.rewrite_prefix = std::move(rewrite.path_prefix); },
          object(rewrite_section()), "What the path becomes.")
      .example("{ path_prefix: / }")
      .field("request_headers", &RouteConfig::request_headers, object(header_edits_section()),
             "Edits of the request.")
      .absent()
      .example("{ set: { x-route: charge }, remove: [x-debug] }")
      .field("response_headers", &RouteConfig::response_headers, object(header_edits_section()),
             "Edits of the answer.")
      .absent()
      .example("{ remove: [server] }")
      .check(check_route);
}

Section<ListenerConfig> make_listener_section() {
  return Section<ListenerConfig>("listener", "Where clients connect.")
      .on_read([](ListenerConfig& listener, const Value& value, Reader& reader) {
        listener.place = policy_place(reader, value.place);
      })
      .field("name", &ListenerConfig::name, config::name(), "For logs and metrics.")
      .required()
      .example("outbound")
      .field("direction", &ListenerConfig::direction,
             config::enumeration<Direction>(
                 {{"outbound", Direction::outbound}, {"inbound", Direction::inbound}}),
             "outbound: calls that the service makes; inbound: calls that it receives. Decides defaults, "
             "drain and trust.")
      .required()
      .example("outbound")
      .field("listen", &ListenerConfig::listen, listen_address(),
             "Its address; port 0 lets the system choose one.")
      .required()
      .example("127.0.0.1:15001")
      .field("limits", &ListenerConfig::limits, object(listener_limits_section()), "What clients may ask.")
      .field("timeouts", &ListenerConfig::timeouts, object(listener_timeouts_section()),
             "How long slow clients are borne with.")
      .field("half_close", &ListenerConfig::half_close,
             config::enumeration<bool>({{"refuse", false}, {"allow", true}}),
             "allow: a client that closes its sending side while it waits still gets its answer; refuse: it "
             "is gone.")
      .field("routes", &ListenerConfig::routes, config::list_of(object(route_section()), 1),
             "The first that matches wins.")
      .required()
      .example("[{ service: payments }]")
      .check([](const ListenerConfig& listener, const Value& value, Reader& reader) {
        lint_routes(listener.routes, value.find("routes")->value, reader);
        return true;
      });
}

}  // namespace

const Section<RouteConfig>& route_section() {
  static const Section<RouteConfig> section = make_route_section();
  return section;
}

const Section<ListenerConfig>& listener_section() {
  static const Section<ListenerConfig> section = make_listener_section();
  return section;
}

}  // namespace weir
