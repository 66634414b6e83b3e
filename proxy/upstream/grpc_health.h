// The two messages of grpc.health.v1.Health/Check, as bytes: gRPC's frame around protobuf's fields, of which there is one in each.
// Pure functions; HealthProbe sends and receives. Nothing else in weir reads protobuf.
// They never believe a length: what is not there whole is malformed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace weir {

inline constexpr std::string_view kGrpcHealthPath = "/grpc.health.v1.Health/Check";

// HealthCheckRequest { string service = 1; }, framed. An empty name asks for the server as a whole.
std::string grpc_health_request(std::string_view service);

enum class ServingStatus : std::uint8_t { unknown, serving, not_serving, service_unknown, other };

// HealthCheckResponse { ServingStatus status = 1; } of exactly one framed, uncompressed message. Fields that it does not know are passed
// over. Nothing: malformed.
std::optional<ServingStatus> parse_grpc_health_reply(std::string_view body);

}  // namespace weir
