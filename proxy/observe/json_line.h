// JsonLine: appends one line of JSON to a fixed stretch of memory, by hand: the data path has no time for a JSON library.
// A value on the stack of whoever formats; it writes into the caller's memory and owns nothing.
// It never allocates and never writes past the end: a line that does not fit is marked, and is the caller's to undo.
#pragma once

#include <charconv>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "proxy/base/time.h"

namespace weir {

class JsonLine {
 public:
  JsonLine(char* begin, char* end) : begin_(begin), next_(begin), end_(end) {}

  bool fits() const { return fits_; }
  std::size_t size() const { return static_cast<std::size_t>(next_ - begin_); }

  void raw(std::string_view text) {
    if (text.size() > static_cast<std::size_t>(end_ - next_)) {
      fits_ = false;
      return;
    }
    std::memcpy(next_, text.data(), text.size());
    next_ += text.size();
  }
  void raw(char c) {
    if (next_ == end_) {
      fits_ = false;
      return;
    }
    *next_++ = c;
  }
  template <class Integer>
  void integer(Integer value) {
    const auto [at, error] = std::to_chars(next_, end_, value);
    if (error != std::errc()) {
      fits_ = false;
      return;
    }
    next_ = at;
  }
  // Milliseconds with three places: 12.345.
  void milliseconds(Duration value);
  // Quoted and escaped; bytes outside UTF-8 become U+FFFD, and what is longer than `limit` bytes is cut between two characters.
  void string(std::string_view text, std::size_t limit = 2048);

 private:
  void escape(std::string_view& text);

  char* begin_;
  char* next_;
  char* end_;
  bool fits_ = true;
};

}  // namespace weir
