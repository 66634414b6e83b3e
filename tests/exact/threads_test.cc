// The host-wide states under four real threads at once, for the sanitizers, and to the last count: what one thread takes no other has.
// Work is bounded in turns, not in time; the policies' clock is a number that the threads draw, so nothing depends on the machine.
#include <catch2/catch.hpp>

#include <atomic>
#include <thread>
#include <vector>

#include "filters/circuit_breaker/circuit_breaker_filter.h"
#include "filters/concurrency_limit/concurrency_limit_filter.h"
#include "filters/rate_limit/rate_limit_filter.h"
#include "proxy/upstream/limits.h"
#include "proxy/upstream/retry_budget.h"

namespace weir {
namespace {

constexpr std::uint32_t kThreads = 4;

using State = CircuitBreakerPolicy::State;
using Verdict = Admission::Verdict;

// Runs `work(index, random)` on all threads at once: none begins before all are there.
template <class Work>
void on_all_threads(std::uint64_t seed, Work work) {
  std::atomic<std::uint32_t> there{0};
  std::vector<std::thread> threads;
  for (std::uint32_t index = 0; index < kThreads; ++index) {
    threads.emplace_back([&, index] {
      Random random(seed * 100 + index);
      there.fetch_add(1);
      while (there.load() < kThreads) std::this_thread::yield();
      work(index, random);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Who is inside, and how many there ever were at once.
class Room {
 public:
  void enter() {
    const int inside = inside_.fetch_add(1) + 1;
    int seen = most_.load();
    while (inside > seen && !most_.compare_exchange_weak(seen, inside)) {
    }
  }
  void leave() { inside_.fetch_sub(1); }
  int inside() const { return inside_.load(); }
  int most() const { return most_.load(); }

 private:
  std::atomic<int> inside_{0};
  std::atomic<int> most_{0};
};

Outcome answer(int status) {
  Outcome outcome;
  outcome.cls = Outcome::Class::answered;
  outcome.status = status;
  outcome.to_headers = outcome.total = 1ms;
  return outcome;
}

double fact(FilterState& state, std::string_view name) {
  std::vector<StateFact> facts;
  state.describe(MonotonicTime(1h), facts);
  for (const StateFact& found : facts) {
    if (found.name == name) return found.value;
  }
  return -1;
}

}  // namespace

TEST_CASE("four threads hold ten permits at most, all of them at times, and leave none behind") {
  ConcurrencyLimitConfig config;
  config.limit = 10;
  ConcurrencyLimitState state(config);
  Room room;
  on_all_threads(1, [&](std::uint32_t, Random& random) {
    std::vector<Ticket> held;
    for (int turn = 0; turn < 50'000; ++turn) {
      if (held.size() < 8 && random.chance(0.6)) {
        const Admission admission = state.admit(MonotonicTime(1h), AdmissionFacts{}, random);
        if (admission.verdict != Verdict::admit) continue;
        room.enter();
        held.push_back(admission.ticket);
      } else if (!held.empty()) {
        room.leave();
        state.record(MonotonicTime(1h), held.back(), Outcome{}, random);
        held.pop_back();
      }
      if (turn % 64 == 0) std::this_thread::yield();
    }
    for (const Ticket& ticket : held) {
      room.leave();
      state.record(MonotonicTime(1h), ticket, Outcome{}, random);
    }
  });
  CHECK(room.most() <= 10);
  CHECK(room.most() >= 8);  // one thread alone comes to eight
  CHECK(room.inside() == 0);
  CHECK(fact(state, "in_flight") == 0);
}

TEST_CASE("four threads take exactly the tokens that rate and burst make, to the last one") {
  RateLimitConfig config;
  config.rate = Rate{500, 1s};
  config.burst = 50;
  RateLimitState state(config, 7);
  std::atomic<std::int64_t> clock{0};  // microseconds since the start
  std::atomic<std::uint64_t> admitted{0};
  constexpr int kTurns = 100'000;
  on_all_threads(2, [&](std::uint32_t, Random& random) {
    for (int turn = 0; turn < kTurns; ++turn) {
      const MonotonicTime now = MonotonicTime(1h) + std::chrono::microseconds(clock.fetch_add(100) + 100);
      if (state.admit(now, AdmissionFacts{}, random).verdict == Verdict::admit) admitted.fetch_add(1);
    }
  });
  // Whatever the order in which the threads came, at the end it is as if one had asked at the last moment for all that is left.
  Random random(1);
  const MonotonicTime end = MonotonicTime(1h) + std::chrono::microseconds(clock.load());
  while (state.admit(end, AdmissionFacts{}, random).verdict == Verdict::admit) admitted.fetch_add(1);
  const std::uint64_t made = 50 + static_cast<std::uint64_t>(clock.load() - 100) * 500 / 1'000'000;
  CHECK(admitted.load() <= made + 1);  // the first request may have been a thread's that came late
  CHECK(admitted.load() >= made - 1);
}

TEST_CASE("four threads share a retry budget: at no moment are more taken than all of their requests pay for, and at the end all are") {
  RetryBudgetConfig config;
  config.ratio = 0.2;
  config.min_rate_per_second = 0;
  ServiceRetryBudget budget(config);
  std::atomic<std::uint64_t> requests{0};
  std::atomic<std::uint64_t> taken{0};
  std::atomic<int> over{0};
  const MonotonicTime now(1h);
  on_all_threads(3, [&](std::uint32_t, Random& random) {
    for (int turn = 0; turn < 100'000; ++turn) {
      if (random.chance(0.5)) {
        requests.fetch_add(1);
        budget.on_request(now);
      } else if (budget.try_take(now)) {
        if (random.chance(0.1)) {
          budget.refund(now);
          continue;
        }
        const std::uint64_t mine = taken.fetch_add(1) + 1;
        if (mine * 5 > requests.load()) over.fetch_add(1);
      }
    }
  });
  while (budget.try_take(now)) taken.fetch_add(1);
  CHECK(over.load() == 0);
  CHECK(taken.load() == requests.load() / 5);
}

TEST_CASE("of failing calls on four threads exactly min_calls are counted when a breaker opens, and exactly the probes go through after") {
  CircuitBreakerConfig config;
  config.half_open = HalfOpenConfig{7, 7, 1h};
  for (std::uint64_t round = 1; round <= 100; ++round) {
    CircuitBreakerState state(config);
    const MonotonicTime now(1h);
    std::atomic<int> admitted{0};
    on_all_threads(round, [&](std::uint32_t, Random& random) {
      for (int turn = 0; turn < 30; ++turn) {
        const Admission admission = state.admit(now, AdmissionFacts{}, random);
        if (admission.verdict != Verdict::admit) continue;
        admitted.fetch_add(1);
        state.record(now, admission.ticket, answer(503), random);
      }
    });
    const CircuitBreakerPolicy::View open = state.view(now);
    REQUIRE(open.state == State::open);
    REQUIRE(open.counts.calls == 20);  // the results of those that were under way are late
    REQUIRE(admitted.load() >= 20);
    REQUIRE(admitted.load() <= 20 + static_cast<int>(kThreads) - 1);

    const MonotonicTime later = now + open.until_half_open;
    std::atomic<int> probes{0};
    Room room;
    on_all_threads(round, [&](std::uint32_t, Random& random) {
      std::vector<Ticket> held;
      for (int turn = 0; turn < 40; ++turn) {
        const Admission admission = state.admit(later, AdmissionFacts{}, random);
        if (admission.verdict == Verdict::admit) {
          room.enter();
          held.push_back(admission.ticket);
        }
        if (held.empty() || !random.chance(0.3)) continue;
        room.leave();  // cancelled: it says nothing, and gives its place to another
        state.record(later, held.back(), Outcome{}, random);
        held.pop_back();
      }
      probes.fetch_add(static_cast<int>(held.size()));
    });
    REQUIRE(room.most() <= 7);
    REQUIRE(room.inside() == probes.load());
    REQUIRE(state.view(later).probes_out == static_cast<std::uint32_t>(probes.load()));
  }
}

TEST_CASE("four threads and a reload that changes the limit all the time: it is kept as it stands at each moment") {
  HostLimit limit;
  limit.configure(20, FilterMode::enforce);
  std::atomic<std::uint32_t> highest{20};
  std::atomic<int> over{0};
  std::atomic<std::uint32_t> done{0};
  std::thread reloads([&] {
    Random random(5);
    for (int turn = 0; turn < 200'000 && done.load() < kThreads; ++turn) {
      limit.configure(static_cast<std::uint32_t>(1 + random.below(20)), FilterMode::enforce);
      if (turn % 16 == 0) std::this_thread::yield();
    }
  });
  on_all_threads(6, [&](std::uint32_t, Random& random) {
    std::uint32_t held = 0;
    for (int turn = 0; turn < 200'000; ++turn) {
      if (random.chance(0.5)) {
        if (limit.take() == HostLimit::Taken::yes) ++held;
        if (limit.used() > highest.load()) over.fetch_add(1);
      } else if (held > 0) {
        --held;
        limit.give_back();
      }
    }
    for (; held > 0; --held) limit.give_back();
    done.fetch_add(1);
  });
  reloads.join();
  CHECK(over.load() == 0);
  CHECK(limit.used() == 0);
  // What was configured last is what counts.
  limit.configure(7, FilterMode::enforce);
  std::atomic<int> taken{0};
  on_all_threads(7, [&](std::uint32_t, Random&) {
    for (int turn = 0; turn < 1000; ++turn) {
      if (limit.take() == HostLimit::Taken::yes) taken.fetch_add(1);
    }
  });
  CHECK(taken.load() == 7);
}

}  // namespace weir
