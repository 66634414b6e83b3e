// H2Client: one HTTP/2 connection to an upstream: an nghttp2 session over a byte stream, and the requests in progress on it.
// The pool owns it (make_h2_client in codec.h) and drops it when on_closed was told and its streams have ended; it owns the stream.
// It makes no more frames than the output has room for, and never stops reading: what may come is bounded by the streams' windows, and an
// upstream that does not read is found out by PING. It never opens a stream that the upstream has not room for.
//
// One turn. An event (bytes, room, a timer, a request) is followed by settle(): frames are made and written together, failures are told,
// and it is asked whether the connection is over or has room. Events from above only note and schedule the turn.
#pragma once

#include <memory>

#include "proxy/http/codec.h"
#include "proxy/http/h1_output.h"
#include "proxy/http/h2_client_session.h"
#include "proxy/http/h2_client_stream.h"

namespace weir {

class H2Client final : public ClientConnection, private ByteStreamHandler {
 public:
  // Servers of gRPC count PINGs that come closer together than this while they send nothing, and end the connection at the third.
  static constexpr Duration kQuietPing = std::chrono::minutes(5) + std::chrono::seconds(5);
  static constexpr std::size_t kNotTheLast = SIZE_MAX;

  H2Client(WorkerContext& worker, std::unique_ptr<ByteStream> stream, ClientConnectionHandler& handler,
           const ClientConnectionOptions& options);
  ~H2Client() override;

  ClientStreamPtr open(Arena& arena, const RequestHead& head, std::span<const HeaderField> extra, BodyPipe::Reader body,
                       ClientStreamHandler& handler) override;
  bool settled() const override { return settled_; }
  bool available() const override { return room() > 0; }
  std::uint32_t room() const override;
  bool idle() const override { return streams_.empty(); }
  std::uint64_t streams_opened() const override { return opened_; }
  void close_when_idle() override;

  // --- For its streams ---
  WorkerContext& worker() { return worker_; }
  EventLoop& loop() { return worker_.loop; }
  const ClientConnectionOptions& options() const { return options_; }
  H2ClientSession& session() { return session_; }
  void wake() { turn_.schedule(); }
  void failed(H2ClientStream& stream);  // to be told
  void left();                          // a stream is no more
  void answer_begins() { answered_ = true; }
  std::uint64_t made() const { return made_; }           // bytes of frames, ever
  std::uint64_t sent() const { return output_.sent(); }  // of these, taken by the kernel
  std::uint64_t received() const { return received_; }   // bytes, ever
  std::string_view failure() const { return stream_->failure(); }

  // --- What the session says, while it is inside a call ---
  void on_begin_frame(bool is_ping_answer) { heard_ = heard_ || !is_ping_answer; }
  void begin_head(H2ClientStream* stream) { head_stream_ = stream; }  // whose fields come now; null: nobody's
  H2ClientStream* head_stream() const { return head_stream_; }
  void begin_data(std::size_t size) { data_left_ = size; }  // of a frame that ends its stream, else kNotTheLast
  bool take_data(std::size_t size);                         // whether these bytes are the last of their stream
  void on_settings() { news_ = settled_ = true; }
  void on_goaway();
  void on_push();
  void on_goaway_sent(bool flood);  // with an error

 private:
  enum class State : std::uint8_t { open, closed };

  // ByteStreamHandler
  void on_readable() override;
  void on_writable() override;

  bool feed(ByteView bytes);
  void read_rest();
  bool pump();
  void settle();
  void after_output();
  void on_turn();
  void tell_failures();
  void break_rule(const Rule& rule, Http2Error code);
  void lose(ClientError error, std::string_view rule = {});
  void close();

  void expect_answers();
  void heard();
  void on_timer();
  MonotonicTime now() const { return worker_.loop.now(); }

  WorkerContext& worker_;
  const std::unique_ptr<ByteStream> stream_;
  ClientConnectionHandler& pool_;
  const ClientConnectionOptions options_;
  H2ClientSession session_;
  H1Output output_;  // without its framing: frames are appended to pending()
  IntrusiveList<H2ClientStream, H2ClientListed> streams_;
  IntrusiveList<H2ClientStream, H2ClientDue> failed_;

  State state_ = State::open;
  std::uint32_t live_ = 0;  // streams that the session has not forgotten
  bool closing_ = false;    // when its streams have ended
  bool going_ = false;      // the upstream said GOAWAY, or ids have run out
  bool settled_ = false;    // the upstream's SETTINGS have come
  bool answered_ = false;   // an answer has begun, ever
  bool news_ = false;       // there may be room
  bool terminated_ = false;
  bool closed_told_ = false;
  const Rule* broken_rule_ = nullptr;
  std::uint64_t opened_ = 0;
  std::uint64_t made_ = 0;
  std::uint64_t received_ = 0;
  std::size_t data_left_ = kNotTheLast;
  H2ClientStream* head_stream_ = nullptr;

  bool heard_ = false;                 // in this turn, other than an answer to PING
  MonotonicTime pinged_at_ = kNever;   // kNever: never, or the upstream has said something since
  MonotonicTime ping_due_ = kNever;    // the next one, while the upstream owes something
  MonotonicTime answer_due_ = kNever;  // to the one that is out
  Timer timer_;
  Deferred turn_;
};

}  // namespace weir
