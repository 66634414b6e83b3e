#include "proxy/runtime/timer_wheel.h"

#include <algorithm>
#include <bit>

namespace weir {

std::uint64_t TimerWheel::tick_of(MonotonicTime deadline) const {
  if (deadline <= start_) return 0;
  const auto since = static_cast<std::uint64_t>((deadline - start_).count());
  const auto slot = static_cast<std::uint64_t>(kSlot.count());
  return since / slot + (since % slot == 0 ? 0 : 1);
}

void TimerWheel::add(Timer& timer, MonotonicTime now) {
  // While nothing was armed nobody advanced: catch up, or the timer would be dealt out level by level for nothing.
  if (armed_ == 0 && now > start_) now_tick_ = std::max(now_tick_, static_cast<std::uint64_t>((now - start_) / kSlot));
  place(timer);
  ++armed_;
}

void TimerWheel::remove(Timer& timer) {
  if (!timer.due_) --armed_;
  timer.due_ = false;
  static_cast<ListNode&>(timer).unlink();
}

bool TimerWheel::pop_due(MonotonicTime now, Callback& callback, Duration& late) {
  Timer* timer = due_.pop_front();
  if (timer == nullptr) return false;
  late = std::max(now - timer->deadline_ - kSlot, Duration::zero());
  callback = timer->callback_;
  timer->due_ = false;
  timer->armed_ = false;
  timer->deadline_ = kNever;
  return true;
}

void TimerWheel::place(Timer& timer) {
  const std::uint64_t tick = std::max(tick_of(timer.deadline_), now_tick_);
  for (unsigned level = 0; level < kLevels; ++level) {
    const unsigned shift = kBits * level;
    // In this level when it falls within the level's present turn: then slots only ever lie ahead.
    const bool last = level + 1 == kLevels;
    if (!last && (tick >> (shift + kBits)) != (now_tick_ >> (shift + kBits))) continue;
    std::uint64_t slot = tick >> shift;
    const std::uint64_t turn_end = (((now_tick_ >> shift) | (kSlots - 1)));
    if (last) slot = std::min(slot, turn_end);
    const auto index = static_cast<unsigned>(slot & (kSlots - 1));
    levels_[level].slots[index].push_back(timer);
    levels_[level].used[index / 64] |= std::uint64_t{1} << (index % 64);
    return;
  }
}

unsigned TimerWheel::next_used(const Level& level, unsigned from) {
  for (unsigned word = from / 64; word < kSlots / 64; ++word) {
    std::uint64_t bits = level.used[word];
    if (word == from / 64) bits &= ~std::uint64_t{0} << (from % 64);
    if (bits != 0) return word * 64 + static_cast<unsigned>(std::countr_zero(bits));
  }
  return kSlots;
}

MonotonicTime TimerWheel::next() const {
  if (has_due()) return start_ + kSlot * static_cast<std::int64_t>(now_tick_);
  if (armed_ == 0) return kNever;
  for (unsigned level = 0; level < kLevels; ++level) {
    const unsigned shift = kBits * level;
    // An upper level's present slot was dealt out when its time began; what is dealt out next lies after it.
    const auto from = static_cast<unsigned>((now_tick_ >> shift) & (kSlots - 1)) + (level == 0 ? 0 : 1);
    const unsigned slot = from < kSlots ? next_used(levels_[level], from) : kSlots;
    if (slot == kSlots) continue;
    const std::uint64_t tick = ((now_tick_ >> (shift + kBits)) << (shift + kBits)) + (static_cast<std::uint64_t>(slot) << shift);
    return start_ + kSlot * static_cast<std::int64_t>(tick);
  }
  // Only the top level's present slot is left (deadlines beyond its turn): look again when the turn ends.
  const std::uint64_t turn = std::uint64_t{1} << (kBits * kLevels);
  return start_ + kSlot * static_cast<std::int64_t>((now_tick_ / turn + 1) * turn);
}

void TimerWheel::deal_out(unsigned level, unsigned slot) {
  levels_[level].used[slot / 64] &= ~(std::uint64_t{1} << (slot % 64));
  IntrusiveList<Timer> dealt;
  while (Timer* timer = levels_[level].slots[slot].pop_front()) dealt.push_back(*timer);
  while (Timer* timer = dealt.pop_front()) place(*timer);
}

void TimerWheel::advance(MonotonicTime now) {
  if (now < start_) return;
  const auto target = static_cast<std::uint64_t>((now - start_) / kSlot);  // rounded down: a slot's whole time has come
  while (now_tick_ <= target) {
    if (armed_ == 0) {
      now_tick_ = target + 1;
      return;
    }
    const auto from = static_cast<unsigned>(now_tick_ & (kSlots - 1));
    const unsigned slot = next_used(levels_[0], from);
    const std::uint64_t turn_start = now_tick_ & ~std::uint64_t{kSlots - 1};
    if (slot < kSlots) {
      const std::uint64_t tick = turn_start + slot;
      if (tick > target) {
        now_tick_ = target + 1;
        if ((now_tick_ & (kSlots - 1)) != 0) return;
      } else {
        levels_[0].used[slot / 64] &= ~(std::uint64_t{1} << (slot % 64));
        while (Timer* timer = levels_[0].slots[slot].pop_front()) {
          timer->due_ = true;
          --armed_;
          due_.push_back(*timer);
        }
        now_tick_ = tick + 1;
        if ((now_tick_ & (kSlots - 1)) != 0) continue;
      }
    } else {
      now_tick_ = std::min(target + 1, turn_start + kSlots);
      if ((now_tick_ & (kSlots - 1)) != 0) return;
    }
    // A turn of level 0 begins: deal out what the upper levels keep for it, the highest first.
    unsigned levels = 1;
    while (levels < kLevels && ((now_tick_ >> (kBits * levels)) & (kSlots - 1)) == 0) ++levels;
    for (unsigned level = std::min(levels, kLevels - 1); level >= 1; --level) {
      deal_out(level, static_cast<unsigned>((now_tick_ >> (kBits * level)) & (kSlots - 1)));
    }
  }
}

}  // namespace weir
