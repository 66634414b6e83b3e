// TLS through the whole proxy in virtual time: from clients, to upstreams, with certificates on either side, and changed while it runs.
#include <catch2/catch.hpp>

#include "proxy/net/tls_connector.h"
#include "proxy/server/tls_watch.h"
#include "proxy/sim/sim_peer.h"
#include "tests/support/certificates.h"
#include "tests/support/world.h"

using namespace weir;
using namespace weir::test;
using nlohmann::json;

namespace {

TestAuthority& authority() {
  static TestAuthority one;
  return one;
}

const CertificateWish kServer{.subject = "web", .dns = {"web.local"}, .uris = {"spiffe://cluster.local/ns/shop/sa/web"}};
const CertificateWish kClient{.subject = "cart", .dns = {"cart.shop.local"}, .uris = {"spiffe://cluster.local/ns/shop/sa/cart"}};

std::string yaml(const std::string& listener_tls, const std::string& service_tls = "", const std::string& filters = "[]") {
  return R"(version: 1
access_log: { path: /access.log }
admin: { read_only_listen: 127.0.0.1:9901 }
listeners:
  - name: out
    direction: inbound
    listen: 127.0.0.1:15443
    limits: { handshakes: 2 }
    timeouts: { tls_handshake: 3s })" +
         (listener_tls.empty() ? std::string() : "\n    tls: " + listener_tls) + R"(
    routes: [ { service: app, policy: p } ]
services:
  app: { endpoints: ["dns:app.local:443"])" +
         (service_tls.empty() ? std::string() : ", tls: " + service_tls) + R"( }
policies:
  p: { filters: )" +
         filters + " }\n";
}

const std::string kPlainService = "";
const std::string kOwn = "{ certificate: /tls/tls.crt, key: /tls/tls.key }";
const std::string kMutual =
    "{ certificate: /tls/tls.crt, key: /tls/tls.key, client: { ca: /tls/ca.crt, allow_names: [\"spiffe://cluster.local/ns/shop/*\"] } }";

std::map<std::string, std::string> files(const PemPair& pair = authority().issue(kServer)) {
  return {{"/tls/tls.crt", pair.certificate}, {"/tls/tls.key", pair.key}, {"/tls/ca.crt", authority().ca()}};
}

struct TlsScenario : World {
  explicit TlsScenario(const std::string& text, std::map<std::string, std::string> with = files())
      : World(text, {.start = false, .files = std::move(with), .from_file = true}), connector(sim.loop(0), buffers, platform.net) {
    platform.names.table["app.local"] = {"10.0.0.1"};
    calling.ca = TlsTrust::parse(authority().ca()).value();
    calling.server_name = "web.local";
    auto config = load();
    if (!config) FAIL(config.error().message);
    REQUIRE(server->start(std::move(config).value()).ok());
    advance(10ms);
  }
  ~TlsScenario() { clients.clear(); }

  void call_as(const CertificateWish& wish) {
    const PemPair pair = authority().issue(wish);
    calling.identity = TlsIdentity::parse(pair.certificate, pair.key).value();
  }
  TlsConnector& connector_of() {
    auto context = TlsClientContext::make(calling).value();
    const bool same = connector.context() != nullptr && connector.context()->fingerprint() == context->fingerprint();
    if (!same) connector.use(std::move(context));  // the same one keeps its sessions
    return connector;
  }
  SimClient& tls_client() {
    connector_of();
    clients.push_back(std::make_unique<SimClient>(connector, server->listening().at("out")));
    return *clients.back();
  }
  Message tls_get(const std::string& path = "/", const std::string& fields = "") {
    SimClient& one = tls_client();
    one.get(path, fields);
    return await(one) ? one.answers().back() : Message{};
  }
  std::shared_ptr<const TlsServerContext> upstream_tls(const CertificateWish& wish, bool ask = false) {
    const PemPair pair = authority().issue(wish);
    TlsServerSettings settings;
    settings.identities = {TlsIdentity::parse(pair.certificate, pair.key).value()};
    if (ask) settings.client_ca = TlsTrust::parse(authority().ca()).value();
    return TlsServerContext::make(settings, "upstream").value();
  }

