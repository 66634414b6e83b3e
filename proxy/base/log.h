// Log: the daemon's own log: leveled lines with fields, as text or JSON; equal messages are limited in rate.
// main owns the one Log, gives it a sink and a clock, and passes it down; the sink outlives it. Any thread may write.
// It never holds a lock while it writes, never lets input break out of its line, and is not for the data path.
//
// A message is a constant text; what varies goes into fields:  log.warning("reload refused", {{"file", path}, {"errors", 3}});
#pragma once

#include <array>
#include <atomic>
#include <concepts>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "proxy/base/log_sink.h"
#include "proxy/base/time.h"

namespace weir {

enum class LogLevel : std::uint8_t { debug, info, warning, error };

std::string_view log_level_name(LogLevel level);
std::optional<LogLevel> parse_log_level(std::string_view name);

struct LogField {
  using Value = std::variant<std::string_view, std::int64_t, std::uint64_t, double, bool>;

  LogField(std::string_view name, std::string_view text) : key(name), value(text) {}
  LogField(std::string_view name, const char* text) : key(name), value(std::string_view(text)) {}
  LogField(std::string_view name, bool yes) : key(name), value(yes) {}
  LogField(std::string_view name, double number) : key(name), value(number) {}
  LogField(std::string_view name, std::signed_integral auto number) : key(name), value(static_cast<std::int64_t>(number)) {}
  LogField(std::string_view name, std::unsigned_integral auto number) : key(name), value(static_cast<std::uint64_t>(number)) {}
  LogField(std::string_view name, Duration duration) : key(name), value(seconds(duration)) {}  // in seconds

  std::string_view key;
  Value value;
};

class Log {
 public:
  using Fields = std::initializer_list<LogField>;
  static constexpr std::size_t kMaxText = 4096;               // of a message or a field's text; the rest is cut off
  static constexpr std::uint32_t kBurst = 10;                 // lines of one message and level ...
  static constexpr Duration kPer = std::chrono::seconds(10);  // ... in this time; then the next one says how many were left out

  Log(LogSink& sink, std::function<WallTime()> clock, LogLevel level = LogLevel::info, bool json = false);
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  void set_level(LogLevel level) { level_.store(level, std::memory_order_relaxed); }
  void set_json(bool json) { json_.store(json, std::memory_order_relaxed); }
  LogLevel level() const { return level_.load(std::memory_order_relaxed); }
  bool enabled(LogLevel level) const { return level >= this->level(); }

  void write(LogLevel level, std::string_view message, Fields fields = {});
  void debug(std::string_view message, Fields fields = {}) { write(LogLevel::debug, message, fields); }
  void info(std::string_view message, Fields fields = {}) { write(LogLevel::info, message, fields); }
  void warning(std::string_view message, Fields fields = {}) { write(LogLevel::warning, message, fields); }
  void error(std::string_view message, Fields fields = {}) { write(LogLevel::error, message, fields); }

  std::uint64_t left_out() const { return left_out_.load(std::memory_order_relaxed); }  // lines, by the limit, so far

 private:
  struct Window {  // of one message
    std::uint64_t hash = 0;
    WallTime began{};
    std::uint32_t lines = 0;
    std::uint32_t left_out = 0;
  };
  // Whether a line may go out now, and how many like it were left out before.
  bool admit(std::uint64_t hash, WallTime now, std::uint32_t& left_out_before);
  Window& window_of(std::uint64_t hash, WallTime now);

  LogSink& sink_;
  const std::function<WallTime()> clock_;
  std::atomic<LogLevel> level_;
  std::atomic<bool> json_;
  std::atomic<std::uint64_t> left_out_{0};
  std::mutex mutex_;  // of windows_
  std::array<Window, 128> windows_{};
};

// A line goes to a descriptor (2: stderr) in one write, which is whole for pipes up to 4 KiB and for files. What cannot be written
// is lost and counted: a log never stops the program.
class DescriptorLogSink final : public LogSink {
 public:
  explicit DescriptorLogSink(int descriptor) : descriptor_(descriptor) {}
  void write(std::string_view lines) override;
  std::uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  const int descriptor_;
  std::atomic<std::uint64_t> lost_{0};
};

// "2026-01-31T23:59:58.123Z"
std::string format_time(WallTime time);

}  // namespace weir
