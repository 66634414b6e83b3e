#include "proxy/http/h1_output.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "proxy/http/h1_serializer.h"

namespace weir {

namespace {

constexpr std::size_t kVectors = 8;            // kept parts that one write gathers
constexpr std::size_t kFlushFrom = 16 * 1024;  // many small parts in one callback

// The line before a chunk's data.
struct ChunkLine {
  explicit ChunkLine(std::size_t length) {
    char* end = std::to_chars(text, text + 16, length, 16).ptr;
    *end++ = '\r';
    *end++ = '\n';
    size = static_cast<std::size_t>(end - text);
  }
  operator std::string_view() const { return {text, size}; }
  char text[18];
  std::size_t size;
};

iovec vector_of(ByteView bytes) { return {const_cast<std::uint8_t*>(bytes.data()), bytes.size()}; }

}  // namespace

H1Output::~H1Output() {
  if (spliced_ != nullptr) pipes_->give_back(std::move(spliced_));
}

void H1Output::begin_body(const Framing& framing) {
  framing_ = framing.body;
  left_ = framing.body == BodyFraming::length ? static_cast<std::uint64_t>(framing.length) : 0;
  body_bytes_ = 0;
  overrun_ = false;
}

std::size_t H1Output::hand_over(std::span<const iovec> parts, std::size_t size) {
  const IoResult result = stream_.write(parts);
  if (result.ok()) {
    sent_ += result.bytes;
    if (result.bytes == size) return size;
  } else if (result.status != IoResult::Status::would_block) {
    broken_ = true;
    pending_.clear();
    return size;  // swallowed
  }
  wait();  // a short write says as much as EAGAIN does
  return result.ok() ? result.bytes : 0;
}

void H1Output::wait() {
  waiting_ = true;
  stream_.want_write(true);
}

void H1Output::append_framed(ByteView bytes) {
  if (framing_ == BodyFraming::chunked) append_copy(pending_, as_bytes(ChunkLine(bytes.size())));
  pending_.append(bytes);
  if (framing_ == BodyFraming::chunked) append_copy(pending_, as_bytes("\r\n"));
}

// One write of what is kept, the chunk line, the bytes and their CRLF; what the kernel leaves is kept.
void H1Output::gather(ByteView bytes) {
  iovec parts[kVectors + 3];
  auto used = static_cast<std::size_t>(pending_.vectors(std::span(parts, kVectors)));
  std::size_t kept = 0;
  for (std::size_t i = 0; i < used; ++i) kept += parts[i].iov_len;
  if (kept < pending_.size()) {
    append_framed(bytes);
    flush();
    return;
  }
  const bool chunked = framing_ == BodyFraming::chunked;
  const ChunkLine line(bytes.size());
  const ByteView own[3] = {chunked ? as_bytes(line) : ByteView(), bytes, chunked ? as_bytes("\r\n") : ByteView()};
  std::size_t size = kept;
  for (const ByteView part : own) {
    if (part.empty()) continue;
    parts[used++] = vector_of(part);
    size += part.size();
  }
  std::size_t written = hand_over({parts, used}, size);
  if (broken_) return;
  const std::size_t from_kept = std::min(written, kept);
  pending_.consume(from_kept);
  written -= from_kept;
  for (const ByteView part : own) {
    const std::size_t done = std::min(written, part.size());
    written -= done;
    if (done == part.size()) continue;
    if (part.data() == bytes.data()) {
      pending_.append(part.subspan(done));
    } else {
      append_copy(pending_, part.subspan(done));
    }
  }
}

std::size_t H1Output::body(ByteView bytes) {
  if (broken_) return bytes.size();
  if (!may_take()) return 0;
  const bool too_long = framing_ == BodyFraming::none || (framing_ == BodyFraming::length && bytes.size() > left_);
  if (too_long || overrun_) {
    overrun_ = true;
    return bytes.size();
  }
  if (bytes.empty()) return 0;  // an empty chunk would end the body
  if (framing_ == BodyFraming::length) left_ -= bytes.size();
  body_bytes_ += bytes.size();
  if (!waiting_ && bytes.size() >= kGatherFrom) {
    gather(bytes);
    return bytes.size();
  }
  append_framed(bytes);
  if (pending_.size() >= kFlushFrom) flush();
  return bytes.size();
}

SpliceResult H1Output::splice(ByteStream& from, std::size_t most) {
  if (pipes_ == nullptr || framing_ != BodyFraming::length || overrun_ || broken_ || waiting_ || !empty()) return {};
  most = static_cast<std::size_t>(std::min<std::uint64_t>(most, left_));
  std::unique_ptr<SplicePipe> pipe = most > 0 ? pipes_->take(from, stream_) : nullptr;
  if (pipe == nullptr) return {};
  const IoResult filled = pipe->fill(from, most);
  left_ -= filled.bytes;
  body_bytes_ += filled.bytes;
  spliced_ = std::move(pipe);
  drain_spliced();
  return {filled.bytes, !may_take(), filled.error};
}

void H1Output::drain_spliced() {
  const IoResult result = spliced_->drain(stream_);
  if (result.status == IoResult::Status::error) {
    broken_ = true;
    pending_.clear();
  } else {
    sent_ += result.bytes;
    if (spliced_->size() > 0) return wait();
  }
  pipes_->give_back(std::move(spliced_));
}

bool H1Output::end_body(const Headers* trailers) {
  if (overrun_ || left_ > 0) return false;
  if (framing_ == BodyFraming::chunked && !broken_) write_last_chunk(pending_, trailers);
  framing_ = BodyFraming::none;
  return true;
}

void H1Output::flush() {
  if (spliced_ != nullptr && !waiting_ && !broken_) drain_spliced();
  while (!pending_.empty() && !waiting_ && !broken_) {
    iovec parts[kVectors * 2];
    const auto used = static_cast<std::size_t>(pending_.vectors(parts));
    std::size_t size = 0;
    for (std::size_t i = 0; i < used; ++i) size += parts[i].iov_len;
    const std::size_t written = hand_over({parts, used}, size);
    if (!broken_) pending_.consume(written);
  }
}

void H1Output::on_writable() {
  waiting_ = false;
  flush();
  if (!waiting_) stream_.want_write(false);
}

}  // namespace weir
