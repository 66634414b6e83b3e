#include "proxy/http/h1_parser.h"

#include <catch2/catch.hpp>
#include <string>

#include "tests/http/h1_cases.h"
#include "tests/http/h1_harness.h"

namespace weir {

namespace {

std::string read_all(SectionKind kind, const H1Case& row, const HttpLimits& limits = {}) {
  H1Harness harness(kind, limits, row.request);
  harness.feed(row.text);
  return harness.verdict();
}

std::string read_bytewise(SectionKind kind, const H1Case& row, const HttpLimits& limits = {}) {
  H1Harness harness(kind, limits, row.request);
  for (const char c : row.text) harness.feed(std::string_view(&c, 1));
  return harness.verdict();
}

std::string read_cut(SectionKind kind, const H1Case& row, std::size_t cut, const HttpLimits& limits = {}) {
  H1Harness harness(kind, limits, row.request);
  harness.feed(std::string_view(row.text).substr(0, cut));
  harness.feed(std::string_view(row.text).substr(cut));
  return harness.verdict();
}

void check_all_cuts(SectionKind kind, const H1Case& row, const HttpLimits& limits = {}) {
  CAPTURE(row.text);
  REQUIRE(read_all(kind, row, limits) == row.verdict);
  REQUIRE(read_bytewise(kind, row, limits) == row.verdict);
  for (std::size_t cut = 0; cut <= row.text.size(); ++cut) {
    CAPTURE(cut);
    REQUIRE(read_cut(kind, row, cut, limits) == row.verdict);
  }
}

std::string with_fields(std::size_t count) {
  std::string text = "GET / HTTP/1.1\r\nHost: a\r\n";
  for (std::size_t i = 1; i < count; ++i) text += "x: 1\r\n";
  return text + "\r\n";
}

std::string start_of(const std::string& text) { return text.substr(0, text.find(' ', 4)); }

}  // namespace

TEST_CASE("every request of the table is understood alike, however it is cut") {
  REQUIRE(request_cases().size() > 150);
  for (const H1Case& row : request_cases()) check_all_cuts(SectionKind::request, row);
}

TEST_CASE("every response of the table is understood alike, however it is cut") {
  for (const H1Case& row : response_cases()) check_all_cuts(SectionKind::response, row);
}

TEST_CASE("a close-delimited response ends at the close") {
  H1Harness harness(SectionKind::response);
  harness.feed("HTTP/1.1 200 OK\r\n\r\nto the end");
  CHECK_FALSE(harness.complete());
  harness.finish();
  CHECK(harness.complete());
  CHECK(harness.body() == "to the end");
}

TEST_CASE("a length-delimited response does not end at the close") {
  H1Harness harness(SectionKind::response);
  harness.feed("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nto");
  harness.finish();
  CHECK_FALSE(harness.complete());
}

TEST_CASE("as many fields as the limit pass, one more is 431") {
  HttpLimits limits;
  limits.headers = 10;
  CHECK(start_of(read_all(SectionKind::request, {with_fields(10), "", {}}, limits)) == "GET /");
  check_all_cuts(SectionKind::request, {with_fields(11), "431 too-many-fields", {}}, limits);
}

TEST_CASE("a head of the limit's size passes, one byte more is 431 at that byte") {
  const std::string text = with_fields(20);
  HttpLimits limits;
  limits.header_bytes = text.size();
  CHECK(start_of(read_all(SectionKind::request, {text, "", {}}, limits)) == "GET /");
  CHECK(start_of(read_bytewise(SectionKind::request, {text, "", {}}, limits)) == "GET /");
  limits.header_bytes = text.size() - 1;
  check_all_cuts(SectionKind::request, {text, "431 head-too-large", {}}, limits);
  // Told as soon as the byte over the limit is there, not when the head ends.
  H1Harness harness(SectionKind::request, limits);
  harness.feed(text.substr(0, limits.header_bytes));
  CHECK(harness.broken() == nullptr);
  harness.feed("x");
  REQUIRE(harness.broken() != nullptr);
  CHECK(harness.broken()->status == 431);
}

TEST_CASE("a target of the limit's size passes, one byte more is 414") {
  HttpLimits limits;
  limits.target_bytes = 100;
  const auto request = [](std::size_t target) { return "GET /" + std::string(target - 1, 'x') + " HTTP/1.1\r\nHost: a\r\n\r\n"; };
  CHECK(start_of(read_all(SectionKind::request, {request(100), "", {}}, limits)).substr(0, 5) == "GET /");
  check_all_cuts(SectionKind::request, {request(101), "414 target-too-long", {}}, limits);
  check_all_cuts(SectionKind::request, {request(1000), "414 target-too-long", {}}, limits);
  // An endless first line is not waited for.
  H1Harness harness(SectionKind::request, limits);
  harness.feed("GET /" + std::string(100 + kRequestLineSlack, 'x'));
  REQUIRE(harness.broken() != nullptr);
  CHECK(harness.broken()->status == 414);
}

TEST_CASE("a first line longer than the whole head may be is 414") {
  HttpLimits limits;
  limits.header_bytes = 50;
  check_all_cuts(SectionKind::request, {"GET /" + std::string(100, 'x') + " HTTP/1.1\r\nHost: a\r\n\r\n", "414 target-too-long", {}},
                 limits);
}

TEST_CASE("a response head over the limit is refused") {
  HttpLimits limits;
  limits.header_bytes = 30;
  check_all_cuts(SectionKind::response, {"HTTP/1.1 200 OK\r\nX: 0123456789\r\n\r\n", "431 head-too-large", {}}, limits);
}

TEST_CASE("trailers have the limits of a head of their own") {
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  HttpLimits limits;
  limits.headers = 3;
  CHECK(read_all(SectionKind::request, {head + "0\r\na: 1\r\nb: 2\r\nc: 3\r\n\r\n", "", {}}, limits) ==
        "POST / a | chunked -1 |  | a=1 b=2 c=3");
  check_all_cuts(SectionKind::request, {head + "0\r\na: 1\r\nb: 2\r\nc: 3\r\nd: 4\r\n\r\n", "431 trailers-too-large", {}}, limits);
  limits = {};
  limits.header_bytes = 100;
  const std::string long_value(100, 'v');
  check_all_cuts(SectionKind::request, {head + "0\r\na: " + long_value + "\r\n\r\n", "431 trailers-too-large", {}}, limits);
}

TEST_CASE("chunk extensions are added up over the body") {
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  HttpLimits limits;
  limits.chunk_extension_bytes = 8;
  CHECK(read_all(SectionKind::request, {head + "1;abc\r\nx\r\n1;def\r\ny\r\n0\r\n\r\n", "", {}}, limits) == "POST / a | chunked -1 | xy");
  check_all_cuts(SectionKind::request, {head + "1;abc\r\nx\r\n1;def\r\ny\r\n0;\r\n\r\n", "413 chunk-extension-too-long", {}}, limits);
}

TEST_CASE("each byte that may stand in a name, a value or a target does, and no other") {
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    CAPTURE(byte);
    const bool token = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       (c != 0 && std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos);
    H1Harness name(SectionKind::request);
    name.feed(std::string("GET / HTTP/1.1\r\nHost: a\r\nx") + c + "y: 1\r\n\r\n");
    // A colon ends the name, so that the rest is a value.
    CHECK((name.broken() == nullptr) == (token || c == ':'));

    const bool value_byte = byte == '\t' || (byte >= 0x20 && byte != 0x7f);
    for (const std::size_t before : {0U, 1U, 7U, 8U, 15U}) {  // at each place of an eight-byte word
      H1Harness value(SectionKind::request);
      value.feed("GET / HTTP/1.1\r\nHost: a\r\nx: a" + std::string(before, 'b') + c + "defghijklmnop\r\n\r\n");
      CHECK((value.broken() == nullptr) == value_byte);
    }

    const bool target_byte = byte > 0x20 && byte < 0x7f && c != '#';
    H1Harness target(SectionKind::request);
    target.feed(std::string("GET /a") + c + "b HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK((target.broken() == nullptr) == target_byte);
  }
}

TEST_CASE("a head that comes byte by byte is looked at once") {
  // 50,000 bytes one by one; a rescan would look at 1.25 thousand million.
  HttpLimits limits;
  HeadFinder finder(SectionKind::request);
  const std::string text = "GET / HTTP/1.1\r\nX: " + std::string(50000, 'x');
  for (const char c : text) {
    std::size_t used = 0;
    REQUIRE(finder.feed(as_bytes(std::string_view(&c, 1)), limits, used) == HeadFinder::Found::more);
    REQUIRE(used == 1);
  }
  CHECK(finder.size() == text.size());
}

}  // namespace weir
