// WireParser: a strict, incremental reader of HTTP/1 messages for the swarm's own clients and upstreams; and the bodies that they send.
// Each peer owns one a connection and feeds it what arrives. It shares no code with the proxy, so that both cannot be wrong alike.
// It never guesses: what is not well-formed is `bad`, with the reason.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weir::test {

// A body that everybody can check: `size` bytes, another text for each seed.
std::string_view body_text(std::uint64_t seed, std::size_t size);
constexpr std::size_t kMostBody = std::size_t{1} << 20;

struct WireMessage {
  std::string start_line;
  std::vector<std::pair<std::string, std::string>> fields;  // names in lower case
  std::string body;
  std::string_view field(std::string_view name) const;  // of the first of that name
  std::size_t count(std::string_view name) const;
  int status() const;  // of an answer
  std::string_view method() const { return std::string_view(start_line).substr(0, start_line.find(' ')); }
};

class WireParser {
 public:
  enum class Kind : std::uint8_t { request, answer };
  enum class Event : std::uint8_t { more, head, end, bad };
  explicit WireParser(Kind kind) : kind_(kind) {}

  // Takes what it can off `in`. `head`: the message's fields are known; `end`: it is whole. An answer's request decides about its body:
  // `to_head` says so for the answer that comes next. `closed`: the sender ended its side, so that no byte will follow.
  Event next(std::string& in, bool to_head, bool closed);
  const WireMessage& message() const { return message_; }
  bool inside() const { return state_ != State::start; }  // of a message that is not whole
  bool in_body() const { return state_ != State::start && state_ != State::head; }
  bool until_close() const { return framing_ == Framing::until_close; }
  const std::string& problem() const { return problem_; }

 private:
  enum class State : std::uint8_t { start, head, body, chunk_line, chunk, chunk_end, trailers };
  enum class Framing : std::uint8_t { none, length, chunked, until_close };
  Event bad(std::string why);
  bool take_line(std::string& in, std::string& line);
  bool read_head(std::string_view text);
  bool frame(bool to_head);
  Event read_body(std::string& in, bool closed);
  Event read_chunks(std::string& in);

  const Kind kind_;
  State state_ = State::start;
  Framing framing_ = Framing::none;
  WireMessage message_;
  std::uint64_t left_ = 0;  // of the body, or of the chunk
  std::string problem_;
};

}  // namespace weir::test
