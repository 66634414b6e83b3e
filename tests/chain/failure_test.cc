#include "proxy/chain/failure.h"

#include <catch2/catch.hpp>
#include <set>
#include <string>

#include "proxy/chain/causes.h"

using namespace weir;

namespace {

Causes cause(std::string_view word) {
  const auto parsed = Causes::parse_word(word);
  REQUIRE(parsed.ok());
  return parsed.value();
}

}  // namespace

TEST_CASE("every failure kind has a name of its own, by which it is found again") {
  std::set<std::string> names;
  for (std::size_t i = 0; i < static_cast<std::size_t>(FailureKind::count_); ++i) {
    const auto kind = static_cast<FailureKind>(i);
    REQUIRE(facts(kind).name != nullptr);
    CHECK(names.insert(facts(kind).name).second);
    CHECK(failure_kind_of(facts(kind).name) == kind);
  }
  CHECK(failure_kind_of("nonsense") == FailureKind::none);
}

TEST_CASE("what weir rejects blames nobody and is never retryable") {
  for (std::size_t i = 0; i < static_cast<std::size_t>(FailureKind::count_); ++i) {
    const FailureFacts& row = facts(static_cast<FailureKind>(i));
    INFO(row.name);
    if (row.rejected) {
      CHECK_FALSE(row.blames_upstream);
      CHECK_FALSE(row.retryable);
      CHECK(row.origin == FailureOrigin::local);
    }
    if (row.origin == FailureOrigin::client) CHECK_FALSE(row.blames_upstream);
    if (static_cast<FailureKind>(i) != FailureKind::none) CHECK(row.http_status >= 400);
  }
}

TEST_CASE("failures become the statuses that users of other proxies expect") {
  CHECK(facts(FailureKind::connect_failure).http_status == 503);
  CHECK(facts(FailureKind::reset).http_status == 502);
  CHECK(facts(FailureKind::response_timeout).http_status == 504);
  CHECK(facts(FailureKind::total_timeout).http_status == 504);
  CHECK(facts(FailureKind::rate_limited).http_status == 429);
  CHECK(facts(FailureKind::breaker_open).http_status == 503);
  CHECK(facts(FailureKind::no_route).http_status == 404);
  CHECK(facts(FailureKind::client_timeout).http_status == 408);
}

TEST_CASE("the words of causes mean the failures and statuses of the contract") {
  CHECK(cause("connect_failure").matches_failure(FailureKind::no_endpoint));
  CHECK(cause("connect_failure").matches_failure(FailureKind::connect_timeout));
  CHECK_FALSE(cause("connect_failure").matches_failure(FailureKind::reset));
  CHECK(cause("reset").matches_failure(FailureKind::truncated));
  CHECK(cause("reset").matches_failure(FailureKind::upstream_protocol));
  CHECK_FALSE(cause("reset").matches_failure(FailureKind::refused_stream));
  CHECK(cause("timeout").matches_failure(FailureKind::response_timeout));
  CHECK(cause("timeout").matches_failure(FailureKind::idle_timeout));
  CHECK_FALSE(cause("timeout").matches_failure(FailureKind::total_timeout));
  CHECK(cause("gateway_error").matches_status(502));
  CHECK(cause("gateway_error").matches_status(504));
  CHECK_FALSE(cause("gateway_error").matches_status(500));
  CHECK_FALSE(cause("gateway_error").matches_status(505));
  CHECK(cause("5xx").matches_status(500));
  CHECK(cause("5xx").matches_status(599));
  CHECK_FALSE(cause("5xx").matches_status(499));
  CHECK_FALSE(cause("5xx").matches_failure(FailureKind::reset));
  CHECK(cause("503").matches_status(503));
  CHECK_FALSE(cause("503").matches_status(504));
  CHECK(cause("500-503").matches_status(503));
  CHECK_FALSE(cause("500-503").matches_status(504));
  CHECK(cause("grpc_unavailable").matches_grpc(14));
  CHECK_FALSE(cause("grpc_unavailable").matches_grpc(13));
}

TEST_CASE("the cause rejected holds exactly what the table calls rejected") {
  const Causes rejected = cause("rejected");
  for (std::size_t i = 0; i < static_cast<std::size_t>(FailureKind::count_); ++i) {
    const auto kind = static_cast<FailureKind>(i);
    INFO(facts(kind).name);
    CHECK(rejected.matches_failure(kind) == facts(kind).rejected);
  }
}

TEST_CASE("words that are no causes are refused") {
  for (const char* word :
       {"", "6xx", "0xx", "600", "99", "503-500", "500-600", "grpc_ok", "grpc_nonsense", "total_timeout", "5XX", "500-"}) {
    INFO(word);
    CHECK_FALSE(Causes::parse_word(word).ok());
  }
}

TEST_CASE("statuses outside of any range match nothing") {
  CHECK_FALSE(cause("5xx").matches_status(-1));
  CHECK_FALSE(cause("5xx").matches_status(600));
  CHECK_FALSE(cause("grpc_unavailable").matches_grpc(17));
}
