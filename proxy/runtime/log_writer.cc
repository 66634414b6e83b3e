#include "proxy/runtime/log_writer.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

namespace weir {

namespace {

int open_log_file(const std::string& path, unsigned mode) {
  if (path == "/dev/stdout") return fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);  // opening it anew fails where it is a socket
  if (path == "/dev/stderr") return fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
  return ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, mode);
}

std::uint64_t lines_in(std::string_view text) { return static_cast<std::uint64_t>(std::count(text.begin(), text.end(), '\n')); }

}  // namespace

struct LogWriter::State {
  // What the thread has in hand; of nobody else.
  std::string path;
  Options options;
  int descriptor = -1;
  bool inside_line = false;  // the file ends in a part of a line

  mutable std::mutex mutex;  // of the rest; never held across a system call on the file
  std::condition_variable wake, idle;
  std::deque<std::string> queue;
  Counts counts;
  std::uint64_t taken = 0, done = 0;  // blocks, for flush()
  std::uint64_t reopen_asked = 0, reopen_done = 0;
  bool stopping = false;
  bool retired = false;
  Duration patience = kStopWithin;  // of one that is retired
  bool give_up = false;
  bool ended = false;
  std::thread thread;

  ~State() {
    if (descriptor >= 0) ::close(descriptor);
  }
  bool reopen_wanted() const { return reopen_asked != reopen_done; }
  bool write_block(std::string_view block);  // false: gave up
  bool reopen_file(bool& another);  // false: the old file stays; `another`: what was opened is a file that begins, not the same again
  bool wait_to_retry(int error);    // false: give up
};

