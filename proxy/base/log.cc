#include "proxy/base/log.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>

namespace weir {

namespace {

constexpr std::string_view kNames[] = {"debug", "info", "warning", "error"};

void append_padded(std::string& out, std::int64_t value, int width) {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  for (auto length = end - digits; length < width; ++length) out += '0';
  out.append(digits, end);
}

// The length of the well-formed UTF-8 sequence at the front; 0 when there is none (RFC 3629, section 4).
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const auto tail = [&](std::size_t i) { return (byte(i) & 0xc0U) == 0x80U; };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return tail(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f)) return 0;
    return tail(1) && tail(2) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    if ((first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) > 0x8f)) return 0;
    return tail(1) && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

// The inside of a JSON string: valid whatever the input is.
void append_escaped(std::string& out, std::string_view text) {
  const bool cut = text.size() > Log::kMaxText;
  text = text.substr(0, Log::kMaxText);
  while (!text.empty()) {
    const char c = text.front();
    std::size_t length = 1;
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      constexpr char kHex[] = "0123456789abcdef";
      out += "\\u00";
      out += kHex[static_cast<unsigned char>(c) >> 4];
      out += kHex[static_cast<unsigned char>(c) & 15];
    } else if ((length = utf8_length(text)) > 0) {
      out += text.substr(0, length);
    } else {
      out += "\xef\xbf\xbd";  // U+FFFD
      length = 1;
    }
    text.remove_prefix(length);
  }
  if (cut) out += "...";
}

void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  append_escaped(out, text);
  out += '"';
}

bool needs_quotes(std::string_view text) {
  return text.empty() || text.size() > Log::kMaxText || std::any_of(text.begin(), text.end(), [](char c) {
           return static_cast<unsigned char>(c) <= 0x20 || static_cast<unsigned char>(c) >= 0x7f || c == '"' || c == '=' || c == '\\';
         });
}

void append_value(std::string& out, const LogField::Value& value, bool json) {
  if (const auto* text = std::get_if<std::string_view>(&value)) {
    json || needs_quotes(*text) ? append_quoted(out, *text) : static_cast<void>(out += *text);
    return;
  }
  char digits[40];
  char* const last = digits + sizeof digits;
  if (const auto* yes = std::get_if<bool>(&value)) {
    out += *yes ? "true" : "false";
  } else if (const auto* number = std::get_if<double>(&value)) {
    if (!std::isfinite(*number)) {
      out += "null";  // JSON has no infinity
    } else {
      out.append(digits, std::to_chars(digits, last, *number).ptr);
    }
  } else if (const auto* whole = std::get_if<std::int64_t>(&value)) {
    out.append(digits, std::to_chars(digits, last, *whole).ptr);
  } else {
    out.append(digits, std::to_chars(digits, last, *std::get_if<std::uint64_t>(&value)).ptr);
  }
}

void append_field(std::string& out, const LogField& field, bool json) {
  if (json) {
    out += ',';
    append_quoted(out, field.key);
    out += ':';
  } else {
    out += ' ';
    out += field.key;
    out += '=';
  }
  append_value(out, field.value, json);
}

std::uint64_t hash_of(LogLevel level, std::string_view message) {  // FNV-1a
  std::uint64_t hash = 0xcbf29ce484222325U ^ static_cast<std::uint64_t>(level);
  for (const char c : message) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return hash;
}

}  // namespace

std::string_view log_level_name(LogLevel level) { return kNames[static_cast<std::size_t>(level)]; }

std::optional<LogLevel> parse_log_level(std::string_view name) {
  const auto* found = std::find(std::begin(kNames), std::end(kNames), name);
  if (found == std::end(kNames)) return std::nullopt;
  return static_cast<LogLevel>(found - std::begin(kNames));
}

std::string format_time(WallTime time) {
  using namespace std::chrono;
  const auto day = floor<days>(time.time_since_epoch());
  const year_month_day date{sys_days(day)};
  const auto of_day = floor<milliseconds>(time.time_since_epoch() - day).count();
  std::string out;
  append_padded(out, static_cast<int>(date.year()), 4);
  out += '-';
  append_padded(out, static_cast<unsigned>(date.month()), 2);
  out += '-';
  append_padded(out, static_cast<unsigned>(date.day()), 2);
  out += 'T';
  append_padded(out, of_day / 3'600'000, 2);
  out += ':';
  append_padded(out, of_day / 60'000 % 60, 2);
  out += ':';
  append_padded(out, of_day / 1000 % 60, 2);
  out += '.';
  append_padded(out, of_day % 1000, 3);
  out += 'Z';
  return out;
}

Log::Log(LogSink& sink, std::function<WallTime()> clock, LogLevel level, bool json)
    : sink_(sink), clock_(std::move(clock)), level_(level), json_(json) {}

// Four places for each message; where none is its own, the one that limits least is taken over: one that is past, or has few lines.
Log::Window& Log::window_of(std::uint64_t hash, WallTime now) {
  Window* least = nullptr;
  const auto weight = [now](const Window& window) { return now >= window.began + kPer ? 0 : window.lines; };
  for (std::size_t i = 0; i < 4; ++i) {
    Window& window = windows_[(hash + i) % windows_.size()];
    if (window.hash == hash) return window;
    if (least == nullptr || weight(window) < weight(*least)) least = &window;
  }
  *least = Window{hash, {}, 0, 0};
  return *least;
}

bool Log::admit(std::uint64_t hash, WallTime now, std::uint32_t& left_out_before) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Window& window = window_of(hash, now);
  if (window.lines == 0 || now >= window.began + kPer || now < window.began) {  // also when the clock was set back
    left_out_before = window.left_out;
    window = Window{hash, now, 1, 0};
    return true;
  }
  if (window.lines < kBurst) {
    ++window.lines;
    return true;
  }
  ++window.left_out;
  left_out_.fetch_add(1, std::memory_order_relaxed);
  return false;
}

void Log::write(LogLevel level, std::string_view message, Fields fields) {
  if (!enabled(level)) return;
  const WallTime now = clock_();
  std::uint32_t left_out_before = 0;
  if (!admit(hash_of(level, message), now, left_out_before)) return;

  const bool json = json_.load(std::memory_order_relaxed);
  std::string line;
  line.reserve(256);
  if (json) {
    line += R"({"time":")";
    line += format_time(now);
    line += R"(","level":")";
    line += log_level_name(level);
    line += R"(","message":)";
    append_quoted(line, message);
  } else {
    line += format_time(now);
    line += ' ';
    line += log_level_name(level);
    line += ' ';
    append_escaped(line, message);
  }
  for (const LogField& field : fields) append_field(line, field, json);
  if (left_out_before > 0) append_field(line, {"left_out", left_out_before}, json);
  if (json) line += '}';
  line += '\n';
  sink_.write(line);
}

void DescriptorLogSink::write(std::string_view lines) {
  while (!lines.empty()) {
    const ssize_t written = ::write(descriptor_, lines.data(), lines.size());
    if (written > 0) {
      lines.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno != EINTR) {
      lost_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
  }
}

}  // namespace weir
