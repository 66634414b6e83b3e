// The random configurations of a swarm's worlds, and their text. Sensible chains are the most frequent, odd ones are not rare.
#include <algorithm>
#include <iterator>

#include "proxy/base/text.h"
#include "tests/swarm/plan.h"

namespace weir::test {
namespace {

std::string ms(std::uint32_t value) { return concat(value, "ms"); }

std::string join(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& one : parts) out += (out.empty() ? "" : ", ") + one;
  return out;
}

std::string some_causes(Random& random) {
  static const std::vector<std::string> kAll{"connect_failure", "reset", "refused_stream", "timeout", "gateway_error", "5xx", "429",
                                             "500-502"};
  std::vector<std::string> chosen;
  for (const std::string& one : kAll) {
    if (random.chance(0.45)) chosen.push_back(one);
  }
  if (chosen.empty()) chosen.push_back(one_of(random, kAll));
  return concat("[", join(chosen), "]");
}

// --- Filters -------------------------------------------------------------------------------------------------------------------------

FilterPlan make_timeout(Random& random, bool outer) {
  FilterPlan filter;
  filter.kind = "timeout";
  std::vector<std::string> parts;
  const bool odd = random.chance(0.15);
  if (outer != odd || random.chance(0.1)) {
    const std::uint32_t total = pick(random, 1, 12) * pick(random, 30, 400);
    filter.total = milliseconds(total);
    parts.push_back("total: " + ms(total));
  }
  if (outer == odd || random.chance(0.1)) {
    const std::uint32_t limit = pick(random, 1, 10) * pick(random, 5, 150);
    filter.response_headers = milliseconds(limit);
    parts.push_back("response_headers: " + ms(limit));
  }
  if (random.chance(0.35)) {
    const std::uint32_t idle = pick(random, 1, 10) * pick(random, 20, 300);
    filter.idle = milliseconds(idle);
    parts.push_back("idle: " + ms(idle));
  }
  filter.fields = join(parts);
  return filter;
}

FilterPlan make_retry(Random& random) {
  FilterPlan filter;
  filter.kind = "retry";
  filter.max_attempts = pick(random, 1, 4);
  std::vector<std::string> parts{concat("max_attempts: ", filter.max_attempts), "causes: " + some_causes(random)};
  if (random.chance(0.3)) {
    filter.safe_only = false;
    parts.push_back(random.chance(0.5) ? "methods: any" : "methods: [GET, POST]");
  }
  const std::uint32_t base = pick(random, 1, 60);
  parts.push_back(concat("backoff: { base: ", ms(base), ", max: ", ms(base * pick(random, 1, 6)), " }"));
  if (random.chance(0.3)) parts.push_back(concat("retry_after: { max: ", ms(pick(random, 1, 1500)), " }"));
  if (random.chance(0.4)) parts.push_back(concat("max_replay: ", pick(random, 1, 3000), "B"));
  filter.fields = join(parts);
  return filter;
}

FilterPlan make_breaker(Random& random) {
  FilterPlan filter;
  filter.kind = "circuit_breaker";
  std::vector<std::string> parts{"causes: " + some_causes(random), concat("window: ", ms(pick(random, 200, 5000))),
                                 concat("min_calls: ", pick(random, 1, 12)), concat("failure_ratio: ", pick(random, 10, 90), "%")};
  if (random.chance(0.3)) parts.push_back(concat("consecutive_failures: ", pick(random, 1, 6)));
  if (random.chance(0.3)) {
    parts.push_back(concat("slow_call: { longer_than: ", ms(pick(random, 5, 300)), ", ratio: ", pick(random, 20, 100), "% }"));
  }
  const std::uint32_t open = pick(random, 50, 2000);
  parts.push_back(concat("open_for: { base: ", ms(open), ", max: ", ms(open * pick(random, 1, 4)), " }"));
  const std::uint32_t probes = pick(random, 1, 4);
  parts.push_back(concat("half_open: { probes: ", probes, ", successes: ", pick(random, 1, probes),
                         ", expire_after: ", ms(pick(random, 100, 3000)), " }"));
  if (random.chance(0.3)) parts.push_back(concat("recover_over: ", ms(pick(random, 100, 3000))));
  if (random.chance(0.3)) parts.push_back("scope: route");
  filter.fields = join(parts);
  return filter;
}

FilterPlan make_limit(Random& random) {
  static const std::vector<std::string> kAlgorithms{"gradient2", "vegas", "aimd"};
  FilterPlan filter;
  filter.kind = "concurrency_limit";
  std::vector<std::string> parts;
  if (random.chance(0.7)) {
    filter.limit = pick(random, 1, 6);
    parts.push_back(concat("limit: ", filter.limit));
  } else {
    const std::uint32_t least = pick(random, 1, 3);
    parts.push_back(concat("adaptive: { algorithm: ", one_of(random, kAlgorithms), ", min: ", least,
                           ", initial: ", least + pick(random, 0, 4), ", max: ", least + 10, " }"));
  }
  if (random.chance(0.7)) {
    filter.queue = pick(random, 1, 8);
    parts.push_back(concat("queue: { size: ", filter.queue, ", timeout: ", ms(pick(random, 5, 2000)),
                           ", order: ", random.chance(0.5) ? "fifo" : "codel", " }"));
  }
  filter.fields = join(parts);
  return filter;
}

FilterPlan make_rate_limit(Random& random) {
  static const std::vector<std::string> kKeys{"[header:x-tenant]", "[client_address]", "[method]", "[path, header:x-tenant]"};
  FilterPlan filter;
  filter.kind = "rate_limit";
  const std::uint32_t per_second = pick(random, 1, 40);
  const std::uint32_t burst = pick(random, 1, 20);
  std::vector<std::string> parts{concat("rate: ", per_second, "/s"), concat("burst: ", burst)};
  if (random.chance(0.4)) {
    parts.push_back("key: " + one_of(random, kKeys));
    parts.push_back(concat("max_keys: ", pick(random, 1, 5)));
  } else {
    filter.per_second = per_second;
    filter.burst = burst;
  }
  filter.fields = join(parts);
  return filter;
}

FilterPlan make_load_shed(Random& random) {
  FilterPlan filter;
  filter.kind = "load_shed";
  filter.fields = random.chance(0.5) ? concat("cpu: ", pick(random, 30, 95), "%") : concat("memory: ", pick(random, 30, 95), "%, cpu: 90%");
  return filter;
}

FilterPlan make_filter(Random& random, const std::string& kind, bool outer) {
  FilterPlan filter;
  if (kind == "timeout") filter = make_timeout(random, outer);
  if (kind == "retry") filter = make_retry(random);
  if (kind == "circuit_breaker") filter = make_breaker(random);
  if (kind == "concurrency_limit") filter = make_limit(random);
  if (kind == "rate_limit") filter = make_rate_limit(random);
  if (kind == "load_shed") filter = make_load_shed(random);
  if (random.chance(0.15)) filter.mode = random.chance(0.7) ? "shadow" : "disabled";
  if (random.chance(0.08)) filter.when = random.chance(0.5) ? "{ methods: [GET, HEAD] }" : "{ path_prefix: /a/ }";
  if (random.chance(0.06)) filter.ramp = static_cast<int>(pick(random, 0, 100));
  return filter;
}

PolicyPlan make_policy(Random& random, const std::string& name) {
  static const std::vector<std::string> kOrder{"load_shed",       "timeout",           "rate_limit", "retry",
                                               "circuit_breaker", "concurrency_limit", "timeout"};
  PolicyPlan policy;
  policy.name = name;
  if (random.chance(0.04)) return policy;  // no filter at all
  std::vector<std::string> kinds;
  if (random.chance(0.8)) {
    for (const std::string& kind : kOrder) {
      if (random.chance(0.55)) kinds.push_back(kind);
    }
  } else {
    for (std::uint32_t i = pick(random, 1, 9); i > 0; --i) kinds.push_back(one_of(random, kOrder));
  }
  bool after_retry = false;
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    FilterPlan filter = make_filter(random, kinds[i], !after_retry);
    after_retry = after_retry || kinds[i] == "retry";
    filter.name = concat(filter.kind.substr(0, 2), "-", i + 1);
    policy.filters.push_back(std::move(filter));
  }
  return policy;
}

