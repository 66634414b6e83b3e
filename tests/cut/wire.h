// Wire: a strict reader of HTTP/1 messages for the tests that cut connections: it shares no code with the parser of weir.
// It is given all bytes that came so far and how the connection stands, and says what a careful peer would take for whole.
// It never repairs anything: what is not exactly right is named in `bad`.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weir::test {

struct WireMessage {
  std::string start_line;
  std::vector<std::pair<std::string, std::string>> fields;
  std::string body;
  std::string trailers;  // "name=value " for each
  bool head_whole = false;
  bool whole = false;
  bool until_close = false;  // an answer without a length: whole only with a FIN

  int status() const;
  std::string method() const { return start_line.substr(0, start_line.find(' ')); }
  std::string target() const;
  std::string field(std::string_view name) const;  // in lower case; empty when absent
  bool final_answer() const { return head_whole && status() >= 200; }
};

enum class WireEnd : unsigned char { open, fin, reset };

struct WireReading {
  std::vector<WireMessage> messages;  // the last may be a part only
  std::string bad;
};

WireReading read_requests(std::string_view bytes);
// `methods`: of the requests, in order, which decide whether a body follows.
WireReading read_answers(std::string_view bytes, const std::vector<std::string>& methods, WireEnd end);

}  // namespace weir::test
