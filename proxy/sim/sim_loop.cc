#include "proxy/sim/sim_loop.h"

#include <algorithm>
#include <utility>

#include "proxy/base/check.h"

namespace weir {

namespace {

// Not zero, so that "now minus a window" stays positive and a default time is long past.
constexpr MonotonicTime kStart{std::chrono::seconds(1000)};
constexpr WallTime kEpoch{std::chrono::seconds(1767225600)};  // 2026-01-01T00:00:00Z

// So many events at one instant mean that somebody re-arms without end.
constexpr std::uint64_t kStuck = 10'000'000;

}  // namespace

SimWorld::SimWorld(std::uint64_t seed) : random_(seed), now_(kStart), hash_(0xcbf29ce484222325U) {}

SimWorld::~SimWorld() = default;

SimLoop& SimWorld::add_loop() {
  owned_.push_back(std::make_unique<SimLoop>(*this));
  return *owned_.back();
}

void SimWorld::add_loop(SimLoop& loop) {
  loop.index_ = loops_.size();
  loop.set_now(now_);
  loops_.push_back(&loop);
}

void SimWorld::remove_loop(SimLoop& loop) {
  for (auto entry = queue_.begin(); entry != queue_.end();) {
    entry = entry->second.loop == &loop ? queue_.erase(entry) : std::next(entry);
  }
  loops_.erase(std::find(loops_.begin(), loops_.end(), &loop));
}

WallTime SimWorld::wall_now() const { return kEpoch + (now_ - kStart); }

void SimWorld::note(std::uint64_t value) {
  hash_ ^= value;
  hash_ *= 0x9e3779b97f4a7c15U;
  hash_ ^= hash_ >> 29;
}

SimWorld::EventId SimWorld::add(MonotonicTime time, Event event) {
  const EventId id{time, ++sequence_};
  queue_.emplace(id, std::move(event));
  return id;
}

SimWorld::EventId SimWorld::schedule_at(SimLoop& loop, MonotonicTime time, std::function<void()> task) {
  return add(std::max(time, now_), Event{&loop, nullptr, std::move(task)});
}

std::size_t SimWorld::pending(const SimLoop& loop) const {
  return static_cast<std::size_t>(std::count_if(queue_.begin(), queue_.end(), [&](const auto& one) { return one.second.loop == &loop; }));
}

void SimWorld::cancel(EventId id) {
  if (id) queue_.erase(id);
}

void SimWorld::set_now(MonotonicTime now) {
  if (now <= now_) return;
  now_ = now;
  events_at_instant_ = 0;
  for (SimLoop* loop : loops_) loop->set_now(now);
}

bool SimWorld::step(MonotonicTime limit) {
  if (queue_.empty() || queue_.begin()->first.at > limit) return false;
  WEIR_CHECK(!running_);
  auto node = queue_.extract(queue_.begin());
  const Event& event = node.mapped();
  if (event.loop->stopped_) return true;
  set_now(node.key().at);
  WEIR_CHECK(++events_at_instant_ < kStuck);
  ++events_;
  note(static_cast<std::uint64_t>(now_.time_since_epoch().count()));
  note(event.loop->index_ * 2 + (event.timer != nullptr ? 1 : 0));
  running_ = true;
  event.loop->dispatch(event.timer, event.task);
  running_ = false;
  return true;
}

void SimWorld::run_ready() {
  while (step(now_)) {
  }
}

void SimWorld::advance(Duration by) { advance_to(now_ + by); }

void SimWorld::advance_to(MonotonicTime time) {
  while (step(time)) {
  }
  set_now(time);
}

bool SimWorld::run_until_idle(Duration limit) {
  const MonotonicTime end = now_ + limit;
  while (step(end)) {
  }
  return queue_.empty();
}

bool SimWorld::run_until(const std::function<bool()>& done, Duration limit) {
  const MonotonicTime end = now_ + limit;
  while (!done()) {
    if (!step(end)) return false;
  }
  return true;
}

SimLoop::SimLoop() : own_world_(std::make_unique<SimWorld>()), world_(*own_world_) { world_.add_loop(*this); }

SimLoop::SimLoop(SimWorld& world) : world_(world) { world_.add_loop(*this); }

SimLoop::~SimLoop() {
  finish_callback();
  world_.remove_loop(*this);
}

std::unique_ptr<IoWatch> SimLoop::watch(int, IoHandler&) { check_failed("a simulated loop has no descriptors", __FILE__, __LINE__); }

void SimLoop::post(std::function<void()> task) {
  if (!stopped_) world_.schedule_at(*this, world_.now(), std::move(task));
}

void SimLoop::run() {
  stopped_ = false;
  while (!stopped_ && world_.step(kNever)) {
  }
}

void SimLoop::stop() { stopped_ = true; }

void SimLoop::arm_timer(Timer& timer) { timer.sequence_ = world_.add(timer.deadline_, SimWorld::Event{this, &timer, {}}).sequence; }

void SimLoop::disarm_timer(Timer& timer) { world_.queue_.erase({timer.deadline_, timer.sequence_}); }

void SimLoop::request_turn() {
  if (std::exchange(turn_requested_, true)) return;
  world_.schedule_at(*this, world_.now(), [this] { turn_requested_ = false; });
}

void SimLoop::dispatch(Timer* timer, const std::function<void()>& task) {
  begin_callback();
  if (timer != nullptr) {
    timer->armed_ = false;
    timer->deadline_ = kNever;
    const Callback callback = timer->callback_;
    callback();
  } else {
    task();
  }
  finish_callback();
}

}  // namespace weir
