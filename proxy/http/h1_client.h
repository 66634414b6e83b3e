// H1Client: one HTTP/1 connection to an upstream: sends one request at a time and reads its answer.
// The pool owns it (make_h1_client in codec.h) and drops it after on_closed; it owns the stream. Each request
// in progress is a handle in the exchange's arena. It never sends a second request before the first is
// answered to its last byte, and never reuses a connection whose state is in doubt.
#pragma once

#include "proxy/base/cache_line.h"
#include "proxy/http/codec.h"
#include "proxy/http/h1_body.h"
#include "proxy/http/h1_output.h"

namespace weir {

class H1Client;

// The handle that a ClientStreamPtr holds. It outlives its exchange on the connection, and is deaf from then
// on.
class H1ClientStream final : public ClientStream {
 public:
  explicit H1ClientStream(H1Client& connection) : connection_(&connection) {}
  void drop() noexcept override;
  bool response_started() const override { return response_started_; }

 private:
  friend class H1Client;
  H1Client* connection_;
  bool response_started_ = false;
};

class alignas(kCacheLine) H1Client final : public ClientConnection, private ByteStreamHandler, private BodySource, private BodySink {
 public:
  H1Client(WorkerContext& worker, std::unique_ptr<ByteStream> stream, ClientConnectionHandler& handler,
           const ClientConnectionOptions& options);
  ~H1Client() override;

  ClientStreamPtr open(Arena& arena, const RequestHead& head, std::span<const HeaderField> extra, BodyPipe::Reader body,
                       ClientStreamHandler& handler) override;
  bool available() const override { return answer_ == Answer::idle && !closing_; }
  bool idle() const override { return answer_ == Answer::idle; }
  std::uint64_t streams_opened() const override { return opened_; }
  void close_when_idle() override;

 private:
  friend class H1ClientStream;
  enum class Answer : std::uint8_t {
    idle,      // no request in progress
    head,      // of the answer, or of a 1xx before it
    body,      // of the answer
    draining,  // of an answer that nobody wants any more
    ending,    // being told
    closed,
  };

  // ByteStreamHandler
  void on_readable() override;
  void on_writable() override;

  // BodySource, of the answer
  void on_body_resume() override { set_reading(true); }
  void on_body_dropped() override;

  // BodySink, of the request
  std::size_t on_body(ByteView bytes) override;
  SpliceResult on_body_splice(ByteStream& from, std::size_t most) override;
  void on_body_end(const Headers* trailers) override;
  void on_body_abort(BodyAbort reason) override;

  void feed(std::span<std::uint8_t> in);
  std::size_t feed_head(std::span<std::uint8_t> in);
  std::size_t feed_body(ByteView in);
  char* whole_head(std::span<std::uint8_t> last_part, std::size_t size);
  void take_head(char* head, std::size_t size, std::size_t readable_after);
  void read_head(Arena& scratch, char* head, std::size_t size, std::size_t readable_after);
  void begin_answer(ResponseHead& head, const ResponseFacts& facts);
  void on_fin();
  void on_read_error();
  void on_turn();
  void on_timer();
  void after_output();
  void set_reading(bool wanted);

  void dropped();
  bool worth_draining() const;
  void end_answer();
  void tell_end(const Headers* trailers);
  void fail(ClientError error, std::string_view rule = {});
  void detach();
  void drop_request_body();
  void close();

  // In the order of use, as in H1Server.
  WorkerContext& worker_;
  const std::unique_ptr<ByteStream> stream_;
  ClientConnectionHandler& pool_;
  ClientStreamHandler* handler_ = nullptr;
  H1ClientStream* handle_ = nullptr;
  std::uint64_t opened_ = 0;
  std::uint64_t sent_before_ = 0;  // by earlier requests

  Answer answer_ = Answer::idle;
  Method method_ = Method::other;
  int informational_ = 0;
  bool keep_alive_ = true;
  bool closing_ = false;  // after the present exchange
  bool sending_ = false;  // the request's body is not complete
  bool reading_ = false;
  bool received_ = false;  // a byte of the answer
  bool sink_blocked_ = false;
  bool request_aborted_ = false;
  bool closed_told_ = false;
  bool long_body_ = false;  // of the last answer
  bool left_over_ = false;  // bytes came behind the answer

  Arena* arena_ = nullptr;
  ArenaHold arena_hold_;
  BodyPipe::Writer answer_body_;
  BodyPipe::Reader request_body_;
  HeadFinder finder_{SectionKind::response};
  H1Output output_;
  H1BodyDecoder decoder_;
  Bytes held_;  // an answer's head in part
  const ClientConnectionOptions options_;
  Timer timer_;
  Deferred turn_;
  std::uint64_t drained_ = 0;
};

}  // namespace weir
