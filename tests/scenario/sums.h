// What every scenario ends with: one outcome an exchange, and nothing left when all is quiet.
// A free function over a test's World. It asks metrics and the access log, never the code below.
#pragma once

#include <catch2/catch.hpp>

#include "tests/support/world.h"

namespace weir::test {

inline void check_sums(World& world, double requests) {
  world.advance(1s);
  CHECK(world.metric("weir_requests_total") == requests);
  CHECK(static_cast<double>(world.access_log().size()) == requests);
  CHECK(world.metric("weir_in_flight") == 0);
  CHECK(world.metric("weir_attempts_in_flight") == 0);
}

}  // namespace weir::test
