// What `weir explain` says, word for word: NAME.expected for each case. To accept new words after reading them: WEIR_UPDATE_GOLDEN=1 test_cli
#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "filters/catalog.h"
#include "proxy/base/text.h"
#include "proxy/cli/explain_text.h"
#include "tests/config/memory_sources.h"

namespace weir {
namespace {

std::string read(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

LoadedConfig load(const std::string& path) {
  config::HostSources sources;
  LoadedConfig loaded = load_config_text(read(WEIR_SOURCE_DIR "/" + path), path.substr(path.rfind('/') + 1), filter_catalog(), sources);
  REQUIRE(loaded.config != nullptr);
  return loaded;
}

const LoadedConfig& main_file() {
  static const LoadedConfig loaded = load("tests/acceptance/main.yaml");
  return loaded;
}
const LoadedConfig& sidecar() {
  static const LoadedConfig loaded = load("tests/cli/inbound.yaml");
  return loaded;
}

RequestPlan plan(const LoadedConfig& loaded, const RequestText& request, std::size_t listener = 0) {
  return plan_request(*loaded.config, loaded.config->listeners.at(listener), request);
}

void compare(const std::string& name, const std::string& said) {
  INFO(name);
  const std::string path = concat(WEIR_SOURCE_DIR "/tests/cli/", name, ".expected");
  if (std::getenv("WEIR_UPDATE_GOLDEN") != nullptr) std::ofstream(path) << said;
  CHECK(said == read(path));
}

const RequestText kCharge = {"POST", "http://shop.Payments.local:80/v1/charge?x=1", {{"X-Tenant", "gold"}}};

TEST_CASE("requests to main.yaml are explained word for word") {
  const LoadedConfig& loaded = main_file();
  compare("main-charge", cli::explain_text(plan(loaded, kCharge), loaded.findings));
  compare("main-canary", cli::explain_text(plan(loaded, {"GET", "/cart/list", {}}), loaded.findings));
  compare("main-respond", cli::explain_text(plan(loaded, {"GET", "http://payments.local/weir-says", {}}), loaded.findings));
  compare("main-charge-json", cli::explain_json(plan(loaded, kCharge), loaded.findings));
}

TEST_CASE("the built-in policies of default.yaml are explained word for word") {
  compare("default-inbound", cli::explain_text(plan(sidecar(), {"GET", "http://app.local/x", {}}), sidecar().findings));
  compare("default-outbound", cli::explain_text(plan(main_file(), {"GET", "/anything", {}}), main_file().findings));
}

TEST_CASE("whens, ramps, modes, used policies and warnings are explained word for word") {
  compare("layered", cli::explain_text(plan(sidecar(), {"GET", "http://search.local/?q=1", {}}, 1), sidecar().findings));
}

TEST_CASE("what is refused before any route, and what no route takes, is said") {
  const auto refused = [](const RequestText& request) {
    const RequestPlan made = plan(sidecar(), request);
    CHECK(made.route == nullptr);
    CHECK(made.targets.empty());
    return concat(made.status, ' ', made.refused);
  };
  CHECK(refused({"GET", "/a/../b", {}}) == "400 dot segment in the path");
  CHECK(refused({"GET", "/a%2fb", {}}) == "400 encoded slash in the path");
  CHECK(refused({"G T", "/", {}}).starts_with("400 request-line"));
  CHECK(refused({"GET", "/", {{"x", "1\r\nhost: evil"}}}).starts_with("400 "));
  CHECK(refused({"GET", "/", {{"x y", "1"}}}).starts_with("400 "));
  CHECK(refused({"GET", "http://user@app.local/", {}}).starts_with("400 "));
  CHECK(refused({"GET", "http://other.local/", {}}) == "404 ");
  compare("refused", cli::explain_text(plan(sidecar(), {"GET", "/a/../b", {}}), sidecar().findings));
  compare("no-route", cli::explain_text(plan(sidecar(), {"GET", "http://other.local/", {}}), sidecar().findings));
}

TEST_CASE("each kind of mismatch is told by what it lacks") {
  const auto why = [](const RequestText& request) {
    const RequestPlan made = plan(main_file(), request);
    return made.passed.empty() ? std::string() : made.passed[0].why;
  };
  const std::vector<std::pair<std::string, std::string>> gold = {{"x-tenant", "gold"}};
  CHECK(why(kCharge).empty());
  CHECK(why({"GET", "http://payments.local/v1/charge", gold}) == "the method is not POST");
  CHECK(why({"POST", "http://payments.local/v10/charge", gold}) == "the path is not below /v1/");
  CHECK(why({"POST", "http://payment.local/v1/charge", gold}) == "the host is not payments.local, *.payments.local");
  CHECK(why({"POST", "http://payments.local/v1/charge", {{"x-tenant", "tin"}}}) == "there is no x-tenant: gold");
  CHECK(plan(main_file(), {"GET", "http://x/weirs", {}}).passed.at(2).why == "the path is not /weir-says");
}

TEST_CASE("the plan carries what machines ask for") {
  const RequestPlan made = plan(main_file(), kCharge);
  REQUIRE(made.targets.size() == 1);
  CHECK(made.authority == "shop.payments.local:80");
  CHECK(made.targets[0].choice.by == PolicyChoice::By::route);
  CHECK(made.targets[0].worst.attempts == 3);
  CHECK(made.targets[0].worst.to_end == Duration(2s));
  const nlohmann::json tree = nlohmann::json::parse(cli::explain_json(made, main_file().findings));
  CHECK(tree["route"] == "charge");
  CHECK(tree["targets"][0]["filters"][2]["config"]["max_attempts"] == 3);
  CHECK(tree["targets"][0]["worst_case"]["to_end_ms"] == 2000);

  const RequestPlan canary = plan(main_file(), {"GET", "/cart/list", {}});
  REQUIRE(canary.targets.size() == 2);
  CHECK(canary.sent_target == "/list");
  CHECK(canary.targets[1].weights == 100);
  const nlohmann::json second = nlohmann::json::parse(cli::explain_json(canary, main_file().findings))["targets"][1];
  CHECK(second["policy_by"] == "direction");
  CHECK(second["worst_case"]["to_end_ms"].is_null());
  CHECK(second["worst_case"]["unreachable_ms"] == 6025);
}

TEST_CASE("a filter sees what weir says of the hop, and not what an inbound client says of itself") {
  config::HostSources sources;
  const LoadedConfig loaded = load_config_text(
      "version: 1\n"
      "listeners:\n"
      "  - { name: i, direction: inbound, listen: 127.0.0.1:1, routes: [ { service: s, policy: p } ] }\n"
      "services: { s: { endpoints: [127.0.0.1:2] } }\n"
      "policies: { p: { filters: [ { timeout: { total: 1s, when: { headers: { x-forwarded-proto: http } } } },"
      " { timeout: { name: n, idle: 1s, when: { headers: { x-forwarded-for: 1.2.3.4 } } } } ] } }\n",
      "t.yaml", filter_catalog(), sources);
  REQUIRE(loaded.config != nullptr);
  const RequestPlan made = plan(loaded, {"GET", "/", {{"x-forwarded-for", "1.2.3.4"}, {"x-forwarded-proto", "https"}}});
  REQUIRE(made.targets.size() == 1);
  CHECK(made.targets[0].filters[0].step.acts);
  CHECK_FALSE(made.targets[0].filters[1].step.acts);
}

TEST_CASE("a header's value that came from elsewhere is named by its source") {
  config::MemorySources sources;
  sources.variables["KEY"] = "hunter2";
  const LoadedConfig loaded = load_config_text(
      "version: 1\n"
      "listeners:\n"
      "  - { name: o, direction: outbound, listen: 127.0.0.1:1, routes: [ { match: { headers: { x-key: \"${env:KEY}\" } }, service: s } ] "
      "}\n"
      "services: { s: { endpoints: [127.0.0.1:2] } }\n",
      "t.yaml", filter_catalog(), sources);
  REQUIRE(loaded.config != nullptr);
  for (const char* value : {"hunter2", "guess"}) {
    const RequestPlan made = plan(loaded, {"GET", "/", {{"x-key", value}}});
    const std::string said = cli::explain_text(made, loaded.findings) + cli::explain_json(made, loaded.findings);
    CHECK(said.find("hunter2") == std::string::npos);
    CHECK(said.find("${env:KEY}") != std::string::npos);
  }
}

TEST_CASE("the worst case knows the client's grpc-timeout, and that a body takes its time") {
  RequestText call = kCharge;
  call.headers.insert(call.headers.end(), {{"content-type", "application/grpc"}, {"grpc-timeout", "7m"}});
  CHECK(cli::worst_words(plan(main_file(), call).targets.at(0)).to_end.starts_with("7ms"));
  const auto to_headers = [](const RequestText& request) { return cli::worst_words(plan(sidecar(), request, 1).targets.at(0)).to_headers; };
  CHECK(to_headers({"POST", "http://search.local/a", {{"content-length", "3"}}})
            .ends_with("; what the client takes for its body comes on top"));
  CHECK(to_headers({"POST", "http://search.local/a", {}}).find("body") == std::string::npos);
}

TEST_CASE("a filter sees the request as the route has changed it") {
  config::HostSources sources;
  const LoadedConfig loaded = load_config_text(
      "version: 1\n"
      "listeners:\n"
      "  - name: o\n    direction: outbound\n    listen: 127.0.0.1:1\n    routes:\n"
      "      - { match: { path_prefix: /a }, rewrite: { path_prefix: /b }, request_headers: { set: { x-k: v } }, service: s, policy: p }\n"
      "services: { s: { endpoints: [127.0.0.1:2] } }\n"
      "policies: { p: { filters: [ { timeout: { total: 1s, when: { path_prefix: /b, headers: { x-k: v } } } },"
      " { timeout: { name: n, idle: 1s, when: { path_prefix: /a } } } ] } }\n",
      "t.yaml", filter_catalog(), sources);
  REQUIRE(loaded.config != nullptr);
  const RequestPlan made = plan(loaded, {"GET", "/a/x", {}});
  REQUIRE(made.targets.size() == 1);
  CHECK(made.targets[0].filters[0].step.acts);
  CHECK_FALSE(made.targets[0].filters[1].step.acts);
  CHECK(made.targets[0].worst.to_end == Duration(1s));
}

}  // namespace
}  // namespace weir
