#include "proxy/runtime/timer_wheel.h"

#include <catch2/catch.hpp>
#include <memory>
#include <vector>

#include "proxy/base/random.h"

namespace weir {
namespace {

// A loop that is nothing but a wheel and a hand-moved clock.
class WheelLoop final : public EventLoop {
 public:
  WheelLoop() : wheel(MonotonicTime{}) {}
  WallTime wall_now() const override { return WallTime{}; }
  std::unique_ptr<IoWatch> watch(int, IoHandler&) override { return nullptr; }
  void post(std::function<void()>) override {}
  void run() override {}
  void stop() override {}
  // Moves the clock to each wake-up that the wheel asks for, then to `to`, as a real loop would.
  void advance_to(MonotonicTime to) {
    for (;;) {
      const MonotonicTime wake = std::max(wheel.next(), now());
      if (wheel.next() == kNever || wake > to) break;
      ++wake_ups;
      fire(wake);
    }
    fire(to);
  }
  void set_time(MonotonicTime at) { set_now(at); }
  void fire(MonotonicTime at) {
    set_now(at);
    wheel.advance(at);
    Callback callback;
    while (wheel.pop_due(callback)) callback();
  }
  TimerWheel wheel;
  int wake_ups = 0;

 private:
  void request_turn() override {}
  void arm_timer(Timer& timer) override { wheel.add(timer, now()); }
  void disarm_timer(Timer& timer) override { wheel.remove(timer); }
};

struct Alarm {
  explicit Alarm(WheelLoop& l) : loop(l), timer(l, Callback::to<&Alarm::on_time>(this)) {}
  void arm(Duration after) {
    due = loop.now() + after;
    timer.arm(after);
  }
  void on_time() {
    fired_at = loop.now();
    ++fired;
    REQUIRE(fired_at >= due);
    REQUIRE(fired_at - due <= TimerWheel::kSlot);
    due = kNever;
  }
  WheelLoop& loop;
  Timer timer;
  MonotonicTime due = kNever, fired_at{};
  int fired = 0;
};

MonotonicTime at(Duration d) { return MonotonicTime{} + d; }

}  // namespace

TEST_CASE("timers of every distance fire once, never early, within a slot") {
  WheelLoop loop;
  std::vector<std::unique_ptr<Alarm>> alarms;
  const Duration distances[] = {0ms, 1ns,  1ms,      7ms,      8ms,   9ms, 2040ms, 2047ms, 2048ms, 2049ms, 4096ms,
                                60s, 524s, 524288ms, 524289ms, 10min, 1h,  5h,     37h,    38h,    100h,   24h * 30};
  loop.advance_to(at(12345678us));
  for (const Duration d : distances) {
    alarms.push_back(std::make_unique<Alarm>(loop));
    alarms.back()->arm(d);
  }
  loop.advance_to(at(24h * 40));
  for (const auto& alarm : alarms) REQUIRE(alarm->fired == 1);
  REQUIRE(loop.wheel.next() == kNever);
  REQUIRE(loop.wake_ups < 100);
}

TEST_CASE("random arming, moving and disarming agrees with a reference") {
  Random random(7);
  WheelLoop loop;
  std::vector<std::unique_ptr<Alarm>> alarms;
  for (int i = 0; i < 200; ++i) alarms.push_back(std::make_unique<Alarm>(loop));
  for (int step = 0; step < 20000; ++step) {
    Alarm& alarm = *alarms[random.below(alarms.size())];
    switch (random.below(4)) {
      case 0: {
        const unsigned magnitude = static_cast<unsigned>(random.below(24));
        alarm.arm(std::chrono::microseconds(random.below(std::uint64_t{1} << (magnitude + 8))));
        break;
      }
      case 1:
        alarm.timer.disarm();
        alarm.due = kNever;
        break;
      default: loop.advance_to(loop.now() + std::chrono::microseconds(random.below(std::uint64_t{1} << random.below(30))));
    }
    for (const auto& other : alarms) {
      REQUIRE(other->timer.armed() == (other->due != kNever));
      if (other->timer.armed()) REQUIRE(other->due + TimerWheel::kSlot > loop.now());  // nothing is overdue
    }
  }
}

TEST_CASE("who is woken by what was added, and asks for the rest at each wake-up, is never late") {
  Random random(11);
  WheelLoop loop;
  std::vector<std::unique_ptr<Alarm>> alarms;
  for (int i = 0; i < 50; ++i) alarms.push_back(std::make_unique<Alarm>(loop));
  MonotonicTime armed_for = kNever;  // as the real loop keeps it
  for (int step = 0; step < 20000; ++step) {
    Alarm& alarm = *alarms[random.below(alarms.size())];
    if (random.below(4) == 0) {
      alarm.timer.disarm();
      alarm.due = kNever;
    } else {
      alarm.arm(std::chrono::microseconds(random.below(std::uint64_t{1} << random.below(34))));
    }
    armed_for = std::min(armed_for, loop.wheel.take_next_added());
    REQUIRE(armed_for <= loop.wheel.next());
    const MonotonicTime to = loop.now() + std::chrono::microseconds(random.below(std::uint64_t{1} << random.below(26)));
    while (armed_for <= to) {
      loop.fire(std::max(armed_for, loop.now()));  // Alarm checks that none is late
      armed_for = loop.wheel.next();
    }
    loop.set_time(to);
  }
}

TEST_CASE("a destroyed timer is out of the wheel, also when it was due") {
  WheelLoop loop;
  auto first = std::make_unique<Alarm>(loop);
  auto second = std::make_unique<Alarm>(loop);
  first->arm(5ms);
  second->arm(5ms);
  loop.wheel.advance(at(100ms));
  second.reset();
  Callback callback;
  REQUIRE(loop.wheel.pop_due(callback));
  REQUIRE_FALSE(loop.wheel.pop_due(callback));
  first.reset();
  REQUIRE(loop.wheel.next() == kNever);
}

}  // namespace weir
