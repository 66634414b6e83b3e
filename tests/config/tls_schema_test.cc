// The tls sections: what they become, and what is made of the files that they name.
#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>

#include "config/recording_sources.h"
#include "config/schema/changes.h"
#include "config/schema/load.h"
#include "config/schema/tls_files.h"
#include "filters/catalog.h"
#include "tests/config/memory_sources.h"
#include "tests/support/certificates.h"

using namespace weir;
using namespace weir::test;

namespace {

std::string read(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(std::string(WEIR_SOURCE_DIR "/") + path).rdbuf();
  return text.str();
}

struct TlsSources : config::MemorySources {
  TlsSources() {
    const PemPair pair = authority.issue({.subject = "web", .dns = {"web.local"}});
    for (const char* folder : {"/etc/weir/tls/", "/tmp/weir-tls/"}) {
      for (const char* name : {"tls", "server", "client"}) {
        files[std::string(folder) + name + ".crt"] = pair.certificate;
        files[std::string(folder) + name + ".key"] = pair.key;
      }
      files[std::string(folder) + "ca.crt"] = authority.ca();
    }
  }
  TestAuthority authority;
};

LoadedConfig load(const std::string& yaml, config::Sources& sources) { return load_config_text(yaml, "t.yaml", filter_catalog(), sources); }

}  // namespace

TEST_CASE("the example of mTLS loads, and prints the same again") {
  TlsSources sources;
  const LoadedConfig loaded = load(read("config/examples/mtls.yaml"), sources);
  CHECK(loaded.report.empty());
  REQUIRE(loaded.config != nullptr);
  const ListenerTlsConfig& tls = *loaded.config->listeners.at(0).tls;
  CHECK(tls.context->settings().require_client);
  CHECK(tls.context->settings().allow_names.size() == 2);
  CHECK(tls.context->settings().alpn == std::vector<std::string>{"h2", "http/1.1"});
  CHECK(tls.context->settings().min_version == TlsVersion::v1_2);
  CHECK(tls.context->settings().identities.at(0)->facts().subject == "CN=web");
  const ServiceTlsConfig& upstream = *loaded.config->services.at("payments").tls;
  CHECK(upstream.context->settings().server_name == "payments.shop.svc.cluster.local");
  CHECK(upstream.context->settings().identity != nullptr);
  const std::string printed = print_config(*loaded.config, filter_catalog());
  const LoadedConfig again = load(printed, sources);
  REQUIRE(again.config != nullptr);
  CHECK(print_config(*again.config, filter_catalog()) == printed);
  CHECK(printed.find("PRIVATE") == std::string::npos);
}

TEST_CASE("a listener that stands by itself has its certificate read, as one in a list") {
  TlsSources sources;
  const std::string yaml =
      "version: 1\nlisteners: { name: in, direction: inbound, listen: 127.0.0.1:1, tls: { certificate: /etc/weir/tls/FILE.crt, key: "
      "/etc/weir/tls/tls.key }, routes: { respond: { status: 200 } } }\n";
  const auto with = [&](const std::string& file) {
    std::string text = yaml;
    return load(text.replace(text.find("FILE"), 4, file), sources);
  };
  const LoadedConfig good = with("tls");
  CHECK(good.report.empty());
  REQUIRE(good.config != nullptr);
  CHECK(good.config->listeners.at(0).tls->context != nullptr);
  const LoadedConfig missing = with("gone");
  CHECK(missing.config == nullptr);
  CHECK(missing.report.find("listeners.tls.certificate: cannot read /etc/weir/tls/gone.crt") != std::string::npos);
}

TEST_CASE("the name to check has no dot at its end") {
  TlsSources sources;
  const LoadedConfig loaded =
      load("version: 1\nservices: { s: { endpoints: [\"dns:web.local.:443\"], tls: { ca: /etc/weir/tls/ca.crt } } }\n", sources);
  REQUIRE(loaded.config != nullptr);
  CHECK(loaded.config->services.at("s").tls->context->settings().server_name == "web.local");
}

TEST_CASE("the TLS parts of protocols.yaml become what they say") {
  TlsSources sources;
  const LoadedConfig loaded = load(R"(version: 1
listeners:
  - name: inbound-mtls
    direction: inbound
    listen: 127.0.0.1:15443
    tls:
      certificate: /tmp/weir-tls/server.crt
      key: /tmp/weir-tls/server.key
      min_version: TLSv1.2
      client: { ca: /tmp/weir-tls/ca.crt, require: true, allow_names: ["spiffe://cluster.local/ns/shop/*", "client.shop.local"] }
    routes: [ { service: payments } ]
services:
  payments:
    endpoints: [127.0.0.1:9443]
    tls: { ca: /tmp/weir-tls/ca.crt, certificate: /tmp/weir-tls/client.crt, key: /tmp/weir-tls/client.key, allow_names: [payments.local] }
)",
                                   sources);
  CHECK(loaded.report.empty());
  REQUIRE(loaded.config != nullptr);
  CHECK(loaded.config->listeners[0].timeouts.tls_handshake == std::chrono::seconds(5));
  CHECK(loaded.config->listeners[0].limits.handshakes == 1000);
}

