// LogWriter: a file of log lines behind a thread of its own and a bounded queue: workers hand over blocks of whole lines.
// main owns it and stops it after the last worker; any thread may write to it and ask it to reopen its file (logrotate, SIGHUP).
// It never blocks whoever writes: what finds the queue full is dropped and counted, and a full disk only means that it tries again.
//
// It has no clock: it waits on a condition variable, with relative timeouts.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "proxy/base/log_sink.h"
#include "proxy/base/result.h"
#include "proxy/base/time.h"

namespace weir {

class LogWriter final : public LogSink {
 public:
  struct Options {
    std::size_t queue_limit = std::size_t{8} * 1024 * 1024;  // bytes waiting; what the thread is writing not counted
    Duration retry_after = std::chrono::seconds(1);          // when a write fails
    unsigned mode = 0640;                                    // of a new file
    // Instead of write(2); for tests.
    std::function<ssize_t(int, const void*, std::size_t)> write_call;
  };
  struct Counts {
    std::uint64_t written_bytes = 0;
    std::uint64_t dropped_lines = 0;  // the queue was full, the rest of a line was left behind by reopening, or the end came
    std::uint64_t write_errors = 0;   // failed writes, each retry too; and failed reopenings
    std::uint64_t reopened = 0;
    std::uint64_t queued_bytes = 0;
    int last_error = 0;  // errno of the last failure; 0 when the last write went well
  };

  // Opens (appends to, or makes) the file; "/dev/stdout" and "/dev/stderr" are the descriptors themselves.
  static Result<std::unique_ptr<LogWriter>> open(const std::string& path, Options options);
  static Result<std::unique_ptr<LogWriter>> open(const std::string& path) { return open(path, Options()); }
  ~LogWriter() override;  // stop(), with kStopWithin
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;

  void write(std::string_view lines) override;
  void reopen();                // the path anew, between two lines; a failure keeps the old file
  bool flush(Duration within);  // until everything written so far is with the kernel; false when the time was too short
  // No more lines come: its thread writes what is queued, tries kStopWithin longer where that fails, and ends. Waits for nothing.
  void retire();
  bool ended() const;  // retired, and the thread has nothing left to do
  // Writes what is queued, for at most so long; false when something was left. A thread that hangs in the kernel is left behind.
  bool stop(Duration within);
  Counts counts() const;

  static constexpr Duration kStopWithin = std::chrono::seconds(2);

 private:
  struct State;
  explicit LogWriter(std::shared_ptr<State> state);
  static void run(State& state);

  std::shared_ptr<State> state_;  // the thread's too: it may be left behind
  bool stopped_ = false;
};

}  // namespace weir
