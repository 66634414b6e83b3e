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

#ifdef __SSE2__
namespace scan {

// Asks `fine` of sixteen bytes at a time until all of the text was in one of them, some twice; nothing outside it is read. `fine` answers
// for all bytes of a vector; a text shorter than four bytes is not asked about: false, as when one was not fine.
template <class Fine>
bool all_of(std::string_view text, const Fine& fine) {
  const char* at = text.data();
  const char* const end = at + text.size();
  if (text.size() >= kScanStep) {
    for (; end - at > static_cast<std::ptrdiff_t>(kScanStep); at += kScanStep) {
      if (!fine(load(at))) return false;
    }
    return fine(load(end - kScanStep));
  }
  std::uint64_t words[2];
  if (text.size() >= 8) {
    std::memcpy(&words[0], at, 8);
    std::memcpy(&words[1], end - 8, 8);
  } else if (text.size() >= 4) {
    std::uint32_t halves[2];
    std::memcpy(&halves[0], at, 4);
    std::memcpy(&halves[1], end - 4, 4);
    words[0] = words[1] = halves[0] | std::uint64_t{halves[1]} << 32U;
  } else {
    return false;
  }
  return fine(load(words));
}

}  // namespace scan
#endif

// Whether all bytes of it can stand in a field value. Nothing behind it is read.
inline bool holds_value_bytes(std::string_view value) {
#ifdef __SSE2__
  const auto plain = [](__m128i v) {
    const __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(v, scan::all(0x1f)), v);
    return scan::mask(_mm_or_si128(control, _mm_cmpeq_epi8(v, scan::all(0x7f)))) == 0;  // a tab may, others may not
  };
  if (scan::all_of(value, plain)) return true;
#endif
  for (const char c : value) {
    if (!is_value_byte(c)) return false;
  }
  return true;
}

// Whether it is a field name without upper case (RFC 9113 8.2.1). Nothing behind it is read.
inline bool is_lower_case_name(std::string_view name) {
#ifdef __SSE2__
  const auto plain = [](__m128i v) {
    const __m128i word = _mm_or_si128(scan::between(v, 'a', 'z'), scan::between(v, '0', '9'));
    return scan::mask(_mm_or_si128(word, _mm_cmpeq_epi8(v, scan::all('-')))) == 0xffffU;
  };
  if (scan::all_of(name, plain)) return true;
#endif
  for (const char c : name) {
    if (kNameByte[static_cast<std::uint8_t>(c)] != static_cast<std::uint8_t>(c) || c == '\0') return false;
  }
  return !name.empty();
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
