#include "proxy/upstream/grpc_request.h"

#include <catch2/catch.hpp>

#include "tests/support/chain_world.h"

using namespace weir;
using namespace weir::test;

namespace {

struct Try {
  explicit Try(std::string_view timeout = {}) : exchange(world) {
    exchange.make_grpc(timeout);
    request.exchange = &exchange.context();
    request.head = &exchange.head();
  }
  const Headers& sent() { return head_of_try(request, world.loop.now()).headers; }
  bool own_head() { return &head_of_try(request, world.loop.now()) != request.head; }
  MonotonicTime in(Duration time) { return world.loop.now() + time; }

  ChainWorld world;
  TestExchange exchange;
  Request request;
};

}  // namespace

TEST_CASE("a first try without an enforced deadline sends the client's own head, grpc-timeout and all") {
  Try one("20S");
  CHECK_FALSE(one.own_head());
  CHECK(one.sent().value("grpc-timeout") == "20S");
}

TEST_CASE("under a deadline the rest of grpc-timeout is sent, and no more than the client has") {
  Try one("20S");
  one.request.deadline = one.in(1500ms);
  CHECK(one.sent().value("grpc-timeout") == "1500000u");
  CHECK(one.sent().count(HeaderId::grpc_timeout) == 1);
  one.world.loop.advance(1s);
  CHECK(one.sent().value("grpc-timeout") == "500000u");
  CHECK(one.exchange.head().headers.value("grpc-timeout") == "20S");  // what other tries start from
  one.request.deadline = one.in(1h);
  CHECK(one.sent().value("grpc-timeout") == "19000000u");
}

TEST_CASE("a deadline that the client did not ask for is not sent") {
  Try one;
  one.request.deadline = one.in(1s);
  CHECK_FALSE(one.own_head());
  CHECK_FALSE(one.sent().has(HeaderId::grpc_timeout));
}

TEST_CASE("what is no gRPC call keeps its fields, grpc-timeout too") {
  Try one;
  one.exchange.context().grpc = false;
  one.exchange.head().headers.add("grpc-timeout", "1S");
  one.request.deadline = one.in(100ms);
  one.request.attempt = 2;
  CHECK_FALSE(one.own_head());
}

TEST_CASE("a further try says how many came before, the client's own included") {
  Try one;
  one.request.attempt = 3;
  CHECK(one.sent().value("grpc-previous-rpc-attempts") == "2");
  one.exchange.head().headers.add("grpc-previous-rpc-attempts", "4");
  CHECK(one.sent().value("grpc-previous-rpc-attempts") == "6");
  one.exchange.head().headers.set("grpc-previous-rpc-attempts", "lots");
  CHECK(one.sent().value("grpc-previous-rpc-attempts") == "2");
  CHECK(one.sent().value("content-type") == "application/grpc+proto");
}
