// Who is let in, and who is called: certificates that are right, and every way in which they are wrong. Both sides, both versions.
#include <catch2/catch.hpp>

#include "tests/net/tls_world.h"

using namespace weir;
using namespace weir::test;

namespace {

struct Case {
  const char* what;
  CertificateWish wish;
  bool stranger = false;  // issued by another authority
  TlsReason reason = TlsReason::none;
  const char* text = "";
};

const Case kServers[] = {
    {"right", {.dns = {"server.local"}}},
    {"one of several names", {.dns = {"other.local", "SERVER.local"}}},
    {"RSA", {.dns = {"server.local"}, .rsa = true}},
    {"of another authority",
     {.dns = {"server.local"}},
     true,
     TlsReason::unknown_ca,
     "certificate verify failed: unable to get local issuer certificate"},
    {"expired",
     {.dns = {"server.local"}, .until_day = -1},
     false,
     TlsReason::expired,
     "certificate verify failed: certificate has expired"},
    {"not yet valid",
     {.dns = {"server.local"}, .from_day = 1},
     false,
     TlsReason::not_yet_valid,
     "certificate verify failed: certificate is not yet valid"},
    {"for another name", {.dns = {"other.local"}}, false, TlsReason::name_mismatch, "certificate verify failed: hostname mismatch"},
    {"whose common name alone is right",
     {.subject = "server.local"},
     false,
     TlsReason::name_mismatch,
     "certificate verify failed: hostname mismatch"},
    {"a wildcard that would have to stand for two labels",
     {.dns = {"*"}},
     false,
     TlsReason::name_mismatch,
     "certificate verify failed: hostname mismatch"},
};

}  // namespace

TEST_CASE("a client accepts the server's certificate only if everything is right with it") {
  TestAuthority other("another ca");
  for (const Case& one : kServers) {
    TlsWorld w;
    const PemPair pair = (one.stranger ? other : w.authority).issue(one.wish);
    w.serving.identities = {TlsWorld::identity(pair)};
    w.connect();
    INFO(one.what);
    REQUIRE(w.client->told);
    CHECK(w.client->connected == (one.reason == TlsReason::none));
    CHECK(w.client->reason == one.reason);
    CHECK(w.client->failure == one.text);
    if (one.reason == TlsReason::none) continue;
    CHECK(w.client->error == kTlsCertificateError);
    CHECK(w.server->error != 0);
    CHECK(w.server->reason == TlsReason::refused_by_peer);
  }
}

TEST_CASE("a wildcard of a certificate stands for one label") {
  TlsWorld w;
  w.serving.identities = {TlsWorld::identity(w.authority.issue({.dns = {"*.shop.local"}}))};
  SECTION("one") {
    w.calling.server_name = "a.shop.local";
    w.connect();
    CHECK(w.client->connected);
  }
  SECTION("two") {
    w.calling.server_name = "a.b.shop.local";
    w.connect();
    CHECK(w.client->reason == TlsReason::name_mismatch);
  }
}

TEST_CASE("a client without a name checks the address") {
  TlsWorld w;
  w.calling.server_name.clear();
  SECTION("which is in the certificate") {
    w.connect();
    CHECK(w.client->connected);
    CHECK(w.server->info().server_name.empty());
  }
  SECTION("which is not") {
    w.serving.identities = {TlsWorld::identity(w.authority.issue({.dns = {"server.local"}, .ips = {"127.0.0.2"}}))};
    w.connect();
    CHECK(w.client->reason == TlsReason::name_mismatch);
    CHECK(w.client->failure == "certificate verify failed: IP address mismatch");
  }
  SECTION("and a name that is an address is checked as one, and not asked for") {
    w.calling.server_name = "127.0.0.1";
    w.connect();
    CHECK(w.client->connected);
    CHECK(w.server->info().server_name.empty());
  }
}

