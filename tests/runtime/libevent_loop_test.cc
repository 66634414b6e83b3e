#include "proxy/runtime/libevent_loop.h"

#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <csignal>
#include <memory>
#include <thread>
#include <vector>

namespace weir {
namespace {

struct Ends {
  Ends() { REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd) == 0); }
  ~Ends() {
    close(fd[0]);
    close(fd[1]);
  }
  int fd[2];
};

struct Reader final : IoHandler {
  explicit Reader(RealLoop& l) : loop(l) {}
  void on_readable() override {
    char byte = 0;
    while (read(fd, &byte, 1) == 1) text += byte;
    if (end_when_read) watch.reset();
    loop.stop();
  }
  void on_writable() override {
    ++writable;
    watch->want(true, false);
    loop.stop();
  }
  RealLoop& loop;
  int fd = -1;
  int writable = 0;
  bool end_when_read = false;
  std::string text;
  std::unique_ptr<IoWatch> watch;
};

struct Stopper {
  explicit Stopper(RealLoop& l, Duration after) : loop(l), timer(l, Callback::to<&Stopper::on_time>(this)) { timer.arm(after); }
  void on_time() {
    fired = loop.now();
    loop.stop();
  }
  RealLoop& loop;
  Timer timer;
  MonotonicTime fired{};
};

}  // namespace

TEST_CASE("a timer fires after its time and not before") {
  auto loop = make_libevent_loop();
  const MonotonicTime start = monotonic_now();
  Stopper stopper(*loop, 30ms);
  loop->run();
  REQUIRE(stopper.fired - start >= 30ms);
  REQUIRE(loop->turns() >= 1);
}

TEST_CASE("a readable descriptor is told, and its watch may end inside the callback") {
  auto loop = make_libevent_loop();
  Ends ends;
  Reader reader(*loop);
  reader.fd = ends.fd[0];
  reader.end_when_read = true;
  reader.watch = loop->watch(ends.fd[0], reader);
  reader.watch->want(true, false);
  REQUIRE(write(ends.fd[1], "hi", 2) == 2);
  Stopper limit(*loop, 10s);
  loop->run();
  REQUIRE(reader.text == "hi");
}

TEST_CASE("writability is told only while it is wanted") {
  auto loop = make_libevent_loop();
  Ends ends;
  Reader reader(*loop);
  reader.fd = ends.fd[0];
  reader.watch = loop->watch(ends.fd[0], reader);
  reader.watch->want(true, true);
  Stopper limit(*loop, 10s);
  loop->run();
  REQUIRE(reader.writable == 1);
}

TEST_CASE("tasks posted by other threads run on the loop, in order, each one") {
  auto loop = make_libevent_loop();
  std::vector<int> seen;
  const auto self = std::this_thread::get_id();
  std::thread other([&] {
    for (int i = 0; i < 1000; ++i) {
      loop->post([&, i] {
        if (std::this_thread::get_id() == self) seen.push_back(i);
      });
    }
    loop->post([&] { loop->stop(); });
  });
  loop->run();
  other.join();
  REQUIRE(seen.size() == 1000);
  for (int i = 0; i < 1000; ++i) REQUIRE(seen[static_cast<std::size_t>(i)] == i);
}

TEST_CASE("a deferred call made outside any callback gets a turn of its own") {
  auto loop = make_libevent_loop();
  struct Once {
    explicit Once(RealLoop& l) : loop(l), deferred(l, Callback::to<&Once::on_turn>(this)) {}
    void on_turn() {
      ran = true;
      loop.stop();
    }
    RealLoop& loop;
    Deferred deferred;
    bool ran = false;
  } once(*loop);
  once.deferred.schedule();
  REQUIRE_FALSE(once.ran);
  Stopper limit(*loop, 10s);
  loop->run();
  REQUIRE(once.ran);
  REQUIRE(limit.timer.armed());  // stop() ends a loop that has only just begun
}

TEST_CASE("a wake-up for a timer that was disarmed does not delay the next one") {
  auto loop = make_libevent_loop();
  Stopper decoy(*loop, 10h);
  Stopper real(*loop, 1000ms);
  MonotonicTime start{};
  loop->post([&] {
    start = loop->now();
    decoy.timer.arm(900ms);
    real.timer.arm(1000ms);
  });
  loop->post([&] { decoy.timer.disarm(); });
  loop->run();
  REQUIRE(real.fired - start >= 1000ms);
  REQUIRE(real.fired - start < 1850ms);
}

TEST_CASE("a timer armed for now, again and again, does not starve the other events") {
  auto loop = make_libevent_loop();
  struct Spinner {
    explicit Spinner(RealLoop& l) : timer(l, Callback::to<&Spinner::again>(this)) { timer.arm(0ms); }
    void again() {
      ++count;
      timer.arm(0ms);
    }
    Timer timer;
    int count = 0;
  } spinner(*loop);
  Ends ends;
  Reader reader(*loop);
  reader.fd = ends.fd[0];
  reader.watch = loop->watch(ends.fd[0], reader);
  reader.watch->want(true, false);
  REQUIRE(write(ends.fd[1], "x", 1) == 1);
  loop->run();
  REQUIRE(reader.text == "x");
  REQUIRE(spinner.count < 1000);
}

TEST_CASE("tasks posted after stop are dropped, with what they hold") {
  auto loop = make_libevent_loop();
  auto held = std::make_shared<int>(1);
  loop->post([&] { loop->stop(); });
  loop->post([held] { FAIL("ran after stop"); });
  loop->run();
  loop->post([held] { FAIL("ran after stop"); });
  loop.reset();
  REQUIRE(held.use_count() == 1);
}

TEST_CASE("a handler may end the other watch whose event is ready in the same turn") {
  auto loop = make_libevent_loop();
  Ends one, two;
  struct Killer final : IoHandler {
    void on_readable() override {
      ++calls;
      watch.reset();
      other->watch.reset();
      loop->post([l = loop] { l->stop(); });
    }
    void on_writable() override {}
    RealLoop* loop = nullptr;
    Killer* other = nullptr;
    std::unique_ptr<IoWatch> watch;
    int calls = 0;
  } a, b;
  a.loop = b.loop = loop.get();
  a.other = &b;
  b.other = &a;
  a.watch = loop->watch(one.fd[0], a);
  b.watch = loop->watch(two.fd[0], b);
  a.watch->want(true, false);
  b.watch->want(true, true);
  REQUIRE(write(one.fd[1], "x", 1) == 1);
  REQUIRE(write(two.fd[1], "x", 1) == 1);
  loop->run();
  REQUIRE(a.calls + b.calls == 1);
}

TEST_CASE("signals arrive as callbacks") {
  auto loop = make_libevent_loop();
  int got = 0;
  loop->on_signals({SIGUSR1}, [&](int number) {
    got = number;
    loop->stop();
  });
  kill(getpid(), SIGUSR1);
  Stopper limit(*loop, 10s);
  loop->run();
  REQUIRE(got == SIGUSR1);
}

}  // namespace weir
