// Causes: a configured set of things that count as failure, `causes: [connect_failure, reset, timeout, 5xx, 503, 500-503]`.
// A plain value inside filter and service configurations; parsed once, asked per outcome.
// `5xx` and statuses match answers of the upstream only; what weir rejected itself matches only `rejected`.
#pragma once

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>

#include "proxy/base/result.h"
#include "proxy/chain/failure.h"
#include "proxy/message/grpc.h"

namespace weir {

class Causes {
 public:
  // A word: connect_failure (with connect_timeout, tls_failure, tls_certificate and no_endpoint), reset (reset, truncated, upstream_protocol), refused_stream,
  // timeout (response_timeout, idle_timeout: the timeouts of a try), gateway_error (502 503 504), 5xx, 4xx, a status "503", a range
  // "500-503", rejected (fallback only), grpc_unavailable and the like (grpc_cause_name(): what a gRPC call was answered, in head or trailers).
  // The error lists what is allowed.
  static Result<Causes> parse_word(std::string_view word);
  void add(const Causes& other);

  bool matches_failure(FailureKind kind) const { return kinds_.test(static_cast<std::size_t>(kind)); }
  bool matches_status(int status) const { return status >= 0 && status < 600 && statuses_.test(static_cast<std::size_t>(status)); }
  bool matches_grpc(int code) const {
    return code >= 0 && code < static_cast<int>(kGrpcStatuses) && grpc_.test(static_cast<std::size_t>(code));
  }
  bool matches_grpc(GrpcStatus status) const { return matches_grpc(static_cast<int>(status)); }
  bool any_grpc() const { return grpc_.any(); }
  bool any_status() const { return statuses_.any(); }
  bool empty() const { return kinds_.none() && statuses_.none() && grpc_.none(); }
  bool operator==(const Causes& other) const = default;

 private:
  std::bitset<static_cast<std::size_t>(FailureKind::count_)> kinds_;
  std::bitset<600> statuses_;
  std::bitset<kGrpcStatuses> grpc_;
};

}  // namespace weir
