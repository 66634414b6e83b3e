// Raw frames of HTTP/2, made and read: for what no client library would send.
// Field blocks are literals without indexing, so that a frame says what it says whatever came before.
// Nothing here judges or keeps state.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/h2_client.h"

namespace weir {

namespace frames {

enum Type : std::uint8_t {
  data = 0,
  headers = 1,
  priority = 2,
  rst_stream = 3,
  settings = 4,
  push_promise = 5,
  ping = 6,
  goaway = 7,
  window_update = 8,
  continuation = 9
};
constexpr std::uint8_t kAck = 1;
constexpr std::uint8_t kEndStream = 1;
constexpr std::uint8_t kEndHeaders = 4;
constexpr std::uint8_t kPadded = 8;
constexpr std::uint8_t kPriority = 32;

inline std::string number(std::uint32_t value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text += static_cast<char>(value >> (8 * i) & 0xff);
  return text;
}

inline std::string frame(std::uint8_t type, std::uint8_t flags, std::uint32_t stream, std::string_view payload = {}) {
  return number(static_cast<std::uint32_t>(payload.size()), 3) + static_cast<char>(type) + static_cast<char>(flags) + number(stream, 4) +
         std::string(payload);
}

inline std::string integer(std::size_t value) {  // RFC 7541 5.1, of 7 bits
  if (value < 127) return std::string(1, static_cast<char>(value));
  std::string text(1, '\x7f');
  for (value -= 127; value >= 128; value /= 128) text += static_cast<char>(value % 128 + 128);
  return text + static_cast<char>(value);
}

inline std::string block(const test::H2Fields& fields) {
  std::string text;
  for (const auto& [name, value] : fields) text += '\0' + integer(name.size()) + name + integer(value.size()) + value;
  return text;
}

inline test::H2Fields request(std::string_view method = "GET", std::string_view path = "/", const test::H2Fields& more = {}) {
  test::H2Fields fields{{":method", std::string(method)}, {":scheme", "http"}, {":authority", "h"}, {":path", std::string(path)}};
  fields.insert(fields.end(), more.begin(), more.end());
  return fields;
}

inline std::string head(std::uint32_t stream, const test::H2Fields& fields, bool end = true) {
  constexpr std::size_t kMost = 16384;
  const std::string all = block(fields);
  std::string text;
  for (std::size_t at = 0; at == 0 || at < all.size(); at += kMost) {
    const bool first = at == 0;
    const bool last = at + kMost >= all.size();
    const auto flags = static_cast<std::uint8_t>((last ? kEndHeaders : 0) | (first && end ? kEndStream : 0));
    text += frame(first ? headers : continuation, flags, stream, all.substr(at, kMost));
  }
  return text;
}

inline std::string setting(std::uint32_t id, std::uint32_t value) { return number(id, 2) + number(value, 4); }
inline std::string reset(std::uint32_t stream, std::uint32_t code = 8) { return frame(rst_stream, 0, stream, number(code, 4)); }

inline std::string preface() { return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(settings, 0, 0); }

struct Frame {
  std::uint8_t type;
  std::uint8_t flags;
  std::uint32_t stream;
  std::string payload;
  std::uint32_t word(std::size_t at = 0) const {
    std::uint32_t value = 0;
    for (std::size_t i = at; i < at + 4; ++i) value = value << 8 | static_cast<std::uint8_t>(payload.at(i));
    return value;
  }
};

inline std::vector<Frame> parse(std::string_view bytes) {
  std::vector<Frame> list;
  const auto at = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<std::uint8_t>(bytes[i])); };
  while (bytes.size() >= 9) {
    const std::size_t size = at(0) << 16 | at(1) << 8 | at(2);
    if (bytes.size() < 9 + size) break;
    const std::uint32_t stream = (at(5) & 0x7f) << 24 | at(6) << 16 | at(7) << 8 | at(8);
    list.push_back({static_cast<std::uint8_t>(at(3)), static_cast<std::uint8_t>(at(4)), stream, std::string(bytes.substr(9, size))});
    bytes.remove_prefix(9 + size);
  }
  return list;
}

// The error code of the first RST_STREAM of that stream, or of the GOAWAY; -1 when there is none.
inline int code_of(const std::vector<Frame>& list, Type type, std::uint32_t stream = 0) {
  for (const Frame& one : list) {
    if (one.type == type && one.stream == stream) return static_cast<int>(one.word(type == goaway ? 4 : 0));
  }
  return -1;
}

}  // namespace frames

}  // namespace weir