  BufferPool buffers;
  TlsClientSettings calling;
  TlsConnector connector;
};

}  // namespace

TEST_CASE("tls: a client is served, its upstream hears https, and the log says how it was secured") {
  TlsScenario w(yaml(kOwn));
  SimUpstream& app = w.upstream("10.0.0.1:443");
  const Message answer = w.tls_get("/a", "X-Forwarded-Proto: http\r\nX-Forwarded-Client-Cert: Hash=forged\r\n");
  CHECK(answer.status() == 200);
  REQUIRE(app.seen.size() == 1);
  CHECK(app.seen[0].header("x-forwarded-proto") == "https");
  CHECK_FALSE(app.seen[0].has("x-forwarded-client-cert"));
  const json line = w.last_line();
  CHECK(line["tls"]["version"] == "TLSv1.3");
  CHECK(line["tls"]["server_name"] == "web.local");
  CHECK(line["tls"]["resumed"] == false);
  CHECK_FALSE(line["tls"].contains("client"));
  CHECK(w.metric("weir_tls_handshakes_total", {{"listener", "out"}, {"version", "TLSv1.3"}, {"resumed", "false"}}) == 1);
  CHECK(w.metric("weir_tls_handshakes") == 0);
  w.clients.clear();
  w.settle();
  CHECK(w.tls_get().status() == 200);
  CHECK(w.metric("weir_tls_handshakes_total", {{"resumed", "true"}}) == 1);
}

TEST_CASE("tls: a client with a certificate is known to its upstream, to the log and to rate limits") {
  TlsScenario w(yaml(kMutual, "", "[ { rate_limit: { rate: 2/h, burst: 2, key: client_identity } } ]"));
  SimUpstream& app = w.upstream("10.0.0.1:443");
  w.call_as(kClient);
  CHECK(w.tls_get("/", "X-Forwarded-Client-Cert: Hash=forged\r\n").status() == 200);
  const std::string said = app.seen.at(0).header("x-forwarded-client-cert");
  const std::string hash = w.calling.identity->facts().fingerprint;
  CHECK(said == "By=spiffe://cluster.local/ns/shop/sa/web;Hash=" + hash +
                    ";Subject=\"CN=cart\";URI=spiffe://cluster.local/ns/shop/sa/cart;DNS=cart.shop.local");
  CHECK(w.last_line()["tls"]["client"] == "spiffe://cluster.local/ns/shop/sa/cart");
  CHECK(w.tls_get().status() == 200);
  CHECK(w.tls_get().status() == 429);
  w.call_as({.uris = {"spiffe://cluster.local/ns/shop/sa/other"}});
  CHECK(w.tls_get().status() == 200);  // another client, another bucket
}

TEST_CASE("tls: who may not connect is refused in the handshake, counted by reason and logged") {
  TlsScenario w(yaml(kMutual));
  w.upstream("10.0.0.1:443");
  std::string reason;
  SECTION("no certificate") { reason = "no_certificate"; }
  SECTION("a name that is not allowed") {
    w.call_as({.uris = {"spiffe://cluster.local/ns/bank/sa/cart"}});
    reason = "not_allowed";
  }
  SECTION("expired") {
    w.call_as({.uris = {"spiffe://cluster.local/ns/shop/sa/cart"}, .until_day = -1});
    reason = "expired";
  }
  CHECK(w.tls_get().status() == 0);
  CHECK(w.metric("weir_tls_handshake_failures_total", {{"listener", "out"}, {"reason", reason}}) == 1);
  CHECK(w.metric("weir_requests_total") == 0);
  CHECK(w.platform.messages.find("a client's TLS handshake failed") != std::string::npos);
  CHECK(w.platform.messages.find("reason=" + reason) != std::string::npos);
  w.advance(2s);
  CHECK(w.metric("weir_listener_connections") == 0);
}

TEST_CASE("tls: clear text on a port of TLS gets an answer that says so") {
  TlsScenario w(yaml(kOwn));
  SimClient& client = w.client();
  client.get("/");
  w.advance(2s);
  REQUIRE(client.answered());
  CHECK(client.answers()[0].status() == 400);
  CHECK(w.metric("weir_tls_handshake_failures_total", {{"reason", "plain_http"}}) == 1);
  CHECK(w.metric("weir_listener_connections") == 0);
}

