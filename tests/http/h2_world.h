// H2World: an H1World whose connections may go over to HTTP/2.
// A test owns it.
// It never judges: tests look at the frames that came back.
#pragma once

#include <catch2/catch.hpp>

#include "tests/http/h1_world.h"
#include "tests/http/h2_frames.h"

namespace weir {

struct H2World : H1World {
  H2World() { server_options.http2 = true; }
  TestExchange& exchange(std::size_t index = 0) {
    REQUIRE(exchanges.size() > index);
    return *exchanges[index];
  }
  Connection& connection() {
    REQUIRE(connections.size() == 1);
    return *connections[0];
  }
};

inline bool is(const TestExchange& exchange, StreamError error) { return exchange.error == static_cast<int>(error); }

}  // namespace weir
