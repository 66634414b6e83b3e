#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>

#include "config/schema/builtin.h"
#include "config/schema/load.h"
#include "config/schema/reference.h"
#include "config/schema/sections.h"
#include "config/write.h"
#include "filters/catalog.h"
#include "proxy/base/random.h"
#include "proxy/base/text.h"
#include "tests/config/memory_sources.h"

namespace weir {
namespace {

std::string read(const std::string& path) {
  config::HostSources host;
  const Result<std::string> text = host.read_file(std::string(WEIR_SOURCE_DIR "/") + path);
  REQUIRE(text.ok());
  return text.value();
}

LoadedConfig load(const std::string& yaml) {
  config::MemorySources sources;
  return load_config_text(yaml, "t.yaml", filter_catalog(), sources);
}

// A file with one service and the given rest.
LoadedConfig load_with(const std::string& rest) { return load("version: 1\nservices: { s: { endpoints: [127.0.0.1:1] } }\n" + rest); }

const PolicySpec& policy(const LoadedConfig& loaded, const std::string& name) { return *loaded.config->policies.at(name); }

std::vector<std::string> names(const PolicySpec& policy) {
  std::vector<std::string> out;
  for (const FilterSpec& filter : policy.filters) out.push_back(filter.name);
  return out;
}

const char* const kFiles[] = {"tests/acceptance/main.yaml",    "tests/acceptance/default.yaml", "config/examples/minimal.yaml",
                              "config/examples/main.yaml",     "config/examples/sidecar.yaml",  "config/examples/shadow-first.yaml",
                              "config/examples/overload.yaml", "config/examples/balance.yaml",  "config/examples/grpc.yaml"};

TEST_CASE("every example and acceptance file of this stage loads without a word") {
  for (const char* path : kFiles) {
    const LoadedConfig loaded = load(read(path));
    INFO(path);
    CHECK(loaded.report.empty());
    CHECK(loaded.exit_status(true) == 0);
    CHECK(loaded.config != nullptr);
  }
}

TEST_CASE("what is printed loads again and prints the same, warnings apart") {
  for (const char* path : kFiles) {
    INFO(path);
    const LoadedConfig first = load(read(path));
    REQUIRE(first.config != nullptr);
    const std::string printed = print_config(*first.config, filter_catalog());
    const LoadedConfig second = load(printed);
    INFO(printed);
    CHECK(second.report.empty());
    REQUIRE(second.config != nullptr);
    CHECK(print_config(*second.config, filter_catalog()) == printed);
    CHECK(print_config_json(*first.config, filter_catalog()).starts_with("{\"version\":1,\"workers\":\"auto\","));
  }
}

TEST_CASE("main.yaml becomes what it says") {
  const LoadedConfig loaded = load(read("tests/acceptance/main.yaml"));
  REQUIRE(loaded.config != nullptr);
  const Config& config = *loaded.config;
  CHECK(config.workers == 0);
  CHECK(config.admin.listen->text() == "unix:/tmp/weir-admin.sock");
  CHECK(config.admin.read_only_listen->port() == 9901);
  REQUIRE(config.access_log.has_value());
  CHECK(config.access_log->when.statuses == std::vector<std::pair<int, int>>{{500, 599}});
  CHECK(config.access_log->when.slower_than == Duration(1s));
  CHECK(config.access_log->sample == 1.0);
  CHECK(config.drain_timeout == 25s);

  REQUIRE(config.listeners.size() == 1);
  const ListenerConfig& listener = config.listeners[0];
  CHECK(listener.direction == Direction::outbound);
  CHECK(listener.limits.header_bytes == 61440);
  CHECK(listener.timeouts.idle == 1h);
  REQUIRE(listener.routes.size() == 4);
  const RouteConfig& charge = listener.routes[0];
  CHECK(charge.name == "charge");
  CHECK(charge.match.hosts == std::vector<std::string>{"payments.local", "*.payments.local"});
  CHECK(charge.match.headers.at(0).second == "gold");
  CHECK(charge.policy == "careful");
  CHECK(charge.request_headers.set.at(0).first == "x-route");
  CHECK(charge.request_headers.remove == std::vector<std::string>{"x-debug"});
  CHECK(charge.place.line == 25);
  CHECK(std::string(charge.place.file) == "t.yaml");
  CHECK(listener.routes[1].targets.size() == 2);
  CHECK(listener.routes[1].targets[1].weight == 5);
  CHECK(listener.routes[1].rewrite_prefix == "/");
  CHECK(listener.routes[2].respond->body == "hello\n");
  CHECK(listener.routes[3].name == "route-4");
  CHECK(listener.routes[3].match.unconditional());

  const ServiceConfig& payments = config.services.at("payments");
  CHECK(payments.name == "payments");
  CHECK(payments.endpoints.at(1).weight == 2);
  CHECK(payments.endpoints.at(1).address.text() == "127.0.0.1:9002");
  CHECK(payments.retry_budget.ratio == Approx(0.2));
  CHECK(payments.retry_budget.min_rate_per_second == Approx(10));
  CHECK(payments.outlier_detection.causes.matches_status(500));
  CHECK(payments.outlier_detection.eject_max == 5min);
  CHECK(payments.limits.requests == 1024);

  CHECK(names(policy(loaded, "careful")) ==
        std::vector<std::string>{"timeout", "rate_limit", "retry", "payments-errors", "concurrency_limit", "per-try"});
  CHECK(policy(loaded, "careful").filters[5].place.line == 78);
  CHECK(&config.policy_for(listener, charge, "payments") == &policy(loaded, "careful"));
  CHECK(&config.policy_for(listener, listener.routes[3], "payments") == &policy(loaded, "default-outbound"));
}

TEST_CASE("the built-in configuration is default.yaml to the letter, and the structs' own defaults agree with it") {
  CHECK(builtin_yaml() == read("tests/acceptance/default.yaml"));
  const LoadedConfig loaded = load("version: 1\nservices: { any: { endpoints: [127.0.0.1:1] } }\n");
  REQUIRE(loaded.config != nullptr);
  ServiceConfig own = service_section().defaults();
  own.endpoints = loaded.config->services.at("any").endpoints;
  CHECK(config::write_yaml(service_section().print(own)) == config::write_yaml(service_section().print(loaded.config->services.at("any"))));
  CHECK(names(policy(loaded, "default-outbound")) ==
        std::vector<std::string>{"leak", "slow", "retry", "dead", "errors", "concurrency_limit"});
  CHECK(names(policy(loaded, "default-inbound")) == std::vector<std::string>{"load_shed", "timeout", "concurrency_limit"});
  CHECK(policy(loaded, "default-outbound").filters[1].mode == FilterMode::shadow);
  CHECK(std::string(policy(loaded, "default-outbound").filters[0].place.file) == "built-in");
}

TEST_CASE("the policy of a request is the route's, else the service's, else the one of the direction") {
  const LoadedConfig loaded = load(
      "version: 1\n"
      "listeners:\n"
      "  - { name: o, direction: outbound, listen: 127.0.0.1:1, routes: [ { match: { path: /a }, service: s, "
      "policy: p }, { service: s } ] }\n"
      "  - { name: i, direction: inbound, listen: 127.0.0.1:2, routes: [ { match: { path: /a }, service: s "
      "}, { service: t } ] }\n"
      "services: { s: { endpoints: [127.0.0.1:3], policy: q }, t: { endpoints: [127.0.0.1:3] } }\n"
      "policies: { p: { filters: [] }, q: { filters: [] }, default-inbound: { filters: [ { timeout: { total: "
      "3s } } ] } }\n");
  CHECK(loaded.report.empty());
  REQUIRE(loaded.config != nullptr);
  const Config& config = *loaded.config;
  const auto name = [&](std::size_t listener, std::size_t route, const char* service) {
    return config.policy_for(config.listeners[listener], config.listeners[listener].routes[route], service).name;
  };
  CHECK(name(0, 0, "s") == "p");
  CHECK(name(0, 1, "s") == "q");
  CHECK(name(1, 0, "s") == "q");
  CHECK(name(1, 1, "t") == "default-inbound");
  CHECK(policy(loaded, "default-inbound").filters.size() == 1);  // the file's replaces the built-in one
}

TEST_CASE("filters are named by kind and position, and used policies are put in where they are used") {
  const LoadedConfig loaded = load_with(
      "policies:\n"
      "  inner:\n    filters: [ { timeout: { idle: 1s } }, { use: innermost } ]\n"
      "  outer:\n    filters: [ { timeout: { name: all, total: 9s } }, { use: inner }, { timeout: { "
      "response_headers: 1s } } ]\n"
      "  innermost:\n    filters: [ { retry: {} } ]\n");
  CHECK(loaded.report.empty());
  REQUIRE(loaded.config != nullptr);
  CHECK(names(policy(loaded, "outer")) == std::vector<std::string>{"all", "timeout-2", "retry", "timeout-3"});
  CHECK(names(policy(loaded, "inner")) == std::vector<std::string>{"timeout", "retry"});
  CHECK(policy(loaded, "outer").filters[1].place.line == 5);  // where it is written, not where it is used
}

TEST_CASE("fields of every filter reach its spec") {
  const LoadedConfig loaded = load_with(
      "policies: { p: { filters: [ { timeout: { total: 1s, name: n, mode: shadow, ramp: 12.5%, when: { "
      "methods: GET } } } ] } }\n");
  REQUIRE(loaded.config != nullptr);
  const FilterSpec& filter = policy(loaded, "p").filters.at(0);
  CHECK(filter.name == "n");
  CHECK(filter.named);
  CHECK(filter.mode == FilterMode::shadow);
  CHECK(filter.ramp == Approx(0.125));
  REQUIRE(filter.when != nullptr);
  CHECK(filter.when->methods == std::vector<std::string>{"GET"});
  CHECK(filter.factory == find_filter("timeout"));
}

TEST_CASE("a service keeps the built-in values of what it does not give, also inside its blocks") {
  const LoadedConfig loaded = load(
      "version: 1\nservices: { s: { endpoints: [\"dns:A.local:80\", unix:/x], outlier_detection: { "
      "consecutive_failures: 9 }, "
      "retry_budget: { min_rate: 30/m } } }\n");
  REQUIRE(loaded.config != nullptr);
  const ServiceConfig& service = loaded.config->services.at("s");
  CHECK(service.outlier_detection.consecutive_failures == 9);
  CHECK(service.outlier_detection.causes.matches_failure(FailureKind::connect_failure));
  CHECK(service.retry_budget.ratio == Approx(0.2));
  CHECK(service.retry_budget.min_rate_per_second == Approx(0.5));
  CHECK(service.endpoints[0].kind == EndpointConfig::Kind::dns);
  CHECK(service.endpoints[0].dns_host == "a.local");
  CHECK(service.endpoints[1].address.family() == Address::Family::unix_path);
}

TEST_CASE("idle connections of a service with protocol http2 are kept longer, unless it says otherwise") {
  const LoadedConfig loaded = load(R"(version: 1
services:
  old: { endpoints: [127.0.0.1:1] }
  new: { endpoints: [127.0.0.1:1], keep_alive: { max_age: 1h }, protocol: http2 }
  own: { endpoints: [127.0.0.1:1], keep_alive: { idle: 10s }, protocol: http2, host: "a.local:81", http2: { max_streams: 7 } }
)");
  REQUIRE(loaded.config != nullptr);
  const auto& services = loaded.config->services;
  CHECK(services.at("old").keep_alive.idle == 4s);
  CHECK(services.at("new").keep_alive.idle == 5min);
  CHECK(services.at("new").keep_alive.max_age == 1h);
  CHECK(services.at("own").keep_alive.idle == 10s);
  CHECK(services.at("own").protocol == Protocol::http2);
  CHECK(services.at("own").host == "a.local:81");
  CHECK(services.at("own").http2.max_streams == 7);
  CHECK(print_config(*loaded.config, filter_catalog()).find("idle: 5m") != std::string::npos);
}

TEST_CASE("header values that came from elsewhere are printed as their source") {
  config::MemorySources sources;
  sources.variables["TOKEN"] = "hunter2";
  sources.variables["PORT"] = "127.0.0.1:9";
  const std::string yaml =
      "version: 1\n"
      "listeners: [ { name: o, direction: outbound, listen: \"${env:PORT}\", routes: { service: s, "
      "request_headers: { set: { authorization: "
      "\"${env:TOKEN}\" } } } } ]\n"
      "services: { s: { endpoints: [127.0.0.1:1] } }\n";
  const LoadedConfig loaded = load_config_text(yaml, "t.yaml", filter_catalog(), sources);
  CHECK(loaded.report.empty());
  REQUIRE(loaded.config != nullptr);
  CHECK(loaded.config->listeners[0].routes[0].request_headers.set[0].second == "hunter2");
  const std::string printed = print_config(*loaded.config, filter_catalog());
  CHECK(printed.find("hunter2") == std::string::npos);
  CHECK(printed.find("authorization: \"${env:TOKEN}\"") != std::string::npos);
  CHECK(printed.find("127.0.0.1:9\n") != std::string::npos);
  CHECK(print_config_json(*loaded.config, filter_catalog()).find("hunter2") == std::string::npos);
  const LoadedConfig again = load_config_text(printed, "t.yaml", filter_catalog(), sources);
  REQUIRE(again.config != nullptr);
  CHECK(print_config(*again.config, filter_catalog()) == printed);
}

TEST_CASE("policies that use each other more often than can be counted are refused at once") {
  std::string yaml =
      "version: 1\nservices: { s: { endpoints: [127.0.0.1:1] } }\n"
      "listeners: [ { name: o, direction: outbound, listen: 127.0.0.1:2, routes: [ { service: s, policy: p60 } ] } ]\n"
      "policies:\n  p0: { filters: [] }\n";
  for (int i = 1; i <= 60; ++i) yaml += concat("  p", i, ": { filters: [ { use: p", i - 1, " }, { use: p", i - 1, " } ] }\n");
  const LoadedConfig loaded = load(yaml);
  CHECK(loaded.config == nullptr);
  CHECK(loaded.report.find("more than 1000 policies used in one") != std::string::npos);
}

TEST_CASE("one filter by itself is a list of one") {
  const LoadedConfig loaded = load_with("policies: { p: { filters: { timeout: { total: 1s } } } }\n");
  CHECK(loaded.report.empty());
  REQUIRE(loaded.config != nullptr);
  CHECK(names(policy(loaded, "p")) == std::vector<std::string>{"timeout"});
}

TEST_CASE("a header's name that stands twice, in whatever case, is an error") {
  const LoadedConfig loaded = load_with(
      "listeners: [ { name: o, direction: outbound, listen: 127.0.0.1:2, routes: { service: s, request_headers: { set: { X-A: \"1\", x-a: "
      "\"2\" } } } } ]\n");
  CHECK(loaded.config == nullptr);
  CHECK(loaded.report.find("request_headers.set.x-a: x-a stands here twice") != std::string::npos);
}

TEST_CASE("two routes of one name are warned of; a route without a name gets one that is free") {
  const auto with = [](const std::string& routes) {
    return load_with("listeners: [ { name: o, direction: outbound, listen: 127.0.0.1:2, routes: [ " + routes + " ] } ]\n");
  };
  const std::string to = "match: { path_prefix: /x }, service: s";
  CHECK(with("{ name: a, " + to + " }, { name: b, service: s }").report.empty());
  const LoadedConfig twins = with("{ name: a, " + to + " }, { name: a, service: s }");
  CHECK(twins.config != nullptr);
  CHECK(twins.report.find("[same-name]") != std::string::npos);
  const LoadedConfig free = with("{ name: route-2, " + to + " }, { service: s }");
  CHECK(free.report.empty());
  REQUIRE(free.config != nullptr);
  CHECK(free.config->listeners[0].routes[1].name == "route-2-other");
}

TEST_CASE("a route behind one for all paths is never reached") {
  const LoadedConfig loaded = load_with(
      "listeners: [ { name: o, direction: outbound, listen: 127.0.0.1:2, routes: [ { match: { path_prefix: / }, service: s }, { name: b, "
      "service: s } ] } ]\n");
  CHECK(loaded.report.find("[unreachable-route]") != std::string::npos);
}

TEST_CASE("filters for some requests bound nothing for all") {
  const std::string get = ", when: { methods: [GET] }", post = ", when: { methods: [POST] }";
  const auto report = [](const std::string& first, const std::string& second) {
    return load_with("policies: { p: { filters: [ { timeout: { total: 1s" + first + " } }, { timeout: { name: t, response_headers: 5s" +
                     second + " } } ] } }\n")
        .report;
  };
  CHECK(report(get, post).empty());
  CHECK(report("", post).find("[try-over-total]") != std::string::npos);
}

TEST_CASE("a breaker that comes by use is a policy's too") {
  const LoadedConfig loaded = load_with(
      "listeners: [ { name: o, direction: outbound, listen: 127.0.0.1:2, routes: [ { match: { path_prefix: /x }, service: s, policy: a }, "
      "{ "
      "service: s, policy: b } ] } ]\n"
      "policies:\n  base: { filters: [ { circuit_breaker: { causes: [5xx] } } ] }\n  a: { filters: [ { use: base } ] }\n"
      "  b: { filters: [ { use: base } ] }\n");
  CHECK(loaded.report.find("[two-breakers]") != std::string::npos);
}

TEST_CASE("exit status is 0, 1 or 2, and strict makes warnings errors") {
  config::MemorySources none;
  const LoadedConfig unreadable = load_config("gone.yaml", filter_catalog(), none);
  CHECK(unreadable.exit_status(false) == 2);
  CHECK(unreadable.report == "cannot read gone.yaml: No such file or directory\n");
  CHECK(load("version: 1\n").exit_status(true) == 0);
  CHECK(load("version: 2\n").exit_status(false) == 1);
  const LoadedConfig warned = load_with("policies: { p: { filters: [ { timeout: { total: 1s, response_headers: 1s } } ] } }\n");
  CHECK(warned.warnings == 1);
  CHECK(warned.exit_status(false) == 0);
  CHECK(warned.exit_status(true) == 1);
}

TEST_CASE("how a service balances is read, and printed as it was written") {
  const LoadedConfig loaded = load(
      "version: 1\nservices:\n"
      "  users: { endpoints: [127.0.0.1:1], balance: maglev, hash_key: [header:X-User, cookie:Id], hash_max_load: unbounded }\n"
      "  ring: { endpoints: [127.0.0.1:1], balance: ring_hash, hash_key: client_address, hash_max_load: 150% }\n"
      "  search: { endpoints: [127.0.0.1:1], balance: peak_ewma, slow_start: 30s }\n");
  CHECK(loaded.report.empty());
  REQUIRE(loaded.config != nullptr);
  const ServiceConfig& users = loaded.config->services.at("users");
  CHECK(users.balance == Balance::maglev);
  CHECK(users.hash_key == std::vector{HashKeyPart{HashKeyPart::Kind::header, "x-user"}, HashKeyPart{HashKeyPart::Kind::cookie, "Id"}});
  CHECK(users.hash_max_load == kUnboundedLoad);
  CHECK(users.slow_start == Duration(0));
  const ServiceConfig& ring = loaded.config->services.at("ring");
  CHECK(ring.hash_key == std::vector{HashKeyPart{HashKeyPart::Kind::client_address, ""}});
  CHECK(ring.hash_max_load == 1.5);
  CHECK(loaded.config->services.at("search").slow_start == Duration(30s));
  const std::string printed = print_config(*loaded.config, filter_catalog());
  CHECK(printed.find("hash_max_load: unbounded") != std::string::npos);
  CHECK(printed.find("hash_max_load: 150%") != std::string::npos);
  const LoadedConfig again = load(printed);
  REQUIRE(again.config != nullptr);
  CHECK(print_config(*again.config, filter_catalog()) == printed);
}

TEST_CASE("a policy that was refused in part is not linted") {
  const LoadedConfig loaded = load_with(
      "policies:\n"
      "  bad: { filters: [ { timeout: { total: 1s } }, { timeout: { name: t, response_headers: 2 } }, { "
      "timeout: { name: u, response_headers: 2s } } ] }\n"
      "  user: { filters: [ { use: bad } ] }\n");
  CHECK(loaded.errors == 1);
  CHECK(loaded.warnings == 0);
}

TEST_CASE("the reference page is current") {
  const std::string page = write_reference(filter_catalog());
  if (std::getenv("WEIR_UPDATE_REFERENCE") != nullptr) std::ofstream(WEIR_SOURCE_DIR "/config/README.md") << page;
  // When this fails: WEIR_UPDATE_REFERENCE=1 build/dev/tests/test_config
  CHECK((page == read("config/README.md")));
  for (const char* text :
       {"| `max_attempts` |", "### listeners[].routes[]", "| `response_headers` |", "default-outbound", "| `read_only_listen` |"}) {
    INFO(text);
    CHECK(page.find(text) != std::string::npos);
  }
}

TEST_CASE("every field is documented, and what is required has an example") {
  for (const FilterFactory* factory : filter_catalog()) {
    for (const auto& field : factory->section().fields()) {
      INFO(factory->kind() << '.' << field.name);
      CHECK(field.doc.ends_with('.'));
      CHECK((!field.default_text.empty() || !field.example.empty() || field.type.section != nullptr));
    }
  }
  const auto root = root_section(filter_catalog(), service_section().defaults());
  for (const auto& field : root.fields()) CHECK(field.doc.ends_with('.'));
}

// Swaps, drops and doubles words of a good file: whatever comes out, loading ends, says something or prints a
// loadable file.
TEST_CASE("mutated configurations never crash the schema") {
  Random random(7);
  const std::string good = read("tests/acceptance/main.yaml") + read("tests/acceptance/default.yaml").substr(200);
  std::vector<std::string> words;
  for (std::size_t at = 0; at < good.size();) {
    const std::size_t end = std::min(good.find_first_of(" \n,:[]{}", at + 1), good.size());
    words.push_back(good.substr(at, end - at));
    at = end;
  }
  for (int round = 0; round < 150; ++round) {
    std::vector<std::string> mutated = words;
    for (std::uint64_t left = 1 + random.below(4); left > 0; --left) {
      const std::size_t at = random.below(mutated.size());
      const std::size_t from = random.below(mutated.size());
      if (random.chance(0.3)) {
        mutated[at].clear();
      } else {
        mutated[at] = mutated[from];
      }
    }
    std::string text;
    for (const std::string& word : mutated) text += word;
    INFO("round " << round);
    const LoadedConfig loaded = load(text);
    REQUIRE((loaded.config == nullptr) == (loaded.errors > 0));
    REQUIRE(loaded.report.empty() == (loaded.errors + loaded.warnings == 0));
    if (loaded.config == nullptr) continue;
    const std::string printed = print_config(*loaded.config, filter_catalog());
    const LoadedConfig again = load(printed);
    INFO(printed << again.report);
    REQUIRE(again.config != nullptr);
    REQUIRE(print_config(*again.config, filter_catalog()) == printed);
  }
}

}  // namespace
}  // namespace weir
