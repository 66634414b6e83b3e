#include <catch2/catch.hpp>
#include <string>

#include "proxy/base/hex.h"

using weir::hex_value;

namespace {

std::string decoded(std::string_view text) {
  std::string out(text.size(), '?');
  out.resize(weir::percent_decode(text, out.data()));
  return out;
}

}  // namespace

TEST_CASE("hex_value knows the digits of both cases and nothing else") {
  constexpr std::string_view kLower = "0123456789abcdef", kUpper = "0123456789ABCDEF";
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    std::size_t value = kLower.find(c);
    if (value == std::string_view::npos) value = kUpper.find(c);
    CHECK(hex_value(c) == (value == std::string_view::npos ? -1 : static_cast<int>(value)));
  }
}

TEST_CASE("percent_decode takes whole escapes and leaves what only looks like one") {
  CHECK(decoded("") == "");
  CHECK(decoded("plain") == "plain");
  CHECK(decoded("%41%6a%6A") == "Ajj");
  CHECK(decoded("a%2Fb") == "a/b");
  CHECK(decoded("%00") == std::string(1, '\0'));
  CHECK(decoded("%ff") == "\xff");
  CHECK(decoded("%") == "%");
  CHECK(decoded("%4") == "%4");
  CHECK(decoded("%4g%g4") == "%4g%g4");
  CHECK(decoded("%%41") == "%A");
  CHECK(decoded("%2541") == "%41");  // once, not twice
}
