// H1BodyDecoder: finds where a body ends and takes the chunked coding off, at whatever bytes the input is
// cut. One per connection and direction, a member of its codec; trailers lie in the exchange's arena, which
// the codec keeps alive. It never copies body bytes, and it never calls an end clean that the framing does
// not.
#pragma once

#include <cstdint>

#include "proxy/http/h1_parser.h"
#include "proxy/runtime/body_pipe.h"

namespace weir {

class H1BodyDecoder {
 public:
  enum class Step : std::uint8_t { more, data, end, bad };

  void start(const Framing& framing, const HttpLimits& limits, Arena& arena);

  // Takes a prefix of `in` off. With data, `data` is a part of it that belongs to the body, and there may be
  // more; end is told once, with what follows the body still in `in`; bad leaves rule().
  Step next(ByteView& in, ByteView& data);

  // How many of the bytes that come next may go past it (skip()), because they are the body's whatever they are: of a long body with a
  // length all but the end, which is to be seen coming. 0: none.
  std::size_t skippable() const;
  void skip(std::size_t size);

  // The body is over and told: of it nothing is left, and nothing is framed.
  void forget() {
    trailers_ = nullptr;
    framing_ = BodyFraming::none;
    state_ = State::ended;
  }

  const Headers* trailers() const { return trailers_; }  // after end; null when there are none
  const Rule* rule() const { return rule_; }
  bool ends_at_close() const { return framing_ == BodyFraming::until_close; }
  std::int64_t remaining() const { return framing_ == BodyFraming::length ? static_cast<std::int64_t>(left_) : -1; }

 private:
  enum class State : std::uint8_t { data, size_first, size, extension, size_lf, data_cr, data_lf, trailers, ended };

  Step bad(const Rule& rule) {
    rule_ = &rule;
    return Step::bad;
  }
  Step take_data(ByteView& in, ByteView& data);
  const Rule* size_byte(std::uint8_t byte);
  const Rule* end_of_size();
  Step take_trailers(ByteView& in);
  char* keep(ByteView part);

  const HttpLimits* limits_ = nullptr;
  Arena* arena_ = nullptr;
  const Rule* rule_ = nullptr;
  Headers* trailers_ = nullptr;
  std::uint64_t left_ = 0;  // of the body, or of the chunk
  std::size_t extension_bytes_ = 0;
  HeadFinder finder_{SectionKind::trailers};
  char* kept_ = nullptr;  // a trailer section that came in parts
  std::size_t kept_size_ = 0;
  std::size_t kept_capacity_ = 0;
  BodyFraming framing_ = BodyFraming::none;
  State state_ = State::ended;
  std::uint8_t digits_ = 0;
};

// A connection that has carried a body so long may carry another. The next head is then read in a piece so small that most of the body comes
// behind it, to be spliced.
inline constexpr std::int64_t kLongBody = std::int64_t{128} * 1024;
inline constexpr std::size_t kHeadRead = std::size_t{16} * 1024;

// Moves what it can of a long body from its stream past our memory.
SpliceResult splice_body(H1BodyDecoder& decoder, BodyPipe::Writer& body, ByteStream& from);

}  // namespace weir
