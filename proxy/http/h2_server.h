// H2Server: one HTTP/2 client connection: an nghttp2 session over a byte stream, and the streams in it.
// proxy/server/connection owns it (make_h2_server in codec.h) and drops it after on_closed. It never calls out while the session is inside
// a call, but for requests and their bytes; and it makes no more frames than the output has room for, nor reads while that stands full.
//
// One turn. An event (bytes, room, a timer, a submitted answer) is followed by settle(): frames are made and written, streams that ended
// are told, and it is asked whether the connection is over. Events from above only note and schedule the turn.
//
// Fairness. A turn takes apart what Http2FrameWatch lets it, makes frames up to a mark, and leaves the rest to the loop's next turn, so
// that no connection holds the worker for long. Memory is bounded for the connection, whatever its streams do: the heads of requests,
// the bodies that wait to be taken and the answers that wait to be read all have a limit for the sum.
#pragma once

#include <memory>
#include <vector>

#include "proxy/http/codec.h"
#include "proxy/http/h1_output.h"
#include "proxy/http/h2_frame_watch.h"
#include "proxy/http/h2_server_session.h"
#include "proxy/http/h2_stream.h"

namespace weir {

class H2Server final : public ServerConnection, private ByteStreamHandler {
 public:
  static constexpr std::size_t kHeldMax =
      std::size_t{4} * 1024 * 1024;                                   // DATA that waits in pipes; beyond it the connection's window shuts
  static constexpr std::size_t kHeadsMax = std::size_t{1024} * 1024;  // heads of requests in progress, beside 4 KiB for each stream

  H2Server(WorkerContext& worker, std::unique_ptr<ByteStream> stream, ServerConnectionHandler& handler,
           const ServerConnectionOptions& options, Bytes received);
  ~H2Server() override;

  void start() override;
  void drain() override;
  bool idle() const override { return streams_.empty(); }

  // --- For its streams ---
  WorkerContext& worker() { return worker_; }
  ServerConnectionHandler& connection() { return connection_; }
  std::string_view scheme() const { return options_.scheme; }
  H2ServerSession& session() { return session_; }
  MonotonicTime now() const { return worker_.loop.now(); }
  Http2Floods& floods() { return watch_.floods(); }
  std::uint32_t live() const { return live_; }
  void wake() { turn_.schedule(); }
  // Not before the head of its answer is made, if that was submitted (`at`, as told by submitted()): a client is to see what there was.
  void reset_stream(std::int32_t id, Http2Error error, std::uint32_t at);
  std::uint32_t submitted() const { return rounds_; }
  void write_soon(const H2Stream& stream, std::size_t body);  // with what other streams have by then
  void begun(H2Stream& stream, std::size_t head_bytes);
  void expect_progress();        // a stream's client owes something from now on
  void hold(std::size_t bytes);  // of DATA, that a stream was told not to give back
  void unhold(std::size_t bytes);
  void body_begins() { ++bodies_; }  // a request's DATA is expected
  void body_ends() { --bodies_; }
  void ended(H2Stream& stream);  // to be told
  // To be told when the kernel has the frame that is being made: it is in the output, or will stand behind what is there.
  void produced(H2Stream& stream, bool behind);
  void release(H2Stream& stream);  // freed after the callback

  // --- What the session says, while it is inside a call ---
  void on_begin_head(H2Stream* stream);             // null: its fields are not wanted
  H2Stream* head_stream() { return head_stream_; }  // whose header block is being read
  void on_head_complete() {                         // or the first SETTINGS, which belong to the preface
    head_since_ = kNever;
    head_begun_ = false;
  }
  H2Stream* on_begin_request(std::int32_t id);  // null: refused
  void on_invalid(bool message);                // a frame, or as a message: that ends in RST_STREAM
  void on_refused(const Rule& rule);            // a request: that ends in RST_STREAM, too
  void on_goaway_sent(bool flood);              // with an error
  void on_ping_answered();
  void on_costly(Http2Flood kind);             // the client made us do this
  void on_window_overflow() { ++overflows_; }  // by WINDOW_UPDATE, of a stream
  void on_flow_control_reset();
  void on_flood(Http2Flood kind);
  std::span<std::uint8_t> payload_room(std::size_t wanted);        // of a DATA frame, at the end of the output
  bool on_payload(const std::uint8_t* head, std::size_t payload);  // it is written there. False: enough for now

