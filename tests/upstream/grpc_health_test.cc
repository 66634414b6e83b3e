#include "proxy/upstream/grpc_health.h"

#include <catch2/catch.hpp>

using namespace weir;

namespace {

std::string bytes(std::initializer_list<int> values) {
  std::string out;
  for (const int value : values) out.push_back(static_cast<char>(value));
  return out;
}

}  // namespace

TEST_CASE("a health request is a frame around the service's name, or around nothing") {
  CHECK(grpc_health_request("") == bytes({0, 0, 0, 0, 0}));
  CHECK(grpc_health_request("shop.Cart") == bytes({0, 0, 0, 0, 11, 0x0a, 9}) + "shop.Cart");
  const std::string long_name(300, 'x');
  CHECK(grpc_health_request(long_name) == bytes({0, 0, 0, 1, 47, 0x0a, 0xac, 0x02}) + long_name);
}

TEST_CASE("a health reply says its status; an absent one is unknown, one of a later version is other") {
  CHECK(parse_grpc_health_reply(bytes({0, 0, 0, 0, 2, 8, 1})) == ServingStatus::serving);
  CHECK(parse_grpc_health_reply(bytes({0, 0, 0, 0, 2, 8, 2})) == ServingStatus::not_serving);
  CHECK(parse_grpc_health_reply(bytes({0, 0, 0, 0, 2, 8, 3})) == ServingStatus::service_unknown);
  CHECK(parse_grpc_health_reply(bytes({0, 0, 0, 0, 0})) == ServingStatus::unknown);
  CHECK(parse_grpc_health_reply(bytes({0, 0, 0, 0, 2, 8, 99})) == ServingStatus::other);
  // Unknown fields of every wire type before it.
  const std::string others = bytes({0x10, 0x96, 0x01, 0x1a, 2, 7, 7, 0x25, 1, 2, 3, 4, 0x29, 1, 2, 3, 4, 5, 6, 7, 8, 8, 1});
  CHECK(parse_grpc_health_reply(bytes({0, 0, 0, 0, static_cast<int>(others.size())}) + others) == ServingStatus::serving);
}

TEST_CASE("a health reply that is not there whole, compressed, or more than one message, is malformed") {
  for (const std::string& wrong :
       {std::string(), bytes({0, 0, 0, 0}), bytes({1, 0, 0, 0, 2, 8, 1}), bytes({0, 0, 0, 0, 3, 8, 1}), bytes({0, 0, 0, 0, 1, 8}),
        bytes({0, 0, 0, 0, 2, 8, 0x80}), bytes({0, 0, 0, 0, 2, 8, 1, 0, 0, 0, 0, 0}), bytes({0, 0, 0, 0, 2, 0x1a, 9}),
        bytes({0, 0, 0, 0, 1, 0x0b}), bytes({0, 0xff, 0xff, 0xff, 0xff, 8, 1}), bytes({0, 0, 0, 0, 2, 0, 1})}) {
    CHECK_FALSE(parse_grpc_health_reply(wrong).has_value());
  }
}
