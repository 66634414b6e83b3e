// H2ClientStream: one request and its answer on an HTTP/2 connection to an upstream; the handle that a ClientStreamPtr holds, and the end
// of both body pipes. It lives in the exchange's arena, for as long as the session has the stream or somebody holds the handle.
// It never calls its handler from open() or drop(): heads, informational answers and clean ends are told while frames are taken apart,
// failures by tell_failure(), which H2Client calls when none is.
//
// Windows. An answer's DATA is consumed for the connection at once, so that one slow reader stops nobody else, and for the stream as the
// pipe takes it: while the pipe is paused nothing is given back, and the upstream stops at the end of the window. A request's body is
// pulled: the pipe keeps what the session cannot send yet, up to its mark, and then the client is not read.
#pragma once

#include "proxy/base/intrusive_list.h"
#include "proxy/http/codec.h"
#include "proxy/http/h2_client_head.h"
#include "proxy/http/h2_client_session.h"

namespace weir {

class H2Client;

struct H2ClientListed : ListNode {};  // the connection's streams
struct H2ClientDue : ListNode {};     // those with a failure to be told

class H2ClientStream final : public H2ClientListed,
                             public H2ClientDue,
                             public ClientStream,
                             private BodySource,
                             private BodySink,
                             private Buried {
 public:
  // In the arena, which it holds. `reused`: the connection has brought answers before.
  static H2ClientStream& make(H2Client& client, Arena& arena, Method method, ClientStreamHandler& handler, bool reused);
  void begin(const Http2Request& request, BodyPipe::Reader body);
  void refuse(const Rule& rule);  // instead
  void destroy() noexcept;        // at once; outside any callback of its own

  // --- ClientStream ---
  void drop() noexcept override;
  bool response_started() const override { return response_started_; }

  // --- What the session says, while it takes frames apart or makes them ---
  void on_begin_fields();
  void on_field(std::string_view name, std::string_view value);
  void on_fields(bool end_of_stream);           // the section is complete
  void on_data(ByteView bytes, bool last);      // last: they end the answer
  void on_data_end();                           // a DATA frame with END_STREAM is complete
  void on_peer_reset() { peer_reset_ = true; }  // on_closed() follows
  void on_made(bool end_of_stream);             // a frame of the request is being put into the output
  void on_closed(std::uint32_t error);          // the session has forgotten the stream
  // The next bytes of the request: how many, 0 for not now; `ended` with the last.
  std::size_t pull(std::span<std::uint8_t> into, bool& ended, std::span<const Http2Field>& trailers);

  // --- What the connection says ---
  void abandon(ClientError error, std::string_view rule);  // the connection is lost
  void orphan() noexcept;                                  // ... and going: nothing is told
  void tell_failure();                                     // last statement of the caller's loop turn

 private:
  friend class Arena;
  enum class Answer : std::uint8_t { head, body, complete };
  H2ClientStream(H2Client& client, Arena& arena, Method method, ClientStreamHandler& handler, bool reused);
  ~H2ClientStream() override = default;
  void free_buried() noexcept override { destroy(); }

  // BodySource, of the answer
  void on_body_resume() override;
  void on_body_dropped() override;

  // BodySink, of the request
  std::size_t on_body(ByteView bytes) override;
  void on_body_end(const Headers* trailers) override;
  void on_body_abort(BodyAbort reason) override;

  void begin_answer(bool end_of_stream);
  bool is_whole() const { return expected_answer_ < 0 || received_ == static_cast<std::uint64_t>(expected_answer_); }
  void end_answer(const Headers* trailers, ByteView last_bytes = {});
  void give_back(std::size_t bytes);
  void have_something();
  void reset(Http2Error code);
  void fail(ClientError error, std::string_view rule = {});
  void break_off(Http2Error code, ClientError error, std::string_view rule = {});
  void break_off(const Rule& rule);
  void leave_session();
  ClientError error_of(std::uint32_t code) const;

  H2Client* client_;  // null once the session has forgotten the stream, and its end was told
  EventLoop& loop_;
  Arena& arena_;
  ClientStreamHandler* handler_;  // null once it was told the end, or dropped the handle
  Http2ResponseHead head_;
  BodyPipe::Writer answer_body_;
  BodyPipe::Reader request_body_;
  const Headers* request_trailers_ = nullptr;
  std::span<std::uint8_t> room_;  // while pulling
  std::size_t held_back_ = 0;     // DATA not given back to the stream's window
  std::uint64_t received_ = 0;    // bytes of the answer's body
  std::uint64_t discarded_ = 0;   // of these, after nobody read it any more
  std::uint64_t sent_ = 0;        // bytes of the request's body handed to the session
  std::uint64_t made_at_ = 0;     // where in the output the request begins
  std::uint64_t heard_at_ = 0;    // what the connection had received by then
  std::int64_t expected_answer_ = -1;
  std::int64_t expected_request_ = -1;
  std::string_view rule_;
  std::int32_t id_ = 0;
  int informational_ = 0;
  const Method method_;
  Answer answer_ = Answer::head;
  ClientError error_ = ClientError::reset;
  const bool reused_;
  bool held_ = true;  // by a ClientStreamPtr
  bool response_started_ = false;
  bool received_any_ = false;
  bool request_made_ = false;      // the head is in the output
  bool request_complete_ = false;  // all of it is
  bool has_data_ = false;          // the pipe has bytes that were not taken
  bool request_ended_ = false;     // the pipe has ended
  bool pulling_ = false;
  bool peer_reset_ = false;
  bool reset_ = false;  // by us
  bool failed_ = false;
  bool closed_ = false;  // by the session
};

}  // namespace weir