 private:
  enum class State : std::uint8_t { open, lingering, closed };
  enum class GoAway : std::uint8_t { none, notice, sent };

  // ByteStreamHandler
  void on_readable() override;
  void on_writable() override;

  std::size_t feed(ByteView bytes);
  void feed_kept();
  bool output_full() const;
  bool must_pause() const;
  void set_reading(bool wanted);
  void on_fin();
  bool pump();
  bool make_frames();
  void note_written();
  void note_waiting();
  void settle();
  void after_output();
  void on_turn();
  void on_next_turn();
  void tell_ends();
  void go_away();
  void terminate(const Rule& rule, Http2Error error);
  void abandon_all(StreamError error);
  void lose(StreamError error);
  void linger();
  void close();

  void on_timer();
  void on_overdue(MonotonicTime now);
  MonotonicTime goodbye_until() const;
  MonotonicTime next_deadline();
  void arm_by(MonotonicTime deadline);

  WorkerContext& worker_;
  const std::unique_ptr<ByteStream> stream_;
  ServerConnectionHandler& connection_;
  const ServerConnectionOptions options_;
  H2ServerSession session_;
  Http2FrameWatch watch_;
  H1Output output_;  // without its framing: frames are appended to pending()
  Bytes received_;   // and not taken apart: before start(), or more than a turn's share
  IntrusiveList<H2Stream, H2Listed> streams_;
  IntrusiveList<H2Stream, H2Due> flushing_;  // their last frame is in the output, in order
  IntrusiveList<H2Stream, H2Due> ended_;
  H2Stream* just_produced_ = nullptr;
  H2Stream* head_stream_ = nullptr;

  State state_ = State::open;
  GoAway go_away_ = GoAway::none;
  bool draining_ = false;
  bool was_idle_ = false;  // when draining began
  bool reading_ = false;
  bool input_ended_ = false;
  const Rule* broken_rule_ = nullptr;  // of the connection, where we judged it
  bool goaway_counted_ = false;
  bool terminated_ = false;  // the GOAWAY that ends the session is submitted; what comes is thrown away
  bool begun_ = false;
  bool closed_told_ = false;
  std::uint32_t live_ = 0;          // streams in streams_
  std::uint32_t bodies_ = 0;        // DATA is expected on some
  const H2Stream* last_ = nullptr;  // that called write_soon(); to be compared, no more
  struct LateReset {
    std::int32_t id;
    Http2Error error;
  };
  std::vector<LateReset> late_resets_;
  std::uint32_t rounds_ = 1;     // how often all frames were made that could be
  std::uint32_t overflows_ = 0;  // whose reset is not made yet
  std::uint32_t gathered_ = 0;   // streams that did, since the last write
  std::uint32_t alone_ = 0;      // how often in a row waiting gathered nothing
  bool waited_ = false;          // for the next turn, for the frames that are made now
  std::size_t held_ = 0;         // DATA in pipes
  std::size_t owed_ = 0;         // of it, not given back to the connection's window
  std::size_t heads_ = 0;
  std::uint64_t made_ = 0;             // bytes of frames, ever
  std::size_t discarded_ = 0;          // while lingering
  MonotonicTime head_since_ = kNever;  // a header block is not complete
  bool head_begun_ = false;            // the session told of it: it is not the preface
  MonotonicTime idle_since_{};
  MonotonicTime output_since_ = kNever;  // the kernel took nothing, and there is something
  std::uint64_t sent_before_ = 0;
  MonotonicTime drain_since_{};
  MonotonicTime linger_until_ = kNever;
  Timer timer_;
  Timer next_turn_;
  Deferred turn_;
};

}  // namespace weir
