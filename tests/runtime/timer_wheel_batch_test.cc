#include "proxy/runtime/timer_wheel.h"

#include <catch2/catch.hpp>
#include <deque>
#include <optional>
#include <vector>

#include "proxy/base/random.h"
#include "tests/support/allocation_count.h"

using namespace weir;

namespace {

// A loop around a wheel, driven by hand.
class WheelLoop final : public EventLoop {
 public:
  explicit WheelLoop(MonotonicTime start) : wheel(start) { set_now(start); }
  WallTime wall_now() const override { return {}; }
  std::unique_ptr<IoWatch> watch(int, IoHandler&) override { return nullptr; }
  void post(std::function<void()>) override {}
  void run() override {}
  void stop() override {}
  void request_turn() override {}
  void arm_timer(Timer& timer) override { wheel.add(timer, now()); }
  void disarm_timer(Timer& timer) override { wheel.remove(timer); }

  // One wake-up; returns how many fired.
  int wake_at(MonotonicTime time) {
    set_now(time);
    wheel.advance(time);
    int count = 0;
    Callback callback;
    while (wheel.pop_due(callback)) {
      callback();
      ++count;
    }
    return count;
  }

  TimerWheel wheel;
};

struct Alarm {
  explicit Alarm(EventLoop& loop) : timer(loop, Callback::to<&Alarm::ring>(this)) {}
  void ring() {
    ++rings;
    rung_at = timer.loop().now();
    if (again) timer.arm(*again);
  }
  Timer timer;
  int rings = 0;
  MonotonicTime rung_at{};
  std::optional<Duration> again;
};

constexpr MonotonicTime kStart{std::chrono::seconds(12345) + 3ms};

}  // namespace

TEST_CASE("the wheel asks for nothing while nothing is armed") {
  WheelLoop loop(kStart);
  CHECK(loop.wheel.next() == kNever);
  Alarm a(loop);
  a.timer.arm(1s);
  CHECK(loop.wheel.next() == kStart + 1s);
  a.timer.disarm();
  CHECK(loop.wheel.next() == kNever);
  CHECK(loop.wheel.armed() == 0);
}

TEST_CASE("a timer fires in the slot that begins at its deadline or after it") {
  WheelLoop loop(kStart);
  for (const Duration after : {Duration(1ns), Duration(1ms), Duration(8ms), Duration(8ms + 1ns), Duration(2040ms), Duration(2047ms),
                               Duration(2048ms), Duration(2049ms), Duration(131s), Duration(2h), Duration(3h), Duration(200h)}) {
    Alarm a(loop);
    a.timer.arm(after);
    const MonotonicTime deadline = loop.now() + after;
    while (a.rings == 0) {
      const MonotonicTime wake = loop.wheel.next();
      REQUIRE(wake != kNever);
      loop.wake_at(std::max(wake, loop.now()));
    }
    CHECK(a.rung_at >= deadline);
    CHECK(a.rung_at < deadline + TimerWheel::kSlot);
    CHECK(loop.wheel.next() == kNever);
  }
}

TEST_CASE("what is armed for now or the past is due at once, but not in the same batch") {
  WheelLoop loop(kStart);
  Alarm a(loop);
  a.again = Duration(0);
  a.timer.arm(-1s);
  CHECK(loop.wheel.next() == kStart);
  CHECK(loop.wake_at(kStart) == 1);
  CHECK(loop.wheel.next() == kStart);
  CHECK(loop.wake_at(kStart) == 1);
  a.again.reset();
  CHECK(loop.wake_at(kStart + 1ns) == 1);
  CHECK(a.rings == 3);
  CHECK(loop.wheel.next() == kNever);
}

TEST_CASE("a timer of the batch may be disarmed, moved or destroyed by one before it") {
  WheelLoop loop(kStart);
  struct Killer {
    Killer(EventLoop& l, std::optional<Alarm>& v, Alarm& d, Alarm& m)
        : timer(l, Callback::to<&Killer::kill>(this)), victim(v), disarmed(d), moved(m) {}
    void kill() {
      victim.reset();
      disarmed.timer.disarm();
      moved.timer.arm(1s);
    }
    Timer timer;
    std::optional<Alarm>& victim;
    Alarm& disarmed;
    Alarm& moved;
  };
  std::optional<Alarm> victim;
  victim.emplace(loop);
  Alarm disarmed(loop), moved(loop), bystander(loop);
  Killer killer(loop, victim, disarmed, moved);
  killer.timer.arm(10ms);
  victim->timer.arm(10ms);
  disarmed.timer.arm(10ms);
  moved.timer.arm(10ms);
  bystander.timer.arm(10ms);
  CHECK(loop.wake_at(kStart + 16ms) == 2);
  CHECK(disarmed.rings == 0);
  CHECK(moved.rings == 0);
  CHECK(bystander.rings == 1);
  CHECK(loop.wheel.armed() == 1);
  CHECK(loop.wake_at(kStart + 3s) == 1);
}

