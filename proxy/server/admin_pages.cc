#include "proxy/server/admin_pages.h"

#include <nlohmann/json.hpp>

#include "config/schema/load.h"
#include "filters/catalog.h"
#include "filters/circuit_breaker/circuit_breaker_filter.h"
#include "proxy/base/hex.h"
#include "proxy/base/text.h"
#include "proxy/metrics/prometheus.h"
#include "proxy/server/server.h"
#include "proxy/server/state_metrics.h"

namespace weir {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kText = "text/plain; charset=utf-8";
constexpr std::string_view kHtml = "text/html; charset=utf-8";

// Names come from a file that was read as UTF-8; whatever else gets in must not throw.
std::string dump(const Json& json) { return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"; }

AdminAnswer problem(int status, std::string_view what) { return {status, "application/json", dump({{"error", what}}), {}}; }

// What came of a reload, once every worker has it.
AdminAnswer reload_answer(const ReloadOutcome& outcome, bool as_text) {
  AdminAnswer answer;
  answer.status = outcome.kind == ReloadOutcome::Kind::refused ? 422 : 200;
  if (as_text) {
    answer.content_type = kText;
    answer.body = describe(outcome);
    return answer;
  }
  Json json{{"result", to_word(outcome.kind)}, {"generation", outcome.generation}};
  if (outcome.kind == ReloadOutcome::Kind::refused) {
    json["error"] = outcome.error;
  } else {
    json["changes"] = outcome.changes;
  }
  answer.body = dump(json);
  return answer;
}

std::string commented(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    out += concat("#   ", text.substr(0, end), "\n");
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

double rounded(Duration d) { return static_cast<double>(d.count() / 1'000'000) / 1000.0; }

std::string decoded(std::string_view text) {
  std::string out(text.size(), '\0');
  out.resize(percent_decode(text, out.data()));
  return out;
}

std::string parameter(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view one = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    const std::size_t equal = one.find('=');
    if (equal != std::string_view::npos && one.substr(0, equal) == name) return decoded(one.substr(equal + 1));
  }
  return {};
}

Json limit_json(const LimitStatus& limit) {
  Json json{{"used", limit.used}};
  if (limit.limit == HostLimit::kUnlimited) {
    json["limit"] = nullptr;
  } else {
    json["limit"] = limit.limit;
  }
  return json;
}

Json health_json(const HealthState& health) {
  Json json{{"state", to_word(health.health)}, {"last_check", to_word(health.last)}, {"in_a_row", health.in_a_row}};
  if (health.last_status != 0) json["last_status"] = health.last_status;
  return json;
}

Json service_json(const ServiceStatus& service) {
  Json json{{"name", service.name}};
  if (service.panic != PanicReason::none) json["panic"] = to_word(service.panic);
  if (service.waiting) json["discovery"] = "waiting";
  if (!service.discovery_error.empty()) json["discovery_error"] = service.discovery_error;
  if (service.discovery && service.discovery->age) json["discovery_age_s"] = rounded(*service.discovery->age);
  Json endpoints = Json::array();
  for (const EndpointStatus& one : service.endpoints) {
    Json endpoint{{"address", one.address}, {"state", one.state},       {"weight", one.weight},
                  {"active", one.active},   {"attempts", one.attempts}, {"failures", one.failures}};
    endpoint["consecutive_failures"] = one.consecutive_failures;
    endpoint["ejections"] = one.ejections;
    if (!one.ejected_for.empty()) endpoint["ejected_for"] = one.ejected_for;
    if (one.returns_in > Duration::zero()) endpoint["returns_in_s"] = rounded(one.returns_in);
    if (one.awaits_check) endpoint["awaits_check"] = true;
    if (service.checked) endpoint["health"] = health_json(one.health);
    endpoints.push_back(std::move(endpoint));
  }
  json["endpoints"] = std::move(endpoints);
  json["connections"] = limit_json(service.connections);
  json["pending"] = limit_json(service.pending);
  json["requests"] = limit_json(service.requests);
  json["retry_budget_remaining"] = service.retry_budget_remaining;
  Json annotations = Json::object();
  for (const auto& [key, value] : service.annotations) annotations[key] = value;
  if (!annotations.empty()) json["annotations"] = std::move(annotations);
  return json;
}

Json breaker_json(const StateKey& key, CircuitBreakerState& breaker, MonotonicTime now) {
  const CircuitBreakerPolicy::View view = breaker.view(now);
  Json json{{"key", key.text()}, {"service", key.service}, {"policy", key.policy}, {"filter", key.filter}};
  if (!key.route.empty()) {
    json["listener"] = key.listener;
    json["route"] = key.route;
  }
  json["state"] = to_word(view.state);
  json["control"] = to_word(view.control);
  json["calls"] = view.counts.calls;
  json["failures"] = view.counts.failures;
  json["slow_calls"] = view.counts.slow;
  json["consecutive_failures"] = view.consecutive_failures;
  if (view.state == CircuitBreakerPolicy::State::open) json["half_open_in_s"] = rounded(view.until_half_open);
  if (!view.reason.empty()) json["reason"] = view.reason;
  return json;
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '&': out += "&amp;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

// A page of another origin must not give orders through the operator's browser, nor a name that was bound to 127.0.0.1 for that purpose.
bool may_change(const AdminRequest& request) {
  if (request.over_unix) return true;
  if (request.has_origin) return false;
  const std::string_view host = request.authority.substr(0, request.authority.rfind(':'));
  return request.authority == "localhost" || host == "localhost" || host == "127.0.0.1" || host == "[::1]" ||
         request.authority == "127.0.0.1" || request.authority == "[::1]";
}

}  // namespace

AdminAnswer AdminPages::answer(const AdminRequest& request) {
  const std::size_t mark = std::min(request.target.find('?'), request.target.size());
  const std::string_view path = request.target.substr(0, mark);
  const std::string_view query = request.target.substr(std::min(mark + 1, request.target.size()));
  const bool is_read = request.method == "GET" || request.method == "HEAD";
  const bool is_order = path == "/drain" || path == "/reload" || path == "/logging" || path.substr(0, 10) == "/breakers/";
  if (!is_order) {
    AdminAnswer found = read(path, query, request.accept);
    if (found.status == 404 || is_read) return found;
    return {405, kText, "GET and HEAD only\n", "GET, HEAD"};
  }
  if (!request.changes) {
    if (is_read) return problem(404, "changes are made on admin.listen");
    return {405, kText, "this listener is read-only\n", "GET, HEAD"};
  }
  if (request.method != "POST") return {405, kText, "POST only\n", "POST"};
  if (!may_change(request)) return problem(403, "not from a web page, and only by the name localhost or a loopback address");
  return change(path, query, request);
}

AdminAnswer AdminPages::read(std::string_view path, std::string_view query, std::string_view accept) {
  if (path == "/metrics") return {200, kPrometheusContentType, render_prometheus(server_.metrics()), {}};
  if (path == "/healthz") return healthy();
  if (path == "/readyz") return ready();
  if (path == "/config") {
    const std::string format = parameter(query, "format");
    return config(format == "json" || (format.empty() && accept.find("application/json") != std::string_view::npos));
  }
  if (path == "/config/status") return config_status();
  if (path == "/services") return services();
  if (path == "/breakers") return breakers();
  if (path == "/") return front();
  return problem(404, "there are: / /metrics /healthz /readyz /config /config/status /services /breakers");
}

AdminAnswer AdminPages::change(std::string_view path, std::string_view query, const AdminRequest& request) {
  if (path == "/drain") {
    server_.drain();
    return {202, "application/json", dump({{"phase", server_.phase_name()}}), {}};
  }
  if (path == "/reload") return reload(request);
  if (path == "/logging") return set_level(query);
  return order_breaker(path.substr(10), query);
}

AdminAnswer AdminPages::healthy() const {
  if (server_.stuck()) return {503, kText, "a worker does not turn\n", {}};
  return {200, kText, "ok\n", {}};
}

AdminAnswer AdminPages::ready() const {
  if (server_.ready()) return {200, kText, "ready\n", {}};
  return {503, kText, concat("not ready: ", server_.phase_name(), "\n"), {}};
}

AdminAnswer AdminPages::config(bool json) const {
  if (server_.config() == nullptr) return problem(503, "no configuration yet");
  if (json) return {200, "application/json", print_config_json(*server_.config(), filter_catalog()), {}};
  const ReloadStatus& last = server_.last_reload();
  std::string text = concat("# Generation ", server_.generation(), ", served since ", format_time(last.served_since), ".\n");
  if (!last.error.empty()) {
    text += concat("# What the file says now was refused (since ", format_time(last.refused_since), "), so this one stays:\n");
    text += commented(last.error);
  }
  return {200, "application/yaml", text + print_config(*server_.config(), filter_catalog()), {}};
}

AdminAnswer AdminPages::config_status() const {
  const ReloadStatus& last = server_.last_reload();
  Json json{{"generation", server_.generation()}, {"served_generation", server_.served_generation()}};
  json["served_since"] = format_time(last.served_since);
  json["changes"] = last.changes;
  Json reload = nullptr;
  if (last.tried_at != WallTime{}) {
    reload = Json{{"at", format_time(last.tried_at)}, {"ok", last.error.empty()}};
    if (!last.error.empty()) {
      reload["error"] = last.error;
      reload["refused_since"] = format_time(last.refused_since);
    }
  }
  json["last_reload"] = std::move(reload);
  return {200, "application/json", dump(json), {}};
}

AdminAnswer AdminPages::services() const {
  Json all = Json::array();
  for (const ServiceStatus& one : server_.directory().status()) all.push_back(service_json(one));
  return {200, "application/json", dump({{"services", std::move(all)}}), {}};
}

AdminAnswer AdminPages::breakers() const {
  Json all = Json::array();
  const MonotonicTime now = server_.platform().main_loop().now();
  server_.states().visit([&](const StateKey& key, FilterState& state) {
    if (auto* breaker = dynamic_cast<CircuitBreakerState*>(&state)) all.push_back(breaker_json(key, *breaker, now));
  });
  return {200, "application/json", dump({{"breakers", std::move(all)}}), {}};
}

// The answer is for when every worker serves it; who asks no longer then is forgotten.
AdminAnswer AdminPages::reload(const AdminRequest& request) {
  const bool as_text = request.accept.find("text/plain") != std::string_view::npos;
  AdminAnswer answer;
  answer.comes_later = true;
  static_cast<void>(
      server_.reload([later = request.later, as_text](const ReloadOutcome& outcome) { later(reload_answer(outcome, as_text)); }));
  return answer;
}

AdminAnswer AdminPages::order_breaker(std::string_view key, std::string_view query) {
  using Control = CircuitBreakerPolicy::Control;
  const std::string word = parameter(query, "state");
  Control control = Control::automatic;
  if (word == "forced_open") {
    control = Control::force_open;
  } else if (word == "forced_closed") {
    control = Control::force_closed;
  } else if (word == "disabled") {
    control = Control::disabled;
  } else if (word != "auto") {
    return problem(400, "state is one of forced_open, forced_closed, disabled, auto");
  }
  const std::string wanted = decoded(key);
  const MonotonicTime now = server_.platform().main_loop().now();
  std::vector<StateKey> found;
  server_.states().visit([&](const StateKey& one, FilterState& state) {
    if (dynamic_cast<CircuitBreakerState*>(&state) != nullptr && one.text() == wanted) found.push_back(one);
  });
  if (found.empty()) return problem(404, concat("no breaker has the key ", wanted, "; GET /breakers lists them"));
  if (found.size() > 1) return problem(409, concat("the key ", wanted, " means several breakers, as their names hold slashes"));
  Json changed;
  server_.states().visit([&](const StateKey& one, FilterState& state) {
    auto* breaker = dynamic_cast<CircuitBreakerState*>(&state);
    if (breaker == nullptr || one != found.front()) return;
    breaker->set_control(now, control);
    changed = breaker_json(one, *breaker, now);
  });
  server_.platform().log().warning("an operator gave a breaker an order", {{"breaker", wanted}, {"state", word}});
  return {200, "application/json", dump(changed), {}};
}

AdminAnswer AdminPages::set_level(std::string_view query) {
  const std::string level = parameter(query, "level");
  const std::optional<LogLevel> parsed = parse_log_level(level);
  if (!parsed) return problem(400, "level is one of debug, info, warning, error");
  server_.platform().log().set_level(*parsed);
  return {200, "application/json", dump({{"level", level}}), {}};
}

AdminAnswer AdminPages::front() const {
  std::string page =
      "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>weir</title><style>"
      "body{font:14px/1.5 sans-serif;margin:2em;max-width:70em}table{border-collapse:collapse;margin:1em 0}"
      "td,th{border:1px solid #bbb;padding:.25em .6em;text-align:left}.bad{background:#fdd}</style></head><body>";
  page += concat("<h1>weir ", WEIR_VERSION, "</h1><p>", server_.phase_name(), ", configuration ", server_.generation(), "</p>");
  if (!server_.last_error().empty()) {
    page += concat("<p class=\"bad\">The last reload was refused, since ", format_time(server_.last_reload().refused_since), ":</p><pre>",
                   escaped(server_.last_error()), "</pre>");
  }
  page +=
      "<p><a href=\"/metrics\">metrics</a> <a href=\"/config\">config</a> <a href=\"/services\">services</a> "
      "<a href=\"/breakers\">breakers</a> <a href=\"/readyz\">readyz</a></p><table><tr><th>listener<th>address</tr>";
  for (const auto& [name, address] : server_.listening()) {
    page += concat("<tr><td>", escaped(name), "<td>", escaped(address.text()), "</tr>");
  }
  page += "</table><table><tr><th>service<th>endpoint<th>state<th>active<th>attempts<th>failures</tr>";
  for (const ServiceStatus& service : server_.directory().status()) {
    for (const EndpointStatus& one : service.endpoints) {
      page += concat("<tr", one.state == "usable" ? "" : " class=\"bad\"", "><td>", escaped(service.name), "<td>", escaped(one.address),
                     "<td>", one.state, "<td>", one.active, "<td>", one.attempts, "<td>", one.failures, "</tr>");
    }
  }
  page += "</table><table><tr><th>breaker<th>state<th>control<th>calls<th>failures</tr>";
  const MonotonicTime now = server_.platform().main_loop().now();
  server_.states().visit([&](const StateKey& key, FilterState& state) {
    auto* breaker = dynamic_cast<CircuitBreakerState*>(&state);
    if (breaker == nullptr) return;
    const CircuitBreakerPolicy::View view = breaker->view(now);
    const bool good = view.state == CircuitBreakerPolicy::State::closed;
    page += concat("<tr", good ? "" : " class=\"bad\"", "><td>", escaped(key.text()), "<td>", to_word(view.state), "<td>",
                   to_word(view.control), "<td>", view.counts.calls, "<td>", view.counts.failures, "</tr>");
  });
  page += "</table></body></html>\n";
  return {200, kHtml, std::move(page), {}};
}

}  // namespace weir
