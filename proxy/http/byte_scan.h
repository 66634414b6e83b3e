// Scans over the bytes of a head: where a value, a target, a name or a line ends; sixteen bytes a step where the machine has SSE2.
// Free functions over the parser's memory; they keep nothing. Each says what the slow loop below it says, only faster: what a byte may
// be is decided in framing_rules.h and nowhere else.
//
// `readable` is the end of what may be read, at or after the end of the head: bytes behind the head are looked at, never judged.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "proxy/http/framing_rules.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace weir {

inline constexpr std::size_t kScanStep = 16;

#ifdef __SSE2__
namespace scan {

inline __m128i load(const void* at) { return _mm_loadu_si128(static_cast<const __m128i*>(at)); }
inline __m128i all(char c) { return _mm_set1_epi8(c); }
inline unsigned mask(__m128i v) { return static_cast<unsigned>(_mm_movemask_epi8(v)); }
// Whether low <= byte <= high, unsigned.
inline __m128i between(__m128i v, char low, char high) {
  const __m128i from_low = _mm_sub_epi8(v, all(low));
  return _mm_cmpeq_epi8(_mm_min_epu8(from_low, all(static_cast<char>(high - low))), from_low);
}
// All ones in the first `count` bytes (0 to 16).
inline __m128i first(unsigned count) {
  static constexpr unsigned char kOnes[2 * kScanStep] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                                         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  return load(kOnes + kScanStep - count);
}

}  // namespace scan
#endif

// The first byte from `at` on that cannot stand in a field value. There is one: sections end in CRLF.
inline char* end_of_value(char* at, [[maybe_unused]] const char* readable) {
#ifdef __SSE2__
  while (readable - at >= static_cast<std::ptrdiff_t>(kScanStep)) {
    const __m128i v = scan::load(at);
    const __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(v, scan::all(0x1f)), v);
    const unsigned odd = scan::mask(_mm_or_si128(control, _mm_cmpeq_epi8(v, scan::all(0x7f))));
    if (odd == 0) {
      at += kScanStep;
      continue;
    }
    at += std::countr_zero(odd);
    if (*at != '\t') return at;
    ++at;
  }
#endif
  while (is_value_byte(*at)) ++at;
  return at;
}

// Whether all bytes of it can stand in a field value. Nothing behind it is read.
inline bool holds_value_bytes(std::string_view value) {
  const char* at = value.data();
  const char* const end = at + value.size();
#ifdef __SSE2__
  for (; end - at >= static_cast<std::ptrdiff_t>(kScanStep); at += kScanStep) {
    const __m128i v = scan::load(at);
    const __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(v, scan::all(0x1f)), v);
    if (scan::mask(_mm_or_si128(control, _mm_cmpeq_epi8(v, scan::all(0x7f)))) != 0) break;  // a tab may, others may not
  }
#endif
  for (; at != end; ++at) {
    if (!is_value_byte(*at)) return false;
  }
  return true;
}

// The first byte from `at` on that cannot stand in a request target.
inline const char* end_of_target(const char* at, [[maybe_unused]] const char* readable) {
#ifdef __SSE2__
  while (readable - at >= static_cast<std::ptrdiff_t>(kScanStep)) {
    const __m128i v = scan::load(at);
    const __m128i fine = _mm_andnot_si128(_mm_cmpeq_epi8(v, scan::all('#')), scan::between(v, 0x21, 0x7e));
    const unsigned odd = ~scan::mask(fine) & 0xffffU;
    if (odd != 0) return at + std::countr_zero(odd);
    at += kScanStep;
  }
#endif
  while (is_target_byte(*at)) ++at;
  return at;
}

// Puts the field name that begins at `at` in lower case; answers its end, the first byte that no name may hold.
inline char* fold_name(char* at, [[maybe_unused]] const char* readable) {
#ifdef __SSE2__
  if (readable - at >= static_cast<std::ptrdiff_t>(kScanStep)) {
    const __m128i v = scan::load(at);
    const __m128i lower = _mm_or_si128(v, scan::all(0x20));  // of letters; what else this bit changes is looked at in `v`
    const __m128i letter = scan::between(lower, 'a', 'z');
    const __m128i digit = scan::between(v, '0', '9');
    const unsigned plain = scan::mask(_mm_or_si128(_mm_or_si128(letter, digit), _mm_cmpeq_epi8(v, scan::all('-'))));
    const auto length = static_cast<unsigned>(std::countr_zero(~plain));  // of letters, digits and '-'; at most 16
    const __m128i name = scan::first(length);
    // One store: what stands behind the name is written back as it was.
    _mm_storeu_si128(reinterpret_cast<__m128i*>(at), _mm_or_si128(v, _mm_and_si128(_mm_and_si128(letter, name), scan::all(0x20))));
    at += length;
  }
#endif
  while (const std::uint8_t lower = kNameByte[static_cast<std::uint8_t>(*at)]) *at++ = static_cast<char>(lower);
  return at;
}

// Calls each(place) for every line feed in [begin, end), in order, until it answers false.
template <class Each>
void for_each_line_feed(const std::uint8_t* begin, const std::uint8_t* end, const Each& each) {
  const std::uint8_t* at = begin;
#ifdef __SSE2__
  const __m128i line_feed = scan::all('\n');
  const auto look = [&](unsigned found, const std::uint8_t* base) {
    for (; found != 0; found &= found - 1) {
      if (!each(base + std::countr_zero(found))) return false;
    }
    return true;
  };
  for (; end - at >= static_cast<std::ptrdiff_t>(kScanStep); at += kScanStep) {
    if (!look(scan::mask(_mm_cmpeq_epi8(scan::load(at), line_feed)), at)) return;
  }
  if (at != end && end - begin >= static_cast<std::ptrdiff_t>(kScanStep)) {  // the rest, with some of what was seen before it
    const auto seen = static_cast<unsigned>(kScanStep - static_cast<std::size_t>(end - at));
    look(scan::mask(_mm_cmpeq_epi8(scan::load(end - kScanStep), line_feed)) >> seen, at);
    return;
  }
#endif
  for (; at != end; ++at) {
    if (*at == '\n' && !each(at)) return;
  }
}

}  // namespace weir
