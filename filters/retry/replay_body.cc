#include "filters/retry/replay_body.h"

namespace weir {

namespace {

constexpr Duration kLookEvery = 5ms;

}  // namespace

ReplayBody::ReplayBody(ExchangeContext& exchange, BodyPipe::Reader client, std::size_t limit)
    : exchange_(exchange),
      client_(std::move(client)),
      kept_(exchange.worker.buffers),
      limit_(limit),
      too_large_(client_.pipe()->expected_length() > 0 && static_cast<std::uint64_t>(client_.pipe()->expected_length()) > limit),
      look_(exchange.loop(), Callback::to<&ReplayBody::look_again>(this)) {}

BodyPipe::Reader ReplayBody::start_try() {
  DCHECK(!started_ || replayable());
  end_try();
  BodyPipe::Ends ends = BodyPipe::make(exchange_.arena, exchange_.loop(), exchange_.worker.buffers);
  writer_ = std::move(ends.writer);
  if (client_) ends.reader.pipe()->set_expected_length(client_.pipe()->expected_length());
  writer_.set_source(this);
  feed_kept();
  if (!started_) {
    started_ = true;
    client_.set_sink(this);
  } else {
    release_client();
  }
  return std::move(ends.reader);
}

// Nobody reads the new pipe yet: nothing is told inside.
void ReplayBody::feed_kept() {
  if (!kept_.empty()) {
    Bytes copy = kept_.share_copy();
    while (!copy.empty()) {
      const ByteView part = copy.front();
      writer_.write(part);
      copy.consume(part.size());
    }
  }
  if (broke_ != BodyAbort::none) {
    writer_.abort(broke_);
  } else if (ended_) {
    writer_.finish(trailers_);
  }
}

void ReplayBody::end_try() {
  look_.disarm();
  writer_.drop();
  if (client_) client_.unpause(PauseReason::replay);
}

void ReplayBody::commit() {
  committed_ = true;
  stop_keeping();
  if (!flowing()) {
    client_.drop();  // the upstream answered without wanting the rest: the client's side decides what becomes of it
  } else {
    release_client();
  }
}

void ReplayBody::drop() {
  look_.disarm();
  client_.drop();
  writer_.drop();
}

void ReplayBody::stop_keeping() {
  if (!writing_) kept_.clear();  // else write() does
}

void ReplayBody::release_client() {
  look_.disarm();
  if (!blocked_ || !client_) return;
  blocked_ = false;
  client_.resume();
}

void ReplayBody::look_again() {
  if (!flowing() || taken()) return release_client();
  look_.arm(kLookEvery);
}

std::size_t ReplayBody::on_body(ByteView bytes) {
  if (committed_ && !flowing()) return bytes.size();  // on its way out
  const std::size_t room = limit_ - kept_.size();
  if (!replayable() || (flowing() && taken() && (too_large_ || bytes.size() > room))) {
    if (!flowing()) {  // nothing takes it, and nothing will be replayed: the client waits for the end that is coming
      blocked_ = true;
      return 0;
    }
    if (!committed_) overflowed_ = true;
    stop_keeping();
    write(bytes);
    return bytes.size();
  }
  if (bytes.size() > room) return take_prefix(bytes.first(room));
  kept_.append(bytes);
  if (flowing()) write(bytes);
  return bytes.size();
}

// Once nothing will be replayed.
SpliceResult ReplayBody::on_body_splice(ByteStream& from, std::size_t most) {
  if (!flowing() || (replayable() && !(taken() && too_large_))) return {};
  SpliceResult done = writer_.splice(from, most);
  if (done.bytes > 0 && !committed_) overflowed_ = true;
  if (done.bytes > 0) stop_keeping();
  if (writer_.paused()) client_.pause(PauseReason::replay);
  done.blocked = false;  // the pause says it
  return done;
}

// No room for all of it, and the upstream has not taken anything yet (or is not there): as much as can be kept, then the client waits.
std::size_t ReplayBody::take_prefix(ByteView bytes) {
  blocked_ = true;
  if (flowing()) look_.arm(kLookEvery);
  if (bytes.empty()) return 0;
  kept_.append(bytes);
  if (!flowing()) return bytes.size();
  write(bytes);
  if (!flowing() || !taken()) return bytes.size();
  // The upstream took it at once: go on when this call is over. resume() inside an offer makes the pipe offer the rest.
  release_client();
  return bytes.size();
}

void ReplayBody::write(ByteView bytes) {
  writing_ = true;
  writer_.write(bytes);  // may end the try, or all of it, inside
  writing_ = false;
  if (committed_ || overflowed_) kept_.clear();
  if (client_ && writer_ && writer_.paused()) client_.pause(PauseReason::replay);
}

void ReplayBody::on_body_end(const Headers* trailers) {
  ended_ = true;
  if (trailers != nullptr && !committed_) {
    auto* copy = exchange_.arena.make<Headers>(exchange_.arena);
    trailers->copy_to(*copy);
    trailers_ = copy;
  }
  if (writer_) writer_.finish(trailers);
}

void ReplayBody::on_body_abort(BodyAbort reason) {
  broke_ = reason;
  if (writer_) writer_.abort(reason);
}

void ReplayBody::on_body_resume() {
  if (client_) client_.unpause(PauseReason::replay);
}

void ReplayBody::on_body_dropped() {
  if (committed_) {
    client_.drop();
  } else if (client_) {
    client_.unpause(PauseReason::replay);  // what still comes is kept for the next try, or waits
  }
}

}  // namespace weir
