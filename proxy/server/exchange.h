// Exchange: the root of one request: it matches the route, starts the chain, writes the answer, and records exactly one outcome.
// It lives in its arena; its connection lists it until it is over, and the loop frees it after the callback in which that happened.
// It never retries, times out or rejects by itself: links do; and it writes nothing to the client but what the chain or a Failure says.
//
// Ends. An exchange is over when the answer was sent and the chain has ended; or when the client is gone or the answer broke off: then
// everything below is dropped at once, from whatever state it is in.
#pragma once

#include "proxy/base/intrusive_list.h"
#include "proxy/chain/link.h"
#include "proxy/http/codec.h"
#include "proxy/http/hop_headers.h"
#include "proxy/observe/access_log.h"
#include "proxy/server/snapshot.h"

namespace weir {

// What the exchanges of one listener on one worker share. The worker keeps it up to date; it outlives them.
class Exchange;

struct ExchangeHost {
  ExchangeHost(WorkerContext& of, std::string_view name) : worker(of), listener(name) {}

  WorkerContext& worker;
  std::string_view listener;
  bool inbound = false;
  bool draining = false;            // answers carry Connection: close
  AccessLog* access_log = nullptr;  // null: no line is written
  Snapshot* snapshot = nullptr;     // the current one
  const RouteTable* routes = nullptr;
  DateCache dates;
  std::uint32_t in_flight = 0;      // exchanges that are not over
  std::uint64_t exchanges = 0;      // begun so far
  MonotonicTime last_activity{};    // when the last one began or ended
  IntrusiveList<Exchange> orphans;  // their connection is closed, their chain has not ended; the worker ends what is left
};

class Exchange final : public ListNode, private Buried, private Caller, private ServerStreamHandler {
 public:
  // Takes the hold on the arena over. `client` and `tls` (null: clear text) are the connection's, and live until abandon().
  static Exchange& make(ExchangeHost& host, const Address& client, const TlsInfo* tls, ServerStream& stream, Arena& arena,
                        RequestHead& head);

  void start(BodyPipe::Reader body);   // answers or starts the chain
  void refuse(const BadMessage& bad);  // instead of start: answers what the framing rules refused
  void abandon();                      // its connection is closed
  void end_now();                      // whatever it is doing

 private:
  friend class Arena;
  Exchange(ExchangeHost& host, const Address& client, const TlsInfo* tls, ServerStream& stream, Arena& arena, RequestHead& head);
  ~Exchange() override = default;
  void free_buried() noexcept override;

  void on_informational(const ResponseHead& head) override;
  void on_response(Response&& response) override;
  void on_end(const End& end) override;
  void on_failure(const Failure& failure) override;
  void on_stream_error(StreamError error, int answered) override;
  void on_response_sent() override;

  void prepare_request();
  void forward(const Route& route, BodyPipe::Reader body);
  void respond(const Route& route);
  void reply(const Failure& failure);
  void send(ResponseHead& head, BodyPipe::Reader body);
  BodyPipe::Reader body_of(std::string_view text);
  Duration added_until(MonotonicTime head_at) const;
  GrpcStatus grpc_outcome() const;
  void finish();

  ExchangeHost& host_;
  ServerStream* stream_;      // null once it is dead
  ExchangeContext& context_;  // an object of its own in the arena: calls that are freed after the exchange still look at it
  Snapshot& snapshot_;        // held
  RequestMetrics* metrics_;
  const Route* route_ = nullptr;
  const PolicySpec* policy_ = nullptr;
  CallPtr call_;
  BodyPipe* request_pipe_ = nullptr;  // valid while the arena is held
  BodyPipe* response_pipe_ = nullptr;
  std::string_view original_target_, original_authority_, client_text_;
  std::shared_ptr<const TlsInfo> kept_tls_;  // once its connection is closed
  MonotonicTime head_sent_at_{};
  Failure failure_;
  std::uint64_t bytes_sent_ = 0;
  int status_ = 0;                             // of the head that was sent
  GrpcStatus grpc_status_ = GrpcStatus::none;  // of the upstream's answer
  bool ended_ = false;                         // the chain has told its end, or there is none
  bool sent_ = false;                          // the whole answer was handed to the kernel
  bool over_ = false;
};

}  // namespace weir
