#include "proxy/sim/sim_loop.h"

#include <catch2/catch.hpp>
#include <string>

#include "tests/support/allocation_count.h"

using namespace weir;

namespace {

struct Bell {
  Bell(EventLoop& loop, std::string& log_to, char name) : timer(loop, Callback::to<&Bell::ring>(this)), log(log_to), id(name) {}
  void ring() {
    log += id;
    rung_at = timer.loop().now();
  }
  Timer timer;
  std::string& log;
  char id;
  MonotonicTime rung_at{};
};

struct Grave : Buried {
  Grave(std::string& log_to, char name) : log(log_to), id(name) {}
  void free_buried() noexcept override { log += id; }
  std::string& log;
  char id;
};

struct Later {
  Later(EventLoop& loop, std::string& log_to, char name) : deferred(loop, Callback::to<&Later::run>(this)), log(log_to), id(name) {}
  void run() {
    log += id;
    if (then != nullptr) then->deferred.schedule();
  }
  Deferred deferred;
  std::string& log;
  char id;
  Later* then = nullptr;
};

}  // namespace

TEST_CASE("timers fire in the order of deadline, then of arming, exactly on time") {
  SimLoop loop;
  std::string log;
  Bell a(loop, log, 'a'), b(loop, log, 'b'), c(loop, log, 'c'), d(loop, log, 'd');
  const MonotonicTime start = loop.now();
  c.timer.arm(20ms);
  a.timer.arm(10ms);
  b.timer.arm(10ms);
  d.timer.arm(30ms);
  loop.advance(9999us);
  CHECK(log.empty());
  CHECK(loop.now() == start + 9999us);
  loop.advance(1us);
  CHECK(log == "ab");
  loop.advance(15ms);
  CHECK(log == "abc");
  CHECK(c.rung_at == start + 20ms);
  CHECK(loop.now() == start + 25ms);
  CHECK_FALSE(c.timer.armed());
  CHECK(d.timer.armed());
}

TEST_CASE("arming again moves a timer, disarming and destruction silence it") {
  SimLoop loop;
  std::string log;
  Bell a(loop, log, 'a'), b(loop, log, 'b');
  a.timer.arm(10ms);
  a.timer.arm(30ms);
  b.timer.arm(10ms);
  b.timer.disarm();
  b.timer.disarm();
  {
    Bell c(loop, log, 'c');
    c.timer.arm(10ms);
  }
  loop.advance(20ms);
  CHECK(log.empty());
  loop.advance(20ms);
  CHECK(log == "a");
  a.timer.arm(5ms);
  a.timer.arm_at(kNever);
  CHECK_FALSE(a.timer.armed());
  CHECK(loop.world().pending() == 0);
}

TEST_CASE("a timer armed for now or the past fires on the next turn, never inside") {
  SimLoop loop;
  std::string log;
  Bell a(loop, log, 'a'), b(loop, log, 'b'), c(loop, log, 'c');
  a.timer.arm(0ms);
  b.timer.arm(-5s);
  c.timer.arm_at(loop.now() - 1h);
  CHECK(log.empty());
  loop.run_ready();
  CHECK(log.size() == 3);
  a.timer.arm(Duration::max());
  CHECK_FALSE(a.timer.armed());
}

TEST_CASE("after each callback the deferred run in order, then the graveyard is freed") {
  SimLoop loop;
  std::string log;
  Later x(loop, log, 'x'), y(loop, log, 'y'), z(loop, log, 'z');
  Grave g(log, 'G');
  x.then = &z;
  Bell next(loop, log, 'n');
  next.timer.arm(0ms);
  loop.post([&] {
    log += '(';
    loop.bury(g);
    x.deferred.schedule();
    y.deferred.schedule();
    x.deferred.schedule();
    log += ')';
  });
  loop.run_ready();
  CHECK(log == "n()xyzG");
}

TEST_CASE("what is buried or deferred outside a callback gets a turn of its own") {
  SimLoop loop;
  std::string log;
  Later x(loop, log, 'x'), cancelled(loop, log, 'c');
  Grave g(log, 'G');
  loop.bury(g);
  x.deferred.schedule();
  cancelled.deferred.schedule();
  cancelled.deferred.cancel();
  CHECK(log.empty());
  loop.run_ready();
  CHECK(log == "xG");
  Grave h(log, 'H');
  loop.bury(h);
  loop.settle();
  CHECK(log == "xGH");
}

