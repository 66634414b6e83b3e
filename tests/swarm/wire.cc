#include "tests/swarm/wire.h"

#include <algorithm>

#include "proxy/base/random.h"

namespace weir::test {
namespace {

// Twice as long as the longest body, so that any seed has its own beginning in it.
const std::string& all_text() {
  static const std::string text = [] {
    Random random(42);
    std::string made(kMostBody * 2, ' ');
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < made.size(); ++i) {
      if (i % 12 == 0) bits = random.next();
      made[i] = "0123456789abcdefghijklmnopqrstuv"[bits & 31];
      bits >>= 5;
    }
    return made;
  }();
  return text;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

bool number(std::string_view text, unsigned base, std::uint64_t& out) {
  if (text.empty() || text.size() > 12) return false;
  out = 0;
  for (const char c : text) {
    unsigned digit = 99;
    if (c >= '0' && c <= '9') digit = static_cast<unsigned>(c - '0');
    if (c >= 'a' && c <= 'f') digit = static_cast<unsigned>(c - 'a') + 10;
    if (c >= 'A' && c <= 'F') digit = static_cast<unsigned>(c - 'A') + 10;
    if (digit >= base) return false;
    out = out * base + digit;
  }
  return true;
}

}  // namespace

std::string_view body_text(std::uint64_t seed, std::size_t size) {
  const std::size_t from = static_cast<std::size_t>(Random(seed).below(kMostBody));
  return std::string_view(all_text()).substr(from, std::min(size, kMostBody));
}

std::string_view WireMessage::field(std::string_view name) const {
  for (const auto& [key, value] : fields) {
    if (key == name) return value;
  }
  return {};
}

std::size_t WireMessage::count(std::string_view name) const {
  return static_cast<std::size_t>(std::count_if(fields.begin(), fields.end(), [&](const auto& one) { return one.first == name; }));
}

int WireMessage::status() const {
  std::uint64_t value = 0;
  return start_line.size() >= 12 && number(std::string_view(start_line).substr(9, 3), 10, value) ? static_cast<int>(value) : 0;
}

WireParser::Event WireParser::bad(std::string why) {
  problem_ = std::move(why);
  return Event::bad;
}

bool WireParser::take_line(std::string& in, std::string& line) {
  const std::size_t end = in.find("\r\n");
  if (end == std::string::npos) return false;
  line = in.substr(0, end);
  in.erase(0, end + 2);
  return true;
}

bool WireParser::read_head(std::string_view text) {
  std::size_t at = text.find("\r\n");
  message_.start_line = text.substr(0, at);
  const std::string& line = message_.start_line;
  if (kind_ == Kind::answer && (line.substr(0, 9) != "HTTP/1.1 " || message_.status() < 100 || (line.size() > 12 && line[12] != ' '))) {
    problem_ = "a status line that is none: " + line.substr(0, 80);
    return false;
  }
  if (kind_ == Kind::request && (line.size() < 12 || line.substr(line.size() - 9) != " HTTP/1.1")) {
    problem_ = "a request line that is none: " + line.substr(0, 80);
    return false;
  }
  while (at != std::string_view::npos && at + 2 < text.size()) {
    at += 2;
    const std::size_t end = text.find("\r\n", at);
    const std::string_view field = text.substr(at, end - at);
    const std::size_t colon = field.find(':');
    if (colon == std::string_view::npos || colon == 0 || field.find_first_of(" \t") < colon) {
      problem_ = "a field that is none: " + std::string(field.substr(0, 80));
      return false;
    }
    std::string_view value = field.substr(colon + 1);
    while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
    message_.fields.emplace_back(lower(field.substr(0, colon)), value);
    at = end;
  }
  return true;
}

bool WireParser::frame(bool to_head) {
  framing_ = Framing::none;
  left_ = 0;
  const std::size_t lengths = message_.count("content-length");
  const std::size_t codings = message_.count("transfer-encoding");
  if (lengths > 1 || codings > 1 || lengths + codings > 1) {
    problem_ = "its length is told more than once";
    return false;
  }
  const int status = kind_ == Kind::answer ? message_.status() : 0;
  const bool bodiless = kind_ == Kind::answer && (to_head || status / 100 == 1 || status == 204 || status == 304);
  if (lengths == 1 && !number(message_.field("content-length"), 10, left_)) {
    problem_ = "a content-length that is none";
    return false;
  }
  if (bodiless) {
    left_ = 0;
  } else if (codings == 1) {
    if (message_.field("transfer-encoding") != "chunked") {
      problem_ = "a transfer-encoding that nobody sent";
      return false;
    }
    framing_ = Framing::chunked;
  } else if (lengths == 1) {
    framing_ = Framing::length;
  } else if (kind_ == Kind::answer) {
    framing_ = Framing::until_close;
  }
  return true;
}

WireParser::Event WireParser::next(std::string& in, bool to_head, bool closed) {
  if (state_ == State::start || state_ == State::head) {
    if (state_ == State::start && in.empty()) return Event::more;
    const std::size_t end = in.find("\r\n\r\n");
    state_ = State::head;
    if (end == std::string::npos) return in.size() > 100'000 ? bad("a head without end") : Event::more;
    message_ = WireMessage();
    if (!read_head(std::string_view(in).substr(0, end + 2)) || !frame(to_head)) return Event::bad;
    in.erase(0, end + 4);
    state_ = framing_ == Framing::chunked ? State::chunk_line : State::body;
    return Event::head;
  }
  if (framing_ == Framing::chunked) return read_chunks(in);
  return read_body(in, closed);
}

WireParser::Event WireParser::read_body(std::string& in, bool closed) {
  if (framing_ == Framing::until_close) {
    message_.body += in;
    in.clear();
    if (!closed) return Event::more;
    state_ = State::start;
    return Event::end;
  }
  const std::size_t n = static_cast<std::size_t>(std::min<std::uint64_t>(left_, in.size()));
  message_.body.append(in, 0, n);
  in.erase(0, n);
  left_ -= n;
  if (left_ > 0) return Event::more;
  state_ = State::start;
  return Event::end;
}

WireParser::Event WireParser::read_chunks(std::string& in) {
  std::string line;
  while (true) {
    switch (state_) {
      case State::chunk_line:
        if (!take_line(in, line)) return Event::more;
        if (!number(std::string_view(line).substr(0, line.find(';')), 16, left_))
          return bad("a chunk size that is none: " + line.substr(0, 40));
        state_ = left_ == 0 ? State::trailers : State::chunk;
        break;
      case State::chunk: {
        const std::size_t n = static_cast<std::size_t>(std::min<std::uint64_t>(left_, in.size()));
        message_.body.append(in, 0, n);
        in.erase(0, n);
        left_ -= n;
        if (left_ > 0) return Event::more;
        state_ = State::chunk_end;
        break;
      }
      case State::chunk_end:
        if (in.size() < 2) return Event::more;
        if (in.compare(0, 2, "\r\n") != 0) return bad("a chunk that is longer than it said");
        in.erase(0, 2);
        state_ = State::chunk_line;
        break;
      default:
        if (!take_line(in, line)) return Event::more;
        if (!line.empty()) break;
        state_ = State::start;
        return Event::end;
    }
  }
}

}  // namespace weir::test