TEST_CASE("a service without a ca trusts the system's authorities, and is refused where there are none") {
  TlsSources sources;
  const std::string yaml = "version: 1\nservices:\n  s: { endpoints: [127.0.0.1:1], tls: {} }\n";
  const LoadedConfig refused = load(yaml, sources);
  CHECK(refused.report.find("t.yaml:3:") != std::string::npos);
  CHECK(refused.report.find("ca is missing, and the system has no authorities: /etc/ssl/certs/ca-certificates.crt") != std::string::npos);
  sources.files[kSystemAuthorities] = sources.authority.ca();
  CHECK(load(yaml, sources).config != nullptr);
  sources.variables["SSL_CERT_FILE"] = "/other.pem";
  CHECK(load(yaml, sources).config == nullptr);
  sources.files["/other.pem"] = sources.authority.ca();
  CHECK(load(yaml, sources).config != nullptr);
}

TEST_CASE("another chain behind the same certificate is a change") {
  TlsSources sources;
  const std::string yaml = read("config/examples/mtls.yaml");
  const LoadedConfig before = load(yaml, sources);
  sources.files["/etc/weir/tls/tls.crt"] += sources.authority.ca();
  const LoadedConfig after = load(yaml, sources);
  REQUIRE(after.config != nullptr);
  CHECK(
      describe_changes(*before.config, *after.config, filter_catalog()) ==
      std::vector<std::string>{"listener inbound: its TLS files say something else", "service payments: its TLS files say something else"});
}

TEST_CASE("files that TLS reads are watched, and what they say is a change") {
  TlsSources sources;
  config::RecordingSources recording(sources);
  recording.begin();
  const std::string yaml = read("config/examples/mtls.yaml");
  const LoadedConfig before = load(yaml, recording);
  const std::vector<std::string> places = recording.places();
  for (const char* path : {"/etc/weir/tls/tls.crt", "/etc/weir/tls/tls.key", "/etc/weir/tls/ca.crt"}) {
    CHECK(std::find(places.begin(), places.end(), path) != places.end());
  }
  CHECK_FALSE(recording.changed());
  CHECK(describe_changes(*before.config, *load(yaml, sources).config, filter_catalog()).empty());
  const PemPair next = sources.authority.issue({.subject = "web", .dns = {"web.local"}});
  sources.files["/etc/weir/tls/tls.crt"] = next.certificate;
  CHECK(recording.changed());
  CHECK(load(yaml, sources).report.find("/etc/weir/tls/tls.key: the key does not belong to the certificate") != std::string::npos);
  sources.files["/etc/weir/tls/tls.key"] = next.key;
  const LoadedConfig after = load(yaml, sources);
  CHECK(
      describe_changes(*before.config, *after.config, filter_catalog()) ==
      std::vector<std::string>{"listener inbound: its TLS files say something else", "service payments: its TLS files say something else"});
}

TEST_CASE("the name that a service's certificate is checked for is its host, else that of its dns: endpoints, when it is one") {
  TlsSources sources;
  const auto name_of = [&](const std::string& endpoints) {
    const LoadedConfig loaded = load("version: 1\nservices: { s: { endpoints: " + endpoints + " } }\n", sources);
    REQUIRE(loaded.config != nullptr);
    return name_to_check(loaded.config->services.at("s"));
  };
  CHECK(name_of("[\"dns:a.local:1\"]") == "a.local");
  CHECK(name_of("[\"dns:a.local:1\", \"dns:a.local:2\"]") == "a.local");
  CHECK(name_of("[\"dns:a.local:1\", \"dns:b.local:1\"]").empty());
  CHECK(name_of("[\"dns:a.local:1\", \"127.0.0.1:1\"]").empty());
  CHECK(name_of("[127.0.0.1:1]").empty());
  CHECK(name_of("[\"dns:a.local:1\"], host: b.local") == "b.local");
  CHECK(name_of("[127.0.0.1:1], host: \"b.local:8443\"") == "b.local");
  CHECK(name_of("[127.0.0.1:1], host: \"[::1]:8443\"") == "::1");
}
