#include "proxy/runtime/libevent_loop.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <ctime>
#include <mutex>
#include <vector>

#include "proxy/base/cache_line.h"
#include "proxy/base/check.h"
#include "proxy/runtime/libevent_memory.h"
#include "proxy/runtime/timer_wheel.h"

namespace weir {
namespace {

std::int64_t read_clock(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

class LibeventLoop;

// What an event needs is in its first two cache lines: the handler and the event, whose loop is the one that runs.
class alignas(kCacheLine) LibeventWatch final : public IoWatch {
 public:
  LibeventWatch(event_base* base, int fd, IoHandler& handler) : handler_(handler) {
    event_assign(&read_, base, fd, EV_READ | EV_PERSIST, &LibeventWatch::on_event, this);
  }
  ~LibeventWatch() override {
    if (reading_) event_del(&read_);
    if (write_ != nullptr) event_del(write_.get());
  }
  void want(bool readable, bool writable) override {
    if (readable != reading_) {
      readable ? event_add(&read_, nullptr) : event_del(&read_);
      reading_ = readable;
    }
    if (writable == writing_) return;
    if (write_ == nullptr) {  // most connections never wait to write: they carry no second event
      write_ = std::make_unique<event>();
      event_assign(write_.get(), event_get_base(&read_), event_get_fd(&read_), EV_WRITE | EV_PERSIST, &LibeventWatch::on_event, this);
    }
    writable ? event_add(write_.get(), nullptr) : event_del(write_.get());
    writing_ = writable;
  }

 private:
  static void on_event(evutil_socket_t, short what, void* self);
  IoHandler& handler_;
  event read_{};
  std::unique_ptr<event> write_;
  bool reading_ = false;
  bool writing_ = false;
};

class LibeventLoop final : public RealLoop {
 public:
  LibeventLoop();
  ~LibeventLoop() override;

  WallTime wall_now() const override {
    if (wall_of_ != now()) {
      wall_of_ = now();
      wall_ = weir::wall_now();
    }
    return wall_;
  }
  std::unique_ptr<IoWatch> watch(int fd, IoHandler& handler) override { return std::make_unique<LibeventWatch>(base_, fd, handler); }
  static LibeventLoop& running() { return *running_; }  // on this thread; inside its callbacks
  void post(std::function<void()> task) override;
  void run() override;
  void stop() override {
    stopped_.store(true, std::memory_order_release);
    event_base_loopbreak(base_);
  }
  std::uint64_t turns() const override { return turns_.load(std::memory_order_relaxed); }
  void on_signals(std::initializer_list<int> signals, std::function<void(int)> handler) override;

  // Every callback of the loop goes through here.
  template <class Body>
  void dispatch(Body&& body) {
    set_now(monotonic_now());
    begin_callback();
    turns_.store(turns_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    body();
    finish_callback();
    arm_wheel(wheel_.take_next_added());
  }

 private:
  void arm_timer(Timer& timer) override { wheel_.add(timer, now()); }
  void disarm_timer(Timer& timer) override { wheel_.remove(timer); }
  void request_turn() override { event_active(&turn_, 0, 0); }
  void arm_wheel(MonotonicTime next) {
    if (next < wheel_armed_for_) wake_at(next);  // else an earlier wake-up will look again
  }
  void wake_at(MonotonicTime next);
  void on_wheel();
  void on_posted();
  void on_signal();
  static void at_turn(evutil_socket_t, short, void* self) {
    static_cast<LibeventLoop*>(self)->dispatch([] {});
  }
  static void at_wheel(evutil_socket_t, short, void* self) { static_cast<LibeventLoop*>(self)->on_wheel(); }
  static void at_posted(evutil_socket_t, short, void* self) { static_cast<LibeventLoop*>(self)->on_posted(); }
  static void at_signal(evutil_socket_t, short, void* self) { static_cast<LibeventLoop*>(self)->on_signal(); }

  static thread_local LibeventLoop* running_;
  event_base* base_;
  TimerWheel wheel_;
  MonotonicTime wheel_armed_for_ = kNever;
  event wheel_event_{};
  event turn_{};
  event posted_event_{};
  int posted_fd_;
  std::mutex posted_mutex_;
  std::vector<std::function<void()>> posted_;
  std::atomic<bool> stopped_{false};
  std::atomic<std::uint64_t> turns_{0};
  mutable MonotonicTime wall_of_ = kNever;
  mutable WallTime wall_{};
  int signal_fd_ = -1;
  event signal_event_{};
  std::function<void(int)> signal_handler_;
};

thread_local LibeventLoop* LibeventLoop::running_ = nullptr;

void LibeventWatch::on_event(evutil_socket_t, short what, void* self) {
  auto* watch = static_cast<LibeventWatch*>(self);
  // The handler may end the watch: nothing of it is touched after the call.
  LibeventLoop::running().dispatch([&] { (what & EV_WRITE) != 0 ? watch->handler_.on_writable() : watch->handler_.on_readable(); });
}

event_base* make_base() {
  event_config* config = event_config_new();
  WEIR_CHECK(config != nullptr);
  // NOLOCK: a base belongs to one thread. NO_CACHE_TIME is not set: libevent's own time only drives the wheel's event.
  event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
  event_base* base = event_base_new_with_config(config);
  event_config_free(config);
  WEIR_CHECK(base != nullptr);
  return base;
}

LibeventLoop::LibeventLoop() : base_(make_base()), wheel_(monotonic_now()), posted_fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  WEIR_CHECK(posted_fd_ >= 0);
  set_now(monotonic_now());
  event_assign(&wheel_event_, base_, -1, 0, &LibeventLoop::at_wheel, this);
  event_assign(&turn_, base_, -1, 0, &LibeventLoop::at_turn, this);
  event_assign(&posted_event_, base_, posted_fd_, EV_READ | EV_PERSIST, &LibeventLoop::at_posted, this);
  event_add(&posted_event_, nullptr);
}

LibeventLoop::~LibeventLoop() {
  settle();
  event_del(&wheel_event_);
  event_del(&turn_);
  event_del(&posted_event_);
  if (signal_fd_ >= 0) {
    event_del(&signal_event_);
    close(signal_fd_);
  }
  close(posted_fd_);
  event_base_free(base_);
}

void LibeventLoop::run() {
  if (stopped_.load(std::memory_order_acquire)) return;
  dispatch([] {});                                       // what was deferred, buried or armed before the loop ran
  if (stopped_.load(std::memory_order_acquire)) return;  // there already: libevent forgets a break made before its loop
  running_ = this;
  event_base_loop(base_, EVLOOP_NO_EXIT_ON_EMPTY);
}

void LibeventLoop::post(std::function<void()> task) {
  if (stopped_.load(std::memory_order_acquire)) return;
  bool first = false;
  {
    const std::lock_guard<std::mutex> lock(posted_mutex_);
    first = posted_.empty();
    posted_.push_back(std::move(task));
  }
  if (!first) return;  // the loop has been woken for an earlier one
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(posted_fd_, &one, sizeof one);
}

void LibeventLoop::on_posted() {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(posted_fd_, &count, sizeof count);
  std::vector<std::function<void()>> tasks;
  {
    const std::lock_guard<std::mutex> lock(posted_mutex_);
    tasks.swap(posted_);
  }
  for (auto& task : tasks) {
    if (stopped_.load(std::memory_order_relaxed)) return;
    dispatch([&] {
      task();
      task = nullptr;  // what it captured ends inside the callback
    });
  }
}

void LibeventLoop::wake_at(MonotonicTime next) {
  wheel_armed_for_ = next;
  const auto wait = std::max<Duration>(next - now(), Duration::zero());
  const auto us = std::chrono::ceil<std::chrono::microseconds>(wait).count();
  const timeval after{static_cast<time_t>(us / 1'000'000), static_cast<suseconds_t>(us % 1'000'000)};
  event_add(&wheel_event_, &after);
}

void LibeventLoop::on_wheel() {
  wheel_armed_for_ = kNever;
  set_now(monotonic_now());  // also when nothing turns out to be due: arm_wheel() reckons from now()
  wheel_.advance(now());
  Callback callback;
  while (wheel_.pop_due(callback)) {
    dispatch([&] { callback(); });
    if (stopped_.load(std::memory_order_relaxed)) return;
  }
  arm_wheel(wheel_.next());
}

void LibeventLoop::on_signals(std::initializer_list<int> signals, std::function<void(int)> handler) {
  WEIR_CHECK(signal_fd_ < 0);
  sigset_t set;
  sigemptyset(&set);
  for (const int number : signals) sigaddset(&set, number);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal_fd_ = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  WEIR_CHECK(signal_fd_ >= 0);
  signal_handler_ = std::move(handler);
  event_assign(&signal_event_, base_, signal_fd_, EV_READ | EV_PERSIST, &LibeventLoop::at_signal, this);
  event_add(&signal_event_, nullptr);
}

void LibeventLoop::on_signal() {
  signalfd_siginfo info{};
  while (read(signal_fd_, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    dispatch([&] { signal_handler_(static_cast<int>(info.ssi_signo)); });
  }
}

}  // namespace

std::unique_ptr<RealLoop> make_libevent_loop() {
  static std::once_flag once;
  std::call_once(once, [] { event_set_mem_functions(&LibeventMemory::allocate, &LibeventMemory::reallocate, &LibeventMemory::release); });
  return std::make_unique<LibeventLoop>();
}

std::uint64_t entropy() {
  std::uint64_t value = 0;
  WEIR_CHECK(getrandom(&value, sizeof value, 0) == static_cast<ssize_t>(sizeof value));
  return value;
}

MonotonicTime monotonic_now() { return MonotonicTime(Duration(read_clock(CLOCK_MONOTONIC))); }
WallTime wall_now() { return WallTime(Duration(read_clock(CLOCK_REALTIME))); }

}  // namespace weir
