// RequestMetrics: the counters of one (listener, route, service, policy) on one worker: how many requests, how they ended, how long they took.
// The snapshot's route target owns it; exchanges borrow it. Series that most routes never need are resolved when they are first needed.
// It never decides what an outcome is: the exchange does, once.
#pragma once

#include <array>
#include <bitset>
#include <string>
#include <string_view>

#include "proxy/base/time.h"
#include "proxy/chain/failure.h"
#include "proxy/message/grpc.h"
#include "proxy/metrics/metrics.h"

namespace weir {

struct RequestOutcome {
  int status = 0;                             // of the head that was sent; 0: none
  GrpcStatus grpc_status = GrpcStatus::none;  // of a gRPC call
  FailureKind failure = FailureKind::none;
  Duration duration{0};
  Duration added{0};  // of it, not spent in tries
  std::uint64_t bytes_received = 0;
  std::uint64_t bytes_sent = 0;
};

class RequestMetrics {
 public:
  RequestMetrics() = default;  // counts into nothing
  RequestMetrics(MetricsShard& shard, std::string_view listener, std::string_view route, std::string_view service, std::string_view policy);

  void begin() { in_flight_.add(1); }
  void end(const RequestOutcome& outcome);

 private:
  static constexpr std::size_t kKinds = static_cast<std::size_t>(FailureKind::count_);
  Counter& by_class(int status);
  void count_grpc(GrpcStatus status);

  MetricsShard* shard_ = nullptr;
  std::string listener_, route_, service_, policy_;
  std::array<Counter, 6> classes_;  // none, 1xx .. 5xx
  std::bitset<6> class_known_;
  std::array<Counter, kGrpcStatuses> grpc_;
  std::array<Counter, kKinds> failures_;
  std::bitset<kKinds> failure_known_;
  Histogram duration_, added_;
  Counter received_, sent_;
  Gauge in_flight_;
};

}  // namespace weir
