// EventLoop: the one place where time passes, timers fire and descriptors become ready; one loop per thread.
// Its owner (worker, main, a simulated world) creates it first and destroys it last; everything registered with it is borrowed
// and unregisters itself on destruction. It never calls back inside a registering call, and nothing dies inside a callback.
//
// What one callback sees. `now()` is read once before the callback and stands still within it. After *each* callback, before
// the next event is dispatched, the loop runs what was deferred (in order, until none is left) and then frees the graveyard.
// So an object that was dropped in a callback can be reached by no later timer, descriptor or deferred call: law 4 of
// proxy/chain/link.h. Two implementations: libevent_loop.h (real) and proxy/sim/sim_loop.h (virtual time).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "proxy/base/callback.h"
#include "proxy/base/check.h"
#include "proxy/base/intrusive_list.h"
#include "proxy/base/time.h"

namespace weir {

class EventLoop;

// Something whose memory is given back by the loop after the current callback. A dropped object hands itself to bury() and
// must be silent from then on. bury() is idempotent per object only in the sense that burying twice is a failed CHECK.
class Buried {
 public:
  Buried() = default;
  Buried(const Buried&) = delete;
  Buried& operator=(const Buried&) = delete;

 protected:
  virtual ~Buried() = default;

 private:
  friend class EventLoop;
  virtual void free_buried() noexcept = 0;  // ends *this and returns its memory
  Buried* next_buried_ = nullptr;
  bool is_buried_ = false;
};

// A one-shot timer, a member of what it wakes; destruction disarms it. Deadlines are kept to within one wheel slot (8 ms) and
// never fire early. Arming an armed timer moves it. In a simulated loop deadlines are exact.
class Timer : private ListNode {
 public:
  Timer(EventLoop& loop, Callback callback) : loop_(loop), callback_(callback) {}
  ~Timer() { disarm(); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  void arm(Duration after);             // after <= 0 fires on the next turn, never inside arm()
  void arm_at(MonotonicTime deadline);  // kNever disarms
  void disarm() {
    if (armed_) disarm_armed();
  }
  bool armed() const { return armed_; }
  MonotonicTime deadline() const { return deadline_; }
  EventLoop& loop() const { return loop_; }

 private:
  friend class EventLoop;
  friend class TimerWheel;
  friend class SimLoop;
  template <class, class>
  friend class IntrusiveList;
  void disarm_armed();
  EventLoop& loop_;
  Callback callback_;
  MonotonicTime deadline_ = kNever;
  std::uint64_t sequence_ = 0;  // arming order, the tie-break among equal deadlines
  bool armed_ = false;
};

// Runs once, after the current callback and before the graveyard is freed; outside a callback, on the next turn.
// A member of what it wakes; destruction cancels it, scheduling twice is scheduling once.
class Deferred : private ListNode {
 public:
  Deferred(EventLoop& loop, Callback callback) : loop_(loop), callback_(callback) {}
  void schedule();
  void cancel() { unlink(); }
  bool scheduled() const { return linked(); }

 private:
  friend class EventLoop;
  template <class, class>
  friend class IntrusiveList;
  EventLoop& loop_;
  Callback callback_;
};

// Who is told that a descriptor is ready (level-triggered).
class IoHandler {
 public:
  virtual void on_readable() = 0;
  virtual void on_writable() = 0;

 protected:
  ~IoHandler() = default;
};

// A registration of one descriptor; the descriptor stays its owner's and must outlive the watch. Destruction unregisters.
class IoWatch {
 public:
  virtual ~IoWatch() = default;
  virtual void want(bool readable, bool writable) = 0;  // no system call when nothing changes
};

class EventLoop {
 public:
  virtual ~EventLoop() = default;
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  MonotonicTime now() const { return now_; }
  virtual WallTime wall_now() const = 0;  // the same instant as now(); cached per callback

  // The real loop only; a simulated loop has no descriptors (CHECK).
  virtual std::unique_ptr<IoWatch> watch(int fd, IoHandler& handler) = 0;

  // The only thread-safe member: runs `task` on this loop's thread on a later turn. Tasks posted after stop() are dropped.
  virtual void post(std::function<void()> task) = 0;

  virtual void run() = 0;   // until stop(); on the calling thread
  virtual void stop() = 0;  // from the loop's own thread

  void bury(Buried& object);

  // Outside any callback: runs what was deferred and frees the graveyard now. For owners that end their objects after run(),
  // before the memory pools that those objects came from.
  void settle();

 protected:
  EventLoop() = default;

  // Implementations wrap every dispatch: set_now(), begin_callback(), call back, finish_callback().
  void begin_callback() {
    DCHECK(!in_callback_);
    in_callback_ = true;
  }
  void set_now(MonotonicTime now) { now_ = now; }
  void finish_callback();
  bool has_unfinished() const { return graveyard_ != nullptr || !const_cast<IntrusiveList<Deferred>&>(deferred_).empty(); }

  // A Deferred scheduled, or an object buried, outside any callback needs a turn of its own.
  virtual void request_turn() = 0;
  bool in_callback_ = false;

 private:
  friend class Timer;
  friend class Deferred;
  virtual void arm_timer(Timer& timer) = 0;     // timer.deadline_ is set, timer is not armed
  virtual void disarm_timer(Timer& timer) = 0;  // timer is armed

  MonotonicTime now_{};
  IntrusiveList<Deferred> deferred_;
  Buried* graveyard_ = nullptr;
};

}  // namespace weir