TEST_CASE("tls: handshakes are bounded in time and number") {
  TlsScenario w(yaml(kOwn));
  for (int i = 0; i < 3; ++i) w.client();  // say nothing
  w.settle();
  CHECK(w.metric("weir_tls_handshakes") == 2);
  CHECK(w.metric("weir_tls_handshake_failures_total", {{"reason", "limit"}}) == 1);
  CHECK(w.metric("weir_listener_connections") == 2);
  w.advance(3s - 1ms);
  CHECK(w.metric("weir_listener_connections") == 2);
  w.advance(1ms);
  CHECK(w.metric("weir_listener_connections") == 0);
  CHECK(w.metric("weir_tls_handshake_failures_total", {{"reason", "timeout"}}) == 2);
  w.upstream("10.0.0.1:443");
  CHECK(w.tls_get().status() == 200);
}

// The swarm's seed 1006: what came meanwhile was told of again and again, within one instant, because nobody read it.
TEST_CASE("tls: a client that takes nothing of the handshake and sends on does not keep the worker busy") {
  TlsScenario w(yaml(kOwn));
  const Address elsewhere = Address::parse("10.9.9.9:1").value();
  SimServer listening(w.platform.net, w.sim.loop(0), elsewhere);
  SimClient asking(w.connector_of(), elsewhere);
  w.advance(10ms);
  const std::string hello = listening.last().received();
  REQUIRE(hello.size() > 100);
  asking.close();
  const Address front = w.server->listening().at("out");
  w.platform.net.conditions(front).window = hello.size() + 100;
  SimPeer client(w.platform.net, front);
  client.pause_reading(true);
  client.send(hello);
  w.advance(100ms);  // weir's answer is larger than what has room
  client.send(std::string(50, '\x17'));
  w.advance(1s);
  CHECK(client.open());
  CHECK(w.metric("weir_tls_handshakes") == 1);
  w.advance(10s);  // its time is over
  CHECK(w.metric("weir_tls_handshakes") == 0);
  listening.last().close();
  client.close();
}

TEST_CASE("tls: a drain does not wait for those who are still shaking hands") {
  TlsScenario w(yaml(kOwn));
  w.client();
  w.settle();
  w.server->drain();
  w.advance(Server::kGrace + 200ms);
  CHECK(w.metric("weir_listener_connections") == 0);
  w.advance(2s);
  CHECK(w.finished_clean);
}

TEST_CASE("tls: an upstream is called by TLS, verified by the name of its endpoints") {
  TlsScenario w(yaml("", "{ ca: /tls/ca.crt }"));
  SimUpstream& app = w.upstream("10.0.0.1:443");
  int status = 200;
  std::string failure, reason, detail;
  SECTION("right") { app.tls = w.upstream_tls({.dns = {"app.local"}}); }
  SECTION("for another name") {
    app.tls = w.upstream_tls({.dns = {"other.local"}});
    status = 503, failure = "tls_certificate", reason = "name_mismatch", detail = "certificate verify failed: hostname mismatch";
  }
  SECTION("expired") {
    app.tls = w.upstream_tls({.dns = {"app.local"}, .until_day = -1});
    status = 503, failure = "tls_certificate", reason = "expired", detail = "certificate verify failed: certificate has expired";
  }
  SECTION("not TLS at all") {
    status = 503, failure = "tls_failure", reason = "closed", detail = "the peer closed the connection during the handshake";
    app.script = [](UpstreamPeer& peer, const Message&, int) { peer.answer(200, "clear"); };
    // The client hello is no request: the upstream would wait for more. It closes.
    w.sim.schedule_at(w.sim.loop(0), w.sim.now() + 500ms, [&app] { app.peers.at(0)->close(); });
  }
  const Message answer = w.get();
  CHECK(answer.status() == status);
  const json line = w.last_line();
  if (failure.empty()) {
    CHECK(w.metric("weir_upstream_tls_handshakes_total", {{"service", "app"}, {"version", "TLSv1.3"}}) == 1);
    CHECK(w.get().status() == 200);
    CHECK(app.accepted == 1);
    return;
  }
  CHECK(line["failure"] == failure);
  CHECK(line["detail"] == detail);
  CHECK(line["flag"] == "UF");
  CHECK(answer.header("proxy-status").find(failure == "tls_failure" ? "error=tls_protocol_error" : "error=tls_certificate_error") !=
        std::string::npos);
  CHECK(w.metric("weir_upstream_tls_handshake_failures_total", {{"service", "app"}, {"reason", reason}}) == 1);
  CHECK(w.metric("weir_upstream_connects_total", {{"service", "app"}, {"result", "tls_failure"}}) == 1);
}

