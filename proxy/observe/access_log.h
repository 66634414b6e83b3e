// AccessLog: one worker's access log: one JSON line an exchange, with every try, every decision and the policy's file and line.
// The worker owns it; finished blocks of lines go to a LogSink (the log writer's queue, or a test), which outlives it.
// It never writes a file, never blocks and never allocates for a line: what does not fit a block is counted as dropped.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proxy/base/log_sink.h"
#include "proxy/chain/exchange_context.h"
#include "proxy/metrics/metrics.h"
#include "proxy/observe/json_line.h"
#include "proxy/runtime/event_loop.h"

namespace weir {

struct AccessLogRules {                       // which exchanges get a line
  std::vector<std::pair<int, int>> statuses;  // always: inclusive ranges
  std::optional<Duration> slower_than;        // always
  bool decided = false;                       // always, when weir retried, rejected, answered or would have
  double sample = 1.0;                        // and this share of the rest, by hash of the request id

  bool wants(int status, Duration duration, bool was_decided, std::uint64_t id_hash) const;
};

struct AccessRecord {  // what the exchange knows beside its context
  std::string_view policy;
  std::string_view client;     // its address
  std::string_view target;     // as the client sent it, before any rewrite
  std::string_view authority;  // as the client sent it
  int status = 0;              // of the answer's head; 0: none was sent
  GrpcStatus grpc_status = GrpcStatus::none;
  std::uint64_t bytes_received = 0;
  std::uint64_t bytes_sent = 0;
  Duration duration{0};
  FailureKind failure = FailureKind::none;
  std::string_view detail;
  const LinkIdentity* decided_by = nullptr;
};

class AccessLog {
 public:
  static constexpr std::size_t kBlock = std::size_t{64} * 1024;
  static constexpr Duration kFlushAfter = std::chrono::seconds(1);

  AccessLog(EventLoop& loop, LogSink& sink, MetricsShard& metrics);
  ~AccessLog() { flush(); }

  void set_rules(const AccessLogRules& rules) { rules_ = rules; }
  void record(const ExchangeContext& exchange, const AccessRecord& record);
  void flush();

 private:
  bool append(const ExchangeContext& exchange, const AccessRecord& record);
  void write_time(JsonLine& line, WallTime at);

  EventLoop& loop_;
  LogSink& sink_;
  AccessLogRules rules_;
  std::unique_ptr<char[]> block_;
  std::size_t used_ = 0;
  Timer flush_timer_;
  std::int64_t second_ = -1;  // the second that date_ shows
  char date_[20] = {};        // 2026-01-31T23:59:58
  Counter lines_, too_long_;
};

}  // namespace weir
