// HeldAnswer: the head of a gRPC answer, kept back until it shows whether a message follows, because a call that failed is told so in the
// trailers behind that head, and what was told outward cannot be tried again.
// The retry's call owns it, in the arena. It holds a head and a reader, never a byte of a message: the first one makes it due.
// It never decides and never tells: RetryCall asks what has come, and takes the answer or drops it.
#pragma once

#include "proxy/chain/exchange_context.h"
#include "proxy/chain/link.h"

namespace weir {

class HeldAnswer final : private BodySink {
 public:
  // `due`, on a turn of its own: a message has begun, the time is over, or a kept end is to be told.
  HeldAnswer(ExchangeContext& exchange, Callback due);

  void hold(Response&& response, Duration longest);
  bool holding() const { return head_ != nullptr; }
  bool message_began() const { return pipe_->bytes_written() > 0; }
  std::uint32_t endpoint() const { return endpoint_; }

  Response take();                // to be told outward; nothing is held any more
  void keep_end(const End& end);  // which came with it: due on the next turn, when its head was told
  End end() const { return {end_trailers_, end_failure_.kind == FailureKind::none ? nullptr : &end_failure_}; }  // the kept one
  void drop();                                                                                                   // all of it

 private:
  std::size_t on_body(ByteView bytes) override;
  void on_body_end(const Headers* trailers) override;
  void on_body_abort(BodyAbort) override {}  // the call's end says why
  const Headers* copy_of(const Headers* trailers);

  ExchangeContext& exchange_;
  ResponseHead* head_ = nullptr;  // a copy; null: nothing is held
  BodyPipe::Reader body_;
  const BodyPipe* pipe_ = nullptr;  // readable while the arena lives
  std::uint32_t endpoint_ = 0;
  bool body_ended_ = false;  // and has said so to us, which it does only once
  const Headers* body_trailers_ = nullptr;
  const Headers* end_trailers_ = nullptr;
  Failure end_failure_;
  Timer longest_;
  Deferred due_;
};

}  // namespace weir