// --- Services ------------------------------------------------------------------------------------------------------------------------

ServicePlan make_service(Random& random, std::size_t number) {
  ServicePlan service;
  service.name = concat("s", number);
  const std::uint32_t count = pick(random, 1, 4);
  for (std::uint32_t i = 1; i <= count; ++i) {
    const std::string address = concat("10.0.", number, ".", i, ":80");
    service.endpoints.push_back(random.chance(0.2) ? concat("{ address: ", address, ", weight: ", pick(random, 1, 5), " }") : address);
  }
  if (random.chance(0.3)) {
    const std::string name = concat("\"dns:s", number, ".local:80\"");
    if (random.chance(0.6)) service.endpoints.clear();
    service.endpoints.push_back(name);
  }
  static constexpr const char* kBalances[] = {"balance: round_robin",
                                              "balance: round_robin, slow_start: 2s",
                                              "balance: least_request",
                                              "balance: least_request, slow_start: 5s",
                                              "balance: peak_ewma, slow_start: 1s",
                                              "balance: random",
                                              "balance: ring_hash, hash_key: [header:x-request-id, client_address]",
                                              "balance: maglev, hash_key: [path], hash_max_load: 150%"};
  std::vector<std::string> parts{kBalances[random.below(std::size(kBalances))]};
  parts.push_back(concat("connect_timeout: ", ms(pick(random, 20, 1500))));
  parts.push_back(concat("pending_timeout: ", ms(pick(random, 20, 2000))));
  parts.push_back(concat("panic_below: ", pick(random, 0, 100), "%"));
  parts.push_back("dns: { min_ttl: 500ms, max_ttl: 3s }");
  std::string keep = concat("keep_alive: { idle: ", random.chance(0.1) ? "0s" : ms(pick(random, 10, 4000)));
  if (random.chance(0.3)) keep += concat(", max_requests: ", pick(random, 1, 5));
  if (random.chance(0.2)) keep += concat(", max_age: ", ms(pick(random, 100, 5000)));
  parts.push_back(keep + " }");
  if (random.chance(0.7)) {
    const std::uint32_t base = pick(random, 50, 2000);
    const char* mode = random.chance(0.75) ? "enforce" : random.chance(0.6) ? "shadow" : "disabled";
    parts.push_back(concat("outlier_detection: { causes: ", some_causes(random), ", consecutive_failures: ", pick(random, 1, 5),
                           ", eject_for: { base: ", ms(base), ", max: ", ms(base * pick(random, 1, 5)),
                           " }, max_ejected: ", pick(random, 0, 100), "%, mode: ", mode, " }"));
  }
  if (number == kHttp2Service) parts.push_back("protocol: http2");
  service.fields = join(parts);
  if (random.chance(0.4)) service.connections = pick(random, 1, 6);
  if (random.chance(0.3)) service.pending = pick(random, 1, 8);
  if (random.chance(0.3)) service.requests = pick(random, 1, 10);
  if (random.chance(0.15)) service.limits_mode = random.chance(0.7) ? "shadow" : "disabled";
  service.budget_percent = static_cast<int>(random.chance(0.3) ? 0 : pick(random, 1, 100));
  service.budget_per_second = static_cast<int>(pick(random, 0, 2) == 0 ? 0 : pick(random, 1, 4));  // 0: what the ratio grants, and no more
  service.budget_window = static_cast<int>(pick(random, 1, 10));
  return service;
}

