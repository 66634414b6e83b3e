#include "proxy/http/h2_frame_watch.h"

#include <algorithm>
#include <cstring>

namespace weir {

namespace {

enum FrameType : std::uint8_t {
  kData,
  kHeaders,
  kPriorityFrame,
  kRstStream,
  kSettings,
  kPushPromise,
  kPing,
  kGoaway,
  kWindowUpdate,
  kContinuation,
  kPriorityUpdate = 0x10,
};
constexpr std::uint8_t kAck = 0x1;
constexpr std::uint8_t kEndStream = 0x1;
constexpr std::uint8_t kEndHeaders = 0x4;
constexpr std::uint8_t kPadded = 0x8;
constexpr std::size_t kFramePayload = 16 * 1024;  // the largest, as we announce it
constexpr std::size_t kTooMuch = 4;               // times the limit of a head

}  // namespace

Http2FrameWatch::Frame Http2FrameWatch::frame() const {
  const auto at = [&](std::size_t i) { return std::uint32_t{head_[i]}; };
  return {at(0) << 16 | at(1) << 8 | at(2), head_[3], head_[4], (at(5) & 0x7f) << 24 | at(6) << 16 | at(7) << 8 | at(8)};
}

// The first word behind the head, without its reserved bit.
std::uint32_t Http2FrameWatch::word() const {
  const auto at = [&](std::size_t i) { return std::uint32_t{head_[kHead + i]}; };
  return (at(0) & 0x7f) << 24 | at(1) << 16 | at(2) << 8 | at(3);
}

// The length of padding, what a PRIORITY depends on and what a WINDOW_UPDATE adds stand behind the head.
std::size_t Http2FrameWatch::wanted() const {
  if (have_ < kHead) return kHead;
  const Frame one = frame();
  if (one.type == kData && (one.flags & kPadded) != 0 && one.length > 0) return kHead + 1;
  if (one.type == kPriorityFrame && one.length == kPriority) return kHead + kPriority;
  if (one.type == kWindowUpdate && one.length == kIncrement) return kHead + kIncrement;
  return kHead;
}

std::size_t Http2FrameWatch::look(ByteView bytes, MonotonicTime now) {
  std::size_t at = 0;
  while (at < bytes.size()) {
    if (skip_ > 0) {
      const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(skip_, bytes.size() - at));
      skip_ -= n;
      at += n;
      end_of_frame();
      continue;
    }
    if (have_ == 0 && share_used()) return at;
    const std::size_t begin = at;
    while (have_ < wanted() && at < bytes.size()) {
      const std::size_t n = std::min(wanted() - have_, bytes.size() - at);
      std::memcpy(head_.data() + have_, bytes.data() + at, n);
      have_ += n;
      at += n;
    }
    if (have_ < wanted()) break;
    judge(now);
    if (broken_ != nullptr) return begin;
    skip_ = kHead + frame().length - have_;
    have_ = 0;
    end_of_frame();
  }
  return at;
}

void Http2FrameWatch::end_of_frame() {
  if (skip_ == 0 && block_stream_ == 0) block_open_ = false;
}

void Http2FrameWatch::judge(MonotonicTime now) {
  const Frame one = frame();
  share_ -= 1 + static_cast<std::int32_t>(one.length / 1024);
  if (block_stream_ != 0 && one.type != kContinuation) return;  // nothing may stand there, says nghttp2
  switch (one.type) {
    case kData: return judge_data(one, now);
    case kHeaders: return judge_headers(one, now);
    case kContinuation: return judge_block(one, now);
    case kPriorityFrame: return judge_priority(one, now);
    case kPriorityUpdate: return bear(Http2Flood::priorities, now);
    case kRstStream: end_stream(one.stream); return bear(Http2Flood::resets, now);
    case kSettings:
      if ((one.flags & kAck) != 0) return;
      share_ -= kAnsweredCost;
      return bear(Http2Flood::settings, now);
    case kPing: share_ -= kAnsweredCost; return bear(Http2Flood::pings, now);
    case kWindowUpdate:
      if (one.length == kIncrement && word() == 0) return refuse(rules::kHttp2Frame, Http2Error::protocol_error);
      return bear(Http2Flood::window_updates, now);
    case kPushPromise: return;  // an error, says nghttp2
    case kGoaway:
    default: return bear(Http2Flood::unknown_frames, now);
  }
}

