// Answers: writing them, ending them, and what becomes of the connection after. Reading is in h1_server.cc.
#include <utility>

#include "proxy/base/check.h"
#include "proxy/http/h1_serializer.h"
#include "proxy/http/h1_server.h"
#include "proxy/http/linger.h"

namespace weir {

namespace {

constexpr int kHeldInTurn = 32;                                  // pipelined requests that are answered within one callback
constexpr Duration kLeftOverTime = std::chrono::seconds(5);      // for the rest of a body whose answer is out
constexpr std::int64_t kLeftOverMax = std::int64_t{256} * 1024;  // of such a body: more, and the connection is closed instead

bool never_has_body(int status) { return status < 200 || status == 204 || status == 304; }

}  // namespace

// --- ServerStream ----------------------------------------------------------------------------------------------------

void H1Server::send_informational(const ResponseHead& head) {
  if (answer_ != Answer::due || version_ == HttpVersion::http10 || head.status == 101) return;
  if (head.status == 100 && !std::exchange(expects_continue_, false)) return;  // once, whoever says it first
  write_informational(output_.pending(), head);
  turn_.schedule();
}

// RFC 9112 6.3. What the head announces may belong to a body that is not sent (HEAD, 304).
Framing H1Server::frame_answer(const ResponseHead& head) {
  Framing framing;
  if (never_has_body(head.status)) {
    if (head.status == 304) framing.length = head.content_length;
  } else if (method_ == Method::head) {
    framing.length = head.content_length;
  } else if (!head.has_body) {
    framing.length = 0;
  } else if (head.content_length >= 0) {
    framing.length = head.content_length;
    if (head.content_length > 0) framing.body = BodyFraming::length;
  } else if (version_ == HttpVersion::http10) {
    framing.body = BodyFraming::until_close;
    keep_alive_ = false;
  } else {
    framing.body = BodyFraming::chunked;
  }
  return framing;
}

void H1Server::send_response(const ResponseHead& head, BodyPipe::Reader body) {
  if (answer_ == Answer::none) return;  // detached
  CHECK(answer_ == Answer::due && head.status >= 200);
  Framing framing = frame_answer(head);
  if (!body && framing.body != BodyFraming::none) {
    CHECK(head.content_length < 0);
    framing = Framing{BodyFraming::none, 0, true};
  }
  // A client that waits for 100 may send the body or not (RFC 9110 10.1.1): what follows on this connection
  // cannot be known.
  if (draining_ || (expects_continue_ && input_ == Input::body)) keep_alive_ = false;
  ConnectionField connection = ConnectionField::none;
  if (!keep_alive_) {
    connection = ConnectionField::close;
  } else if (version_ == HttpVersion::http10) {
    connection = ConnectionField::keep_alive;
  }
  write_response_head(output_.pending(), head, framing, connection);
  output_.begin_body(framing);
  if (framing.body == BodyFraming::none) {
    // Left to the turn: who gave this answer tells its end next, and what the request held (a permit of another worker's queue) is
    // free before its client can know.
    answer_ = Answer::complete;
    body.drop();
  } else {
    answer_ = Answer::streaming;
    answer_body_ = std::move(body);
    answer_body_.set_sink(this);
    turn_.cancel();  // so that the turn comes after what the pipe has put off: head and small body leave
                     // together
  }
  turn_.schedule();
}

void H1Server::reset() {
  if (answer_ == Answer::none) return;
  handler_ = nullptr;
  answer_ = Answer::none;
  stream_->reset();
  close();
}

// --- The answer's body -----------------------------------------------------------------------------------------------

std::size_t H1Server::on_body(ByteView bytes) {
  const std::size_t taken = output_.body(bytes);
  sink_blocked_ = taken < bytes.size();
  if (!output_.empty() || output_.broken()) turn_.schedule();
  return taken;
}

SpliceResult H1Server::on_body_splice(ByteStream& from, std::size_t most) {
  const SpliceResult done = output_.splice(from, most);
  sink_blocked_ = done.blocked;
  if (!output_.empty() || output_.broken()) turn_.schedule();
  return done;
}

void H1Server::on_body_end(const Headers* trailers) {
  if (!output_.end_body(trailers)) return fail_soon(StreamError::response_aborted);
  answer_ = Answer::complete;
  output_.flush();
  turn_.schedule();
}

void H1Server::on_body_abort(BodyAbort /*reason*/) {
  if (response_is_whole()) return on_body_end(nullptr);
  fail_soon(StreamError::response_aborted);
}

void H1Server::drop_answer_body() {
  sink_blocked_ = false;
  answer_body_.drop();
}

// --- Turns -----------------------------------------------------------------------------------------------------------

void H1Server::fail_soon(StreamError error) {
  if (failing_) return;
  failing_ = true;
  error_ = error;
  turn_.schedule();
}

void H1Server::on_writable() {
  output_.on_writable();
  after_output();
}

void H1Server::on_turn() {
  if (input_ == Input::closed) {
    if (closed_told_) return;
    if (is_http2_) return hand_over();
    closed_told_ = true;
    return connection_.on_closed();
  }
  if (failing_) return fail(error_);
  output_.flush();
  after_output();
}

void H1Server::after_output() {
  if (input_ == Input::closed) return;
  if (output_.broken()) {
    if (answer_ == Answer::none) return close();
    return fail(StreamError::write_failed);
  }
  if (output_.sent() != sent_seen_ || output_.waiting() != waited_) {  // what the client owes, it owes from now on
    sent_seen_ = output_.sent();
    waited_ = output_.waiting();
    progress_at_ = worker_.loop.now();
  }
  if (output_.waiting()) expect_progress();
  if (sink_blocked_ && output_.may_take()) {
    sink_blocked_ = false;
    answer_body_.resume();
    if (!output_.empty() && !output_.waiting()) turn_.schedule();
    if (failing_ || input_ == Input::closed) return;
  }
  if (!output_.empty()) return;
  if (fin_due_) {
    fin_due_ = false;
    stream_->shutdown_write();
    if (input_ended_) return close();
  }
  if (answer_ == Answer::complete) return finish_answer();
  if (input_ == Input::head && held_is_new_) read_held();
}

// All of the answer is with the kernel. Telling is last.
void H1Server::finish_answer() {
  answer_ = Answer::none;
  drop_answer_body();
  ServerStreamHandler* handler = std::exchange(handler_, nullptr);
  BodyPipe::Writer unwanted = std::move(request_body_);
  if (!keep_alive_ || draining_) {
    linger();
  } else if (input_ == Input::body) {
    if (decoder_.remaining() > kLeftOverMax) {
      linger();
    } else {
      discarded_ = 0;
      set_deadline(worker_.loop.now() + kLeftOverTime);
      resume_reading();
    }
  } else {
    next_request();
  }
  if (handler != nullptr) handler->on_response_sent();
}

void H1Server::next_request() {
  arena_.reset();
  finder_.reset();
  input_ = Input::head;
  set_deadline(worker_.loop.now() + options_.limits.idle);
  if (draining_) return close();
  if (!held_.empty()) {
    held_is_new_ = true;
    if (++held_in_turn_ < kHeldInTurn) {
      turn_.schedule();
    } else {  // others have their turn
      timer_.arm(Duration::zero());
    }
  } else if (input_ended_) {
    return close();
  }
  resume_reading();
}

// --- Ends ------------------------------------------------------------------------------------------------------------

// The exchange can go on no more. Where no answer was begun and the client can still read, it is told.
void H1Server::fail(StreamError error) {
  failing_ = false;
  const bool begun = answer_ == Answer::streaming || answer_ == Answer::complete;
  const bool told = answer_ == Answer::due && (error == StreamError::bad_body || error == StreamError::timeout);
  answer_ = Answer::none;
  ServerStreamHandler* handler = std::exchange(handler_, nullptr);
  BodyPipe::Writer writer = std::move(request_body_);
  drop_answer_body();
  int answered = 0;
  if (told && !output_.waiting()) {
    answered = error == StreamError::timeout ? 408 : 400;
    answer_alone(answered);
  } else {
    // RST: an answer whose length was not told, or not reached, must not be taken for whole.
    if (begun || error == StreamError::timeout) stream_->reset();
    close();
  }
  // First the exchange, which drops what it runs; a link that still reads the request then learns that it is
  // not whole.
  if (handler != nullptr) handler->on_stream_error(error, answered);
  if (writer) writer.abort(error == StreamError::bad_body ? BodyAbort::protocol_error : BodyAbort::peer_gone);
}

// An answer that no exchange gives any more.
void H1Server::answer_alone(int status) {
  Arena& arena = worker_.arenas.open();
  ResponseHead head(arena);
  head.status = status;
  Framing framing;
  framing.length = 0;
  write_response_head(output_.pending(), head, framing, ConnectionField::close);
  arena.release();
  output_.flush();
  linger();
}

// RFC 9112 9.6: closing with unread bytes would make a RST, which may take the answer away before the client
// has read it.
void H1Server::linger() {
  arena_.reset();
  held_.clear();
  input_ = Input::lingering;
  discarded_ = 0;
  fin_due_ = true;
  set_deadline(worker_.loop.now() + kLingerTime);
  if (!input_ended_) resume_reading();
  turn_.schedule();
}

void H1Server::close() {
  if (input_ == Input::closed) return;
  input_ = Input::closed;
  answer_ = Answer::none;
  failing_ = false;
  fin_due_ = false;
  stream_->set_handler(nullptr);
  timer_.disarm();
  held_.clear();
  request_body_.drop();
  drop_answer_body();
  arena_.reset();
  turn_.schedule();
}

}  // namespace weir
