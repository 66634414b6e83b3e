#include "proxy/upstream/health_check.h"

#include <catch2/catch.hpp>

using namespace weir;

namespace {

HealthCheckConfig every_ten_seconds() {
  HealthCheckConfig made;
  made.tcp.emplace();
  made.interval = 10s;
  return made;
}

struct Endpoint {
  explicit Endpoint(const HealthCheckConfig& of = every_ten_seconds()) : policy(of) {}
  bool pass() { return policy.record(state, CheckResult::passed, 200); }
  bool fail() { return policy.record(state, CheckResult::timeout, 0); }
  double next(bool awaited = false) { return seconds(policy.next_check(state, awaited, random)); }

  HealthPolicy policy;
  HealthState state;
  Random random{5};
};

}  // namespace

TEST_CASE("an endpoint is unhealthy at the third failure in a row and healthy at the second success") {
  Endpoint endpoint;
  CHECK(endpoint.state.health == Health::unknown);
  CHECK(endpoint.pass());  // the first success says enough
  CHECK(endpoint.state.health == Health::healthy);
  CHECK_FALSE(endpoint.fail());
  CHECK_FALSE(endpoint.fail());
  CHECK_FALSE(endpoint.pass());  // counts anew
  CHECK_FALSE(endpoint.fail());
  CHECK_FALSE(endpoint.fail());
  CHECK(endpoint.state.health == Health::healthy);
  CHECK(endpoint.fail());
  CHECK(endpoint.state.health == Health::unhealthy);
  CHECK_FALSE(endpoint.pass());
  CHECK_FALSE(endpoint.fail());
  CHECK_FALSE(endpoint.pass());
  CHECK(endpoint.state.health == Health::unhealthy);
  CHECK(endpoint.pass());
  CHECK(endpoint.state.health == Health::healthy);
}

TEST_CASE("an endpoint that never answered stays unknown until the threshold, then is unhealthy") {
  Endpoint endpoint;
  endpoint.fail();
  endpoint.fail();
  CHECK(endpoint.state.health == Health::unknown);
  CHECK(endpoint.fail());
  CHECK(endpoint.state.health == Health::unhealthy);
  CHECK(endpoint.state.in_a_row == 3);
  CHECK(endpoint.state.last == CheckResult::timeout);
}

TEST_CASE("failures of different kinds are in a row all the same") {
  Endpoint endpoint;
  endpoint.policy.record(endpoint.state, CheckResult::timeout, 0);
  endpoint.policy.record(endpoint.state, CheckResult::wrong_status, 500);
  CHECK(endpoint.policy.record(endpoint.state, CheckResult::connect_failure, 0));
  CHECK(endpoint.state.health == Health::unhealthy);
}

TEST_CASE("checks are faster while the state is unknown, about to change or awaited, and never punctual") {
  Endpoint endpoint;
  CHECK(endpoint.next() < 2.8);  // unknown: a quarter of 10 s, give or take a tenth
  CHECK(endpoint.next() > 2.2);
  endpoint.pass();
  double least = 100, most = 0;
  for (int i = 0; i < 200; ++i) {
    least = std::min(least, endpoint.next());
    most = std::max(most, endpoint.next());
  }
  CHECK(least >= 9);
  CHECK(least < 9.2);
  CHECK(most > 10.8);
  CHECK(most <= 11);
  CHECK(endpoint.next(true) < 2.8);  // an ejected endpoint waits for it
  endpoint.fail();
  CHECK(endpoint.next() < 2.8);
  endpoint.fail();
  endpoint.fail();
  REQUIRE(endpoint.state.health == Health::unhealthy);
  CHECK(endpoint.next() > 8.9);  // settled
  endpoint.pass();
  CHECK(endpoint.next() < 2.8);
  HealthCheckConfig other = every_ten_seconds();
  other.fast_interval = 1s;
  endpoint.policy.configure(other);
  CHECK(endpoint.next() < 1.11);
}

TEST_CASE("new thresholds keep the state and the count") {
  Endpoint endpoint;
  endpoint.pass();
  endpoint.fail();
  HealthCheckConfig strict = every_ten_seconds();
  strict.unhealthy_after = 2;
  endpoint.policy.configure(strict);
  CHECK(endpoint.state.health == Health::healthy);
  CHECK(endpoint.fail());
  CHECK(endpoint.state.health == Health::unhealthy);
}
