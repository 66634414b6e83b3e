// H1Server: one HTTP/1 client connection: reads requests one after the other, lends each to an exchange,
// writes the answers in order. proxy/server/connection owns it (make_h1_server in codec.h) and drops it after
// on_closed; it owns the stream and lends itself as the one ServerStream. It never reads a second request
// before the first is answered, and never ends cleanly what was not whole.
//
// Two states run side by side. Input: what the next bytes are. Answer: how far the present exchange is. All
// that must not happen inside somebody else's call (completing an answer, failing, closing, reading pipelined
// bytes) happens in on_turn(), at the end of the callback.
#pragma once

#include "proxy/base/cache_line.h"
#include "proxy/http/codec.h"
#include "proxy/http/h1_body.h"
#include "proxy/http/h1_output.h"

namespace weir {

class alignas(kCacheLine) H1Server final : public ServerConnection,
                                           private ByteStreamHandler,
                                           private ServerStream,
                                           private BodySource,
                                           private BodySink {
 public:
  H1Server(WorkerContext& worker, std::unique_ptr<ByteStream> stream, ServerConnectionHandler& handler,
           const ServerConnectionOptions& options);

  void start() override;
  void drain() override;
  bool idle() const override { return answer_ == Answer::none; }

 private:
  enum class Input : std::uint8_t {
    head,       // between requests, or inside a head
    body,       // of the present request, or the rest of one that was answered early
    waiting,    // the request is complete, its answer is not: what comes is kept for later
    discard,    // the request was refused
    lingering,  // our FIN is out, or will be: the client reads the answer meanwhile (RFC 9112 9.6)
    closed,
  };
  enum class Answer : std::uint8_t {
    none,       // no exchange
    due,        // no final head yet
    streaming,  // its body is on the way
    complete,   // all of it is in the output
  };

  // ByteStreamHandler
  void on_readable() override;
  void on_writable() override;

  // ServerStream
  void set_handler(ServerStreamHandler* handler) override { handler_ = handler; }
  void send_informational(const ResponseHead& head) override;
  void send_response(const ResponseHead& head, BodyPipe::Reader body) override;
  void close_after_response() override { keep_alive_ = false; }
  bool response_is_whole() const override {
    return answer_ == Answer::complete || (answer_ == Answer::streaming && output_.body_is_whole());
  }
  void reset() override;
  std::uint64_t response_bytes() const override { return output_.body_bytes(); }

  // BodySource, of the request
  void on_body_wanted() override;
  void on_body_resume() override;
  void on_body_dropped() override;

  // BodySink, of the answer
  std::size_t on_body(ByteView bytes) override;
  SpliceResult on_body_splice(ByteStream& from, std::size_t most) override;
  void on_body_end(const Headers* trailers) override;
  void on_body_abort(BodyAbort reason) override;

  // Reading
  void on_fin();
  void on_read_error();
  std::size_t feed(ByteView in);  // how many were used; the rest belongs to a later request
  std::size_t feed_head(ByteView in);
  std::size_t feed_body(ByteView in);
  void end_of_request_body();
  void read_held();
  void dispatch(ByteView in, std::size_t used);
  void hand_over();
  void begin_request(Arena& arena, RequestHead& request, const RequestFacts& facts);
  Method method_begun(ByteView rest) const;
  void refuse(const Rule& rule, Arena& arena, ByteView rest);  // `rest`: what has come of the head and is not held
  void refuse(const Rule& rule, ByteView rest) { refuse(rule, worker_.arenas.open(), rest); }
  bool must_pause() const;
  void set_reading(bool wanted);
  void resume_reading();

  // Answering, ending
  Framing frame_answer(const ResponseHead& head);
  void on_turn();
  void after_output();
  void finish_answer();
  void next_request();
  void fail(StreamError error);
  void fail_soon(StreamError error);
  void answer_alone(int status);
  void drop_answer_body();
  void linger();
  void close();

  // Time
  void on_timer();
  void on_exchange_timer();
  void set_deadline(MonotonicTime deadline);
  void expect_progress();
  bool client_owes() const;

  // In the order of use, what every request needs first: of a thousand connections each touch of a further cache line is a miss.
  WorkerContext& worker_;
  std::unique_ptr<ByteStream> stream_;
  ServerConnectionHandler& connection_;
  ServerStreamHandler* handler_ = nullptr;  // the exchange, while there is one

  Input input_ = Input::head;
  Answer answer_ = Answer::none;
  Method method_ = Method::other;
  HttpVersion version_ = HttpVersion::http11;
  bool keep_alive_ = true;
  bool draining_ = false;
  bool expects_continue_ = false;  // and 100 was not sent, and no byte of the body came
  bool reading_ = false;
  bool long_body_ = false;         // of the last request that had one
  bool input_ended_ = false;       // FIN, where that does not mean gone
  bool held_is_new_ = false;       // held_ was not looked at yet
  std::uint8_t held_in_turn_ = 0;  // pipelined requests that were begun in one callback
  bool sink_blocked_ = false;
  bool waited_ = false;  // the output, when it was last looked at
  bool fin_due_ = false;
  bool failing_ = false;
  bool closed_told_ = false;
  bool is_http2_ = false;
  StreamError error_ = StreamError::client_closed;

  ArenaHold arena_;
  BodyPipe::Writer request_body_;
  BodyPipe::Reader answer_body_;
  std::uint64_t discarded_ = 0;
  HeadFinder finder_{SectionKind::request};
  H1Output output_;
  std::uint64_t sent_seen_ = 0;
  MonotonicTime progress_at_{};
  MonotonicTime deadline_ = kNever;  // the timer fires no later than that; moving it later costs nothing
  Deferred turn_;
  Timer timer_;
  const ServerConnectionOptions options_;
  Bytes held_;  // a head in part, or pipelined requests
  H1BodyDecoder decoder_;
};

}  // namespace weir