TEST_CASE("tls: a handshake that stands still is bounded by connect_timeout, and may be tried elsewhere") {
  TlsScenario w(yaml("", "{ ca: /tls/ca.crt }", "[ { retry: { max_attempts: 2, causes: [connect_failure] } } ]"));
  w.platform.names.table["app.local"] = {"10.0.0.1", "10.0.0.2"};
  w.advance(60s);                                    // discovery finds the second
  SimUpstream& silent = w.upstream("10.0.0.1:443");  // reads the hello, and says nothing
  SimUpstream& good = w.upstream("10.0.0.2:443");
  good.tls = w.upstream_tls({.dns = {"app.local"}});
  for (int i = 0; i < 6; ++i) CHECK(w.get().status() == 200);
  CHECK(good.seen.size() == 6);
  if (silent.accepted > 0) CHECK(w.metric("weir_upstream_connects_total", {{"result", "connect_timeout"}}) == silent.accepted);
}

TEST_CASE("tls: weir shows its own certificate to an upstream that asks") {
  std::map<std::string, std::string> with = files();
  const PemPair pair = authority().issue(kClient);
  with["/tls/client.crt"] = pair.certificate;
  with["/tls/client.key"] = pair.key;
  SECTION("which it has") {
    TlsScenario w(yaml("", "{ ca: /tls/ca.crt, certificate: /tls/client.crt, key: /tls/client.key }"), with);
    w.upstream("10.0.0.1:443").tls = w.upstream_tls({.dns = {"app.local"}}, true);
    CHECK(w.get().status() == 200);
    CHECK(w.metric("weir_tls_certificate_expiry_timestamp_seconds", {{"service", "app"}, {"file", "/tls/client.crt"}}) ==
          1767225600.0 + 365 * 86400.0);
  }
  SECTION("or has not: the alert is in the log") {
    TlsScenario w(yaml("", "{ ca: /tls/ca.crt }"), with);
    w.upstream("10.0.0.1:443").tls = w.upstream_tls({.dns = {"app.local"}}, true);
    CHECK(w.get().status() == 502);  // TLS 1.3: the client's handshake was over when the server looked for a certificate
    CHECK(w.last_line()["detail"].get<std::string>().find("alert certificate required") != std::string::npos);
  }
}

TEST_CASE("tls: an answer whose end is the end of the connection is whole only with close_notify") {
  TlsScenario w(yaml("", "{ ca: /tls/ca.crt }"));
  SimUpstream& app = w.upstream("10.0.0.1:443");
  app.tls = w.upstream_tls({.dns = {"app.local"}});
  bool clean = false;
  SECTION("with") { clean = true; }
  SECTION("without") {}
  app.script = [&](UpstreamPeer& peer, const Message&, int) {
    peer.send("HTTP/1.1 200 OK\r\n\r\npart");
    w.sim.schedule_at(w.sim.loop(0), w.sim.now() + 10ms, [&app, clean] { clean ? app.peers.at(0)->close() : app.peers.at(0)->cut(); });
  };
  SimClient& client = w.client();
  client.get("/");
  w.advance(1s);
  if (clean) {
    REQUIRE(client.answered());
    CHECK(client.answers()[0].body == "part");
    CHECK(w.last_line().value("failure", "") == "");
  } else {
    CHECK(w.last_line()["failure"] == "truncated");
  }
}

