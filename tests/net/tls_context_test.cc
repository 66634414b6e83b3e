#include "proxy/net/tls_context.h"

#include <catch2/catch.hpp>

#include "tests/support/certificates.h"

using namespace weir;
using namespace weir::test;

TEST_CASE("names that may call are URIs and DNS names, with a * where it cannot mean too much") {
  for (const char* good : {"spiffe://cluster.local/ns/shop/*", "spiffe://cluster.local/ns/shop/sa/cart", "spiffe://cluster.local/*",
                           "client.shop.local", "*.shop.local", "localhost"}) {
    INFO(good);
    CHECK(TlsAllowedNames::check(good).ok());
  }
  for (const char* bad : {"", "*", "*.", "a.*", "*.*.local", "a*.local", "spiffe://*", "spiffe://cluster.*", "spiffe://cluster.local*",
                          "spiffe://a/*/b", ".local", "local.", "two words"}) {
    INFO(bad);
    CHECK_FALSE(TlsAllowedNames::check(bad).ok());
  }
}

TEST_CASE("a * at the end of a URI is any rest, but not nothing; one in a DNS name is one label") {
  const TlsAllowedNames allowed({"spiffe://cluster.local/ns/shop/*", "*.shop.local", "exact.local"});
  CHECK(allowed.allow({"spiffe://cluster.local/ns/shop/sa/cart"}, {}));
  CHECK_FALSE(allowed.allow({"spiffe://cluster.local/ns/shop/"}, {}));
  CHECK_FALSE(allowed.allow({"spiffe://cluster.local/ns/shopping/sa/cart"}, {}));
  CHECK_FALSE(allowed.allow({"spiffe://Cluster.local/ns/shop/sa/cart"}, {}));
  CHECK(allowed.allow({}, {"a.shop.local"}));
  CHECK(allowed.allow({}, {"b", "EXACT.local"}));
  CHECK_FALSE(allowed.allow({}, {"a.b.shop.local"}));
  CHECK_FALSE(allowed.allow({}, {"shop.local"}));
  CHECK_FALSE(allowed.allow({}, {".shop.local"}));
  CHECK_FALSE(allowed.allow({"exact.local"}, {}));  // a URI is no DNS name
  CHECK_FALSE(allowed.allow({}, {}));
}

TEST_CASE("what is wrong with a certificate or a key is said, and which of the two it is") {
  TestAuthority authority;
  const PemPair pair = authority.issue({.dns = {"a.local"}});
  const PemPair other = authority.issue();
  CHECK(TlsIdentity::parse(pair.certificate, pair.key).ok());
  CHECK(TlsIdentity::parse(pair.certificate + authority.ca(), pair.key).value()->chain().size() == 1);
  const auto error = [](std::string_view certificate, std::string_view key) {
    const auto parsed = TlsIdentity::parse(certificate, key);
    return parsed.ok() ? Error{} : parsed.error();
  };
  const auto certificate = static_cast<int>(TlsPart::certificate), key = static_cast<int>(TlsPart::key);
  CHECK(error("", pair.key).code == certificate);
  CHECK(error("", pair.key).message == "there is no certificate in PEM in it");
  CHECK(error(pair.key, pair.key).message == "there is no certificate in PEM in it");
  CHECK(error(pair.certificate.substr(0, 200), pair.key).code == certificate);
  CHECK(error(pair.certificate, pair.certificate).code == key);
  CHECK(error(pair.certificate, pair.certificate).message == "there is no private key in PEM in it");
  CHECK(error(pair.certificate, other.key).code == key);
  CHECK(error(pair.certificate, other.key).message == "the key does not belong to the certificate");
  CHECK(error(pair.certificate, encrypted_key()).message.find("encrypted") != std::string::npos);
  CHECK_FALSE(TlsTrust::parse("nothing").ok());
  CHECK(TlsTrust::parse(authority.ca()).value()->authorities().size() == 1);
}

TEST_CASE("the facts of a certificate are read: names, dates, fingerprint") {
  TestAuthority authority;
  const PemPair pair =
      authority.issue({.subject = "a", .dns = {"a.local", "*.b.local"}, .uris = {"spiffe://x/y"}, .ips = {"10.0.0.1"}, .until_day = 1});
  const auto identity = TlsIdentity::parse(pair.certificate, pair.key).value();
  const TlsCertificateFacts& facts = identity->facts();
  CHECK(facts.subject == "CN=a");
  CHECK(facts.names == std::vector<std::string>{"a.local", "*.b.local"});
  CHECK(facts.uris == std::vector<std::string>{"spiffe://x/y"});
  CHECK(facts.fingerprint.size() == 64);
  CHECK(facts.not_after.time_since_epoch() == std::chrono::seconds(1767225600 + 86400));
  CHECK(identity->serves("x.b.local"));
  CHECK_FALSE(identity->serves("x.y.b.local"));
}

TEST_CASE("contexts of equal settings have equal fingerprints, and others have others") {
  TestAuthority authority;
  const PemPair pair = authority.issue({.dns = {"a.local"}});
  TlsServerSettings settings;
  settings.identities = {TlsIdentity::parse(pair.certificate, pair.key).value()};
  const auto of = [](const TlsServerSettings& from, const char* scope = "in") {
    return TlsServerContext::make(from, scope).value()->fingerprint();
  };
  const std::string first = of(settings);
  CHECK(of(settings) == first);
  CHECK(of(settings, "other") != first);
  TlsServerSettings changed = settings;
  changed.client_ca = TlsTrust::parse(authority.ca()).value();
  const std::string asking = of(changed);
  CHECK(asking != first);
  changed.require_client = false;
  CHECK(of(changed) != asking);
  changed.allow_names = {"x.local"};
  CHECK(of(changed) != asking);
}
