// ExchangeContext: the facts of one exchange that links read and add to: client, route, tries, decisions, time spent upstream.
// The exchange owns it, in its arena; every call of the exchange borrows it and, by holding the arena, keeps it readable until it is freed.
// It never decides anything.
#pragma once

#include <cstdint>
#include <string_view>

#include "proxy/chain/failure.h"
#include "proxy/message/grpc.h"
#include "proxy/message/head.h"
#include "proxy/runtime/address.h"
#include "proxy/runtime/tls_info.h"
#include "proxy/runtime/worker_context.h"

namespace weir {

// One try, for the access log and metrics; a list in the arena, in order of starting.
struct AttemptRecord {
  AttemptRecord* next = nullptr;
  std::string_view endpoint;  // its address as text; empty when none was picked
  MonotonicTime started{};
  MonotonicTime connected{};    // when it had a connection; epoch if never
  MonotonicTime response_at{};  // when its response head came; epoch if never
  MonotonicTime ended{};        // epoch while it runs
  int status = 0;
  GrpcStatus grpc_status = GrpcStatus::none;  // from its head or its trailers
  FailureKind failure = FailureKind::none;
  bool reused_connection = false;
  bool connecting = false;           // it ended while a connection was being made for it
  std::uint32_t endpoint_id = 0;     // what PickContext::tried lists; 0 when none was picked
  std::uint32_t passed_over_id = 0;  // of an endpoint that was asked for a connection first, and gave none in time
};

// What a filter did other than let the exchange pass; newest first, in the arena.
struct DecisionRecord {
  DecisionRecord* next = nullptr;
  const LinkIdentity* by = nullptr;
  std::string_view decision;  // static: "retried", "rejected", "timed_out", "would_reject" ...
  std::string_view reason;    // static
  MonotonicTime at{};
};

struct ExchangeContext {
  ExchangeContext(WorkerContext& w, Arena& a, RequestHead& h) : worker(w), arena(a), head(h) {}

  WorkerContext& worker;
  Arena& arena;
  RequestHead& head;
  MonotonicTime started{};    // the request head was complete
  std::uint64_t id_hash = 0;  // of the request id; for ramps and hashing
  std::string_view request_id;
  const Address* client = nullptr;
  const TlsInfo* tls = nullptr;  // of the client's connection; null: clear text
  std::string_view listener, route, service;
  bool inbound = false;
  bool grpc = false;                       // a gRPC call: links judge its answers by the gRPC status, and weir answers in gRPC
  MonotonicTime client_deadline = kNever;  // what the client's grpc-timeout says, whether or not a timeout filter enforces it

  AttemptRecord* first_attempt = nullptr;
  AttemptRecord* last_attempt = nullptr;
  std::uint16_t attempts = 0;
  Duration upstream_time{0};  // sum of the tries' own times
  DecisionRecord* decisions = nullptr;
  std::uint8_t starting = 0;  // links that are inside start(): nothing may be told then
  bool decided = false;       // weir retried, rejected, answered or would have: for access_log.when

  // An upstream that answers deadline_exceeded when the client's own deadline is over (or as good as over: its clock is its own) says
  // nothing about itself.
  bool is_clients_deadline(GrpcStatus status) const {
    return status == GrpcStatus::deadline_exceeded && client_deadline != kNever && now() + kDeadlineMargin >= client_deadline;
  }
  static constexpr Duration kDeadlineMargin = 5ms;
  void read_grpc();  // of the head; once, when `started` is set
  EventLoop& loop() const { return worker.loop; }
  MonotonicTime now() const { return worker.loop.now(); }
  AttemptRecord& add_attempt(std::string_view endpoint);
  void add_decision(const LinkIdentity& by, std::string_view decision, std::string_view reason);
};

}  // namespace weir
