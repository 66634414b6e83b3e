// Files of `file:` endpoints: their forms, and what is said of those that are wrong.
#include "config/schema/endpoint_file.h"

#include <catch2/catch.hpp>

#include "config/schema/load.h"
#include "filters/catalog.h"
#include "tests/config/memory_sources.h"

using namespace weir;

namespace {

const std::string kPath = "/etc/weir/shop.yaml";

Result<std::vector<EndpointConfig>> read(const std::string& text) {
  config::MemorySources sources;
  sources.files[kPath] = text;
  return read_endpoint_file(kPath, sources);
}

std::string wrong(const std::string& text) {
  const auto list = read(text);
  REQUIRE_FALSE(list);
  return list.error().message;
}

LoadedConfig load(config::MemorySources& sources, const std::string& endpoints) {
  return load_config_text("version: 1\nservices:\n  s: { endpoints: " + endpoints + " }\n", "w.yaml", filter_catalog(), sources);
}

}  // namespace

TEST_CASE("a file lists addresses, with or without a weight, and names") {
  const auto list = read("- 127.0.0.1:80\n- { address: \"[::1]:80\", weight: 7 }\n- dns:Shop:81\n- srv:_http._tcp.shop\n- unix:/run/a\n");
  REQUIRE(list);
  REQUIRE(list->size() == 5);
  CHECK((*list)[0].weight == 1);
  CHECK((*list)[1].weight == 7);
  CHECK((*list)[1].address.text() == "[::1]:80");
  CHECK((*list)[2].dns_host == "shop");
  CHECK((*list)[3].kind == EndpointConfig::Kind::srv);
  CHECK((*list)[3].dns_host == "_http._tcp.shop");
  CHECK(read("[]").value().empty());
}

TEST_CASE("what is wrong with a file is said with its place, and nothing of it is taken") {
  CHECK(wrong("- 127.0.0.1:80\n- 127.0.0.1\n") ==
        kPath + ":2:3: [1]: no port, got 127.0.0.1; expected host:port such as 127.0.0.1:8080, unix:/path, dns:host:port, srv:name, or " +
            "file:/path");
  CHECK(wrong("") == kPath + ":1:1: the file is empty; expected a list of endpoints, or [] for none");
  CHECK(wrong("a: b\n").find(kPath + ":1:1: expected a list of endpoints") == 0);
  CHECK(wrong("- file:/etc/other.yaml\n") == kPath + ":1:3: [0]: a file of endpoints names no further files");
  CHECK(wrong("- [127.0.0.1:80\n").find(kPath + ":") == 0);
  std::string many;
  for (int i = 0; i < 1001; ++i) many += "- 10.0.0.1:" + std::to_string(i + 1) + "\n";
  CHECK(wrong(many).find("1000") != std::string::npos);
  config::MemorySources none;
  CHECK(read_endpoint_file(kPath, none).error().message == "cannot be read: No such file or directory");
}

TEST_CASE("a configuration is refused for a file that is missing or broken, with the place of the mistake") {
  config::MemorySources sources;
  CHECK(load(sources, "[127.0.0.1:1, \"file:/e.yaml\"]").report ==
        "w.yaml:3:33: error: services.s.endpoints[1]: cannot read /e.yaml: No such file or directory\n");
  CHECK(load(sources, "\"file:/e.yaml\"").report ==
        "w.yaml:3:19: error: services.s.endpoints: cannot read /e.yaml: No such file or directory\n");
  sources.files["/e.yaml"] = "- 127.0.0.1:1\n-  nonsense\n";
  CHECK(load(sources, "\"file:/e.yaml\"").report.find("/e.yaml:2:4: error: [1]: nonsense is a bare host name") == 0);
  sources.files["/e.yaml"] = "- 127.0.0.1:1\n";
  const LoadedConfig loaded = load(sources, "\"file:/e.yaml\"");
  REQUIRE(loaded.config != nullptr);
  CHECK(loaded.config->services.at("s").endpoints[0].path == "/e.yaml");
}

TEST_CASE("weights of SRV records and files are written there") {
  config::MemorySources sources;
  sources.files["/e.yaml"] = "[]";
  CHECK(load(sources, "[ { address: \"srv:_http._tcp.shop\", weight: 2 } ]").report.find("the weights of srv:_http._tcp.shop") !=
        std::string::npos);
  CHECK(load(sources, "[ { address: \"file:/e.yaml\", weight: 2 } ]").errors == 1);
  CHECK(load(sources, "[ { address: \"srv:_http._tcp.shop\" } ]").errors == 0);
}

TEST_CASE("the forms of names and of the resolver") {
  config::MemorySources sources;
  CHECK(load(sources, "[\"srv:_http._tcp.shop:80\"]").report.find("SRV records say the port") != std::string::npos);
  CHECK(load(sources, "[\"srv:\"]").report.find("expected srv:name") != std::string::npos);
  CHECK(load(sources, "[\"file:e.yaml\"]").report.find("expected file:/path, from the root") != std::string::npos);
  const std::string yaml =
      "version: 1\nresolver: { servers: [127.0.0.1:5353, \"[::1]:53\"], timeout: 200ms, tries: 1 }\n"
      "services: { s: { endpoints: [\"dns:a:1\"], dns: { addresses: ipv6 } } }\n";
  const LoadedConfig loaded = load_config_text(yaml, "w.yaml", filter_catalog(), sources);
  INFO(loaded.report);
  REQUIRE(loaded.config != nullptr);
  CHECK(loaded.config->resolver.servers.size() == 2);
  CHECK(loaded.config->resolver.timeout == Duration(200ms));
  CHECK(loaded.config->services.at("s").dns.addresses == AddressFamilies::ipv6);
  const std::string printed = print_config(*loaded.config, filter_catalog());
  const LoadedConfig again = load_config_text(printed, "w.yaml", filter_catalog(), sources);
  REQUIRE(again.config != nullptr);
  CHECK(print_config(*again.config, filter_catalog()) == printed);
  CHECK(load_config_text("version: 1\nresolver: { servers: [unix:/run/dns] }\n", "w.yaml", filter_catalog(), sources)
            .report.find("a name server is no file") != std::string::npos);
}
