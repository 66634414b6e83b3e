// BodyPipe: carries one body from its writer (a codec that receives) to its reader (a codec that sends), past all links.
// It lives in the exchange's arena, which each end keeps alive; the two ends are owned apart, and dropping one aborts the other.
// It never copies what the reader takes at once, and never holds much more than the high mark: the writer is told to pause.
//
// Flow. Writer::write() offers the bytes to the reader's sink; what the sink does not take is kept (copied, or the read buffer
// taken over). Over the high mark, or while any pause reason is set, `paused()` is true and the writer should stop reading its
// stream; when the kept bytes fall to the low mark and no reason is left, BodySource::on_body_resume tells it. Writes while paused are
// still taken: pausing is lazy (hotpath rule 9).
// A long body may also go past our memory: Writer::splice() lets the sink move bytes from socket to socket. They count as written and taken.
// All calls out (sink and source) are made as the last act of the call in; an end that was dropped hears nothing more. The source
// is told by the outermost call only: never from inside its sink's on_body. A sink may do anything inside on_body, dropping its
// reader included; what it must not do is write to its own pipe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "proxy/base/time.h"
#include "proxy/runtime/arena.h"
#include "proxy/runtime/bytes.h"
#include "proxy/runtime/event_loop.h"

namespace weir {

class ByteStream;  // proxy/runtime/byte_stream.h
class Headers;     // proxy/message/headers.h: trailers

enum class BodyAbort : std::uint8_t {
  none,
  cancelled,  // an end was dropped: nobody wants it any more
  peer_gone,  // FIN before the end: a truncated body
  reset,      // RST or RST_STREAM
  timeout,
  protocol_error,  // bad chunk, wrong length
};

// Why a reader's side holds the flow; each reason is set and cleared by its owner alone.
enum class PauseReason : std::uint8_t { sink = 1, replay = 2, fault = 4, exchange = 8 };

// What a sink moved by itself. Without bytes and without an error the stream is to be read.
struct SpliceResult {
  std::size_t bytes = 0;
  bool blocked = false;  // it takes no more until it resumes
  int error = 0;         // errno of the stream: the kernel tells it once, and a read after that would see an end
};

enum class BlockedBy : std::uint8_t { nobody, writer, reader };

// What the reading side implements.
class BodySink {
 public:
  // Takes a prefix of `bytes` and says how much; after taking less than all it calls Reader::resume() when it can take more.
  virtual std::size_t on_body(ByteView bytes) = 0;
  // Takes at most so many bytes of the body out of the stream, without our memory between; none where it can not, or nothing is there. It
  // calls nobody.
  virtual SpliceResult on_body_splice(ByteStream& /*from*/, std::size_t /*most*/) { return {}; }
  virtual void on_body_end(const Headers* trailers) = 0;  // all bytes were taken; trailers (may be null) live during the call
  virtual void on_body_abort(BodyAbort reason) = 0;       // the writer broke off, or was dropped; bytes kept so far were delivered first

 protected:
  ~BodySink() = default;
};

// What the writing side implements.
class BodySource {
 public:
  virtual void on_body_wanted() {}     // a sink was set for the first time; told inside that call (a server sends 100 Continue then)
  virtual void on_body_resume() = 0;   // paused() became false
  virtual void on_body_dropped() = 0;  // the reader is gone: stop, discard or drain
  virtual void on_body_taken() {}      // after finish(), where it was asked for: nothing is kept any more

 protected:
  ~BodySource() = default;
};

class BodyPipe {
 public:
  static constexpr std::size_t kHighMark = std::size_t{256} * 1024;
  static constexpr std::size_t kLowMark = std::size_t{64} * 1024;

  class Writer {
   public:
    Writer() = default;
    Writer(Writer&& other) noexcept : pipe_(std::exchange(other.pipe_, nullptr)) {}
    Writer& operator=(Writer&& other) noexcept {
      std::swap(pipe_, other.pipe_);
      return *this;
    }
    ~Writer() { drop(); }
    explicit operator bool() const { return pipe_ != nullptr; }

    void set_source(BodySource* source);
    void write(ByteView bytes);
    // Instead of a read and a write: the sink takes bytes out of the stream, at most so many, if it can.
    SpliceResult splice(ByteStream& from, std::size_t most);
    void finish(const Headers* trailers = nullptr);  // clean end; trailers are copied into the arena if they must wait
    void tell_when_taken() { pipe_->taken_untold_ = true; }
    void abort(BodyAbort reason);
    void drop() {  // = abort(cancelled) unless finished or aborted
      if (pipe_ != nullptr) drop_held();
    }
    bool paused() const;
    bool reader_gone() const;
    BodyPipe* pipe() const { return pipe_; }

   private:
    friend class BodyPipe;
    explicit Writer(BodyPipe* pipe) : pipe_(pipe) {}
    void drop_held();
    BodyPipe* pipe_ = nullptr;
  };

