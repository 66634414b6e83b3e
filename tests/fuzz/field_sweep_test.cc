// The fields that frame a message or keep its connection, in every spelling and spacing that a reader may take another way: our parsers and
// llhttp say the same, or the difference is on the list. A fuzzer finds such a pair by luck; this looks at all of them.
#include <catch2/catch.hpp>
#include <initializer_list>
#include <set>
#include <string>

#include "proxy/base/text.h"
#include "tests/fuzz/h1_compare.h"
#include "tests/http/h1_cases.h"

namespace weir {

namespace {

struct Field {
  std::string_view name;
  std::initializer_list<std::string_view> values;
  std::initializer_list<std::string_view> beside;  // fields that follow it
};

constexpr std::string_view kSpaces[] = {"", " ", "\t", " \t", "\t ", "  \t"};
constexpr std::string_view kLength = "Content-Length: 3\r\n";
constexpr std::string_view kChunked = "Transfer-Encoding: chunked\r\n";

constexpr std::string_view kStarts[] = {
    "GET / HTTP/1.1\r\nHost: a\r\n",
    "GET / HTTP/1.0\r\nHost: a\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\n",
    "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 200 OK\r\n",
    "HTTP/1.1 204 \r\n",
    "HTTP/1.1 101 \r\n",
    "HTTP/1.1 100 \r\n",
    "HTTP/1.1 304 \r\n",
};

const Field kFields[] = {
    {"Content-Length", {"3", "03", "3, 3", "3,3", "3 3", "+3", "", "3;"}, {"", kChunked, kLength}},
    {"Transfer-Encoding",
     {"chunked", "Chunked", "chunked,chunked", ",chunked", "chunked,", "chunked;q=1", "gzip, chunked", "chunked, gzip", "identity", ""},
     {"", kChunked, kLength}},
    {"Connection",
     {"close",       "keep-alive",          "close,keep-alive", "keep-alive,close", "upgrade",    "close,",
      ",close",      "foo,close",           "close foo",        "keep-alive foo",   "cLOSE, foo", "x-close",
      "closed",      "keep-alive, upgrade", "upgrade,close",    "te, close",        "",           ",",
      "keep-alivex", "close\t,foo"},
     {"", kLength, kChunked, "Connection: keep-alive\r\n", "Connection: close\r\n", "Upgrade: x\r\n"}},
    {"Upgrade", {"h2c", ""}, {"", kLength, "Connection: upgrade\r\n"}},
    {"Proxy-Connection", {"keep-alive", "close"}, {""}},
    {"Keep-Alive", {"close", "timeout=5"}, {""}},
    {"Host", {"a", "a:1"}, {""}},
    {"Expect", {"100-continue"}, {"", kLength}},
};

std::string message(std::string_view start, const Field& field, std::string_view value, std::string_view beside) {
  std::string_view body;
  if (field.name == "Transfer-Encoding" || beside == kChunked) body = "3\r\nabc\r\n0\r\n\r\n";
  if (field.name == "Content-Length" || beside == kLength) body = "abc";
  return concat(start, field.name, ":", value, "\r\n", beside, "\r\n", body);
}

std::string as_trailer(std::string_view start, const Field& field, std::string_view value, std::string_view beside) {
  return concat(start, kChunked, "\r\n3\r\nabc\r\n0\r\n", field.name, ":", value, "\r\n", beside, "\r\n");
}

// Tells each kind of difference once.
class Sweep {
 public:
  void look(const std::string& text, bool response, Method asked) {
    const Comparison result = compare_readings({text, response, {asked}});
    ++compared_;
    if (result.unexplained.empty() || !told_.insert(result.unexplained.substr(0, result.unexplained.find('\n'))).second) return;
    FAIL_CHECK(result.unexplained);
  }
  std::size_t compared() const { return compared_; }

 private:
  std::set<std::string> told_;
  std::size_t compared_ = 0;
};

}  // namespace

TEST_CASE("framing and connection fields in every spacing are read as llhttp reads them, or as the list says") {
  Sweep sweep;
  for (const std::string_view start : kStarts) {
    const bool response = start.starts_with("HTTP/");
    for (const Field& field : kFields) {
      for (const std::string_view value : field.values) {
        for (const std::string_view before : kSpaces) {
          for (const std::string_view after : kSpaces) {
            for (const std::string_view beside : field.beside) {
              const std::string text = message(start, field, concat(before, value, after), beside);
              sweep.look(text, response, Method::get);
              sweep.look(as_trailer(start, field, concat(before, value, after), beside), response, Method::get);
              if (response) sweep.look(text, true, Method::head);
            }
          }
        }
      }
    }
  }
  CHECK(sweep.compared() > 50000);
}

// Each row of the parsers' tests with one byte put in, changed or left out, at every place.
TEST_CASE("one byte away from a known message our reading is llhttp's, or as the list says") {
  constexpr std::string_view kBytes("\0\t\n\r !\"#%,/09:;=?AZ[_az{\x7f\x80\xff", 27);
  constexpr std::size_t kLongest = 300;
  Sweep sweep;
  const auto around = [&](const H1Case& row, bool response) {
    if (row.text.size() > kLongest) return;
    for (std::size_t at = 0; at <= row.text.size(); ++at) {
      for (const char byte : kBytes) {
        sweep.look(std::string(row.text).insert(at, 1, byte), response, row.request);
        if (at < row.text.size()) sweep.look(std::string(row.text).replace(at, 1, 1, byte), response, row.request);
      }
      if (at < row.text.size()) sweep.look(std::string(row.text).erase(at, 1), response, row.request);
    }
  };
  for (const H1Case& row : request_cases()) around(row, false);
  for (const H1Case& row : response_cases()) around(row, true);
  CHECK(sweep.compared() > 100000);
}

}  // namespace weir
