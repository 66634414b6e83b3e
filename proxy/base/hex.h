// Hexadecimal digits, and the percent-encoding that is made of them (RFC 3986 2.1).
#pragma once

#include <cstddef>
#include <string_view>

namespace weir {

// Of a digit in either case: 0 to 15. Of any other byte: -1.
inline int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Writes `text` to `out`, which has room for as much, with each %XX as the byte that it stands for; what only looks like one stays as it is.
// Answers how many bytes were written.
inline std::size_t percent_decode(std::string_view text, char* out) {
  std::size_t size = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '%' && text.size() - i > 2;
    const int high = escape ? hex_value(text[i + 1]) : -1;
    const int low = high >= 0 ? hex_value(text[i + 2]) : -1;
    if (low >= 0) i += 2;
    out[size++] = low >= 0 ? static_cast<char>(high * 16 + low) : text[i];
  }
  return size;
}

}  // namespace weir