// --- Routes and listeners ------------------------------------------------------------------------------------------------------------

std::string some_policy(const ConfigPlan& config, Random& random) {
  if (random.chance(0.1) || config.policies.empty()) return {};  // the built-in one
  auto found = config.policies.begin();
  std::advance(found, static_cast<std::ptrdiff_t>(random.below(config.policies.size())));
  return ", policy: " + found->first;
}

std::string some_service(const ConfigPlan& config, Random& random) {
  auto found = config.services.begin();
  std::advance(found, static_cast<std::ptrdiff_t>(random.below(config.services.size())));
  return found->first;
}

std::string some_target(const ConfigPlan& config, Random& random) {
  if (random.chance(0.08)) {
    return concat("respond: { status: ", random.chance(0.5) ? 200U : pick(random, 200, 599), ", body: \"said by weir\" }");
  }
  if (random.chance(0.15)) {
    return concat("split: [ { service: ", some_service(config, random), ", weight: ", pick(random, 1, 9),
                  " }, { service: ", some_service(config, random), ", weight: ", pick(random, 0, 9), " } ]", some_policy(config, random));
  }
  return concat("service: ", some_service(config, random), some_policy(config, random));
}

RoutePlan make_route(const ConfigPlan& config, Random& random, bool last) {
  static const std::vector<std::string> kMatches{
      "path_prefix: /a/",    "path_prefix: /b", "methods: [POST, PUT]", "headers: { x-tenant: gold }",
      "hosts: [\"*.test\"]", "path: /exact",    "hosts: [h2.test]",     "path_prefix: /a/b/, methods: [GET]"};
  std::string text = "{ ";
  if (!last) {
    const std::string match = one_of(random, kMatches);
    text += concat("match: { ", match, " }, ");
    if (match.substr(0, 11) == "path_prefix" && random.chance(0.3)) text += "rewrite: { path_prefix: /c/ }, ";
  }
  text += some_target(config, random);
  if (random.chance(0.15)) text += ", request_headers: { set: { x-route: r }, remove: [x-debug] }";
  if (random.chance(0.15)) text += ", response_headers: { set: { x-by: weir }, remove: [x-none] }";
  return {text + " }"};
}

