#include "proxy/observe/json_line.h"

#include <algorithm>
#include <array>

namespace weir {
namespace {

constexpr std::array<bool, 256> plain_bytes() {
  std::array<bool, 256> plain{};
  for (std::size_t c = 0x20; c < 0x7f; ++c) plain[c] = c != '"' && c != '\\';
  return plain;
}
constexpr std::array<bool, 256> kPlain = plain_bytes();

unsigned char byte(std::string_view text, std::size_t at) { return static_cast<unsigned char>(text[at]); }

// Length of the UTF-8 sequence at the front, 0 where there is none (RFC 3629: no overlong forms, no surrogates).
std::size_t sequence_length(std::string_view text) {
  const unsigned char first = byte(text, 0);
  if (first < 0xc2 || first > 0xf4) return 0;
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(text, i) & 0xc0) != 0x80) return 0;
  }
  const unsigned char second = byte(text, 1);
  if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f)) return 0;
  if ((first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f)) return 0;
  return length;
}

std::string_view cut(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return text;
  std::size_t end = limit;
  while (end > 0 && limit - end < 3 && (byte(text, end) & 0xc0) == 0x80) --end;  // not inside a character
  return text.substr(0, end);
}

}  // namespace

void JsonLine::milliseconds(Duration value) {
  const std::int64_t micros = std::max<std::int64_t>(0, value.count() / 1000);
  integer(micros / 1000);
  const std::int64_t rest = micros % 1000;
  const char digits[4] = {'.', static_cast<char>('0' + rest / 100), static_cast<char>('0' + rest / 10 % 10),
                          static_cast<char>('0' + rest % 10)};
  raw(std::string_view(digits, 4));
}

void JsonLine::string(std::string_view text, std::size_t limit) {
  text = cut(text, limit);
  raw('"');
  while (!text.empty()) {
    std::size_t plain = 0;
    while (plain < text.size() && kPlain[byte(text, plain)]) ++plain;
    raw(text.substr(0, plain));
    text.remove_prefix(plain);
    if (!text.empty()) escape(text);
  }
  raw('"');
}

void JsonLine::escape(std::string_view& text) {
  static constexpr char kHex[] = "0123456789abcdef";
  const unsigned char c = byte(text, 0);
  std::size_t used = 1;
  if (c == '"' || c == '\\') {
    raw('\\');
    raw(static_cast<char>(c));
  } else if (c == '\n') {
    raw("\\n");
  } else if (c == '\r') {
    raw("\\r");
  } else if (c == '\t') {
    raw("\\t");
  } else if (c < 0x20 || c == 0x7f) {
    raw("\\u00");
    raw(kHex[c >> 4]);
    raw(kHex[c & 0xf]);
  } else if (const std::size_t length = sequence_length(text); length != 0) {
    raw(text.substr(0, length));
    used = length;
  } else {
    raw("\\ufffd");
  }
  text.remove_prefix(used);
}

}  // namespace weir
