#include "tests/cut/wire.h"

#include <algorithm>

namespace weir::test {
namespace {

struct Cursor {
  std::string_view rest;
  // A line without its CRLF; false while it is not whole.
  bool line(std::string_view& out) {
    const std::size_t end = rest.find("\r\n");
    if (end == std::string_view::npos) return false;
    out = rest.substr(0, end);
    rest.remove_prefix(end + 2);
    return true;
  }
};

// Fields up to the empty line; false while they are not whole.
bool take_fields(Cursor& at, std::vector<std::pair<std::string, std::string>>& fields, std::string& bad) {
  std::string_view line;
  while (at.line(line)) {
    if (line.empty()) return true;
    const std::size_t colon = line.find(": ");
    if (colon == std::string_view::npos || colon == 0) {
      bad = "a field without name or value: " + std::string(line);
      return false;
    }
    fields.emplace_back(line.substr(0, colon), line.substr(colon + 2));
  }
  return false;
}

bool take_number(std::string_view text, unsigned base, std::size_t& out) {
  out = 0;
  if (text.empty() || text.size() > 15) return false;
  for (const char c : text) {
    const auto digit = c >= '0' && c <= '9'   ? static_cast<unsigned>(c - '0')
                       : c >= 'a' && c <= 'f' ? static_cast<unsigned>(c - 'a') + 10
                       : c >= 'A' && c <= 'F' ? static_cast<unsigned>(c - 'A') + 10
                                              : 99U;
    if (digit >= base) return false;
    out = out * base + digit;
  }
  return true;
}

void take_chunks(Cursor& at, WireMessage& out, std::string& bad) {
  std::string_view line;
  while (at.line(line)) {
    std::size_t size = 0;
    if (!take_number(line, 16, size)) {
      bad = "not the size of a chunk: " + std::string(line);
      return;
    }
    if (size == 0) {
      std::vector<std::pair<std::string, std::string>> trailers;
      out.whole = take_fields(at, trailers, bad);
      if (!out.whole) return;
      for (const auto& [name, value] : trailers) out.trailers += name + "=" + value + " ";
      return;
    }
    out.body += at.rest.substr(0, size);
    if (at.rest.size() < size + 2) {
      at.rest = {};
      return;
    }
    if (at.rest.substr(size, 2) != "\r\n") bad = "no line end behind a chunk";
    if (!bad.empty()) return;
    at.rest.remove_prefix(size + 2);
  }
  at.rest = {};
}

void take_length(Cursor& at, std::size_t length, WireMessage& out) {
  out.body = at.rest.substr(0, length);
  out.whole = at.rest.size() >= length;
  at.rest.remove_prefix(std::min(length, at.rest.size()));
}

void take_body(Cursor& at, bool is_answer, bool bodiless, WireEnd end, WireMessage& out, std::string& bad) {
  const std::string length = out.field("content-length");
  const std::string coding = out.field("transfer-encoding");
  std::size_t size = 0;
  if (!length.empty() && !coding.empty()) {
    bad = "both a length and a coding";
  } else if (!length.empty() && !take_number(length, 10, size)) {
    bad = "not a length: " + length;
  } else if (!coding.empty() && coding != "chunked") {
    bad = "not a coding: " + coding;
  } else if (bodiless || (!is_answer && length.empty() && coding.empty())) {
    out.whole = true;
  } else if (!coding.empty()) {
    take_chunks(at, out, bad);
  } else if (!length.empty()) {
    take_length(at, size, out);
  } else {
    out.until_close = true;
    out.body = at.rest;
    out.whole = end == WireEnd::fin;
    at.rest = {};
  }
}

WireReading read(std::string_view bytes, bool is_answer, const std::vector<std::string>& methods, WireEnd end) {
  WireReading reading;
  Cursor at{bytes};
  std::size_t finals = 0;
  while (!at.rest.empty() && reading.bad.empty()) {
    WireMessage& next = reading.messages.emplace_back();
    std::string_view line;
    if (!at.line(line)) return reading;
    next.start_line = line;
    next.head_whole = take_fields(at, next.fields, reading.bad);
    if (!next.head_whole) return reading;
    bool bodiless = false;
    if (is_answer) {
      const int status = next.status();
      if (status == 0) reading.bad = "not a status line: " + next.start_line;
      if (status >= 200 && finals >= methods.size()) reading.bad = "an answer that nobody asked for: " + next.start_line;
      if (!reading.bad.empty()) return reading;
      bodiless = status < 200 || status == 204 || status == 304 || methods[finals] == "HEAD";
      if (status >= 200) ++finals;
    }
    take_body(at, is_answer, bodiless, end, next, reading.bad);
    if (!next.whole) return reading;
  }
  return reading;
}

}  // namespace

int WireMessage::status() const {
  std::size_t number = 0;
  if (start_line.size() < 12 || start_line.substr(0, 9) != "HTTP/1.1 " || !take_number(start_line.substr(9, 3), 10, number)) return 0;
  return static_cast<int>(number);
}

std::string WireMessage::target() const {
  const std::size_t from = start_line.find(' ') + 1;
  return start_line.substr(from, start_line.find(' ', from) - from);
}

std::string WireMessage::field(std::string_view name) const {
  for (const auto& [key, value] : fields) {
    if (key == name) return value;
  }
  return {};
}

WireReading read_requests(std::string_view bytes) { return read(bytes, false, {}, WireEnd::open); }

WireReading read_answers(std::string_view bytes, const std::vector<std::string>& methods, WireEnd end) {
  return read(bytes, true, methods, end);
}

}  // namespace weir::test
