#include "proxy/runtime/body_pipe.h"

#include "proxy/base/check.h"
#include "proxy/message/headers.h"

namespace weir {

// Every public call stands inside one of these. The outermost tells the source what came about, and lets the pipe go when both
// ends were dropped meanwhile: neither can happen below a call that still uses the pipe.
class BodyPipe::CallIn {
 public:
  explicit CallIn(BodyPipe& pipe) : pipe_(pipe) { ++pipe_.calls_in_; }
  CallIn(const CallIn&) = delete;
  CallIn& operator=(const CallIn&) = delete;
  ~CallIn() {
    if (pipe_.calls_in_ == 1 && pipe_.source_ != nullptr) pipe_.finished_ ? pipe_.tell_taken() : pipe_.tell_source();
    if (--pipe_.calls_in_ == 0 && !pipe_.writer_held_ && !pipe_.reader_held_) pipe_.let_go();
  }

 private:
  BodyPipe& pipe_;
};

namespace {

// Keeps bytes for a pipe. One with a small mark stands beside many others: it takes no whole read buffer for a few kilobytes.
void keep(Bytes& kept, ByteView bytes, bool copied) {
  constexpr std::size_t kPiece = BufferPool::kStealFrom - 1;
  while (copied && bytes.size() > kPiece) {
    kept.append(bytes.first(kPiece));
    bytes = bytes.subspan(kPiece);
  }
  kept.append(bytes);
}

}  // namespace

BodyPipe::BodyPipe(Arena& arena, EventLoop& loop, BufferPool& buffers)
    : arena_(arena),
      loop_(loop),
      kept_(buffers),
      first_offer_(loop, Callback::to<&BodyPipe::on_first_offer>(this)),
      last_write_(loop.now()),
      last_take_(last_write_) {}

BodyPipe::Ends BodyPipe::make(Arena& arena, EventLoop& loop, BufferPool& buffers) {
  auto* pipe = arena.make<BodyPipe>(arena, loop, buffers);
  return {Writer(pipe), Reader(pipe)};
}

// --- The writer's end ---------------------------------------------------------------------------------------------------------------

void BodyPipe::Writer::set_source(BodySource* source) {
  WEIR_CHECK(pipe_ != nullptr);
  pipe_->source_ = source;
  if (source != nullptr && pipe_->drop_untold_) pipe_->first_offer_.schedule();
}

void BodyPipe::Writer::write(ByteView bytes) {
  WEIR_CHECK(pipe_ != nullptr);
  BodyPipe& pipe = *pipe_;
  const CallIn call(pipe);
  WEIR_CHECK(!pipe.finished_);
  if (bytes.empty()) return;
  pipe.written_ += bytes.size();
  pipe.last_write_ = pipe.loop_.now();
  if (pipe.abort_ != BodyAbort::none) return;  // nobody reads it
  if (pipe.kept_.empty() && pipe.may_offer()) {
    bytes = bytes.subspan(pipe.hand_over(bytes));
    if (!pipe.reader_held_) return;
  }
  if (!bytes.empty()) keep(pipe.kept_, bytes, pipe.high_mark_ < kHighMark / 2);
  pipe.offer();  // the sink may have resumed inside, or the writer may have been dropped there
}

SpliceResult BodyPipe::Writer::splice(ByteStream& from, std::size_t most) {
  WEIR_CHECK(pipe_ != nullptr);
  BodyPipe& pipe = *pipe_;
  const CallIn call(pipe);
  if (pipe.finished_ || pipe.abort_ != BodyAbort::none || !pipe.kept_.empty() || !pipe.may_offer()) return {};
  const SpliceResult done = pipe.sink_->on_body_splice(from, most);
  if (done.bytes == 0) return done;
  pipe.written_ += done.bytes;
  pipe.taken_ += done.bytes;
  pipe.last_write_ = pipe.last_take_ = pipe.loop_.now();
  pipe.sink_blocked_ = pipe.splice_waits_ = done.blocked;
  return done;
}

void BodyPipe::Writer::finish(const Headers* trailers) {
  WEIR_CHECK(pipe_ != nullptr);
  BodyPipe& pipe = *pipe_;
  const CallIn call(pipe);
  WEIR_CHECK(!pipe.finished_);
  if (pipe.abort_ != BodyAbort::none) return;
  pipe.finished_ = true;
  pipe.ended_ = pipe.taken_ == pipe.written_;
  pipe.last_write_ = pipe.loop_.now();
  pipe.trailers_ = trailers;
  if (trailers != nullptr && !(pipe.ended_ && pipe.may_offer())) {
    auto* copy = pipe.arena_.get()->make<Headers>(*pipe.arena_.get());
    trailers->copy_to(*copy);
    pipe.trailers_ = copy;
  }
  pipe.offer();
}

void BodyPipe::Writer::abort(BodyAbort reason) {
  WEIR_CHECK(pipe_ != nullptr && reason != BodyAbort::none);
  BodyPipe& pipe = *pipe_;
  const CallIn call(pipe);
  pipe.break_off(reason);
}

void BodyPipe::Writer::drop_held() {
  BodyPipe& pipe = *std::exchange(pipe_, nullptr);
  const CallIn call(pipe);
  pipe.writer_held_ = false;
  pipe.source_ = nullptr;
  pipe.break_off(BodyAbort::cancelled);
}

bool BodyPipe::Writer::paused() const { return pipe_->reader_held_ && pipe_->is_paused(); }

bool BodyPipe::Writer::reader_gone() const { return !pipe_->reader_held_; }

// --- The reader's end ---------------------------------------------------------------------------------------------------------------

void BodyPipe::Reader::set_sink(BodySink* sink) {
  WEIR_CHECK(pipe_ != nullptr);
  BodyPipe& pipe = *pipe_;
  const CallIn call(pipe);
  pipe.wanted_untold_ = pipe.wanted_untold_ || (sink != nullptr && !pipe.wanted_);
  pipe.wanted_ = pipe.wanted_ || sink != nullptr;
  pipe.sink_ = sink;
  pipe.sink_blocked_ = pipe.splice_waits_ = false;
  pipe.told_ = false;
  pipe.first_offer_.cancel();
  const bool waiting = !pipe.kept_.empty() || pipe.finished_ || pipe.abort_ != BodyAbort::none;
  if (sink != nullptr && waiting) pipe.first_offer_.schedule();
}

void BodyPipe::Reader::touch() {
  WEIR_CHECK(pipe_ != nullptr);
  pipe_->last_take_ = pipe_->loop_.now();
}

void BodyPipe::Reader::resume() {
  WEIR_CHECK(pipe_ != nullptr);
  BodyPipe& pipe = *pipe_;
  const CallIn call(pipe);
  if (pipe.splice_waits_) pipe.last_take_ = pipe.loop_.now();  // what counted as taken has left the kernel's pipe only now
  pipe.sink_blocked_ = pipe.splice_waits_ = false;
  pipe.resumed_ = true;
  pipe.offer();
}

void BodyPipe::Reader::pause(PauseReason reason) {
  WEIR_CHECK(pipe_ != nullptr);
  BodyPipe& pipe = *pipe_;
  const CallIn call(pipe);
  pipe.pause_reasons_ |= static_cast<std::uint8_t>(reason);
}

void BodyPipe::Reader::unpause(PauseReason reason) {
  WEIR_CHECK(pipe_ != nullptr);
  BodyPipe& pipe = *pipe_;
  const CallIn call(pipe);
  pipe.pause_reasons_ &= static_cast<std::uint8_t>(~static_cast<unsigned>(reason));
  pipe.offer();
}

void BodyPipe::Reader::drop_held() {
  BodyPipe& pipe = *std::exchange(pipe_, nullptr);
  const CallIn call(pipe);
  pipe.reader_held_ = false;
  pipe.sink_ = nullptr;
  pipe.trailers_ = nullptr;
  pipe.first_offer_.cancel();
  if (!pipe.offering_) pipe.kept_.clear();  // else the sink may still look at them: hand_over() and offer() clear
  if (pipe.abort_ != BodyAbort::none || pipe.ended_) return;
  pipe.abort_ = BodyAbort::cancelled;
  pipe.drop_untold_ = !pipe.finished_;
}

// --- The flow -----------------------------------------------------------------------------------------------------------------------

BlockedBy BodyPipe::blocked_by() const {
  if (ended_ || !reader_held_) return BlockedBy::nobody;
  if (!kept_.empty() || finished_) return BlockedBy::reader;
  if (abort_ != BodyAbort::none) return BlockedBy::nobody;
  return pause_reasons_ != 0 || splice_waits_ ? BlockedBy::reader : BlockedBy::writer;
}

bool BodyPipe::may_offer() const {
  return sink_ != nullptr && !offering_ && !sink_blocked_ && pause_reasons_ == 0 && !first_offer_.scheduled();
}

std::size_t BodyPipe::hand_over(ByteView bytes) {
  BodySink* sink = sink_;
  offering_ = true;
  resumed_ = false;
  const std::size_t kept_before = kept_.size();
  const std::size_t n = sink->on_body(bytes);
  WEIR_CHECK(n <= bytes.size() && kept_.size() == kept_before);  // a sink that writes to its own pipe would reorder the body
  offering_ = false;
  taken_ += n;
  if (n > 0) last_take_ = loop_.now();
  if (!reader_held_) {
    kept_.clear();
  } else if (n < bytes.size() && sink == sink_ && !resumed_) {
    sink_blocked_ = true;
  }
  return n;
}

void BodyPipe::offer() {
  if (offering_) return;  // the call in progress goes on
  while (!kept_.empty() && may_offer()) {
    const std::size_t n = hand_over(kept_.front());
    if (!reader_held_) return;
    kept_.consume(n);
    update_pause();
  }
  update_pause();
  if (kept_.empty()) tell_end();
}

void BodyPipe::tell_end() {
  if (sink_ == nullptr || told_ || first_offer_.scheduled()) return;
  if (abort_ != BodyAbort::none) {  // not held back by a pause: there is nothing to pause any more
    told_ = true;
    sink_->on_body_abort(abort_);
  } else if (finished_ && may_offer()) {
    told_ = true;
    ended_ = true;
    const Headers* trailers = trailers_;
    trailers_ = nullptr;
    sink_->on_body_end(trailers);
  }
}

void BodyPipe::on_first_offer() {
  const CallIn call(*this);
  if (reader_held_) offer();
}

void BodyPipe::break_off(BodyAbort reason) {
  if (finished_ || abort_ != BodyAbort::none) return;
  abort_ = reason;
  last_write_ = loop_.now();
  offer();
}

void BodyPipe::update_pause() {
  if (kept_.size() > high_mark_) over_high_ = true;
  if (kept_.size() <= low_mark_) over_high_ = false;
}

void BodyPipe::tell_source() {
  while (source_ != nullptr && !finished_) {
    if (wanted_untold_ && abort_ == BodyAbort::none) {
      wanted_untold_ = false;
      source_->on_body_wanted();
      continue;
    }
    if (drop_untold_) {
      drop_untold_ = false;
      source_->on_body_dropped();
      continue;
    }
    if (abort_ != BodyAbort::none) return;
    const bool paused = is_paused();
    if (paused || !was_paused_) {
      was_paused_ = paused;
      return;
    }
    was_paused_ = false;
    source_->on_body_resume();
  }
}

void BodyPipe::tell_taken() {
  if (!taken_untold_ || (reader_held_ && !kept_.empty())) return;
  taken_untold_ = false;
  source_->on_body_taken();
}

void BodyPipe::let_go() {
  first_offer_.cancel();
  kept_.clear();
  sink_ = nullptr;
  trailers_ = nullptr;
  ArenaHold hold = std::move(arena_);  // may be the last: the pipe is gone when it goes
}

}  // namespace weir