TEST_CASE("a batch that was not handed out in full is not lost") {
  WheelLoop loop(kStart);
  Alarm a(loop), b(loop), c(loop);
  a.timer.arm(1ms);
  b.timer.arm(1ms);
  loop.wheel.advance(kStart + 10ms);
  Callback callback;
  REQUIRE(loop.wheel.pop_due(callback));
  CHECK_FALSE(a.timer.armed());
  c.timer.arm(-1ms);
  CHECK(loop.wheel.next() == kStart);
  CHECK(loop.wake_at(kStart + 11ms) == 2);
  CHECK(b.rings == 1);
  CHECK(c.rings == 1);
}

TEST_CASE("a wheel that slept long catches up in one advance") {
  WheelLoop loop(kStart);
  std::deque<Alarm> alarms;
  for (int i = 0; i < 500; ++i) {
    alarms.emplace_back(loop);
    alarms.back().timer.arm(std::chrono::seconds(i * i));
  }
  CHECK(loop.wake_at(kStart + 100h) == 500);
  CHECK(loop.wheel.armed() == 0);
}

TEST_CASE("the wheel agrees with a plain list under random arms, disarms and advances") {
  Random random(GENERATE(range<std::uint64_t>(1, 31)));
  WheelLoop loop(kStart);
  std::deque<Alarm> alarms;
  std::vector<MonotonicTime> reference(60, kNever);
  for (std::size_t i = 0; i < reference.size(); ++i) alarms.emplace_back(loop);
  const auto random_duration = [&] {
    static constexpr Duration kScales[] = {1ms, 20ms, 3s, 5min, 4h, 400h};
    return Duration(static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(kScales[random.below(6)].count()))));
  };
  for (int step = 0; step < 3000; ++step) {
    const std::size_t i = random.below(alarms.size());
    switch (random.below(4)) {
      case 0:
      case 1: {
        const Duration after = random_duration() - 1ms;
        alarms[i].timer.arm(after);
        reference[i] = loop.now() + std::max(after, Duration(0));
        break;
      }
      case 2:
        alarms[i].timer.disarm();
        reference[i] = kNever;
        break;
      default: {
        MonotonicTime to = loop.now() + random_duration();
        const MonotonicTime wake = loop.wheel.next();
        if (random.chance(0.5) && wake != kNever) to = std::max(wake, loop.now());  // exactly when it asked
        std::vector<int> before;
        for (const Alarm& alarm : alarms) before.push_back(alarm.rings);
        loop.wake_at(to);
        for (std::size_t k = 0; k < alarms.size(); ++k) {
          const bool fired = alarms[k].rings > before[k];
          if (fired) REQUIRE(reference[k] <= to);                      // never early
          if (reference[k] <= to - TimerWheel::kSlot) REQUIRE(fired);  // at most a slot late
          if (fired) reference[k] = kNever;
          REQUIRE(alarms[k].timer.armed() == (reference[k] != kNever));
        }
      }
    }
    // The wheel asks to be woken no later than a slot after the first deadline.
    MonotonicTime first = kNever;
    for (const MonotonicTime deadline : reference) first = std::min(first, deadline);
    const MonotonicTime wake = loop.wheel.next();
    if (first == kNever || wake == kStart) {
      REQUIRE((first == kNever) == (wake == kNever));
    } else {
      REQUIRE(wake - first < TimerWheel::kSlot);
    }
  }
}

TEST_CASE("arming, disarming and firing allocate nothing") {
  WheelLoop loop(kStart);
  std::deque<Alarm> alarms;
  for (int i = 0; i < 100; ++i) alarms.emplace_back(loop);
  Random random(5);
  const auto before = test::allocation_count();
  for (int i = 0; i < 20000; ++i) {
    alarms[random.below(100)].timer.arm(std::chrono::milliseconds(random.below(100000)));
    if (i % 10 == 0) loop.wake_at(loop.now() + 5ms);
  }
  CHECK(test::allocation_count() == before);
  for (Alarm& alarm : alarms) alarm.timer.disarm();
}