TEST_CASE("what the dying bury and defer is served before the callback ends") {
  SimLoop loop;
  std::string log;
  Grave inner(log, 'i');
  Later after(loop, log, 'd');
  struct Parent : Buried {
    void free_buried() noexcept override {
      loop->bury(*child);
      later->deferred.schedule();
    }
    EventLoop* loop;
    Buried* child;
    Later* later;
  } parent;
  parent.loop = &loop;
  parent.child = &inner;
  parent.later = &after;
  loop.post([&] { loop.bury(parent); });
  loop.post([&] { log += '|'; });
  loop.run_ready();
  CHECK(log == "id|");
}

TEST_CASE("tasks posted by a task run on a later turn, and none after stop") {
  SimLoop loop;
  std::string log;
  loop.post([&] {
    log += 'a';
    loop.post([&] { log += 'c'; });
  });
  loop.post([&] { log += 'b'; });
  loop.run_ready();
  CHECK(log == "abc");
  loop.post([&] { loop.stop(); });
  loop.post([&] { log += 'x'; });
  loop.run();
  loop.post([&] { log += 'y'; });
  loop.run_ready();
  CHECK(log == "abc");
}

TEST_CASE("several loops share one clock and one order of events") {
  SimWorld world;
  SimLoop& one = world.add_loop();
  SimLoop& two = world.add_loop();
  std::string log;
  Bell a(one, log, 'a'), b(two, log, 'b'), c(one, log, 'c');
  c.timer.arm(3ms);
  b.timer.arm(2ms);
  a.timer.arm(1ms);
  one.post([&] { two.post([&] { log += two.now() == world.now() ? 'P' : '?'; }); });
  world.advance(10ms);
  CHECK(log == "Pabc");
  CHECK(one.now() == two.now());
  CHECK(one.wall_now() == two.wall_now());
  const WallTime before = one.wall_now();
  world.advance(1500ms);
  CHECK(one.wall_now() - before == 1500ms);
}

TEST_CASE("run_until_idle jumps to the last event, and gives up on what re-arms for ever") {
  SimLoop loop;
  std::string log;
  Bell a(loop, log, 'a');
  const MonotonicTime start = loop.now();
  a.timer.arm(7min);
  CHECK(loop.run_until_idle());
  CHECK(loop.now() == start + 7min);
  struct Tick {
    explicit Tick(EventLoop& l) : timer(l, Callback::to<&Tick::again>(this)) {}
    void again() {
      ++count;
      timer.arm(1s);
    }
    Timer timer;
    int count = 0;
  } tick(loop);
  tick.timer.arm(1s);
  CHECK_FALSE(loop.run_until_idle(10s));
  CHECK(tick.count == 10);
  CHECK(loop.run_until([&] { return tick.count == 15; }));
  CHECK_FALSE(loop.run_until([] { return false; }, 5s));
}

TEST_CASE("equal worlds have equal hashes, different ones do not") {
  const auto run = [](std::uint64_t seed, int extra) {
    SimWorld world(seed);
    SimLoop& loop = world.add_loop();
    std::string log;
    Bell a(loop, log, 'a');
    for (int i = 0; i < 50 + extra; ++i) {
      a.timer.arm(std::chrono::microseconds(world.random().below(5000)));
      world.advance(3ms);
    }
    return world.hash();
  };
  CHECK(run(7, 0) == run(7, 0));
  CHECK(run(7, 0) != run(8, 0));
  CHECK(run(7, 0) != run(7, 3));
}

TEST_CASE("a scheduled event can be cancelled, also after it ran") {
  SimWorld world;
  SimLoop& loop = world.add_loop();
  int ran = 0;
  const auto id = world.schedule_at(loop, world.now() + 1s, [&] { ++ran; });
  const auto other = world.schedule_at(loop, world.now() + 1s, [&] { ++ran; });
  world.cancel(id);
  world.cancel({});
  world.advance(2s);
  world.cancel(other);
  CHECK(ran == 1);
}

TEST_CASE("arming timers in virtual time allocates nothing in steady state") {
  SimLoop loop;
  std::string log;
  log.reserve(10000);
  Bell a(loop, log, 'a'), b(loop, log, 'b');
  const auto turn = [&] {
    a.timer.arm(2ms);
    b.timer.arm(1ms);
    a.timer.arm(3ms);
    loop.advance(2ms);
    a.timer.disarm();
  };
  for (int i = 0; i < 100; ++i) turn();
  const auto before = test::allocation_count();
  for (int i = 0; i < 1000; ++i) turn();
  CHECK(test::allocation_count() == before);
}

TEST_CASE("a loop that goes takes its events along") {
  SimWorld world;
  SimLoop& stays = world.add_loop();
  int ran = 0;
  {
    SimLoop goes(world);
    goes.post([&] { ran += 100; });
    stays.post([&] { ran += 1; });
  }
  world.run_ready();
  CHECK(ran == 1);
}
