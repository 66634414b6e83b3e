#include "proxy/message/grpc.h"

#include <catch2/catch.hpp>
#include <string>

namespace weir {
namespace {

struct Heads {
  ~Heads() { arena.release(); }
  ArenaPool pool;
  Arena& arena = pool.open();
  RequestHead request{arena};
  ResponseHead response{arena};
};

bool grpc(Method method, const char* type) {
  Heads heads;
  heads.request.method = method;
  if (type != nullptr) heads.request.headers.add("content-type", type);
  return is_grpc(heads.request);
}

GrpcStatus status_of(const char* value) {
  Heads heads;
  if (value != nullptr) heads.response.headers.add("grpc-status", value);
  return grpc_status_of(heads.response.headers);
}

std::string timeout_text(Duration value) { return std::string(GrpcTimeoutText(value).text()); }

std::string encoded(std::string_view text) {
  Heads heads;
  return std::string(encode_grpc_message(heads.arena, text));
}
std::string decoded(std::string_view text) {
  Heads heads;
  return std::string(decode_grpc_message(heads.arena, text));
}

TEST_CASE("a gRPC call is a POST of application/grpc, with or without a suffix or parameters") {
  for (const char* type : {"application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8", "Application/gRPC+json",
                           "application/grpc ; a=b"}) {
    CHECK(grpc(Method::post, type));
    CHECK_FALSE(grpc(Method::get, type));
  }
  for (const char* type :
       {"application/grpc-web", "application/grpc-web+proto", "application/grpcx", "application/json", "application/grp", ""}) {
    CHECK_FALSE(grpc(Method::post, type));
  }
  CHECK_FALSE(grpc(Method::post, nullptr));
}

TEST_CASE("grpc-status is one of seventeen numbers; anything else is unknown") {
  CHECK(status_of(nullptr) == GrpcStatus::none);
  CHECK(status_of("0") == GrpcStatus::ok);
  CHECK(status_of("14") == GrpcStatus::unavailable);
  CHECK(status_of("16") == GrpcStatus::unauthenticated);
  for (const char* value : {"17", "99", "-1", "", "00", "01", "014", "1x", "+1", " 1", "unavailable"}) {
    CHECK(status_of(value) == GrpcStatus::unknown);
  }
}

TEST_CASE("statuses have the names of the gRPC specification") {
  CHECK(grpc_status_name(GrpcStatus::ok) == "ok");
  CHECK(grpc_status_name(GrpcStatus::deadline_exceeded) == "deadline_exceeded");
  CHECK(grpc_cause_name(GrpcStatus::unauthenticated) == "grpc_unauthenticated");
  CHECK(grpc_status_name(GrpcStatus::none).empty());
}

TEST_CASE("the status of an answer is in its head, in its trailers, or translated from HTTP") {
  Heads heads;
  ResponseHead& head = heads.response;
  head.status = 200;
  CHECK(grpc_status_at_head(head) == GrpcStatus::none);  // the trailers will say it
  head.has_body = false;
  CHECK(grpc_status_at_head(head) == GrpcStatus::unknown);  // nothing will
  head.has_body = true;
  head.status = 503;
  CHECK(grpc_status_at_head(head) == GrpcStatus::unavailable);
  head.headers.add("grpc-status", "5");
  CHECK(grpc_status_at_head(head) == GrpcStatus::not_found);  // said is said

  CHECK(grpc_status_at_end(nullptr) == GrpcStatus::unknown);
  Headers trailers(heads.arena);
  CHECK(grpc_status_at_end(&trailers) == GrpcStatus::unknown);
  trailers.add("grpc-status", "8");
  CHECK(grpc_status_at_end(&trailers) == GrpcStatus::resource_exhausted);
}

TEST_CASE("HTTP statuses are translated as the gRPC project does") {
  CHECK(grpc_status_of_http(400) == GrpcStatus::internal);
  CHECK(grpc_status_of_http(401) == GrpcStatus::unauthenticated);
  CHECK(grpc_status_of_http(403) == GrpcStatus::permission_denied);
  CHECK(grpc_status_of_http(404) == GrpcStatus::unimplemented);
  for (const int status : {429, 502, 503, 504}) CHECK(grpc_status_of_http(status) == GrpcStatus::unavailable);
  for (const int status : {204, 302, 405, 500, 501}) CHECK(grpc_status_of_http(status) == GrpcStatus::unknown);
}

TEST_CASE("what is the server's trouble, and what is the request's") {
  for (const GrpcStatus status : {GrpcStatus::unknown, GrpcStatus::deadline_exceeded, GrpcStatus::resource_exhausted, GrpcStatus::internal,
                                  GrpcStatus::unavailable, GrpcStatus::data_loss, GrpcStatus::unimplemented}) {
    CHECK(is_grpc_server_trouble(status));
  }
  for (const GrpcStatus status : {GrpcStatus::none, GrpcStatus::ok, GrpcStatus::cancelled, GrpcStatus::not_found, GrpcStatus::aborted,
                                  GrpcStatus::invalid_argument, GrpcStatus::unauthenticated, GrpcStatus::permission_denied}) {
    CHECK_FALSE(is_grpc_server_trouble(status));
  }
}

TEST_CASE("grpc-timeout: up to eight digits and a unit") {
  CHECK(parse_grpc_timeout("1H") == Duration(1h));
  CHECK(parse_grpc_timeout("2M") == Duration(2min));
  CHECK(parse_grpc_timeout("3S") == Duration(3s));
  CHECK(parse_grpc_timeout("250m") == Duration(250ms));
  CHECK(parse_grpc_timeout("99999999u") == Duration(99999999us));
  CHECK(parse_grpc_timeout("7n") == Duration(7ns));
  CHECK(parse_grpc_timeout("0S") == Duration(0));
  CHECK(parse_grpc_timeout("99999999H") == kLongestGrpcTimeout);
  for (const char* wrong : {"", "S", "1", "1s", "1h", "100000000S", "-1S", "1.5S", " 1S", "1 S", "1mS"}) {
    CHECK_FALSE(parse_grpc_timeout(wrong).has_value());
  }
}

TEST_CASE("grpc-timeout is written in the finest unit that fits, never longer than the value") {
  CHECK(timeout_text(Duration(0)) == "0n");
  CHECK(timeout_text(99'999'999ns) == "99999999n");
  CHECK(timeout_text(100'000'001ns) == "100000u");
  CHECK(timeout_text(1s) == "1000000u");
  CHECK(timeout_text(100s) == "100000m");
  CHECK(timeout_text(Duration(99'999'999'999us)) == "99999999m");
  CHECK(timeout_text(24h * 365) == "31536000S");
  for (const Duration value : {Duration(1), Duration(123'456'789), Duration(98'765'432'101), Duration(27h) + 1ns}) {
    const auto back = parse_grpc_timeout(timeout_text(value));
    REQUIRE(back);
    CHECK(*back <= value);
    CHECK(value - *back < value / 1000 + 1ns);
  }
}

TEST_CASE("grpc-message hides what is no printable ASCII behind percent signs, and is read back") {
  CHECK(encoded("plain ~ text") == "plain ~ text");
  CHECK(encoded("100% sure\n") == "100%25 sure%0A");
  CHECK(encoded("\xc3\xa9\x7f") == "%C3%A9%7F");
  for (const std::string& text : {std::string("a\0b", 3), std::string("%41"), std::string("h\xc3\xa4?\r\n")})
    CHECK(decoded(encoded(text)) == text);
  CHECK(decoded("%zz 5% %4") == "%zz 5% %4");  // what is no escape stands for itself
  CHECK(decoded("%41%6a") == "Aj");
}

TEST_CASE("pushback is a number of milliseconds; anything else forbids the retry") {
  const auto pushback = [](const char* value) {
    Heads heads;
    if (value != nullptr) heads.response.headers.add("grpc-retry-pushback-ms", value);
    return grpc_pushback_of(heads.response.headers);
  };
  CHECK_FALSE(pushback(nullptr).given);
  CHECK(pushback("0").wait == Duration(0));
  CHECK(pushback("1500").wait == Duration(1500ms));
  for (const char* value : {"-1", "", "soon", "1.5", "1000000000000"}) {
    CHECK(pushback(value).given);
    CHECK_FALSE(pushback(value).wait.has_value());
  }
}

}  // namespace
}  // namespace weir
