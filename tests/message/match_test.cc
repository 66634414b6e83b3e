#include "proxy/message/match.h"

#include <catch2/catch.hpp>

namespace weir {
namespace {

struct Request {
  Request(std::string_view method, std::string_view authority, std::string_view target) {
    head.method_text = method;
    head.authority = authority;
    head.target = target;
  }
  ~Request() { arena.release(); }
  ArenaPool pool;
  Arena& arena = pool.open();
  RequestHead head{arena};
};

bool host_matches(const char* pattern, const char* authority) {
  Matcher matcher;
  matcher.hosts = {pattern};
  return matcher.matches(Request("GET", authority, "/").head);
}

TEST_CASE("an empty match block matches everything") {
  CHECK(Matcher().matches(Request("PRI", "", "*").head));
  CHECK(Matcher().unconditional());
}

TEST_CASE("hosts are compared without port, case and closing dot") {
  for (const char* authority : {"payments.local", "Payments.LOCAL", "payments.local:8080", "payments.local.", "payments.local.:80"})
    CHECK(host_matches("payments.local", authority));
  for (const char* authority : {"", "payments.locall", "xpayments.local", "a.payments.local", "payments"})
    CHECK_FALSE(host_matches("payments.local", authority));
  CHECK(host_matches("[::1]", "[::1]:80"));
  CHECK(host_matches("[::1]", "[::1]"));
}

TEST_CASE("a wildcard host stands for one label or more") {
  CHECK(host_matches("*.payments.local", "a.payments.local"));
  CHECK(host_matches("*.payments.local", "a.B.Payments.local:1"));
  CHECK_FALSE(host_matches("*.payments.local", "payments.local"));
  CHECK_FALSE(host_matches("*.payments.local", ".payments.local"));
  CHECK_FALSE(host_matches("*.payments.local", "xpayments.local"));
}

TEST_CASE("prefixes go by segment") {
  CHECK(path_has_prefix("/cart", "/cart"));
  CHECK(path_has_prefix("/cart/x", "/cart"));
  CHECK_FALSE(path_has_prefix("/carton", "/cart"));
  CHECK_FALSE(path_has_prefix("/car", "/cart"));
  CHECK(path_has_prefix("/v1/x", "/v1/"));
  CHECK(path_has_prefix("/v1/", "/v1/"));
  CHECK_FALSE(path_has_prefix("/v1", "/v1/"));
  CHECK(path_has_prefix("/anything", "/"));
}

TEST_CASE("paths are matched without their query") {
  Matcher exact;
  exact.path = "/weir-says";
  CHECK(exact.matches(Request("GET", "h", "/weir-says?x=/y").head));
  CHECK_FALSE(exact.matches(Request("GET", "h", "/weir-says/").head));
  Matcher prefix;
  prefix.path_prefix = "/cart";
  CHECK(prefix.matches(Request("GET", "h", "/cart?x").head));
  CHECK_FALSE(prefix.matches(Request("GET", "h", "/carton?/cart").head));
}

TEST_CASE("methods are compared exactly, any of them suffices") {
  Matcher matcher;
  matcher.methods = {"GET", "BREW"};
  CHECK(matcher.matches(Request("BREW", "h", "/").head));
  CHECK_FALSE(matcher.matches(Request("get", "h", "/").head));
}

TEST_CASE("every named header must be there with that value, and removed ones are not there") {
  Request request("GET", "h", "/");
  request.head.headers.add_view("x-tenant", "silver");
  request.head.headers.add_view("x-tenant", "gold");
  request.head.headers.add_view("x-a", "1");
  Matcher matcher;
  matcher.headers = {{"x-tenant", "gold"}};
  CHECK(matcher.matches(request.head));
  matcher.headers.emplace_back("x-a", "2");
  CHECK_FALSE(matcher.matches(request.head));
  matcher.headers = {{"x-tenant", "gold"}};
  request.head.headers.remove("x-tenant");
  CHECK_FALSE(matcher.matches(request.head));
}

TEST_CASE("all kinds of condition must hold") {
  Matcher matcher;
  matcher.hosts = {"a", "b"};
  matcher.path_prefix = "/x";
  matcher.methods = {"GET"};
  CHECK(matcher.matches(Request("GET", "b:1", "/x/y").head));
  CHECK_FALSE(matcher.matches(Request("GET", "c", "/x/y").head));
  CHECK_FALSE(matcher.matches(Request("GET", "b", "/y").head));
  CHECK_FALSE(matcher.matches(Request("PUT", "b", "/x").head));
}

}  // namespace
}  // namespace weir
