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
          .field("connections", &ListenerLimits::connections, integer(1, 1'000'000), "Open connections of clients.")
          .field("header_bytes", &ListenerLimits::header_bytes, config::size(1024, 1024 * 1024), "A request's line and fields together.")
          .field("headers", &ListenerLimits::headers, integer(1, 1000), "Fields of a request.")
          .field("streams", &ListenerLimits::streams, integer(1, 10'000), "HTTP/2: requests at once of one connection.")
          .field(
              "resets", &ListenerLimits::resets, config::rate(),
              "HTTP/2: how many requests of one connection a client may cancel early, on end; ten seconds' worth at once, and one more for "
              "each that is answered. Beyond it the connection ends.")
          .field("handshakes", &ListenerLimits::handshakes, integer(1, 1'000'000),
                 "TLS: handshakes at once; beyond it a connection is closed before its handshake.");
  return section;
}

const Section<ListenerTimeouts>& listener_timeouts_section() {
  static const Section<ListenerTimeouts> section =
      Section<ListenerTimeouts>("timeouts", "How long slow or silent clients are borne with.")
          .field("request_headers", &ListenerTimeouts::request_headers, duration(10ms, 1h),
                 "From the first byte of a request to the end of its fields.")
          .field("idle", &ListenerTimeouts::idle, duration(10ms, 24h), "Between requests of a connection.")
          .field("tls_handshake", &ListenerTimeouts::tls_handshake, duration(10ms, 1h),
                 "TLS: from the connection to the end of the handshake.");
  return section;
}

const Section<TlsFiles>& tls_files_section() {
  static const Section<TlsFiles> section =
      Section<TlsFiles>("certificate", "One of several certificates.")
          .field("certificate", &TlsFiles::certificate, file_path(), "The certificate and the authorities between it and a root, PEM.")
          .required()
          .example("/etc/weir/tls/tls.crt")
          .field("key", &TlsFiles::key, file_path(), "Its private key, PEM, not encrypted.")
          .required()
          .example("/etc/weir/tls/tls.key");
  return section;
}

const Section<ClientAuthConfig>& client_auth_section() {
  static const Section<ClientAuthConfig> section =
      Section<ClientAuthConfig>("client", "mTLS: which clients may connect. Who may not is refused in the handshake.")
          .field("ca", &ClientAuthConfig::ca, file_path(),
                 "The authorities whose certificates are accepted, PEM; roots or intermediate ones.")
          .required()
          .example("/etc/weir/tls/ca.crt")
          .field("require", &ClientAuthConfig::require, config::boolean(), "Whether a client without a certificate is refused.")
          .field("allow_names", &ClientAuthConfig::allow_names, config::list_of(allowed_name()),
                 "Of the certificate's alternative names, one must be among these: a URI, whose last * stands for any rest, or a DNS name, "
                 "whose "
                 "first label may be *. Without them, whoever the authorities vouch for.")
          .absent()
          .example("[\"spiffe://cluster.local/ns/shop/*\", client.shop.local]");
  return section;
}

bool check_listener_tls(const ListenerTlsConfig& tls, const Value& value, Reader& reader) {
  const bool pair = !tls.certificate.empty() || !tls.key.empty();
  if (pair && !tls.certificates.empty()) {
    reader.error(value.find("certificates")->place, "either certificate and key, or certificates, not both");
  } else if (!pair && tls.certificates.empty()) {
    reader.error(value.place, "certificate and key are missing");
  } else if (pair && tls.key.empty()) {
    reader.error(value.place, "key is missing");
  } else if (pair && tls.certificate.empty()) {
    reader.error(value.place, "certificate is missing");
  } else {
    return true;
  }
  return false;
}

const Section<ListenerTlsConfig>& listener_tls_section() {
  using Tls = ListenerTlsConfig;
  static const Section<Tls> section =
      Section<Tls>("tls", "TLS towards clients. The files are read again when they change; connections that are open stay.")
          .field("certificate", &Tls::certificate, file_path(), "The certificate and the authorities between it and a root, PEM.")
          .absent()
          .example("/etc/weir/tls/tls.crt")
          .field("key", &Tls::key, file_path(), "Its private key, PEM, not encrypted.")
          .absent()
          .example("/etc/weir/tls/tls.key")
          .field("certificates", &Tls::certificates, config::list_of(object(tls_files_section()), 0, 100),
                 "Several, in place of the two above: the one with the name that the client asks for is shown, else the first.")
          .absent()
          .example("[{ certificate: /etc/weir/tls/a.crt, key: /etc/weir/tls/a.key }]")
          .field("min_version", &Tls::min_version, tls_version(), "The oldest version that is spoken.")
          .field("alpn", &Tls::alpn,
                 config::list_of(config::enumeration<AlpnProtocol>({{"h2", AlpnProtocol::h2}, {"http/1.1", AlpnProtocol::http11}}), 1, 2),
                 "What is agreed on with clients that ask (ALPN), the one preferred first. Who does not ask speaks HTTP/1.1.")
          .field("client", &Tls::client, object(client_auth_section()), "mTLS: clients show a certificate too.")
          .absent()
          .example("{ ca: /etc/weir/tls/ca.crt, require: true, allow_names: [\"spiffe://cluster.local/ns/shop/*\"] }")
          .check(check_listener_tls);
  return section;
}

const Section<HeaderEdits>& header_edits_section() {
  static const Section<HeaderEdits> section =
      Section<HeaderEdits>("headers", "Fields that are set and removed.")
          .field("set", &HeaderEdits::set, config::map_of(edited_header_name(), config::header_value()),
                 "Set, in place of any of that name.")
          .absent()
          .example("{ x-route: charge }")
          .field("remove", &HeaderEdits::remove, config::list_of(edited_header_name()), "Removed, before any is set.")
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
          .field("headers", &RespondConfig::headers, config::map_of(edited_header_name(), config::header_value()), "Its fields.")
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
          .field("weight", &SplitTarget::weight, integer(0, 10'000), "Its share, beside the weights of the others; 0: none.");
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
    reader.error(value.place, concat("expected one of service, split and respond, got ", answers == 0 ? "none" : "several"));
    return false;
  }
  std::uint64_t weights = 0;
  for (const SplitTarget& target : route.targets) weights += target.weight;
  if (!route.targets.empty() && weights == 0) {
    reader.error(value.find("split") == nullptr ? value.place : value.find("split")->value.place, "the weights are all 0");
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
  return Section<RouteConfig>("route", "Which requests go where. The first route that matches wins; without one the answer is 404.")
      .on_read([](RouteConfig& route, const Value& value, Reader& reader) { route.place = policy_place(reader, value.place); })
      .field("name", &RouteConfig::name, config::name(), "For logs and metrics; by default route-1, route-2 and so on, by position.")
      .absent()
      .example("charge")
      .field("match", &RouteConfig::match, object(matcher_section()), "Which requests; without it, all.")
      .absent()
      .example("{ hosts: [payments.local], path_prefix: /v1/ }")
      .projected<std::string>(
          "service",
          [](const RouteConfig& route) { return route.targets.size() == 1 ? std::optional(route.targets[0].service) : std::nullopt; },
          [](RouteConfig& route, std::string service) {
            route.targets = {SplitTarget{std::move(service), 1}};
          },
          config::reference("service"), "The service that answers.")
      .example("payments")
      .projected<Targets>(
          "split", [](const RouteConfig& route) { return route.targets.size() > 1 ? std::optional(route.targets) : std::nullopt; },
          [](RouteConfig& route, Targets targets) { route.targets = std::move(targets); }, config::list_of(object(split_section()), 1, 100),
          "Several services, by weight.")
      .example("[{ service: payments, weight: 95 }, { service: payments-next, weight: 5 }]")
      .field("respond", &RouteConfig::respond, object(respond_section()), "An answer of weir's own, without a service.")
      .example("{ status: 200, body: \"hello\\n\" }")
      .field("policy", &RouteConfig::policy, config::reference("policy"), "In place of the service's.")
      .absent()
      .example("careful")
      .projected<Rewrite>(
          "rewrite",
          [](const RouteConfig& route) { return route.rewrite_prefix ? std::optional(Rewrite{*route.rewrite_prefix}) : std::nullopt; },
          [](RouteConfig& route, Rewrite rewrite) { route.rewrite_prefix = std::move(rewrite.path_prefix); }, object(rewrite_section()),
          "What the path becomes.")
      .example("{ path_prefix: / }")
      .field("request_headers", &RouteConfig::request_headers, object(header_edits_section()), "Edits of the request.")
      .absent()
      .example("{ set: { x-route: charge }, remove: [x-debug] }")
      .field("response_headers", &RouteConfig::response_headers, object(header_edits_section()), "Edits of the answer.")
      .absent()
      .example("{ remove: [server] }")
      .check(check_route);
}

Section<ListenerConfig> make_listener_section() {
  return Section<ListenerConfig>("listener", "Where clients connect.")
      .on_read([](ListenerConfig& listener, const Value& value, Reader& reader) { listener.place = policy_place(reader, value.place); })
      .field("name", &ListenerConfig::name, config::name(), "For logs and metrics.")
      .required()
      .example("outbound")
      .field("direction", &ListenerConfig::direction,
             config::enumeration<Direction>({{"outbound", Direction::outbound}, {"inbound", Direction::inbound}}),
             "outbound: calls that the service makes; inbound: calls that it receives. Decides defaults, "
             "drain and trust.")
      .required()
      .example("outbound")
      .field("listen", &ListenerConfig::listen, listen_address(),
             "Its address; port 0 lets the system choose one. The file of unix:/path is open to all who can reach its folder.")
      .required()
      .example("127.0.0.1:15001")
      .field("limits", &ListenerConfig::limits, object(listener_limits_section()), "What clients may ask.")
      .field("timeouts", &ListenerConfig::timeouts, object(listener_timeouts_section()), "How long slow clients are borne with.")
      .field("tls", &ListenerConfig::tls, object(listener_tls_section()), "Without it, clear text.")
      .absent()
      .example("{ certificate: /etc/weir/tls/tls.crt, key: /etc/weir/tls/tls.key }")
      .field("half_close", &ListenerConfig::half_close, config::enumeration<bool>({{"refuse", false}, {"allow", true}}),
             "allow: a client that closes its sending side while it waits still gets its answer; refuse: it "
             "is gone.")
      .field("routes", &ListenerConfig::routes, config::list_of(object(route_section()), 1), "The first that matches wins.")
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
