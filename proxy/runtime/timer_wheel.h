// TimerWheel: the armed timers of one loop, in 8 ms slots of four levels; arming and disarming are O(1) and allocate nothing.
// The loop owns it, tells it the time and wakes up when it asks to; timers are borrowed and unlink themselves.
// It never fires early, never calls a timer itself, and never asks for a wake-up while nothing is armed.
//
// Level 0 holds the next 2 s slot by slot; each further level is 64 times coarser or so (2 s, 131 s, 2.3 h a slot) and is poured into
// the finer ones when its slot begins. Whatever lies farther than six days waits in the last slot and is sorted again there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "proxy/base/intrusive_list.h"
#include "proxy/base/time.h"
#include "proxy/runtime/event_loop.h"

namespace weir {

class TimerWheel {
 public:
  static constexpr Duration kSlot = 8ms;

  explicit TimerWheel(MonotonicTime start) : start_(start) {}

  // `now` is the loop's; the timer's deadline is set. One that has passed is due at once.
  void add(Timer& timer, MonotonicTime now);
  void remove(Timer& timer);
  std::size_t armed() const { return armed_; }

  // When to call advance() next: kNever while nothing is armed, the wheel's start when something is due already.
  // Never later than needed; earlier only where a slot of a coarser level has to be poured.
  MonotonicTime next();
  // The same of what was added since the last time it was asked: whoever means to wake up by next() need look at this alone.
  MonotonicTime take_next_added() { return std::exchange(next_added_, kNever); }

  // Time is `now`: what is due becomes the batch, which pop_due() hands out one by one, disarmed. A timer armed meanwhile
  // is never part of it, so that one that re-arms itself for now cannot keep the loop from its other events.
  void advance(MonotonicTime now);
  bool pop_due(Callback& callback);  // false when the batch is at its end

 private:
  static constexpr int kLevels = 4;
  static constexpr unsigned kFirstBits = 8;  // 256 slots in level 0
  static constexpr unsigned kBits = 6;       // 64 in the others
  static constexpr std::int64_t kNoTick = INT64_MAX;
  using List = IntrusiveList<Timer>;

  static constexpr unsigned shift(int level) { return level == 0 ? 0 : kFirstBits + kBits * static_cast<unsigned>(level - 1); }
  std::int64_t place(Timer& timer, std::int64_t tick);
  List& list(int level, unsigned slot) { return level == 0 ? first_[slot] : others_[level - 1][slot]; }
  std::int64_t next_tick();
  std::int64_t next_in_first();
  std::int64_t next_in(int level);
  void pour(int level, unsigned slot);
  std::int64_t tick_of(MonotonicTime deadline) const;

  MonotonicTime start_;
  MonotonicTime next_added_ = kNever;
  std::int64_t current_ = 0;  // the last tick done
  std::size_t armed_ = 0;
  std::uint64_t sequence_ = 0;
  // A bit for each slot that may hold something: cleared when a look finds it empty, so that removing needs no look.
  std::uint64_t first_used_[4] = {};
  std::uint64_t others_used_[kLevels - 1] = {};
  List first_[256];
  List others_[kLevels - 1][64];
  List due_[2];  // the batch, and what became due since; their roles change
  unsigned batch_ = 0;
};

}  // namespace weir