TEST_CASE("with allow_names a client checks these instead of the name that it calls") {
  TlsWorld w;
  w.calling.server_name = "elsewhere.local";
  SECTION("a URI, by its beginning") { w.calling.allow_names = {"spiffe://cluster.local/ns/shop/*"}; }
  SECTION("or a DNS name") { w.calling.allow_names = {"nobody.local", "server.local"}; }
  SECTION("none of them") {
    w.calling.allow_names = {"spiffe://cluster.local/ns/shop", "spiffe://cluster.local/ns/bank/*", "local", "*.server.local"};
    w.connect();
    CHECK(w.client->reason == TlsReason::not_allowed);
    CHECK(w.client->failure == "certificate verify failed: none of its names is allowed");
    return;
  }
  w.connect();
  CHECK(w.client->connected);
  CHECK(w.server->info().server_name == "elsewhere.local");
}

namespace {

const Case kClients[] = {
    {"right", {.uris = {"spiffe://cluster.local/ns/shop/sa/cart"}}},
    {"right by its DNS name", {.dns = {"client.shop.local"}}},
    {"of another authority", {.uris = {"spiffe://cluster.local/ns/shop/sa/cart"}}, true, TlsReason::unknown_ca},
    {"expired", {.uris = {"spiffe://cluster.local/ns/shop/sa/cart"}, .until_day = -1}, false, TlsReason::expired},
    {"not yet valid", {.uris = {"spiffe://cluster.local/ns/shop/sa/cart"}, .from_day = 1}, false, TlsReason::not_yet_valid},
    {"of another namespace", {.uris = {"spiffe://cluster.local/ns/bank/sa/cart"}}, false, TlsReason::not_allowed},
    {"whose namespace only begins like it", {.uris = {"spiffe://cluster.local/ns/shopping/sa/cart"}}, false, TlsReason::not_allowed},
    {"whose DNS name is a URI that is allowed", {.dns = {"spiffe.cluster.local"}}, false, TlsReason::not_allowed},
    {"whose common name alone is allowed", {.subject = "client.shop.local"}, false, TlsReason::not_allowed},
    {"without any name", {}, false, TlsReason::not_allowed},
};

}  // namespace

TEST_CASE("a server that asks for certificates lets in whom its authority and its names allow") {
  TestAuthority other("another ca");
  for (const Case& one : kClients) {
    TlsWorld w;
    w.ask_clients({"spiffe://cluster.local/ns/shop/*", "client.shop.local"});
    const PemPair pair = (one.stranger ? other : w.authority).issue(one.wish);
    w.calling.identity = TlsWorld::identity(pair);
    w.connect();
    INFO(one.what);
    REQUIRE(w.server->told);
    CHECK(w.server->connected == (one.reason == TlsReason::none));
    CHECK(w.server->reason == one.reason);
    if (one.reason == TlsReason::none) {
      CHECK(w.server->info().peer_verified);
      CHECK(w.server->info().peer_subject == "CN=test");
      CHECK(w.server->info().local_uri == "spiffe://cluster.local/ns/shop/sa/web");
      CHECK(w.server->info().peer_fingerprint == TlsWorld::identity(pair)->facts().fingerprint);
      CHECK_FALSE(w.server->info().peer_identity().empty());
      continue;
    }
    // TLS 1.3: the client's side of the handshake was over before; it hears of it with its first read.
    CHECK(w.client->error == kTlsProtocolError);
    CHECK(w.client->reason == TlsReason::refused_by_peer);
    CHECK(w.client->failure.find("alert") != std::string::npos);
  }
}

TEST_CASE("a client without a certificate is refused where one is required, and is nobody where it is not") {
  TlsWorld w;
  SECTION("required") {
    w.ask_clients();
    w.connect();
    CHECK(w.server->reason == TlsReason::no_certificate);
  }
  SECTION("not required") {
    w.ask_clients({"client.shop.local"}, false);
    w.connect();
    REQUIRE(w.server->connected);
    CHECK_FALSE(w.server->info().peer_verified);
    CHECK(w.server->info().peer_identity().empty());
  }
  SECTION("not required, but a bad one is refused all the same") {
    w.ask_clients({"client.shop.local"}, false);
    w.calling.identity = TlsWorld::identity(w.authority.issue({.dns = {"other.shop.local"}}));
    w.connect();
    CHECK(w.server->reason == TlsReason::not_allowed);
  }
}