void Http2FrameWatch::judge_data(const Frame& one, MonotonicTime now) {
  if (ended(one.stream) || skipped(one.stream)) return refuse(rules::kHttp2Frame, Http2Error::stream_closed);
  const bool end = (one.flags & kEndStream) != 0;
  if (end) end_stream(one.stream);
  const std::size_t padding = have_ > kHead ? std::size_t{head_[kHead]} + 1 : 0;
  if (one.length > padding) {
    floods_.on_data();
  } else if (!end) {
    bear(Http2Flood::empty_data, now);
  }
}

void Http2FrameWatch::judge_headers(const Frame& one, MonotonicTime now) {
  block_open_ = true;
  block_bytes_ = 0;
  block_frames_ = 0;
  if (one.stream > highest_) {
    if ((one.stream & 1) != 0) {
      if (one.stream > highest_ + 2 && highest_ > 0) gaps_[next_gap_++ % kGaps] = {highest_ + 2, one.stream - 2};
      if (highest_ == 0 && one.stream > 1) gaps_[next_gap_++ % kGaps] = {1, one.stream - 2};
      highest_ = one.stream;
    }
    share_ -= kRequestCost;
    floods_.on_request();
  } else if (ended(one.stream)) {
    return refuse(rules::kHttp2Frame, Http2Error::stream_closed);
  } else if (skipped(one.stream)) {
    return refuse(rules::kHttp2Frame, Http2Error::protocol_error);
  }
  if ((one.flags & kEndStream) != 0) end_stream(one.stream);
  judge_block(one, now);
}

// A header block, whole or in parts: no part of it is kept by anybody, but its fields are, and decoding costs.
void Http2FrameWatch::judge_block(const Frame& one, MonotonicTime now) {
  block_bytes_ += one.length;
  if (block_bytes_ > kTooMuch * header_bytes_ + kFramePayload) return bear(Http2Flood::headers, now);
  if (one.type == kContinuation && ++block_frames_ > kContinuations + kTooMuch * header_bytes_ / kFramePayload) {
    return bear(Http2Flood::continuations, now);
  }
  block_stream_ = (one.flags & kEndHeaders) != 0 ? 0 : one.stream;
}

void Http2FrameWatch::judge_priority(const Frame& one, MonotonicTime now) {
  if (one.stream == 0) return refuse(rules::kHttp2Frame, Http2Error::protocol_error);
  if (one.length == kPriority) {                                                              // else nghttp2 complains
    if (word() == one.stream) return refuse(rules::kHttp2Frame, Http2Error::protocol_error);  // it depends on itself
  }
  bear(Http2Flood::priorities, now);
}

void Http2FrameWatch::end_stream(std::uint32_t stream) { ended_[next_ended_++ % kEnded] = stream; }

bool Http2FrameWatch::ended(std::uint32_t stream) const {
  return stream != 0 && std::find(ended_.begin(), ended_.end(), stream) != ended_.end();
}

bool Http2FrameWatch::skipped(std::uint32_t stream) const {
  return std::any_of(gaps_.begin(), gaps_.end(), [&](const Gap& gap) { return stream >= gap.from && stream <= gap.to && gap.to != 0; });
}

void Http2FrameWatch::refuse(const Rule& rule, Http2Error error) {
  broken_ = &rule;
  error_ = error;
}

void Http2FrameWatch::bear(Http2Flood kind, MonotonicTime now) {
  if (!floods_.bear(kind, now)) refuse(rule_of(kind), Http2Error::enhance_your_calm);
}

}  // namespace weir
