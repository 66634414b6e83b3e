#include "proxy/runtime/event_loop.h"

namespace weir {

void Timer::arm(Duration after) {
  const MonotonicTime now = loop_.now();
  if (after <= Duration::zero()) {
    arm_at(now);
  } else if (after >= kNever - now) {  // farther than time goes
    arm_at(kNever);
  } else {
    arm_at(now + after);
  }
}

void Timer::arm_at(MonotonicTime deadline) {
  disarm();
  if (deadline == kNever) return;
  deadline_ = deadline;
  loop_.arm_timer(*this);
  armed_ = true;
}

void Timer::disarm_armed() {
  loop_.disarm_timer(*this);
  armed_ = false;
  deadline_ = kNever;
}

void Deferred::schedule() {
  if (linked()) return;
  loop_.deferred_.push_back(*this);
  if (!loop_.in_callback_) loop_.request_turn();
}

void EventLoop::bury(Buried& object) {
  WEIR_CHECK(!object.is_buried_);
  object.is_buried_ = true;
  object.next_buried_ = graveyard_;
  graveyard_ = &object;
  if (!in_callback_) request_turn();
}

void EventLoop::finish_callback() {
  in_callback_ = true;  // what runs here may defer and bury again: no turn of its own is needed
  while (has_unfinished()) {
    while (Deferred* next = deferred_.pop_front()) next->callback_();
    while (graveyard_ != nullptr) {
      Buried* dead = graveyard_;
      graveyard_ = dead->next_buried_;
      dead->free_buried();
    }
  }
  in_callback_ = false;
}

void EventLoop::settle() {
  WEIR_CHECK(!in_callback_);
  finish_callback();
}

}  // namespace weir
