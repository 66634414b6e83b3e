// H1Output: what one HTTP/1 connection has to write: heads, and a body in its framing; writes first and keeps
// only what the kernel leaves. A member of its codec, which owns the stream and asks for flushes; it asks for
// writability only when the kernel takes no more. It never calls the codec back, and never lets a body pass
// that is longer or shorter than its framing says.
#pragma once

#include <cstdint>

#include "proxy/http/framing_rules.h"
#include "proxy/message/headers.h"
#include "proxy/runtime/body_pipe.h"
#include "proxy/runtime/byte_stream.h"
#include "proxy/runtime/bytes.h"
#include "proxy/runtime/splice_pipe.h"

namespace weir {

class H1Output {
 public:
  static constexpr std::size_t kGatherFrom = std::size_t{4} * 1024;  // smaller parts are copied, to leave in one write with their head
  static constexpr std::size_t kHighMark = std::size_t{64} * 1024;   // with so much kept, a body takes no more

  // Without pipes it never splices.
  H1Output(ByteStream& stream, BufferPool& buffers, SplicePipes* pipes = nullptr) : stream_(stream), pipes_(pipes), pending_(buffers) {}
  ~H1Output();

  Bytes& pending() { return pending_; }  // heads (HTTP/2: frames) are serialized into it
  std::size_t pending_size() const { return pending_.size(); }
  void begin_body(const Framing& framing);

  // Takes all or nothing (over the high mark), and writes at once what is large. Small parts wait for
  // flush().
  std::size_t body(ByteView bytes);
  // Moves bytes of a body of known length from that stream into ours, at most so many. Only while nothing waits, so that order is kept; what
  // our stream does not take at once stays in the kernel and leaves first.
  SpliceResult splice(ByteStream& from, std::size_t most);
  // False: fewer (or, before, more) bytes came than the framing promised. The message must then be broken
  // off.
  [[nodiscard]] bool end_body(const Headers* trailers);

  // As long as its length said, which is the only end that HTTP/1 asks for.
  bool body_is_whole() const { return framing_ == BodyFraming::length && left_ == 0 && !overrun_; }

  void flush();        // nothing while the kernel takes no more
  void on_writable();  // as told by the stream

  bool empty() const { return pending_.empty() && spliced_ == nullptr; }
  bool waiting() const { return waiting_; }  // for the kernel to take more
  bool broken() const { return broken_; }    // the stream cannot be written to; everything is swallowed from then on
  bool may_take() const { return pending_.size() < kHighMark && spliced_ == nullptr; }
  std::uint64_t sent() const { return sent_; }              // bytes that the kernel took, ever
  std::uint64_t body_bytes() const { return body_bytes_; }  // of the present body: taken, framing not counted

 private:
  std::size_t hand_over(std::span<const iovec> parts, std::size_t size);
  void append_framed(ByteView bytes);
  void gather(ByteView bytes);
  void drain_spliced();
  void wait();

  ByteStream& stream_;
  SplicePipes* pipes_;
  std::unique_ptr<SplicePipe> spliced_;  // while it holds bytes
  Bytes pending_;
  std::uint64_t sent_ = 0;
  std::uint64_t body_bytes_ = 0;
  std::uint64_t left_ = 0;
  BodyFraming framing_ = BodyFraming::none;
  bool waiting_ = false;
  bool broken_ = false;
  bool overrun_ = false;
};

}  // namespace weir