ListenerPlan make_listener(const ConfigPlan& config, Random& random, std::size_t number) {
  ListenerPlan listener;
  listener.name = concat("l", number);
  listener.inbound = random.chance(0.4);
  listener.address = concat("127.0.0.1:", 15000 + number);
  std::vector<std::string>& parts = listener.fields;
  if (random.chance(0.15)) parts.push_back(concat("limits: { connections: ", pick(random, 1, 5), " }"));
  if (random.chance(0.5)) {
    parts.push_back(concat("timeouts: { request_headers: ", ms(pick(random, 100, 3000)), ", idle: ", ms(pick(random, 200, 20000)), " }"));
  }
  if (random.chance(0.4)) parts.push_back("half_close: allow");
  for (std::uint32_t i = pick(random, 0, 3); i > 0; --i) listener.routes.push_back(make_route(config, random, false));
  if (listener.routes.empty() || random.chance(0.9)) listener.routes.push_back(make_route(config, random, true));
  return listener;
}

}  // namespace

// --- What filters and policies promise -----------------------------------------------------------------------------------------------

std::string FilterPlan::text() const {
  std::string out = concat(kind, ": { name: ", name, ", ", fields);
  if (!mode.empty()) out += ", mode: " + mode;
  if (!when.empty()) out += ", when: " + when;
  if (ramp != 100) out += concat(", ramp: ", ramp, "%");
  return out + " }";
}

// A retry gives its inner side max_attempts tries, and one resend for nothing.
std::uint32_t PolicyPlan::most_attempts() const {
  std::uint32_t most = 1;
  for (const FilterPlan& filter : filters) {
    if (filter.kind == "retry" && filter.enforced()) most *= filter.max_attempts + 1;
  }
  return most;
}

std::size_t PolicyPlan::retries() const {
  return static_cast<std::size_t>(
      std::count_if(filters.begin(), filters.end(), [](const FilterPlan& one) { return one.kind == "retry" && one.enforced(); }));
}

bool PolicyPlan::safe_only() const {
  return std::all_of(filters.begin(), filters.end(), [](const FilterPlan& one) { return !one.enforced() || one.safe_only; });
}

Duration PolicyPlan::total() const {
  Duration least{0};
  for (const FilterPlan& filter : filters) {
    if (!filter.always() || filter.total == Duration(0)) continue;
    if (least == Duration(0) || filter.total < least) least = filter.total;
  }
  return least;
}

Duration PolicyPlan::outer_total() const {
  Duration least{0};
  for (const FilterPlan& filter : filters) {
    if (filter.kind == "retry" || filter.queue > 0) break;
    if (filter.always() && filter.total > Duration(0) && (least == Duration(0) || filter.total < least)) least = filter.total;
  }
  return least;
}

Duration PolicyPlan::response_headers() const {
  Duration least{0};
  for (const FilterPlan& filter : filters) {
    if (!filter.always() || filter.response_headers == Duration(0)) continue;
    if (least == Duration(0) || filter.response_headers < least) least = filter.response_headers;
  }
  return least;
}

