// HealthProbe: one active check of one endpoint, from the connect to the verdict, on a connection of its own: a connect, a GET, or a call of
// grpc.health.v1.Health/Check.
// HealthChecker owns it and drops it after on_check, or before, which cancels it. It runs on main's loop, with main's memory.
// It never outlasts its timeout, and reads no more of an answer than kMaxHead and kMaxBody.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proxy/http/codec.h"
#include "proxy/message/grpc.h"
#include "proxy/runtime/worker_context.h"
#include "proxy/upstream/health_check.h"

namespace weir {

class HealthProbe final : private ByteStreamHandler, private ClientConnectionHandler, private ClientStreamHandler, private BodySink {
 public:
  static constexpr std::size_t kMaxHead = std::size_t{16} * 1024;
  static constexpr std::size_t kMaxBody = std::size_t{64} * 1024;  // read away, so that the endpoint sees a clean end; beyond it a reset

  class Owner {
   public:
    virtual void on_check(CheckResult result, int status) = 0;  // once; on a later turn than the start. It drops the probe after this call

   protected:
    ~Owner() = default;
  };

  HealthProbe(WorkerContext& main, Connector& connector, const Address& endpoint, const HealthCheckConfig& config, Protocol protocol,
              Owner& owner);
  ~HealthProbe();
  HealthProbe(const HealthProbe&) = delete;
  HealthProbe& operator=(const HealthProbe&) = delete;

 private:
  // ByteStreamHandler, while connecting
  void on_connected(int error) override;
  void on_readable() override {}  // not asked for before the codec has the stream
  void on_writable() override {}
  // ClientConnectionHandler: its one stream tells all there is to know
  void on_available() override {}
  void on_closed() override {}
  // ClientStreamHandler
  void on_informational(const ResponseHead&) override {}
  void on_response(ResponseHead& head, BodyPipe::Reader body) override;
  void on_end(const Headers* trailers) override;
  void on_failure(const ClientFailure& failure) override;

  // BodySink: of a gRPC answer
  std::size_t on_body(ByteView bytes) override;
  void on_body_end(const Headers* trailers) override;
  void on_body_abort(BodyAbort) override {}  // on_failure says why

  void ask();
  void ask_http(Arena& arena, RequestHead& head);
  void ask_grpc(Arena& arena, RequestHead& head);
  BodyPipe::Reader body_of(Arena& arena, std::string_view text);
  CheckResult grpc_verdict(GrpcStatus status) const;
  void on_timeout();
  bool expected(int status) const;
  void end(CheckResult result);

  WorkerContext& main_;
  Owner& owner_;
  const Protocol protocol_;
  const HealthCheckConfig config_;  // of when it began: a reload changes the next one
  CheckResult verdict_ = CheckResult::none;
  int status_ = 0;
  bool over_ = false;
  Timer timeout_;
  ArenaHold arena_;
  std::unique_ptr<ByteStream> stream_;        // while connecting
  std::unique_ptr<ClientConnection> client_;  // afterwards
  BodyPipe::Reader answer_;                   // of a gRPC check
  std::string message_;                       // what it carried so far
  ClientStreamPtr request_;                   // goes before its connection
};

}  // namespace weir
