#include "proxy/message/headers.h"

#include <catch2/catch.hpp>
#include <string>

#include "proxy/message/head.h"
#include "proxy/runtime/arena.h"

namespace weir {

namespace {

struct Fixture {
  ArenaPool pool;
  Arena& arena = pool.open();
  Headers headers{arena};
  ~Fixture() { arena.release(); }
};

}  // namespace

TEST_CASE("every known name has its own id, and its neighbours have none") {
  const char* const names[] = {"host",
                               "content-length",
                               "transfer-encoding",
                               "connection",
                               "keep-alive",
                               "proxy-connection",
                               "te",
                               "trailer",
                               "upgrade",
                               "expect",
                               "via",
                               "x-forwarded-for",
                               "x-forwarded-proto",
                               "x-forwarded-host",
                               "x-forwarded-client-cert",
                               "x-request-id",
                               "x-weir-attempt",
                               "date",
                               "server",
                               "idempotency-key",
                               "retry-after",
                               "grpc-status",
                               "grpc-timeout",
                               "content-type",
                               "forwarded",
                               "proxy-status",
                               "proxy-authenticate",
                               "proxy-authorization",
                               "http2-settings",
                               "cookie",
                               "authorization"};
  std::uint64_t seen = 0;
  for (const std::string name : names) {
    CAPTURE(name);
    const HeaderId id = header_id(name);
    CHECK(id != HeaderId::other);
    CHECK((seen & (std::uint64_t{1} << static_cast<unsigned>(id))) == 0);
    seen |= std::uint64_t{1} << static_cast<unsigned>(id);
    CHECK(header_id(name + "x") == HeaderId::other);
    CHECK(header_id(name.substr(1)) == HeaderId::other);
    CHECK(header_id("_" + name.substr(1)) == HeaderId::other);
  }
  CHECK(std::size(names) + 2 == static_cast<std::size_t>(HeaderId::removed) + 1);
  CHECK(header_id("") == HeaderId::other);
  CHECK(header_id(std::string(300, 'x')) == HeaderId::other);
}

TEST_CASE("fields keep their order and repeat") {
  Fixture f;
  for (int i = 0; i < 100; ++i) f.headers.add("x-" + std::to_string(i % 10), std::to_string(i));
  CHECK(f.headers.size() == 100);
  CHECK(f.headers.value("x-3") == "3");
  int i = 0;
  for (const HeaderField& field : f.headers) CHECK(field.value == std::to_string(i++));
}

TEST_CASE("removing hides a field from every look-up") {
  Fixture f;
  f.headers.add("via", "1");
  f.headers.add("x-a", "2");
  f.headers.add("via", "3");
  CHECK(f.headers.count(HeaderId::via) == 2);
  CHECK(f.headers.remove("via") == 2);
  CHECK(f.headers.remove(HeaderId::via) == 0);
  CHECK_FALSE(f.headers.has(HeaderId::via));
  CHECK(f.headers.find("via") == nullptr);
  CHECK(f.headers.remove("x-a") == 1);
  CHECK(f.headers.find("x-a") == nullptr);
  CHECK(f.headers.empty());
}

TEST_CASE("set replaces all fields of a name, and may be given the old value") {
  Fixture f;
  f.headers.add("x-a", "old");
  f.headers.add("x-a", "older");
  f.headers.set("x-a", f.headers.value("x-a"));
  CHECK(f.headers.size() == 1);
  CHECK(f.headers.value("x-a") == "old");
}

TEST_CASE("a copy lives in the other arena") {
  ArenaPool pool;
  Arena& target = pool.open();
  Headers copy(target);
  {
    Fixture f;
    std::string value = "v";
    f.headers.add_view("x-a", value);
    f.headers.add("gone", "1");
    f.headers.remove("gone");
    f.headers.copy_to(copy);
    value = "w";
  }
  CHECK(copy.size() == 1);
  CHECK(copy.value("x-a") == "v");
  target.release();
}

TEST_CASE("methods are told apart by case") {
  CHECK(method_of("GET") == Method::get);
  CHECK(method_of("get") == Method::other);
  CHECK(method_of("CONNECT") == Method::connect);
  CHECK(method_of("OPTIONS") == Method::options);
  CHECK(method_of("DELETE") == Method::del);
  CHECK(method_of("") == Method::other);
  CHECK(is_idempotent(Method::put));
  CHECK_FALSE(is_safe(Method::put));
  CHECK_FALSE(is_idempotent(Method::post));
}

}  // namespace weir