TEST_CASE("tls: a certificate that is renewed is served to new connections, open ones stay, and nothing fails") {
  TlsScenario w(yaml(kOwn));
  w.upstream("10.0.0.1:443");
  SimClient& old = w.tls_client();
  old.get("/1");
  REQUIRE(w.await(old));
  const std::string before = old.stream()->tls()->peer_fingerprint;
  const PemPair next = authority().issue({.subject = "web", .dns = {"web.local"}, .until_day = 700});
  w.platform.files.write("/tls/tls.crt", next.certificate);
  w.advance(ConfigWatch::kQuiet + 10ms);
  CHECK(w.server->generation() == 1);  // the key is not there yet
  CHECK(w.server->last_error().find("the key does not belong to the certificate") != std::string::npos);
  CHECK(w.metric("weir_config_last_reload_success") == 0);
  CHECK(w.admin("GET", "/config/status").body.find("does not belong") != std::string::npos);
  CHECK(w.tls_get("/2").status() == 200);  // the old pair is served
  w.platform.files.write("/tls/tls.key", next.key);
  w.advance(ConfigWatch::kQuiet + 10ms);
  CHECK(w.server->generation() == 2);
  CHECK(w.metric("weir_config_last_reload_success") == 1);
  CHECK(w.platform.messages.find("listener out: its TLS files say something else") != std::string::npos);
  SimClient& renewed = w.tls_client();
  renewed.get("/3");
  REQUIRE(w.await(renewed));
  CHECK(renewed.stream()->tls()->peer_fingerprint != before);
  old.get("/4");
  CHECK(w.await(old, 2));
  CHECK(w.metric("weir_tls_certificate_expiry_timestamp_seconds", {{"listener", "out"}}) == 1767225600.0 + 700 * 86400.0);
}

TEST_CASE("tls: a service that is secured otherwise after a reload is called by new connections") {
  TlsScenario w(yaml("", "{ ca: /tls/ca.crt }"));
  SimUpstream& app = w.upstream("10.0.0.1:443");
  app.tls = w.upstream_tls({.dns = {"app.local", "second.local"}});
  CHECK(w.get().status() == 200);
  CHECK(w.get().status() == 200);
  CHECK(app.accepted == 1);
  w.platform.files.write(World::kFile, yaml("", "{ ca: /tls/ca.crt, server_name: second.local }"));
  w.advance(ConfigWatch::kQuiet + 10ms);
  CHECK(w.get().status() == 200);
  CHECK(app.accepted == 2);
  w.platform.files.write(World::kFile, yaml("", "{ ca: /tls/ca.crt, allow_names: [third.local] }"));
  w.advance(ConfigWatch::kQuiet + 10ms);
  CHECK(w.get().status() == 503);
  CHECK(w.last_line()["detail"] == "certificate verify failed: none of its names is allowed");
}

TEST_CASE("tls: a certificate that is about to expire is said in the log, at the start and twice a day") {
  TlsScenario w(yaml(kOwn), files(authority().issue({.dns = {"web.local"}, .until_day = 10})));
  const auto said = [&](const char* what) {
    std::size_t count = 0;
    for (std::size_t at = w.platform.messages.find(what); at != std::string::npos; at = w.platform.messages.find(what, at + 1)) ++count;
    return count;
  };
  CHECK(said("a certificate expires soon") == 1);
  w.advance(std::chrono::hours(25));
  CHECK(said("a certificate expires soon") == 3);
  CHECK(said("a certificate has expired") == 0);
  w.advance(std::chrono::hours(24 * 9));
  CHECK(said("a certificate has expired") > 0);
}

TEST_CASE("tls: health checks shake hands as requests do") {
  TlsScenario w(yaml("", "{ ca: /tls/ca.crt }, health_check: { http: { path: /healthz }, interval: 1s, timeout: 500ms }"));
  SimUpstream& app = w.upstream("10.0.0.1:443");
  app.tls = w.upstream_tls({.dns = {"app.local"}});
  w.advance(10s);
  CHECK(w.metric("weir_health_checks_total", {{"result", "passed"}}) > 5);
  REQUIRE_FALSE(app.seen.empty());
  CHECK(app.seen[0].header("host") == "app.local");
  app.tls = w.upstream_tls({.dns = {"other.local"}});
  w.advance(10s);
  CHECK(w.metric("weir_health_checks_total", {{"result", "tls_failure"}}) > 2);
  CHECK(w.metric("weir_endpoints", {{"state", "unhealthy"}}) == 1);
}
