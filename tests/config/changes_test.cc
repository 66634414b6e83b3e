#include "config/schema/changes.h"

#include <catch2/catch.hpp>

#include "config/schema/load.h"
#include "filters/catalog.h"
#include "tests/config/memory_sources.h"

namespace weir {
namespace {

const std::string kBase = R"(version: 1
listeners:
  - name: out
    direction: outbound
    listen: 127.0.0.1:15001
    routes:
      - { name: pay, match: { path_prefix: /pay }, service: payments, policy: careful }
      - { name: rest, service: app, request_headers: { set: { authorization: "${file:/secret}" } } }
  - { name: in, direction: inbound, listen: 127.0.0.1:15006, routes: [ { service: app } ] }
services:
  payments: { endpoints: [127.0.0.1:1, 127.0.0.1:2], connect_timeout: 3s }
  app: { endpoints: [127.0.0.1:3] }
policies:
  careful:
    filters:
      - timeout: { total: 2s }
      - circuit_breaker: { name: main, causes: [5xx], failure_ratio: 50% }
)";

std::shared_ptr<const Config> load(const std::string& yaml, const std::string& secret = "Bearer one") {
  config::MemorySources sources;
  sources.files["/secret"] = secret;
  const LoadedConfig loaded = load_config_text(yaml, "t.yaml", filter_catalog(), sources);
  INFO(loaded.report);
  REQUIRE(loaded.config != nullptr);
  return loaded.config;
}

using Lines = std::vector<std::string>;

// Of kBase with `from` replaced by `to`.
Lines changes(const std::string& from, const std::string& to) {
  std::string text = kBase;
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  text.replace(at, from.size(), to);
  return describe_changes(*load(kBase), *load(text), filter_catalog());
}

}  // namespace

TEST_CASE("the same configuration, however it is written, has no changes") {
  CHECK(changes("connect_timeout: 3s", "connect_timeout: 3000ms").empty());
  CHECK(changes("policies:\n", "# a comment\npolicies:\n").empty());
}

TEST_CASE("what changed is said by section, in words") {
  CHECK(changes("connect_timeout: 3s", "connect_timeout: 1s") == Lines{"service payments: connect_timeout 3s -> 1s"});
  CHECK(changes("127.0.0.1:2]", "127.0.0.1:9]") == Lines{"service payments: endpoints: 127.0.0.1:2 removed, endpoints: 127.0.0.1:9 added"});
  CHECK(changes("  app: {", "  spare: { endpoints: [127.0.0.1:4] }\n  app: {") == Lines{"service spare: added"});
  CHECK(changes("15006", "15007") == Lines{"listener in: moved from 127.0.0.1:15006 to 127.0.0.1:15007"});
  CHECK(changes("name: in,", "name: into,") == Lines{"listener in: removed", "listener into: added at 127.0.0.1:15006"});
  CHECK(changes("version: 1", "version: 1\nlog: { level: debug }") == Lines{"log.level info -> debug"});
  CHECK(changes("version: 1", "version: 1\naccess_log: { path: /x }").front().find("access_log none -> ") == 0);
}

TEST_CASE("routes and filters are told apart by name, and their order counts") {
  CHECK(changes("service: payments, policy", "service: app, policy") == Lines{"listener out: route pay service payments -> app"});
  CHECK(changes("name: pay,", "name: buy,") == Lines{"listener out: route pay removed, route buy added"});
  CHECK(changes("total: 2s", "total: 1s") == Lines{"policy careful: filter timeout total 2s -> 1s"});
  CHECK(changes("failure_ratio: 50%", "failure_ratio: 40%, mode: shadow") ==
        Lines{"policy careful: filter main failure_ratio 50% -> 40%, filter main mode none -> shadow"});
  CHECK(changes("      - timeout: { total: 2s }\n", "") == Lines{"policy careful: filter timeout removed"});
  CHECK(changes("      - timeout: { total: 2s }\n      - circuit_breaker: { name: main, causes: [5xx], failure_ratio: 50% }\n",
                "      - circuit_breaker: { name: main, causes: [5xx], failure_ratio: 50% }\n      - timeout: { total: 2s }\n") ==
        Lines{"policy careful: order of filters changed"});
}

TEST_CASE("a secret that changed is a change, and is not shown") {
  const Lines lines = describe_changes(*load(kBase, "Bearer one"), *load(kBase, "Bearer two"), filter_catalog());
  REQUIRE(lines.size() == 1);
  CHECK(lines[0] == "listener out: route rest request_headers set authorization changed");
}

TEST_CASE("a value that comes from elsewhere now is a change, for it is shown as its source") {
  std::string literal = kBase;
  literal.replace(literal.find("${file:/secret}"), 15, "Bearer one");
  CHECK(describe_changes(*load(literal), *load(kBase), filter_catalog()) == Lines{"where values come from"});
}

TEST_CASE("what is told is bounded, in lines and in bytes") {
  std::string many = kBase;
  std::string endpoints;
  for (int i = 0; i < 200; ++i) {
    many.insert(many.find("  app: {"), "  s" + std::to_string(i) + ": { endpoints: [127.0.0.1:4] }\n");
    endpoints += ", 127.0.0.1:" + std::to_string(1000 + i);
  }
  const Lines lines = describe_changes(*load(kBase), *load(many), filter_catalog());
  REQUIRE(lines.size() == kMostChanges);
  CHECK(lines.back() == "and 151 more");
  const Lines one = changes("127.0.0.1:2]", "127.0.0.1:2" + endpoints + "]");
  REQUIRE(one.size() == 1);
  CHECK(one[0].size() == kMostChangeBytes);
  CHECK(one[0].ends_with("..."));
}

}  // namespace weir
