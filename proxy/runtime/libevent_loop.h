// The real EventLoop, over libevent: one NOLOCK base a loop, level-triggered, reading registered once, timers on the TimerWheel.
// Whoever runs a thread owns its loop. Only this pair of files and main read clocks; only libevent_loop.cc includes libevent.
// It makes no system call to arm a timer, to defer or to bury.
#pragma once

#include <csignal>
#include <functional>
#include <initializer_list>
#include <memory>

#include "proxy/runtime/event_loop.h"

namespace weir {

class RealLoop : public EventLoop {
 public:
  // Callbacks dispatched so far; any thread. The watchdog is fed only while every worker's number moves.
  virtual std::uint64_t turns() const = 0;
  // `handler` is called on this loop, in a callback, for each of these signals; they are blocked in the calling thread from then on, so call
  // it before other threads are started. Once per loop.
  virtual void on_signals(std::initializer_list<int> signals, std::function<void(int)> handler) = 0;
};

// CHECKs that libevent gives a base: without one there is no program.
std::unique_ptr<RealLoop> make_libevent_loop();

// Entropy for seeding generators, from the kernel. Not on the data path.
std::uint64_t entropy();

// The instants, for those without a loop (the log's own thread, start-up).
MonotonicTime monotonic_now();
WallTime wall_now();

}  // namespace weir