Result<std::unique_ptr<LogWriter>> LogWriter::open(const std::string& path, Options options) {
  const int descriptor = open_log_file(path, options.mode);
  if (descriptor < 0) return Error{path + ": " + std::strerror(errno), errno};
  auto state = std::make_shared<State>();
  state->path = path;
  state->options = std::move(options);
  if (!state->options.write_call) state->options.write_call = ::write;
  state->descriptor = descriptor;

  // Signals are main's: the thread is born with all of them blocked (a broken pipe is then an error, no signal).
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  state->thread = std::thread([state] { run(*state); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return std::unique_ptr<LogWriter>(new LogWriter(std::move(state)));
}

LogWriter::LogWriter(std::shared_ptr<State> state) : state_(std::move(state)) {}

LogWriter::~LogWriter() { stop(kStopWithin); }

void LogWriter::write(std::string_view lines) {
  if (lines.empty()) return;
  State& state = *state_;
  std::string block(lines);  // copied before the lock
  const std::lock_guard<std::mutex> lock(state.mutex);
  if (state.stopping || state.counts.queued_bytes + block.size() > state.options.queue_limit) {
    state.counts.dropped_lines += lines_in(lines);
    return;
  }
  state.counts.queued_bytes += block.size();
  ++state.taken;
  state.queue.push_back(std::move(block));
  state.wake.notify_one();
}

void LogWriter::reopen() {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  ++state_->reopen_asked;
  state_->wake.notify_one();
}

bool LogWriter::flush(Duration within) {
  State& state = *state_;
  std::unique_lock<std::mutex> lock(state.mutex);
  const std::uint64_t blocks = state.taken, reopened = state.reopen_asked;
  const auto reached = [&] { return state.done >= blocks && state.reopen_done >= reopened; };
  state.idle.wait_for(lock, within, [&] { return reached() || state.ended; });
  return reached();
}

void LogWriter::retire() {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  state_->stopping = state_->retired = true;
  state_->wake.notify_one();
}

bool LogWriter::ended() const {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  return state_->ended;
}

bool LogWriter::stop(Duration within) {
  if (stopped_) return true;
  stopped_ = true;
  State& state = *state_;
  bool ended = false;
  std::uint64_t left = 0;
  {
    std::unique_lock<std::mutex> lock(state.mutex);
    state.stopping = true;
    state.wake.notify_one();
    ended = state.idle.wait_for(lock, within, [&] { return state.ended; });
    if (!ended) {
      // Out of time. The thread may be between two tries, and ends at once; or inside the kernel, and is left there.
      state.give_up = true;
      state.wake.notify_one();
      ended = state.idle.wait_for(lock, std::chrono::milliseconds(100), [&] { return state.ended; });
    }
    for (const std::string& block : state.queue) state.counts.dropped_lines += lines_in(block);
    state.queue.clear();
    state.counts.queued_bytes = 0;
    left = state.taken - state.done;
  }
  ended ? state.thread.join() : state.thread.detach();
  return ended && left == 0;
}

LogWriter::Counts LogWriter::counts() const {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  return state_->counts;
}

void LogWriter::run(State& state) {
  std::unique_lock<std::mutex> lock(state.mutex);
  while (!state.give_up) {
    if (state.reopen_wanted()) {
      lock.unlock();
      bool another = false;
      if (state.reopen_file(another) && another) state.inside_line = false;
      lock.lock();
    } else if (!state.queue.empty()) {
      const std::string block = std::move(state.queue.front());
      state.queue.pop_front();
      state.counts.queued_bytes -= block.size();
      lock.unlock();
      const bool written = state.write_block(block);
      lock.lock();
      if (written) ++state.done;
    } else if (state.stopping) {
      break;
    } else {
      state.wake.wait(lock);
    }
    state.idle.notify_all();
  }
  // Whoever owns it may keep it for long: the file must not live on for that, nor what was not written go uncounted.
  for (const std::string& block : state.queue) state.counts.dropped_lines += lines_in(block);
  state.queue.clear();
  state.counts.queued_bytes = 0;
  ::close(std::exchange(state.descriptor, -1));
  state.ended = true;
  state.idle.notify_all();
}

bool LogWriter::State::write_block(std::string_view block) {
  while (!block.empty()) {
    const ssize_t written = options.write_call(descriptor, block.data(), block.size());
    const int error = written < 0 ? errno : EIO;
    if (written > 0) {
      block.remove_prefix(static_cast<std::size_t>(written));
      const std::lock_guard<std::mutex> lock(mutex);
      counts.written_bytes += static_cast<std::uint64_t>(written);
      counts.last_error = 0;
      inside_line = !block.empty() && block.data()[-1] != '\n';
      continue;
    }
    if (error == EINTR) continue;
    if (!wait_to_retry(error)) {
      const std::lock_guard<std::mutex> lock(mutex);
      counts.dropped_lines += lines_in(block);
      return false;
    }
    std::unique_lock<std::mutex> lock(mutex);
    if (!reopen_wanted()) continue;
    lock.unlock();
    bool another = false;
    if (!reopen_file(another) || !another || !inside_line) continue;
    // It does not begin with the rest of a line.
    block.remove_prefix(std::min(block.find('\n'), block.size() - 1) + 1);
    inside_line = false;
    lock.lock();
    ++counts.dropped_lines;
  }
  return true;
}

bool LogWriter::State::wait_to_retry(int error) {
  std::unique_lock<std::mutex> lock(mutex);
  ++counts.write_errors;
  counts.last_error = error;
  idle.notify_all();
  const bool called = wake.wait_for(lock, options.retry_after, [this] { return give_up || reopen_wanted(); });
  if (retired && !called && (patience -= options.retry_after) <= Duration::zero()) give_up = true;
  return !give_up;
}

bool LogWriter::State::reopen_file(bool& another) {
  std::uint64_t asked = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    asked = reopen_asked;
  }
  const int opened = open_log_file(path, options.mode);
  const int error = errno;
  if (opened >= 0) {
    struct stat before {
    }, after{};
    another =
        fstat(descriptor, &before) != 0 || fstat(opened, &after) != 0 || before.st_dev != after.st_dev || before.st_ino != after.st_ino;
    ::close(std::exchange(descriptor, opened));
  }
  const std::lock_guard<std::mutex> lock(mutex);
  reopen_done = asked;
  if (opened >= 0) {
    ++counts.reopened;
  } else {
    ++counts.write_errors;
    counts.last_error = error;
  }
  return opened >= 0;
}

}  // namespace weir
