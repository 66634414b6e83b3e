// Http2FrameWatch: reads the heads of a client's frames before the session takes them apart, refuses what nghttp2 lets pass, counts what
// floods, and cuts what came into shares, so that no connection holds its worker for long. H2Server owns one for each connection.
// It never changes or keeps a byte of a message, and knows nothing of nghttp2: it is a pure function of bytes and time.
//
// What nghttp2 lets pass: it forgets streams when they close, so that frames on streams that the client itself has ended look like frames
// that crossed a reset of ours (which must be ignored, RFC 9113 5.1); so does a stream whose number was skipped; a window that is opened by
// nothing passes if its stream is gone; and frames of PRIORITY, which it does not look at any more, have rules too. nghttp2 sees everything
// else, and stays the judge of it.
#pragma once

#include <array>

#include "proxy/http/codec.h"
#include "proxy/http/h2_flood.h"
#include "proxy/http/h2_session.h"

namespace weir {

class Http2FrameWatch {
 public:
  static constexpr std::int32_t kShare = 1024;        // of a turn: a request takes 16, other frames 1 and one more for each KiB
  static constexpr std::int32_t kRequestCost = 16;    // it makes an exchange
  static constexpr std::int32_t kAnsweredCost = 4;    // PING and SETTINGS make a frame
  static constexpr std::size_t kEnded = 32;           // streams that are remembered as ended by the client
  static constexpr std::size_t kGaps = 4;             // skipped ranges of streams that are remembered
  static constexpr std::uint32_t kContinuations = 8;  // of one header block, beyond those that the largest needs

  Http2FrameWatch(const HttpLimits& limits, MonotonicTime now) : floods_(limits.resets, now), header_bytes_(limits.header_bytes) {}

  // `bytes` follow those that the session was given. How many of them it may be given now: all, or those before a frame that is refused
  // (broken() says why), or before one for which the turn has no share left.
  std::size_t look(ByteView bytes, MonotonicTime now);
  void begin_turn() { share_ = kShare; }
  bool share_used() const { return share_ <= 0; }
  bool in_block() const { return block_open_; }  // of a head or of trailers, of which something is still to come

  const Rule* broken() const { return broken_; }
  Http2Error error() const { return error_; }
  Http2Floods& floods() { return floods_; }

 private:
  static constexpr std::size_t kPreface = 24;
  static constexpr std::size_t kHead = 9;
  static constexpr std::size_t kPriority = 5;
  static constexpr std::size_t kIncrement = 4;
  struct Frame {
    std::uint32_t length;
    std::uint8_t type;
    std::uint8_t flags;
    std::uint32_t stream;
  };
  struct Gap {  // streams that were skipped: from and to, both included; 0: none
    std::uint32_t from = 0;
    std::uint32_t to = 0;
  };

  std::size_t wanted() const;  // bytes of the frame at hand, before it is judged
  void end_of_frame();
  void judge(MonotonicTime now);
  void judge_headers(const Frame& frame, MonotonicTime now);
  void judge_block(const Frame& frame, MonotonicTime now);
  void judge_data(const Frame& frame, MonotonicTime now);
  void judge_priority(const Frame& frame, MonotonicTime now);
  void end_stream(std::uint32_t stream);
  bool ended(std::uint32_t stream) const;
  bool skipped(std::uint32_t stream) const;
  void refuse(const Rule& rule, Http2Error error);
  void bear(Http2Flood kind, MonotonicTime now);
  Frame frame() const;
  std::uint32_t word() const;

  Http2Floods floods_;
  const std::size_t header_bytes_;
  const Rule* broken_ = nullptr;
  Http2Error error_ = Http2Error::no_error;
  std::int32_t share_ = kShare;
  std::uint64_t skip_ = kPreface;  // bytes until the next frame
  std::array<std::uint8_t, kHead + kPriority> head_{};
  std::size_t have_ = 0;       // of it
  std::uint32_t highest_ = 0;  // stream that a request has opened
  std::array<std::uint32_t, kEnded> ended_{};
  std::array<Gap, kGaps> gaps_{};
  std::uint32_t next_ended_ = 0;
  std::uint32_t next_gap_ = 0;
  std::uint32_t block_stream_ = 0;  // of the header block that is not complete; 0: there is none
  bool block_open_ = false;
  std::size_t block_bytes_ = 0;
  std::uint32_t block_frames_ = 0;
};

}  // namespace weir
