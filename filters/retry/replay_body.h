// ReplayBody: keeps a request body while it flows to the first try, up to a limit, and gives each further try the kept part, then the rest.
// The retry's call owns it; it owns the client's reader and the writer of the running try's pipe.
// It never holds more than the limit beside what the try's pipe holds, and never replays what it has not kept whole.
//
//   client's pipe --Reader--> ReplayBody --Writer--> pipe of the running try --Reader--> upstream
//
// Between tries it keeps up to the limit, then lets the client wait. During a try, passing the limit ends replaying and the bytes flow on,
// but not before the upstream has taken some: while it only connects the client waits, so that a large body survives a failure to connect.
#pragma once

#include "proxy/chain/exchange_context.h"
#include "proxy/runtime/body_pipe.h"

namespace weir {

class ReplayBody final : private BodySink, private BodySource {
 public:
  ReplayBody(ExchangeContext& exchange, BodyPipe::Reader client, std::size_t limit);

  // A new pipe, fed from the beginning; only while replayable(). The writer of the try before is dropped.
  BodyPipe::Reader start_try();
  void end_try();  // the try is over: its pipe is dropped
  void commit();   // the answer goes outward: nothing is replayed any more, what was kept is let go
  void drop();     // both ends

  bool replayable() const { return !overflowed_ && !committed_; }
  bool ended() const { return ended_; }                     // the client has sent all of its request
  bool broke() const { return broke_ != BodyAbort::none; }  // the client's body did

 private:
  std::size_t on_body(ByteView bytes) override;
  SpliceResult on_body_splice(ByteStream& from, std::size_t most) override;
  void on_body_end(const Headers* trailers) override;
  void on_body_abort(BodyAbort reason) override;
  void on_body_resume() override;
  void on_body_dropped() override;

  bool flowing() const { return writer_ && !writer_.reader_gone(); }
  bool taken() const { return writer_.pipe()->bytes_taken() > 0; }
  void feed_kept();
  std::size_t take_prefix(ByteView bytes);
  void write(ByteView bytes);
  void stop_keeping();
  void release_client();
  void look_again();

  ExchangeContext& exchange_;
  BodyPipe::Reader client_;
  BodyPipe::Writer writer_;
  Bytes kept_;
  std::size_t limit_;
  bool too_large_;  // as announced
  const Headers* trailers_ = nullptr;
  BodyAbort broke_ = BodyAbort::none;
  bool started_ = false;
  bool ended_ = false;
  bool blocked_ = false;  // the client's pipe was told to wait
  bool overflowed_ = false;
  bool committed_ = false;
  bool writing_ = false;  // the bytes that are being written may be the kept ones
  Timer look_;            // while the client waits for an upstream that only connects: a pipe tells no writer of its first take
};

}  // namespace weir
