#include "proxy/http/h1_body.h"

#include <algorithm>
#include <cstring>

#include "proxy/base/check.h"
#include "proxy/base/hex.h"

namespace weir {

namespace {

constexpr std::size_t kEmptySection = 2;  // CRLF: no trailers

// Below the first, splicing does not pay. The rest is read, and should be worth its two system calls.
constexpr std::size_t kSkipFrom = std::size_t{64} * 1024;
constexpr std::size_t kSkipRest = std::size_t{16} * 1024;

}  // namespace

void H1BodyDecoder::start(const Framing& framing, const HttpLimits& limits, Arena& arena) {
  *this = H1BodyDecoder();
  limits_ = &limits;
  arena_ = &arena;
  framing_ = framing.body;
  switch (framing.body) {
    case BodyFraming::none: break;
    case BodyFraming::length:
      DCHECK(framing.length > 0);
      left_ = static_cast<std::uint64_t>(framing.length);
      state_ = State::data;
      break;
    case BodyFraming::chunked: state_ = State::size_first; break;
    case BodyFraming::until_close: state_ = State::data; break;
  }
}

H1BodyDecoder::Step H1BodyDecoder::take_data(ByteView& in, ByteView& data) {
  if (framing_ == BodyFraming::until_close) {
    data = in;
    in = {};
    return Step::data;
  }
  const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(left_, in.size()));
  data = in.first(n);
  in = in.subspan(n);
  left_ -= n;
  if (left_ == 0 && framing_ == BodyFraming::chunked) state_ = State::data_cr;
  return Step::data;
}

std::size_t H1BodyDecoder::skippable() const {
  return framing_ == BodyFraming::length && state_ == State::data && left_ >= kSkipFrom ? left_ - kSkipRest : 0;
}

void H1BodyDecoder::skip(std::size_t size) {
  DCHECK(size <= skippable());
  left_ -= size;
}

SpliceResult splice_body(H1BodyDecoder& decoder, BodyPipe::Writer& body, ByteStream& from) {
  const std::size_t most = decoder.skippable();
  if (most == 0) return {};
  const SpliceResult done = body.splice(from, most);
  decoder.skip(done.bytes);
  return done;
}

// One byte of a chunk's first line, up to its CR.
const Rule* H1BodyDecoder::size_byte(std::uint8_t byte) {
  if (state_ == State::extension) {
    if (byte == '\r') {
      state_ = State::size_lf;
      return nullptr;
    }
    if (!is_value_byte(static_cast<char>(byte))) return byte == '\n' ? &rules::kBareLf : &rules::kChunkExtension;
    // Added up over the body: an extension on each of many small chunks is the flood (CVE-2023-39326).
    return ++extension_bytes_ > limits_->chunk_extension_bytes ? &rules::kChunkExtensionTooLong : nullptr;
  }
  const int digit = hex_value(static_cast<char>(byte));
  if (digit >= 0) {
    if (++digits_ > kMaxChunkDigits || (left_ >> 59) != 0) return &rules::kChunkOverflow;
    left_ = left_ * 16 + static_cast<unsigned>(digit);
    state_ = State::size;
    return nullptr;
  }
  if (state_ == State::size_first) return &rules::kChunkSize;
  if (byte == '\r') {
    state_ = State::size_lf;
  } else if (byte == ';') {
    state_ = State::extension;
    return ++extension_bytes_ > limits_->chunk_extension_bytes ? &rules::kChunkExtensionTooLong : nullptr;
  } else {
    return byte == '\n' ? &rules::kBareLf : &rules::kChunkSize;
  }
  return nullptr;
}

const Rule* H1BodyDecoder::end_of_size() {
  digits_ = 0;
  state_ = left_ == 0 ? State::trailers : State::data;
  return nullptr;
}

H1BodyDecoder::Step H1BodyDecoder::next(ByteView& in, ByteView& data) {
  if (state_ == State::data && framing_ == BodyFraming::length && left_ == 0) {
    state_ = State::ended;
    return Step::end;
  }
  while (!in.empty()) {
    switch (state_) {
      case State::data: return take_data(in, data);
      case State::trailers: return take_trailers(in);
      case State::ended: return Step::more;
      default: break;
    }
    const std::uint8_t byte = in.front();
    in = in.subspan(1);
    const Rule* broken = nullptr;
    if (state_ == State::size_lf) {
      broken = byte == '\n' ? end_of_size() : &rules::kBareCr;
    } else if (state_ == State::data_cr) {
      state_ = State::data_lf;
      if (byte != '\r') broken = &rules::kChunkEnd;
    } else if (state_ == State::data_lf) {
      state_ = State::size_first;
      if (byte != '\n') broken = &rules::kChunkEnd;
    } else {
      broken = size_byte(byte);
    }
    if (broken != nullptr) return bad(*broken);
  }
  return Step::more;
}

char* H1BodyDecoder::keep(ByteView part) {
  const std::size_t wanted = kept_size_ + part.size();
  if (wanted > kept_capacity_) {
    constexpr std::size_t kFirst = 128;
    kept_capacity_ = std::max(wanted, std::max(kFirst, kept_capacity_ * 2));
    auto* grown = static_cast<char*>(arena_->allocate(kept_capacity_, 1));
    if (kept_size_ > 0) std::memcpy(grown, kept_, kept_size_);
    kept_ = grown;
  }
  if (!part.empty()) std::memcpy(kept_ + kept_size_, part.data(), part.size());
  kept_size_ = wanted;
  return kept_;
}

H1BodyDecoder::Step H1BodyDecoder::take_trailers(ByteView& in) {
  std::size_t used = 0;
  const HeadFinder::Found found = finder_.feed(in, *limits_, used);
  if (found == HeadFinder::Found::bad) return bad(*finder_.rule());
  const ByteView part = in.first(used);
  in = in.subspan(used);
  if (found == HeadFinder::Found::more) {
    keep(part);
    return Step::more;
  }
  state_ = State::ended;
  if (finder_.size() == kEmptySection) return Step::end;
  char* section = keep(part);
  Headers* trailers = arena_->make<Headers>(*arena_);
  if (const Rule* broken = parse_trailers(section, finder_.size(), *limits_, *trailers)) return bad(*broken);
  if (!trailers->empty()) trailers_ = trailers;
  return Step::end;
}

}  // namespace weir