TEST_CASE("a server with several certificates shows the one that the client asks for") {
  TlsWorld w;
  const auto first = w.serving.identities.front();
  const auto second = TlsWorld::identity(w.authority.issue({.dns = {"second.local"}}));
  const auto third = TlsWorld::identity(w.authority.issue({.dns = {"*.third.local"}, .rsa = true}));
  w.serving.identities = {first, second, third};
  SECTION("exactly") {
    w.calling.server_name = "second.local";
    w.connect();
    REQUIRE(w.client->connected);
    CHECK(w.client->info().peer_fingerprint == second->facts().fingerprint);
  }
  SECTION("by a wildcard, whatever the case of the letters") {
    w.calling.server_name = "A.Third.local";
    w.connect();
    REQUIRE(w.client->connected);
    CHECK(w.client->info().peer_fingerprint == third->facts().fingerprint);
  }
  SECTION("the first, for a name that none has") {
    w.calling.server_name = "fourth.local";
    w.connect();
    CHECK(w.client->reason == TlsReason::name_mismatch);
  }
}

TEST_CASE("protocols and versions that have nothing in common end the handshake") {
  TlsWorld w;
  SECTION("a client that needs h2, at a server that speaks HTTP/1 only") {
    w.serving.alpn = {"http/1.1"};
    w.calling.alpn = "h2";
    w.calling.alpn_required = true;
    w.connect();
    CHECK(w.client->reason == TlsReason::no_common_protocol);
    CHECK(w.client->failure == "the server does not speak h2");
    CHECK(w.client->error == kTlsProtocolError);
  }
  SECTION("a client that would like h2 does without") {
    w.serving.alpn = {"http/1.1"};
    w.calling.alpn = "h2";
    w.connect();
    CHECK(w.client->connected);
    CHECK(w.server->info().alpn.empty());
  }
}

TEST_CASE("a client resumes its session, at either end of a reload that changes nothing") {
  TlsWorld w;
  w.ask_clients({"client.shop.local"});
  w.calling.identity = TlsWorld::identity(w.authority.issue({.dns = {"client.shop.local"}}));
  w.connect();
  w.server->send("x");  // the tickets come with it
  w.settle();
  CHECK_FALSE(w.client->info().resumed);
  SECTION("the same context") {}
  SECTION("another one of the same settings") { w.make_server(); }
  SECTION("after the keys were changed, with one that still opens") {
    w.tickets->rotate();
    w.tickets->rotate();
  }
  w.connect();
  REQUIRE(w.client->connected);
  CHECK(w.client->info().resumed);
  CHECK(w.server->info().resumed);
  CHECK(w.server->info().peer_identity() == "client.shop.local");
}

TEST_CASE("a session does not resume") {
  TlsWorld w;
  w.ask_clients({"client.shop.local"});
  w.calling.identity = TlsWorld::identity(w.authority.issue({.dns = {"client.shop.local"}, .until_day = 2}));
  w.connect();
  w.server->send("x");
  w.settle();
  REQUIRE(w.client->connected);
  bool let_in = true;
  SECTION("with a key that is forgotten") {
    for (std::size_t i = 0; i < TlsTicketKeys::kKept; ++i) w.tickets->rotate();
  }
  SECTION("where other names are allowed now: who may not call any more is out") {
    w.serving.allow_names = {"somebody.local"};
    w.make_server();
    let_in = false;
  }
  SECTION("where another authority is trusted now") {
    TestAuthority other("another ca");
    w.serving.client_ca = TlsWorld::trust(other);
    w.make_server();
    let_in = false;
  }
  SECTION("when the client's certificate has expired since") {
    w.loop.advance(std::chrono::hours(49));
    let_in = false;
  }
  SECTION("when the client's own settings are new") { w.make_client(); }
  w.connect();
  CHECK(w.server->connected == let_in);
  if (!let_in) return;
  CHECK_FALSE(w.client->info().resumed);
}

TEST_CASE("the cache of sessions keeps a few of each address, and uses one of TLS 1.3 once") {
  TlsWorld w;
  w.make_server();
  w.make_client();
  for (int i = 0; i < 4; ++i) {  // a resumed handshake brings a new ticket
    INFO(i);
    w.connect();
    w.server->send("x");
    w.settle();
    CHECK(w.client->info().resumed == (i > 0));
  }
}
