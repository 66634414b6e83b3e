// How an HTTP/2 server connection writes: frames are made while the kernel takes them, and many answers leave in one write.
#include <algorithm>
#include <cstring>
#include <utility>

#include "proxy/http/h1_serializer.h"
#include "proxy/http/h2_server.h"

namespace weir {

namespace {

constexpr std::size_t kOutputMark = std::size_t{128} * 1024;  // frames made ahead of the kernel
constexpr std::size_t kQueueMark = 100;                       // frames that are answers to frames, not made yet
constexpr std::size_t kTurnMax = std::size_t{1024} * 1024;    // written for one connection before others have a turn
constexpr std::size_t kFrameHead = 9;
constexpr std::size_t kLarge = BufferPool::kStealFrom;  // of a body that waits: it is not gathered with others
constexpr std::uint32_t kGiveUpWaiting = 4;             // gathering nothing so often in a row says that answers come one by one; ...
constexpr std::uint32_t kTryWaiting = 16;               // ... whether they still do is looked at once in so many

}  // namespace

// A client that does not read its answers, among them those to PING and SETTINGS, is not listened to.
bool H2Server::output_full() const {
  return output_.waiting() && (output_.pending_size() >= kOutputMark || session_.queued() >= kQueueMark);
}

// An answer that is the only one is written behind what is deferred already, so that a head and its small body leave together. Where more
// are under way it waits until the loop has looked at its other events: one write for many, if many come. A large body does not wait: it
// stands in a read buffer, which is warm and wanted for the next read.
void H2Server::write_soon(const H2Stream& stream, std::size_t body) {
  if (std::exchange(last_, &stream) != &stream) ++gathered_;
  if (body < kLarge) {
    if (next_turn_.armed()) return;
    if (live_ > 1 && (alone_ < kGiveUpWaiting || alone_ % kTryWaiting == 0)) return next_turn_.arm(Duration::zero());
    if (alone_ >= kGiveUpWaiting) ++alone_;
  } else if (received_.empty()) {
    next_turn_.disarm();
  }
  turn_.cancel();
  turn_.schedule();
}

void H2Server::reset_stream(std::int32_t id, Http2Error error, std::uint32_t at) {
  if (at == rounds_) {
    late_resets_.push_back({id, error});
  } else {
    session_.reset_stream(id, error);
  }
  wake();
}

std::span<std::uint8_t> H2Server::payload_room(std::size_t wanted) {
  const std::size_t size = std::min(kFrameHead + wanted, BufferPool::kChunkSize);
  return output_.pending().reserve(size).first(size).subspan(kFrameHead);
}

bool H2Server::on_payload(const std::uint8_t* head, std::size_t payload) {
  std::memcpy(output_.pending().reserve(kFrameHead + payload).data(), head, kFrameHead);
  output_.pending().commit(kFrameHead + payload);
  made_ += kFrameHead + payload;
  if (payload > 0) floods().on_data();
  return output_.pending_size() < kOutputMark;
}

bool H2Server::pump() {
  if (!make_frames()) return false;
  if (late_resets_.empty()) return true;
  for (const LateReset& one : std::exchange(late_resets_, {})) {
    if (session_.knows(one.id)) session_.reset_stream(one.id, one.error);
  }
  return make_frames();
}

// Makes frames while the kernel takes them. False: the session cannot go on.
bool H2Server::make_frames() {
  note_written();
  const std::uint64_t made_before = made_;
  while (!output_.waiting() && !output_.broken()) {
    const std::uint64_t before = made_;
    ByteView piece;  // not DATA, which the session has put into the output itself
    if (!session_.make_frame(piece)) return false;
    if (!piece.empty()) {
      append_copy(output_.pending(), piece);
      made_ += piece.size();
      if (H2Stream* stream = std::exchange(just_produced_, nullptr)) produced(*stream, false);
    }
    const bool more = made_ != before;
    if (more && output_.pending_size() < kOutputMark) continue;
    output_.flush();
    if (!more) {
      ++rounds_;
      break;
    }
    if (made_ - made_before >= kTurnMax) {  // go on when the loop has looked at others
      stream_->want_write(true);
      break;
    }
  }
  note_waiting();
  return true;
}

// Waiting is worth it only where it gathers.
void H2Server::note_written() {
  const std::uint32_t gathered = std::exchange(gathered_, 0);
  if (gathered > 1) alone_ = 0;
  if (gathered == 1 && waited_) ++alone_;
  waited_ = false;
  last_ = nullptr;
}

void H2Server::note_waiting() {
  if (!output_.waiting()) {
    output_since_ = kNever;
    return;
  }
  if (output_since_ != kNever && output_.sent() == sent_before_) return;
  output_since_ = now();
  sent_before_ = output_.sent();
  arm_by(output_since_ + options_.limits.body_progress);
}

void H2Server::on_writable() {
  if (state_ == State::closed) return;
  output_.on_writable();
  if (state_ == State::open) settle();
}

}  // namespace weir
