// H2Stream: one request and its answer on an HTTP/2 connection; lends itself to the exchange, and is the end of both body pipes.
// It lives in the exchange's arena; H2Server lists it until the session has closed the stream and the exchange was told, then the loop
// frees it. It never calls the exchange but from on_request and from tell_end(), which H2Server calls when no frame is being taken apart.
//
// Windows. A request's DATA is given back to the stream's window as the pipe takes it: while the pipe is paused nothing is, and the client
// stops at the end of that window. To the connection's it is given back at once, so that a stream that stands still stops nobody else;
// but not when the connection's streams together hold too much (H2Server::hold).
// An answer is pulled: the pipe keeps what the session cannot send yet, up to its mark, and then the upstream is not read.
#pragma once

#include <optional>

#include "proxy/base/intrusive_list.h"
#include "proxy/http/codec.h"
#include "proxy/http/h2_server_session.h"

namespace weir {

class H2Server;

struct H2Listed : ListNode {};  // the connection's streams
struct H2Due : ListNode {};     // those with an end to be told

class H2Stream final : public H2Listed, public H2Due, public ServerStream, private BodySource, private BodySink, private Buried {
 public:
  static H2Stream& make(H2Server& server, std::int32_t id, const HttpLimits& limits);  // opens its arena
  void destroy() noexcept;                                                             // at once; outside any callback

  // --- What the session says (on frames, while they are taken apart or made) ---
  bool on_field(std::string_view name, std::string_view value);  // false: far too much of them
  void on_begin_trailers() { head_.begin_trailers(); }
  void on_head(bool end_of_stream);  // the request's fields are complete
  void on_trailers();                // and these, which end it
  void on_data(ByteView bytes);
  void on_request_end();
  void on_peer_reset();
  void on_produced(bool behind);  // the answer's last frame is in the output, or behind what is there
  void on_not_sent();             // its head could not be made
  void on_closed();               // the session has forgotten the stream
  std::size_t waiting() const;    // bytes of the answer that could leave now
  // The next bytes of the answer: how many, 0 for not now; `ended` with the last.
  std::size_t pull(std::span<std::uint8_t> into, bool& ended, std::span<const Http2Field>& trailers);

  // --- What the connection says ---
  void fail(StreamError error);     // told by the next tell_end()
  void abandon(StreamError error);  // the same, and there is no session any more
  void time_out();
  void cut_short();  // the client's FIN came before the end of the request
  void tell_end();   // the exchange, whose stream is dead then; last statement of the caller's loop turn
  // When the client must have moved a byte, if it owes one.
  std::optional<MonotonicTime> due(Duration progress) const;
  bool request_complete() const { return request_ == Request::complete; }
  void let_go(EventLoop& loop);  // freed after the callback

  std::uint64_t end_at = 0;    // of the output, once the last frame is in it
  std::size_t head_bytes = 0;  // counted by the connection

 private:
  friend class Arena;
  enum class Request : std::uint8_t { head, body, complete };
  enum class Answer : std::uint8_t {
    none,       // no exchange yet, or none any more
    due,        // no final head yet
    streaming,  // the head is submitted
    produced,   // all of it is in the output
  };
  H2Stream(H2Server& server, std::int32_t id, Arena& arena, const HttpLimits& limits);
  ~H2Stream() override = default;
  void free_buried() noexcept override { destroy(); }

  // ServerStream
  void set_handler(ServerStreamHandler* handler) override { handler_ = handler; }
  void send_informational(const ResponseHead& head) override;
  void send_response(const ResponseHead& head, BodyPipe::Reader body) override;
  void close_after_response() override;
  void reset() override;
  std::uint64_t response_bytes() const override { return answer_bytes_; }

  // BodySource, of the request
  void on_body_wanted() override;
  void on_body_resume() override;
  void on_body_dropped() override;
  void on_body_taken() override;

  // BodySink, of the answer
  std::size_t on_body(ByteView bytes) override;
  void on_body_end(const Headers* trailers) override;
  void on_body_abort(BodyAbort reason) override;

  void begin_request(RequestHead& request);
  void end_of_request();
  void give_back(std::size_t bytes);
  void give_back_held();
  void have_something(std::size_t bytes);
  void break_off(Http2Error code, StreamError error);

  H2Server& server_;
  Arena& arena_;
  const std::int32_t id_;
  ServerStreamHandler* handler_ = nullptr;
  Http2RequestHead head_;
  BodyPipe::Writer request_body_;
  BodyPipe::Writer ended_body_;  // of which the pipe keeps some, and the connection counts it
  BodyPipe::Reader answer_body_;
  const Headers* answer_trailers_ = nullptr;
  std::span<std::uint8_t> room_;      // while pulling
  std::size_t held_back_ = 0;         // DATA not given back to the stream's window; the connection counts it
  std::size_t discarded_ = 0;         // of a body that nobody wants
  std::uint64_t answer_bytes_ = 0;    // handed to the session
  std::int64_t expected_bytes_ = -1;  // of the answer, as its head says
  std::uint32_t submitted_at_ = 0;    // when its head was; 0: not yet
  MonotonicTime begun_at_{};
  MonotonicTime progress_at_{};
  Request request_ = Request::head;
  Answer answer_ = Answer::none;
  StreamError error_ = StreamError::client_closed;
  int answered_ = 0;  // by the stream itself
  bool expects_continue_ = false;
  bool has_data_ = false;      // the pipe has bytes that were not taken
  bool answer_ended_ = false;  // the pipe has ended
  bool pulling_ = false;
  bool peer_reset_ = false;
  bool failed_ = false;
  bool closed_ = false;  // by the session
};

}  // namespace weir
