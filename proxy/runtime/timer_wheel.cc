#include "proxy/runtime/timer_wheel.h"

#include <algorithm>
#include <bit>

namespace weir {

namespace {

constexpr std::int64_t kSlotCount = TimerWheel::kSlot.count();

}  // namespace

// Rounded up: the slot begins at the deadline or after it.
std::int64_t TimerWheel::tick_of(MonotonicTime deadline) const {
  const std::int64_t after = (deadline - start_).count();
  return after / kSlotCount + (after % kSlotCount > 0 ? 1 : 0);
}

void TimerWheel::add(Timer& timer, MonotonicTime now) {
  timer.sequence_ = ++sequence_;
  ++armed_;
  if (timer.deadline_ < now) timer.deadline_ = now;
  // While nothing was armed nobody advanced: catch up, or a near timer would start on a coarse level for nothing.
  if (armed_ == 1) current_ = std::max(current_, (now - start_) / kSlot);
  const std::int64_t tick = tick_of(timer.deadline_);
  if (timer.deadline_ == now || tick <= current_) {
    due_[1 - batch_].push_back(timer);
    next_added_ = start_;
  } else {
    next_added_ = std::min(next_added_, start_ + place(timer, tick) * kSlot);
  }
}

void TimerWheel::remove(Timer& timer) {
  timer.unlink();
  --armed_;
}

// Answers the tick at which that slot has to be looked at.
std::int64_t TimerWheel::place(Timer& timer, std::int64_t tick) {
  constexpr std::int64_t kFarthest = (std::int64_t{1} << (kFirstBits + kBits * (kLevels - 1))) - 1;
  const std::int64_t distance = std::min(tick - current_, kFarthest);
  const std::int64_t at = current_ + distance;
  int level = 0;
  while (level < kLevels - 1 && distance >> shift(level + 1) != 0) ++level;
  const auto position = static_cast<std::uint64_t>(at) >> shift(level);
  if (level == 0) {
    const auto slot = static_cast<unsigned>(position & 255);
    first_used_[slot / 64] |= std::uint64_t{1} << (slot % 64);
    first_[slot].push_back(timer);
    return at;
  }
  const auto slot = static_cast<unsigned>(position & 63);
  others_used_[level - 1] |= std::uint64_t{1} << slot;
  others_[level - 1][slot].push_back(timer);
  return static_cast<std::int64_t>(position << shift(level));
}

// The next used slot of level 0 after the current one, which itself is always done.
std::int64_t TimerWheel::next_in_first() {
  const auto from = static_cast<unsigned>(current_ + 1) & 255;
  for (unsigned looked = 0; looked < 256;) {
    const unsigned slot = (from + looked) & 255;
    const std::uint64_t word = first_used_[slot / 64] >> (slot % 64);
    if (word == 0) {
      looked += 64 - slot % 64;
      continue;
    }
    const unsigned skip = static_cast<unsigned>(std::countr_zero(word));
    looked += skip;
    if (looked >= 256) break;  // around the corner: a slot before `from`, seen at the start
    const unsigned found = slot + skip;
    if (!first_[found].empty()) return current_ + 1 + looked;
    first_used_[found / 64] &= ~(std::uint64_t{1} << (found % 64));
  }
  return kNoTick;
}

// The tick at which the next used slot of a coarser level begins.
std::int64_t TimerWheel::next_in(int level) {
  std::uint64_t& used = others_used_[level - 1];
  const std::int64_t group = current_ >> shift(level);
  while (used != 0) {
    const int from = static_cast<int>((group + 1) & 63);
    const int skip = std::countr_zero(std::rotr(used, from));
    const auto slot = static_cast<unsigned>((from + skip) & 63);
    if (!list(level, slot).empty()) return (group + 1 + skip) << shift(level);
    used &= ~(std::uint64_t{1} << slot);
  }
  return kNoTick;
}

std::int64_t TimerWheel::next_tick() {
  std::int64_t next = next_in_first();
  for (int level = 1; level < kLevels; ++level) next = std::min(next, next_in(level));
  return next;
}

MonotonicTime TimerWheel::next() {
  if (!due_[0].empty() || !due_[1].empty()) return start_;
  if (armed_ == 0) return kNever;
  const std::int64_t next = next_tick();
  return next == kNoTick ? kNever : start_ + next * kSlot;
}

void TimerWheel::pour(int level, unsigned slot) {
  List& from = list(level, slot);
  // What lies still farther than this wheel reaches may come back to the same list: pour what is there now, once.
  Timer* last = from.empty() ? nullptr : &from.back();
  while (last != nullptr) {
    Timer* timer = from.pop_front();
    if (timer == last) last = nullptr;
    place(*timer, std::max(tick_of(timer->deadline_), current_));
  }
}

void TimerWheel::advance(MonotonicTime now) {
  while (Timer* left = due_[batch_].pop_front()) due_[1 - batch_].push_back(*left);  // a batch not handed out in full
  batch_ = 1 - batch_;
  List& batch = due_[batch_];
  const std::int64_t target = (now - start_) / kSlot;
  for (std::int64_t next = armed_ == 0 ? kNoTick : next_tick(); next <= target; next = next_tick()) {
    current_ = next;
    for (int level = 1; level < kLevels; ++level) {
      const auto position = static_cast<std::uint64_t>(next) >> shift(level);
      if (position << shift(level) != static_cast<std::uint64_t>(next)) break;  // no slot of this level begins here
      pour(level, static_cast<unsigned>(position & 63));
    }
    List& slot = first_[static_cast<unsigned>(next) & 255];
    while (Timer* timer = slot.pop_front()) batch.push_back(*timer);
  }
  current_ = std::max(current_, target);
}

bool TimerWheel::pop_due(Callback& callback) {
  Timer* timer = due_[batch_].pop_front();
  if (timer == nullptr) return false;
  callback = timer->callback_;
  timer->armed_ = false;
  timer->deadline_ = kNever;
  --armed_;
  return true;
}

}  // namespace weir