  class Reader {
   public:
    Reader() = default;
    Reader(Reader&& other) noexcept : pipe_(std::exchange(other.pipe_, nullptr)) {}
    Reader& operator=(Reader&& other) noexcept {
      std::swap(pipe_, other.pipe_);
      return *this;
    }
    ~Reader() { drop(); }
    explicit operator bool() const { return pipe_ != nullptr; }

    // Starts the flow: kept bytes, and an end or abort that already happened, are told on the next turn, never inside.
    void set_sink(BodySink* sink);
    void resume();  // the sink can take more: kept bytes are offered again, inside this call
    void touch();   // what it took before moves on, though it can take no more yet: that is progress
    void pause(PauseReason reason);
    void unpause(PauseReason reason);
    void drop() {
      if (pipe_ != nullptr) drop_held();
    }
    BodyPipe* pipe() const { return pipe_; }

   private:
    friend class BodyPipe;
    explicit Reader(BodyPipe* pipe) : pipe_(pipe) {}
    void drop_held();
    BodyPipe* pipe_ = nullptr;
  };

  struct Ends {
    Writer writer;
    Reader reader;
  };
  static Ends make(Arena& arena, EventLoop& loop, BufferPool& buffers);

  // Facts for timeouts and logs; valid while an end, or the arena, is held.
  bool ended() const { return ended_; }        // finish() was called and everything was taken
  bool finished() const { return finished_; }  // finish() was called
  bool wanted() const { return wanted_; }      // a sink was set
  BodyAbort aborted() const { return abort_; }
  std::uint64_t bytes_written() const { return written_; }
  std::uint64_t bytes_taken() const { return taken_; }
  std::size_t kept() const { return kept_.size(); }
  MonotonicTime last_write() const { return last_write_; }  // or the end, or the making of the pipe
  MonotonicTime last_progress() const { return last_write_ > last_take_ ? last_write_ : last_take_; }
  BlockedBy blocked_by() const;  // reader: bytes wait for it; writer: the pipe is empty and not finished
  // Content-Length when the writer knows it, -1 otherwise (chunked, until close).
  std::int64_t expected_length() const { return expected_length_; }
  void set_expected_length(std::int64_t length) { expected_length_ = length; }
  // Before anything is written. Where a connection carries many bodies, each may keep less.
  void set_marks(std::size_t high, std::size_t low) {
    high_mark_ = high;
    low_mark_ = low;
  }

 private:
  friend class Arena;
  class CallIn;
  BodyPipe(Arena& arena, EventLoop& loop, BufferPool& buffers);
  bool may_offer() const;
  bool is_paused() const { return over_high_ || pause_reasons_ != 0 || splice_waits_; }
  std::size_t hand_over(ByteView bytes);  // to the sink, which may do anything meanwhile
  void offer();                           // kept bytes to the sink, then end or abort
  void tell_end();
  void on_first_offer();
  void tell_source();
  void tell_taken();
  void update_pause();
  void break_off(BodyAbort reason);
  void let_go();  // both ends are gone: the memory goes back, the facts stay readable while the arena is held

  ArenaHold arena_;
  EventLoop& loop_;
  Bytes kept_;
  BodySource* source_ = nullptr;
  BodySink* sink_ = nullptr;
  Deferred first_offer_;
  const Headers* trailers_ = nullptr;
  std::uint64_t written_ = 0;
  std::uint64_t taken_ = 0;
  std::int64_t expected_length_ = -1;
  std::size_t high_mark_ = kHighMark;
  std::size_t low_mark_ = kLowMark;
  MonotonicTime last_write_;
  MonotonicTime last_take_;
  std::uint16_t calls_in_ = 0;  // public calls in progress on the stack
  std::uint8_t pause_reasons_ = 0;
  bool over_high_ = false;
  bool was_paused_ = false;
  bool finished_ = false;
  bool ended_ = false;
  bool told_ = false;           // the sink knows of the end or abort
  bool drop_untold_ = false;    // the source does not know yet that the reader is gone
  bool taken_untold_ = false;   // the source wants to know when all is taken that was finished
  bool wanted_ = false;         // a sink was set
  bool wanted_untold_ = false;  // ... and the source does not know yet
  bool writer_held_ = true;
  bool reader_held_ = true;
  bool sink_blocked_ = false;  // it took less than all and has not resumed
  bool splice_waits_ = false;  // ... and what it was to take is in the kernel's hands
  bool offering_ = false;      // the sink is inside on_body
  bool resumed_ = false;       // ... and has called resume() there
  BodyAbort abort_ = BodyAbort::none;
};

// Since when the answer to a request of `start` is owed: what of its body the client sent later, nobody could answer before, unless it was
// answered without.
inline MonotonicTime owed_since(MonotonicTime start, const BodyPipe* body) {
  return body == nullptr || !body->finished() || body->last_write() < start ? start : body->last_write();
}

}  // namespace weir
