// UpstreamCall: one try: waits for endpoints and a connection where it must, sends the request and tells the answer outward.
// Its caller owns it through a CallPtr; it lives in the exchange's arena, and dropping it at any point gives everything back.
// It never decides whether to try again.
#pragma once

#include "proxy/chain/link.h"
#include "proxy/http/codec.h"
#include "proxy/upstream/upstream_link.h"

namespace weir {

class UpstreamCall final : public Call, public PoolWaiter, private ClientStreamHandler {
 public:
  UpstreamCall(ExchangeContext& exchange, Caller& caller, UpstreamLink& link, Request&& request);
  void begin();

 private:
  enum class State : std::uint8_t {
    endpoints,   // waits for discovery
    picking,     // endpoints are there: goes on when the present callback is over
    connection,  // waits in a pool
    streaming,
    failing,  // tells why when the present callback is over; booked already
    over,
  };

  // The wait for a connection to a second endpoint, of the other family of addresses (happy_eyeballs.h).
  class Second final : public PoolWaiter {
   public:
    explicit Second(UpstreamCall& call);
    void on_connection(PooledConnection& connection) override { call_.on_second_connection(connection); }
    void on_no_connection(FailureKind kind, std::string_view detail) override { call_.on_no_second_connection(kind, detail); }
    void on_endpoints() override {}  // not reached: it waits in a pool only
    void on_delay() { call_.on_connect_is_slow(); }

    EndpointPool* pool = nullptr;
    std::uint32_t generation = 0;
    Timer delay;

   private:
    UpstreamCall& call_;
  };

  // What most tries never need: they find an endpoint and a connection at once.
  struct Waiting {
    explicit Waiting(UpstreamCall& call);
    Deferred later;
    Timer too_long;
    Second second;
  };
  Waiting& waiting();  // made when it is first needed
  bool second_waits() const { return waiting_ && waiting_->second.linked(); }

  void silence() noexcept override;
  // PoolWaiter
  void on_connection(PooledConnection& connection) override;
  void on_no_connection(FailureKind kind, std::string_view detail) override;
  void on_endpoints() override;
  // ClientStreamHandler
  void on_informational(const ResponseHead& head) override;
  void on_response(ResponseHead& head, BodyPipe::Reader body) override;
  void on_end(const Headers* trailers) override;
  void on_failure(const ClientFailure& failure) override;

  void on_second_connection(PooledConnection& connection);
  void on_no_second_connection(FailureKind kind, std::string_view detail);
  void on_connect_is_slow();
  bool go_beside();
  bool note_connecting();
  void leave_pools(bool blame);

  void pick();
  void choose(EndpointPool& pool);
  void move_to_second();
  bool may_wait();  // takes a place among the pending, arms the timer
  void wait_is_over();
  void send(PooledConnection& connection);
  void on_later();
  void on_waited_too_long();
  void fail_later(FailureKind kind, std::string_view detail);
  void fail_to_connect(FailureKind kind, std::string_view detail);
  void fail(const Failure& failure);

  FailureKind deadline_kind() const;
  FailureKind dropped_for() const;
  void judge(FailureKind kind);
  void judge_answer();
  void note_latency(bool failed);
  void note_given_up(FailureKind why);
  bool dropped_for_a_retry() const;
  void take_for_an_echo();
  void end_attempt(FailureKind kind, bool cancelled);
  void let_go();
  MonotonicTime now() const { return exchange().now(); }
  Duration owed_for(MonotonicTime start) const { return now() - owed_since(start, request_body_); }

  UpstreamLink& link_;
  Request request_;
  AttemptRecord* attempt_ = nullptr;
  EndpointPool* pool_ = nullptr;            // the endpoint that was picked; its `active` counts us
  PooledConnection* connection_ = nullptr;  // lent to us
  ClientStreamPtr stream_;
  const BodyPipe* request_body_;  // readable while the arena lives
  MonotonicTime picked_at_{};
  Duration to_head_{0};  // how long the endpoint took, once it has answered
  std::uint32_t generation_ = 0;
  State state_ = State::failing;
  bool counted_ = false;  // among the service's requests
  bool pending_ = false;  // among the service's pending
  bool responded_ = false;
  bool beside_ = false;                           // there was a second endpoint
  bool judged_ = false;                           // outlier detection has heard of this try
  FailureKind failure_kind_ = FailureKind::none;  // of State::failing
  std::string_view failure_detail_;
  ArenaPtr<Waiting> waiting_;
};

}  // namespace weir
