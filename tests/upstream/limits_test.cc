#include "proxy/upstream/limits.h"

#include <catch2/catch.hpp>

#include <thread>

using namespace weir;
using Taken = HostLimit::Taken;

namespace {

MonotonicTime at(Duration since) { return MonotonicTime(std::chrono::hours(1)) + since; }

ConnectionSlots slots(std::uint32_t limit, FilterMode mode = FilterMode::enforce) {
  ConnectionSlots made;
  made.configure(limit, mode);
  return made;
}

}  // namespace

TEST_CASE("a host limit admits exactly as many as it says") {
  HostLimit limit;
  limit.configure(2, FilterMode::enforce);
  CHECK(limit.take() == Taken::yes);
  CHECK(limit.take() == Taken::yes);
  CHECK(limit.take() == Taken::no);
  CHECK(limit.used() == 2);
  limit.give_back();
  CHECK(limit.take() == Taken::yes);
}

TEST_CASE("a host limit in shadow mode admits all and tells which it would not have") {
  HostLimit limit;
  limit.configure(1, FilterMode::shadow);
  CHECK(limit.take() == Taken::yes);
  CHECK(limit.take() == Taken::over);
  CHECK(limit.used() == 2);
}

TEST_CASE("a disabled limit is none") {
  HostLimit limit;
  limit.configure(0, FilterMode::disabled);
  CHECK(limit.take() == Taken::yes);
}

TEST_CASE("a host limit is exact across threads") {
  HostLimit limit;
  limit.configure(100, FilterMode::enforce);
  std::atomic<std::uint32_t> most{0};
  std::atomic<std::uint32_t> held{0};
  const auto work = [&] {
    for (int i = 0; i < 20000; ++i) {
      if (limit.take() != Taken::yes) continue;
      const std::uint32_t mine = held.fetch_add(1) + 1;
      std::uint32_t seen = most.load();
      while (mine > seen && !most.compare_exchange_weak(seen, mine)) {
      }
      held.fetch_sub(1);
      limit.give_back();
    }
  };
  limit.configure(2, FilterMode::enforce);
  std::thread first(work), second(work), third(work);
  first.join();
  second.join();
  third.join();
  CHECK(most <= 2);
  CHECK(limit.used() == 0);
}

TEST_CASE("slots are granted in order of enlisting, once each") {
  ConnectionSlots shared = slots(2);
  REQUIRE(shared.take(0) == Taken::yes);
  REQUIRE(shared.take(0) == Taken::yes);
  CHECK(shared.take(1) == Taken::no);
  CHECK(shared.enlist(1, 1, at(0s)));
  CHECK(shared.enlist(2, 1, at(0s)));
  CHECK_FALSE(shared.enlist(1, 3, at(0s)));
  CHECK(shared.give_back(0) == 1U);
  CHECK(shared.held(1) == 1);
  CHECK(shared.used() == 2);
  CHECK(shared.give_back(0) == 2U);
  CHECK(shared.give_back(1) == std::nullopt);
  CHECK(shared.used() == 1);
}

TEST_CASE("nobody passes those who wait") {
  ConnectionSlots shared = slots(1);
  REQUIRE(shared.take(0) == Taken::yes);
  shared.enlist(1, 1, at(0s));
  CHECK(shared.give_back(0) == 1U);
  shared.enlist(0, 1, at(0s));
  CHECK(shared.take(2) == Taken::no);
}

TEST_CASE("raising the limit serves those who wait; lowering it takes nothing away at once") {
  ConnectionSlots shared = slots(1);
  REQUIRE(shared.take(0) == Taken::yes);
  shared.enlist(1, 1, at(0s));
  shared.configure(2, FilterMode::enforce);
  CHECK(shared.grant() == 1U);
  CHECK(shared.grant() == std::nullopt);
  shared.configure(1, FilterMode::enforce);
  CHECK(shared.over());
  shared.enlist(2, 1, at(0s));
  CHECK(shared.give_back(0) == std::nullopt);  // still at the new limit
  CHECK_FALSE(shared.over());
  CHECK(shared.give_back(1) == 2U);
}

TEST_CASE("who withdraws is passed over, and who goes frees all it held") {
  ConnectionSlots shared = slots(2);
  REQUIRE(shared.take(0) == Taken::yes);
  REQUIRE(shared.take(0) == Taken::yes);
  shared.enlist(1, 1, at(0s));
  shared.enlist(2, 1, at(0s));
  shared.withdraw(1);
  CHECK(shared.release_all(0) == 2);
  CHECK(shared.grant() == 2U);
  CHECK(shared.grant() == std::nullopt);
  CHECK(shared.used() == 1);
}

TEST_CASE("slots in shadow mode are never refused") {
  ConnectionSlots shared = slots(1, FilterMode::shadow);
  CHECK(shared.take(0) == Taken::yes);
  CHECK(shared.take(0) == Taken::over);
  CHECK_FALSE(shared.over());
}

TEST_CASE("a free connection goes to who is worse off, and never to and fro") {
  const auto demand = [](std::uint32_t connections, std::uint32_t waiting, Duration since = 0s) {
    return ConnectionDemand{connections, waiting, at(since)};
  };
  CHECK_FALSE(should_yield(demand(5, 0), demand(0, 0)));
  CHECK(should_yield(demand(5, 0), demand(5, 1)));  // nobody waits here
  CHECK(should_yield(demand(1, 9, 2s), demand(0, 1, 1s)));
  CHECK_FALSE(should_yield(demand(1, 9, 1s), demand(0, 1, 2s)));  // ours waited longer
  CHECK(should_yield(demand(10, 5), demand(2, 5)));
  CHECK_FALSE(should_yield(demand(6, 5), demand(6, 5)));
  CHECK_FALSE(should_yield(demand(7, 5), demand(6, 5)));

  // From any start the exchange settles: moving one never makes the opposite move due.
  for (std::uint32_t a = 0; a < 12; ++a) {
    for (std::uint32_t b = 0; b < 12; ++b) {
      for (std::uint32_t wa = 1; wa < 8; ++wa) {
        for (std::uint32_t wb = 1; wb < 8; ++wb) {
          if (a < 2 || b < 1 || !should_yield(demand(a, wa), demand(b, wb))) continue;
          CHECK_FALSE(should_yield(demand(b + 1, wb), demand(a - 1, wa)));
        }
      }
    }
  }
}
