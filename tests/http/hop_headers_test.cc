#include "proxy/http/hop_headers.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <ctime>
#include <string>

#include "proxy/http/framing_rules.h"
#include "proxy/runtime/arena.h"

namespace weir {

namespace {

struct Fixture {
  ArenaPool pool;
  Arena& arena = pool.open();
  RequestHead head{arena};
  Random random{7};
  ~Fixture() { arena.release(); }
};

}  // namespace

TEST_CASE("no trailer says who a client is, where a message ends, or what came before") {
  const auto may_be = [](std::string_view name) {
    Fixture f;
    f.head.headers.add(name, "x");
    return may_be_trailer(*f.head.headers.begin());
  };
  for (const char* name : {"x-forwarded-client-cert", "x-forwarded-for", "forwarded", "via", "x-request-id", "x-weir-attempt",
                           "authorization", "cookie", "content-length", "transfer-encoding", "host", "te", "set-cookie"}) {
    INFO(name);
    CHECK_FALSE(may_be(name));
  }
  for (const char* name : {"grpc-status", "digest", "server-timing", "x-sum"}) CHECK(may_be(name));
}

TEST_CASE("Connection takes out what it names, and itself") {
  Fixture f;
  f.head.headers.add("connection", "X-One ,, x-two,");
  f.head.headers.add("x-one", "1");
  f.head.headers.add("x-two", "2");
  f.head.headers.add("x-three", "3");
  CHECK(take_connection_fields(f.head.headers, HttpVersion::http11));
  CHECK(f.head.headers.size() == 1);
  CHECK(f.head.headers.value("x-three") == "3");
}

TEST_CASE("a Connection field full of options takes out all that it names, and costs what its length does, not that times the fields") {
  const auto cost = [](int fields) {
    Fixture f;
    std::string options;
    while (options.size() < 60'000) options += "vary,x-many,";
    f.head.headers.add("connection", options + "X-Last");
    for (int i = 0; i < fields; ++i) {
      f.head.headers.add("x-many", "1");
      f.head.headers.add("vary", "*");
    }
    f.head.headers.add("x-last", "1");
    f.head.headers.add("x-lasting", "1");
    const std::clock_t began = std::clock();
    CHECK(take_connection_fields(f.head.headers, HttpVersion::http11));
    const std::clock_t took = std::clock() - began;
    CHECK(f.head.headers.find("x-many") == nullptr);
    CHECK(f.head.headers.find("x-last") == nullptr);
    CHECK(f.head.headers.value("x-lasting") == "1");
    CHECK(f.head.headers.size() == static_cast<std::size_t>(fields) + 1);
    return took;
  };
  std::clock_t few = cost(1), many = cost(200);
  for (int i = 0; i < 4; ++i) {  // the least of five, and a wide margin: 200 times as many fields, once 100 times as dear
    few = std::min(few, cost(1));
    many = std::min(many, cost(200));
  }
  CHECK(many < 20 * few);
}

TEST_CASE("Connection takes no end-to-end field out") {
  for (const char* name : {"host", "authorization", "cookie", "x-forwarded-for", "x-request-id", "content-type", "content-encoding",
                           "cache-control", "traceparent", "x-weir-deadline"}) {
    Fixture f;
    f.head.headers.add("connection", name);
    f.head.headers.add(name, "v");
    CHECK(take_connection_fields(f.head.headers, HttpVersion::http11));
    CAPTURE(name);
    CHECK(f.head.headers.value(name) == "v");
  }
}

TEST_CASE("several Connection fields count together, and close wins") {
  Fixture f;
  f.head.headers.add("connection", "keep-alive");
  f.head.headers.add("connection", "x-a, CLOSE");
  f.head.headers.add("x-a", "1");
  CHECK_FALSE(take_connection_fields(f.head.headers, HttpVersion::http11));
  CHECK(f.head.headers.empty());
}

TEST_CASE("HTTP/1.0 keeps a connection only when it is asked to") {
  Fixture f;
  CHECK_FALSE(take_connection_fields(f.head.headers, HttpVersion::http10));
  f.head.headers.add("connection", "Keep-Alive");
  CHECK(take_connection_fields(f.head.headers, HttpVersion::http10));
}

TEST_CASE("close wins over keep-alive, in HTTP/1.0 as in HTTP/1.1") {
  for (const HttpVersion version : {HttpVersion::http10, HttpVersion::http11}) {
    Fixture f;
    f.head.headers.add("connection", "keep-alive");
    f.head.headers.add("connection", "close, keep-alive");
    CHECK_FALSE(take_connection_fields(f.head.headers, version));
  }
}

TEST_CASE("the hop-by-hop fields go without being named") {
  Fixture f;
  for (const char* name : {"keep-alive", "proxy-connection", "upgrade", "http2-settings", "transfer-encoding", "connection"}) {
    f.head.headers.add(name, "x");
  }
  f.head.headers.add("te", "gzip;q=0.5, Trailers ;q=1");
  f.head.headers.add("trailer", "x-sum");
  strip_hop_by_hop(f.head.headers);
  strip_hop_by_hop(f.head.headers);
  CHECK(f.head.headers.size() == 2);
  CHECK(f.head.headers.value("te") == "trailers");
  CHECK(f.head.headers.value("trailer") == "x-sum");
}

TEST_CASE("Via grows by one entry") {
  Fixture f;
  add_via(f.head.headers, HttpVersion::http11);
  CHECK(f.head.headers.value(HeaderId::via) == "1.1 weir");
  f.head.headers.add("via", "1.0 other");
  add_via(f.head.headers, HttpVersion::http2);
  CHECK(f.head.headers.count(HeaderId::via) == 1);
  CHECK(f.head.headers.value(HeaderId::via) == "1.1 weir, 1.0 other, 2 weir");
}

TEST_CASE("forwarded fields of a stranger are overwritten") {
  Fixture f;
  f.head.authority = "shop.example";
  f.head.headers.add("x-forwarded-for", "6.6.6.6");
  f.head.headers.add("x-forwarded-for", "7.7.7.7");
  f.head.headers.add("x-forwarded-proto", "https");
  f.head.headers.add("x-forwarded-host", "evil");
  f.head.headers.add("forwarded", "for=6.6.6.6");
  f.head.headers.add("x-weir-attempt", "7");
  set_forwarded_fields(f.head, {"10.0.0.9", "http", false});
  CHECK(f.head.headers.value(HeaderId::x_forwarded_for) == "10.0.0.9");
  CHECK(f.head.headers.count(HeaderId::x_forwarded_for) == 1);
  CHECK_FALSE(f.head.headers.has(HeaderId::x_weir_attempt));
  CHECK(f.head.headers.value(HeaderId::x_forwarded_proto) == "http");
  CHECK(f.head.headers.value(HeaderId::x_forwarded_host) == "shop.example");
  CHECK_FALSE(f.head.headers.has(HeaderId::forwarded));
}

TEST_CASE("forwarded fields of a trusted peer are believed and added to") {
  Fixture f;
  f.head.authority = "shop.example";
  f.head.headers.add("x-forwarded-for", "6.6.6.6");
  f.head.headers.add("x-forwarded-proto", "https");
  f.head.headers.add("forwarded", "for=6.6.6.6");
  set_forwarded_fields(f.head, {"10.0.0.9", "http", true});
  CHECK(f.head.headers.value(HeaderId::x_forwarded_for) == "6.6.6.6, 10.0.0.9");
  CHECK(f.head.headers.value(HeaderId::x_forwarded_proto) == "https");
  CHECK(f.head.headers.value(HeaderId::x_forwarded_host) == "shop.example");
  CHECK(f.head.headers.has(HeaderId::forwarded));
}

TEST_CASE("the certificate of a client is told upstream, and what anybody else says of one is not") {
  Fixture f;
  f.head.headers.add("x-forwarded-client-cert", "Hash=forged");
  f.head.headers.add("x-forwarded-client-cert", "Hash=forged too");
  TlsInfo tls;
  ForwardedFacts facts{"10.0.0.9", "https", false, &tls};
  SECTION("no certificate") { set_forwarded_fields(f.head, facts); }
  SECTION("not even where the peer is trusted") {
    facts.trusted = true;
    set_forwarded_fields(f.head, facts);
  }
  SECTION("clear text") { set_forwarded_fields(f.head, {"10.0.0.9", "http", true}); }
  SECTION("a verified one, in Envoy's form; what could end an element is escaped") {
    tls.peer_verified = true;
    tls.local_uri = "spiffe://a/web";
    tls.peer_fingerprint = "abc";
    tls.peer_subject = "CN=a \"b\" \\\\, O=c";
    tls.peer_uris = {"spiffe://a/cart;Hash=x", "spiffe://a/second"};
    tls.peer_names = {"a,b.local"};
    set_forwarded_fields(f.head, facts);
    CHECK(f.head.headers.count(HeaderId::x_forwarded_client_cert) == 1);
    CHECK(f.head.headers.value(HeaderId::x_forwarded_client_cert) ==
          "By=spiffe://a/web;Hash=abc;Subject=\"CN=a \\\"b\\\" \\\\\\\\, "
          "O=c\";URI=spiffe://a/cart%3BHash%3Dx;URI=spiffe://a/second;DNS=a%2Cb.local");
    return;
  }
  CHECK_FALSE(f.head.headers.has(HeaderId::x_forwarded_client_cert));
}

TEST_CASE("a certificate with a great many names does not make a great head") {
  Fixture f;
  TlsInfo tls;
  tls.peer_verified = true;
  tls.peer_fingerprint = "abc";
  tls.peer_names.assign(5000, "name.of.somebody.local");
  set_forwarded_fields(f.head, {"10.0.0.9", "https", false, &tls});
  const std::string_view value = f.head.headers.value(HeaderId::x_forwarded_client_cert);
  CHECK(value.starts_with("Hash=abc;Subject=\"\";DNS=name.of.somebody.local;DNS="));
  CHECK(value.size() < 8 * 1024);
  CHECK(value.size() > 1024);
}

TEST_CASE("a unix peer has no address to tell") {
  Fixture f;
  f.head.headers.add("x-forwarded-for", "6.6.6.6");
  set_forwarded_fields(f.head, {"", "http", false});
  CHECK_FALSE(f.head.headers.has(HeaderId::x_forwarded_for));
}

TEST_CASE("a sane request ID is kept where it is believed") {
  Fixture f;
  f.head.headers.add("x-request-id", "abc-1");
  CHECK(set_request_id(f.head, true, f.random) == "abc-1");
  const std::string_view made = set_request_id(f.head, false, f.random);
  CHECK(made.size() == 32);
  CHECK(made.find_first_not_of("0123456789abcdef") == std::string_view::npos);
  CHECK(f.head.headers.count(HeaderId::x_request_id) == 1);
  CHECK(f.head.headers.value(HeaderId::x_request_id) == made);
}

TEST_CASE("a strange request ID is replaced") {
  for (const std::string& id : {std::string(), std::string("a b"), std::string("a\"b"), std::string("a\xc3"), std::string(129, 'x')}) {
    Fixture f;
    f.head.headers.add("x-request-id", id);
    CHECK(set_request_id(f.head, true, f.random) != id);
  }
  Fixture f;
  f.head.headers.add("x-request-id", std::string(128, 'x'));
  CHECK(set_request_id(f.head, true, f.random).size() == 128);
  Fixture two;
  two.head.headers.add("x-request-id", "a");
  two.head.headers.add("x-request-id", "b");
  CHECK(set_request_id(two.head, true, two.random).size() == 32);
}

TEST_CASE("dates are IMF-fixdate") {
  DateCache cache;
  const auto at = [&](std::int64_t second) { return cache.text(WallTime(std::chrono::seconds(second))); };
  CHECK(at(784111777) == "Sun, 06 Nov 1994 08:49:37 GMT");
  CHECK(at(0) == "Thu, 01 Jan 1970 00:00:00 GMT");
  CHECK(at(1709251199) == "Thu, 29 Feb 2024 23:59:59 GMT");
  CHECK(cache.text(WallTime(std::chrono::milliseconds(1709251199999))) == "Thu, 29 Feb 2024 23:59:59 GMT");
  CHECK(at(1709251200) == "Fri, 01 Mar 2024 00:00:00 GMT");
}

}  // namespace weir
