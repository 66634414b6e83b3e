#include "proxy/chain/local_reply.h"

#include <catch2/catch.hpp>

#include "tests/support/chain_world.h"

using namespace weir;
using namespace weir::test;

namespace {

const LinkIdentity kCareful{"payments", "careful", "timeout", "timeout", "charge", {"/etc/weir/main.yaml", 75}, false};

Failure failure_of(FailureKind kind) {
  Failure failure;
  failure.kind = kind;
  failure.decided_by = &kCareful;
  return failure;
}

}  // namespace

TEST_CASE("a local reply says what happened, by which policy, and where that is written") {
  ChainWorld world;
  TestExchange exchange(world);
  const LocalReply reply = make_local_reply(exchange.context(), failure_of(FailureKind::response_timeout));
  CHECK(reply.body == "weir: upstream timed out (response_timeout, policy careful, main.yaml:75)\n");
  CHECK(reply.head->status == 504);
  CHECK(reply.head->content_length == static_cast<std::int64_t>(reply.body.size()));
  CHECK(reply.head->headers.value("proxy-status") ==
        "weir; error=http_response_timeout; details=\"response_timeout, policy careful, main.yaml:75\"");
  CHECK(reply.head->headers.value("content-type") == "text/plain; charset=utf-8");
  CHECK_FALSE(reply.head->headers.has(HeaderId::retry_after));
}

TEST_CASE("a local reply to HEAD announces the length and has no body") {
  ChainWorld world;
  TestExchange exchange(world, "HEAD");
  const LocalReply reply = make_local_reply(exchange.context(), failure_of(FailureKind::shed));
  CHECK(reply.body.empty());
  CHECK_FALSE(reply.head->has_body);
  CHECK(reply.head->content_length > 0);
}

TEST_CASE("Retry-After is rounded up to whole seconds") {
  ChainWorld world;
  TestExchange exchange(world);
  Failure failure = failure_of(FailureKind::rate_limited);
  failure.retry_after = 1001ms;
  CHECK(make_local_reply(exchange.context(), failure).head->headers.value("retry-after") == "2");
  failure.retry_after = 1ms;
  CHECK(make_local_reply(exchange.context(), failure).head->headers.value("retry-after") == "1");
}

TEST_CASE("details are a quoted string whatever they hold") {
  ChainWorld world;
  TestExchange exchange(world);
  Failure failure;
  failure.kind = FailureKind::upstream_protocol;
  failure.detail = "a \"quote\" and a \\ and a \r\n line";
  CHECK(make_local_reply(exchange.context(), failure).head->headers.value("proxy-status") ==
        "weir; error=http_protocol_error; details=\"upstream_protocol, a \\\"quote\\\" and a \\\\ and a ?? line\"");
}

TEST_CASE("a weir recognizes the kind of failure in another weir's reply") {
  ChainWorld world;
  TestExchange exchange(world);
  const LocalReply reply = make_local_reply(exchange.context(), failure_of(FailureKind::breaker_open));
  CHECK(kind_of_local_reply(*reply.head) == FailureKind::breaker_open);

  ResponseHead other(exchange.context().arena);
  CHECK(kind_of_local_reply(other) == FailureKind::none);
  other.headers.add("proxy-status", "cdn; error=connection_refused; details=\"breaker_open\"");
  CHECK(kind_of_local_reply(other) == FailureKind::none);
  other.headers.add("proxy-status", "cdn; error=x, weir; error=http_request_denied; details=\"shed\"");
  CHECK(kind_of_local_reply(other) == FailureKind::shed);
}

TEST_CASE("requests that never became an exchange are answered too") {
  ChainWorld world;
  TestExchange exchange(world);
  const LocalReply reply = make_local_reply(exchange.context().arena, 431, "http_request_error", "too many header fields");
  CHECK(reply.head->status == 431);
  CHECK(reply.body == "weir: too many header fields\n");
  CHECK(reply.head->headers.value("proxy-status") == "weir; error=http_request_error; details=\"too many header fields\"");
}

TEST_CASE("a gRPC call is answered in gRPC: all in one head, and another weir still knows whose answer it is") {
  ChainWorld world;
  TestExchange exchange(world);
  exchange.make_grpc();
  Failure failure = failure_of(FailureKind::rate_limited);
  failure.retry_after = Duration(1500ms) + 1ns;
  failure.detail = "100% of the tokens";
  const LocalReply reply = make_local_reply(exchange.context(), failure);
  const Headers& headers = reply.head->headers;
  CHECK(reply.body.empty());
  CHECK(reply.head->status == 200);
  CHECK_FALSE(reply.head->has_body);
  CHECK(headers.value("content-type") == "application/grpc");
  CHECK(headers.value("grpc-status") == "8");
  CHECK(headers.value("grpc-message") == "weir: too many requests (rate_limited, 100%25 of the tokens, policy careful, main.yaml:75)");
  CHECK(headers.value("grpc-retry-pushback-ms") == "1501");
  CHECK_FALSE(headers.has(HeaderId::retry_after));
  CHECK(kind_of_local_reply(*reply.head) == FailureKind::rate_limited);
}

TEST_CASE("every failure has a gRPC status that is not ok") {
  ChainWorld world;
  TestExchange exchange(world);
  exchange.make_grpc();
  for (std::size_t i = 1; i < static_cast<std::size_t>(FailureKind::count_); ++i) {
    Failure failure;
    failure.kind = static_cast<FailureKind>(i);
    const LocalReply reply = make_local_reply(exchange.context(), failure);
    CAPTURE(failure.facts().name);
    CHECK(grpc_status_at_head(*reply.head) > GrpcStatus::ok);
    CHECK(kind_of_local_reply(*reply.head) == failure.kind);
  }
}
