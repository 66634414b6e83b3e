// TimerWheel: all timers of one real loop, in slots of 8 ms: arming and disarming are O(1), allocate nothing and ask the kernel nothing.
// The loop owns it and drives it with one timer of its own, armed for next(). Timers are listed by intrusion and unlink themselves.
// It never fires a timer early, never ticks while nothing is armed, and never calls back itself: the loop pops what is due.
//
// Four levels of 256 slots (2 s, 9 min, 37 h, 400 days); a slot of an upper level is dealt out to the lower ones when its time begins
// (Varghese and Lauck 1987, scheme 7). Deadlines beyond the top level are never reached.
#pragma once

#include <array>
#include <cstdint>

#include "proxy/base/time.h"
#include "proxy/runtime/event_loop.h"

namespace weir {

class TimerWheel {
 public:
  static constexpr Duration kSlot = std::chrono::milliseconds(8);

  explicit TimerWheel(MonotonicTime start) : start_(start) {}

  void add(Timer& timer, MonotonicTime now);
  void remove(Timer& timer);
  // When advance() has something to do next; kNever when no timer is armed. May be early (a slot emptied since), never late.
  MonotonicTime next() const;
  // Everything due at `now` becomes poppable, in order of slot, then of arming.
  void advance(MonotonicTime now);
  // Takes the next due timer out, disarmed; false when none is left. `late` is how long ago its slot ended.
  bool pop_due(MonotonicTime now, Callback& callback, Duration& late);
  bool has_due() const { return !const_cast<IntrusiveList<Timer>&>(due_).empty(); }

 private:
  static constexpr unsigned kBits = 8;
  static constexpr unsigned kSlots = 1U << kBits;
  static constexpr unsigned kLevels = 4;

  struct Level {
    std::array<IntrusiveList<Timer>, kSlots> slots;
    std::array<std::uint64_t, kSlots / 64> used{};  // a bit may outlive its slot's last timer; it is cleared when met
  };

  std::uint64_t tick_of(MonotonicTime deadline) const;  // rounded up: never early
  void place(Timer& timer);
  void deal_out(unsigned level, unsigned slot);
  // Slots from `from` on, within this turn of the level, to the first used one; kSlots when there is none.
  static unsigned next_used(const Level& level, unsigned from);

  MonotonicTime start_;
  std::uint64_t now_tick_ = 0;  // all slots before it are empty
  std::size_t armed_ = 0;       // in slots, not in due_
  std::array<Level, kLevels> levels_;
  IntrusiveList<Timer> due_;
};

}  // namespace weir
