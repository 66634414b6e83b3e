// Byte scans: the first byte that cannot stand in a field value, or in a request target, sixteen or eight
// bytes at a time. Pure functions over memory that the caller vouches for. There must be such a byte before
// `end`: heads end in CRLF. They never read at or behind `end`.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "proxy/http/framing_rules.h"

#ifdef __SSE2__
#include <immintrin.h>
#endif

namespace weir::byte_scan {

#ifdef __SSE2__

// One bit a byte.
inline unsigned bits_of(__m128i bytes) {
  return static_cast<unsigned>(_mm_movemask_epi8(bytes));
}
inline __m128i load(const char* at) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
}
inline __m128i at_most(__m128i bytes, char limit) {
  return _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(limit)), bytes);
}
inline __m128i equal(__m128i bytes, char byte) {
  return _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte));
}

constexpr std::ptrdiff_t kStep = 16;
inline unsigned controls(const char* at) {  // HTAB among them
  const __m128i bytes = load(at);
  return bits_of(_mm_or_si128(at_most(bytes, 0x1f), equal(bytes, 0x7f)));
}
inline unsigned not_target(const char* at) {
  const __m128i bytes = load(at);  // those from 0x80 on bring their own high bit
  return bits_of(_mm_or_si128(_mm_or_si128(bytes, at_most(bytes, 0x20)),
                              _mm_or_si128(equal(bytes, 0x7f), equal(bytes, '#'))));
}
inline int first_of(unsigned marks) {
  return std::countr_zero(marks);
}

#else

constexpr std::uint64_t kOnes = 0x0101010101010101U;
constexpr std::uint64_t kHighs = 0x8080808080808080U;

// The high bit of each byte that is below `limit`, or equals it. A borrow can set bits above the lowest one
// that is right, never below it: only the lowest is looked at.
constexpr std::uint64_t below(std::uint64_t word, std::uint8_t limit) {
  return (word - kOnes * limit) & ~word;
}
constexpr std::uint64_t equal(std::uint64_t word, std::uint8_t byte) {
  return below(word ^ (kOnes * byte), 1);
}
inline std::uint64_t load(const char* at) {
  static_assert(std::endian::native == std::endian::little, "the lowest bit is the first byte's");
  std::uint64_t word;
  std::memcpy(&word, at, sizeof word);
  return word;
}

constexpr std::ptrdiff_t kStep = 8;
inline std::uint64_t controls(const char* at) {
  const std::uint64_t word = load(at);
  return (below(word, 0x20) | equal(word, 0x7f)) & kHighs;
}
inline std::uint64_t not_target(const char* at) {
  const std::uint64_t word = load(at);
  return (word | below(word, 0x21) | equal(word, 0x7f) | equal(word, '#')) & kHighs;
}
inline int first_of(std::uint64_t marks) {
  return std::countr_zero(marks) / 8;
}

#endif

inline char* end_of_value(char* at, const char* end) {
  while (end - at >= kStep) {
    const auto marks = controls(at);
    if (marks == 0) {
      at += kStep;
      continue;
    }
    at += first_of(marks);
    if (*at != '\t') return at;
    ++at;
  }
  while (is_value_byte(*at)) ++at;
  return at;
}

inline char* end_of_target(char* at, const char* end) {
  for (; end - at >= kStep; at += kStep) {
    if (const auto marks = not_target(at)) return at + first_of(marks);
  }
  while (is_target_byte(*at)) ++at;
  return at;
}

}  // namespace weir::byte_scan