// --- The whole -----------------------------------------------------------------------------------------------------------------------

std::string ConfigPlan::yaml() const {
  std::string out = concat("version: 1\naccess_log: { path: /access.log }\ndrain: { timeout: ", drain_seconds, "s }\nlisteners:\n");
  for (const ListenerPlan& one : listeners) {
    out += concat("  - name: ", one.name, "\n    direction: ", one.inbound ? "inbound" : "outbound", "\n    listen: ", one.address, "\n");
    for (const std::string& field : one.fields) out += concat("    ", field, "\n");
    if (one.name == kTlsListener) out += "    tls: { certificate: /tls/tls.crt, key: /tls/tls.key }\n";
    out += "    routes:\n";
    for (const RoutePlan& route : one.routes) out += concat("      - ", route.text, "\n");
  }
  out += "services:\n";
  for (const auto& [name, one] : services) {
    out += concat("  ", name, ": { endpoints: [", join(one.endpoints), "], ", one.fields, ",\n    limits: { connections: ", one.connections,
                  ", pending: ", one.pending, ", requests: ", one.requests, one.limits_mode.empty() ? "" : ", mode: ", one.limits_mode,
                  " },\n    retry_budget: { ratio: ", one.budget_percent, "%, min_rate: ", one.budget_per_second,
                  "/s, window: ", one.budget_window, "s } }\n");
  }
  out += policies.empty() ? "" : "policies:\n";
  for (const auto& [name, one] : policies) {
    out += concat("  ", name, ":\n    filters:", one.filters.empty() ? " []\n" : "\n");
    for (const FilterPlan& filter : one.filters) out += concat("      - ", filter.text(), "\n");
  }
  return out + spoilt;
}

ConfigPlan make_config(Random& random) {
  ConfigPlan config;
  config.drain_seconds = static_cast<int>(pick(random, 1, 20));
  for (std::uint32_t i = 1, count = pick(random, 1, 3); i <= count; ++i) {
    ServicePlan service = make_service(random, i);
    config.services.emplace(service.name, service);
  }
  for (std::uint32_t i = 1, count = pick(random, 1, 4); i <= count; ++i) {
    config.policies.emplace(concat("p", i), make_policy(random, concat("p", i)));
  }
  for (std::uint32_t i = 1, count = pick(random, 1, 3); i <= count; ++i) config.listeners.push_back(make_listener(config, random, i));
  return config;
}

void change_config(ConfigPlan& config, Random& random) {
  config.spoilt.clear();
  if (random.chance(0.2)) {
    config.spoilt = "nonsense: 1\n";
    return;
  }
  if (random.chance(0.6)) {
    for (auto& [name, policy] : config.policies) {
      if (random.chance(0.5)) policy = make_policy(random, name);
    }
  }
  if (random.chance(0.5)) {
    for (auto& [name, service] : config.services) {
      if (random.chance(0.5)) service = make_service(random, static_cast<std::size_t>(name[1] - '0'));
    }
  }
  if (random.chance(0.2) && config.listeners.size() > 1) config.listeners.pop_back();
  if (random.chance(0.2)) config.listeners.push_back(make_listener(config, random, config.listeners.size() + 1));
  if (random.chance(0.2)) {  // other routes, at another address perhaps
    ListenerPlan& one = config.listeners[random.below(config.listeners.size())];
    const ListenerPlan other = make_listener(config, random, 1);
    one.routes = other.routes;
    one.fields = other.fields;
    if (random.chance(0.3)) one.address = concat("127.0.0.1:", 15100 + random.below(800));
  }
  if (random.chance(0.15) && config.services.size() > 1) {  // a service goes, and whatever names it follows
    const std::string gone = config.services.rbegin()->first;
    const auto names_it = [&](const RoutePlan& route) { return route.text.find("service: " + gone) != std::string::npos; };
    for (ListenerPlan& listener : config.listeners) {
      auto& routes = listener.routes;
      routes.erase(std::remove_if(routes.begin(), routes.end(), names_it), routes.end());
      if (routes.empty()) routes.push_back({"{ service: s1 }"});
    }
    config.services.erase(gone);
  }
}

}  // namespace weir::test
