#include "proxy/observe/json_line.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <string>

using namespace weir;

namespace {

std::string as_json(std::string_view text, std::size_t limit = 2048) {
  char memory[8192];
  JsonLine line(memory, memory + sizeof memory);
  line.string(text, limit);
  REQUIRE(line.fits());
  return std::string(memory, line.size());
}

}  // namespace

TEST_CASE("a string is escaped so that a strict parser gives it back") {
  const std::string text = "plain \" \\ / \n\r\t\x01\x1f\x7f \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80";
  const std::string line = as_json(text);
  CHECK(nlohmann::json::parse(line).get<std::string>() == text);
  CHECK(line.find('\n') == std::string::npos);
  CHECK(as_json(std::string_view("a\0b", 3)) == "\"a\\u0000b\"");
}

TEST_CASE("every single byte and every pair of bytes gives valid JSON on one line") {
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; ++second) {
      const char text[] = {static_cast<char>(first), static_cast<char>(second)};
      const std::string line = as_json(std::string_view(text, 2));
      if (!nlohmann::json::accept(line) || line.find('\n') != std::string::npos) FAIL(first << " " << second);
    }
  }
}

TEST_CASE("bytes outside UTF-8 become U+FFFD: overlong forms, surrogates, cut sequences") {
  CHECK(as_json("a\xff") == "\"a\\ufffd\"");
  CHECK(as_json("\xc0\xaf") == "\"\\ufffd\\ufffd\"");
  CHECK(as_json("\xed\xa0\x80") == "\"\\ufffd\\ufffd\\ufffd\"");
  CHECK(as_json("\xf5\x80\x80\x80") == "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
  CHECK(as_json("\xe2\x82") == "\"\\ufffd\\ufffd\"");
}

TEST_CASE("a long string is cut between two characters") {
  CHECK(as_json("aaaa\xe2\x82\xac", 4) == "\"aaaa\"");
  CHECK(as_json("aaaa\xe2\x82\xac", 5) == "\"aaaa\"");
  CHECK(as_json("aaaa\xe2\x82\xac", 6) == "\"aaaa\"");
  CHECK(as_json("aaaa\xe2\x82\xac", 7) == "\"aaaa\xe2\x82\xac\"");
  CHECK(as_json("\x80\x80\x80\x80\x80\x80", 5).size() > 2);
}

TEST_CASE("a line never writes past its end, whatever is appended") {
  for (std::size_t room = 0; room < 40; ++room) {
    char memory[48];
    std::memset(memory, 'x', sizeof memory);
    JsonLine line(memory, memory + room);
    line.raw("{\"a\":");
    line.string("b\"\xff");
    line.raw(",\"c\":");
    line.milliseconds(1234567us);
    line.raw('}');
    CHECK(line.fits() == (room >= 30));
    for (std::size_t i = room; i < sizeof memory; ++i) CHECK(memory[i] == 'x');
  }
}

TEST_CASE("milliseconds have three places, and are never below zero") {
  const auto text = [](Duration value) {
    char memory[64];
    JsonLine line(memory, memory + sizeof memory);
    line.milliseconds(value);
    return std::string(memory, line.size());
  };
  CHECK(text(0ns) == "0.000");
  CHECK(text(1us) == "0.001");
  CHECK(text(999ns) == "0.000");
  CHECK(text(12345us) == "12.345");
  CHECK(text(3600s) == "3600000.000");
  CHECK(text(-5ms) == "0.000");
}
