#include <catch2/catch.hpp>

#include <memory>
#include <string>
#include <vector>

#include "filters/concurrency_limit/concurrency_limit_filter.h"
#include "tests/support/chain_world.h"
#include "tests/support/fake_link.h"

namespace weir {
namespace {

using namespace test;

ConcurrencyLimitConfig config_of(std::uint32_t limit, std::optional<QueueConfig> queue = std::nullopt) {
  ConcurrencyLimitConfig config;
  config.limit = limit;
  config.queue = queue;
  return config;
}

QueueConfig patient() { return QueueConfig{10, 10s, QueueConfig::Order::fifo}; }

double fact(FilterState& state, std::string_view name) {
  std::vector<StateFact> facts;
  state.describe(MonotonicTime{}, facts);
  for (const StateFact& fact : facts) {
    if (fact.name == name) return fact.value;
  }
  return -1;
}

// One worker's link over a fake upstream.
struct Worker {
  Worker(SimWorld& sim, std::uint32_t index, std::shared_ptr<FilterState> shared, const ConcurrencyLimitConfig& c, bool shadow)
      : world(sim, index), fixture(world, "concurrency_limit", shadow), state(std::move(shared)), config(c) {
    fixture.state = state.get();
    rebuild();
  }
  // As a reload does: running exchanges keep the link that they started with.
  void rebuild() {
    if (link) old_links.push_back(std::move(link));
    link = concurrency_limit_filter().build(&config, fixture.context(), fake);
  }
  std::unique_ptr<TestExchange> send() {
    auto exchange = std::make_unique<TestExchange>(world);
    exchange->start(*link);
    return exchange;
  }

  ChainWorld world;
  FakeLink fake;
  FilterFixture fixture;
  std::shared_ptr<FilterState> state;
  ConcurrencyLimitConfig config;
  std::unique_ptr<Link> link;
  std::vector<std::unique_ptr<Link>> old_links;
};

struct Setup {
  explicit Setup(const ConcurrencyLimitConfig& c, std::uint32_t count = 1, bool shadow = false)
      : config(c), state(concurrency_limit_filter().make_state(&config, nullptr, 1)) {
    for (std::uint32_t i = 0; i < count; ++i) {
      workers.push_back(std::make_unique<Worker>(sim, i, state, config, shadow));
      workers.back()->fake.always(FakeAnswer::ok().delayed(50ms));
    }
  }
  Worker& worker(std::size_t index = 0) { return *workers[index]; }
  double in_flight() { return fact(*state, "in_flight"); }
  double queue_length() { return fact(*state, "queue_length"); }

  SimWorld sim;
  ConcurrencyLimitConfig config;
  std::shared_ptr<FilterState> state;
  std::vector<std::unique_ptr<Worker>> workers;
};

TEST_CASE("without a queue, a call over the limit is refused at once") {
  Setup s(config_of(1));
  const auto first = s.worker().send();
  const auto second = s.worker().send();
  s.sim.run_ready();
  REQUIRE(second->failure);
  CHECK(second->failure->kind == FailureKind::limit_reached);
  CHECK(second->decisions() == std::vector<std::string>{"rejected/limit_reached"});
  s.sim.run_until_idle();
  CHECK(first->status == 200);
  CHECK(s.in_flight() == 0);
  CHECK(s.worker().send()->told() == false);
}

TEST_CASE("a queued call starts when a permit comes back, in its turn") {
  Setup s(config_of(1, patient()));
  const auto first = s.worker().send();
  const auto second = s.worker().send();
  const auto third = s.worker().send();
  CHECK(s.worker().fake.seen.size() == 1);
  CHECK(s.queue_length() == 2);
  s.sim.advance(50ms);
  CHECK(first->ended);
  CHECK(s.worker().fake.seen.size() == 2);
  CHECK(s.worker().fake.seen[1].at == s.sim.now());
  s.sim.advance(49ms);
  CHECK_FALSE(second->told());
  s.sim.run_until_idle();
  CHECK(second->ended);
  CHECK(third->ended);
  CHECK(second->told_at < third->told_at);
  CHECK(second->decisions().empty());
  CHECK(s.in_flight() == 0);
  CHECK(s.queue_length() == 0);
}

TEST_CASE("a queued call keeps its body until it starts") {
  Setup s(config_of(1, patient()));
  const auto first = s.worker().send();
  TestExchange second(s.worker().world, "POST");
  TestUpload& upload = second.add_upload();
  second.start(*s.worker().link);
  upload.send("hello");
  upload.finish();
  s.sim.run_until_idle();
  REQUIRE(s.worker().fake.seen.size() == 2);
  CHECK(s.worker().fake.seen[1].body == "hello");
  CHECK(s.worker().fake.seen[1].body_ended);
}

TEST_CASE("a queue has a size and a timeout") {
  Setup s(config_of(1, QueueConfig{1, 20ms, QueueConfig::Order::fifo}));
  const auto first = s.worker().send();
  const auto second = s.worker().send();
  const auto third = s.worker().send();
  s.sim.run_ready();
  REQUIRE(third->failure);
  CHECK(third->failure->kind == FailureKind::queue_full);
  CHECK_FALSE(second->told());
  s.sim.advance(20ms);
  REQUIRE(second->failure);
  CHECK(second->failure->kind == FailureKind::queue_timeout);
  CHECK(second->failure->decided_by == &s.worker().fixture.identity);
  CHECK(second->decisions() == std::vector<std::string>{"rejected/queue_timeout"});
  CHECK(s.queue_length() == 0);
  CHECK(fact(*s.state, "queue_timeouts_total") == 1);
  s.sim.run_until_idle();
  CHECK(first->ended);
  CHECK(s.worker().fake.seen.size() == 1);
  CHECK(s.in_flight() == 0);
}

TEST_CASE("a client that goes while it waits leaves the queue, and one that goes later gives its permit back") {
  Setup s(config_of(1, patient()));
  const auto first = s.worker().send();
  const auto second = s.worker().send();
  const auto third = s.worker().send();
  second->drop();
  CHECK(s.queue_length() == 1);
  first->drop();  // the permit goes to the third, at once
  s.sim.run_ready();
  CHECK(s.worker().fake.seen.size() == 2);
  CHECK(s.in_flight() == 1);
  s.sim.run_until_idle();
  CHECK(third->ended);
  CHECK_FALSE(second->told());
}

TEST_CASE("a permit comes back when the answer was received, whether it came whole or broke") {
  Setup s(config_of(1));
  FakeAnswer torn = FakeAnswer::with(200, "abcdef").delayed(1ms);
  torn.breaks = FailureKind::truncated;
  s.worker().fake.then(torn).then(FakeAnswer::fails(FailureKind::reset).delayed(1ms));
  for (int i = 0; i < 2; ++i) {
    const auto exchange = s.worker().send();
    CHECK(s.in_flight() == 1);
    s.sim.advance(10ms);
    CHECK(exchange->told());
    CHECK(s.in_flight() == 0);
  }
}

TEST_CASE("the limit holds over workers, and a permit finds the waiter of another worker") {
  Setup s(config_of(1, patient()), 2);
  const auto first = s.worker(0).send();
  const auto second = s.worker(1).send();
  const auto third = s.worker(0).send();
  CHECK(s.worker(1).fake.seen.empty());
  s.sim.advance(50ms);
  CHECK(first->ended);
  CHECK(s.worker(1).fake.seen.size() == 1);
  CHECK(s.in_flight() == 1);
  s.sim.run_until_idle();
  CHECK(second->ended);
  CHECK(third->ended);
  CHECK(s.in_flight() == 0);
}

TEST_CASE("a grant under way to a waiter that is gone goes on to the next") {
  Setup s(config_of(1, patient()), 2);
  const auto first = s.worker(0).send();
  auto second = s.worker(1).send();
  const auto third = s.worker(0).send();
  first->drop();  // posts the grant to worker 1, which has not had a turn yet
  CHECK(s.in_flight() == 1);
  CHECK(s.queue_length() == 1);
  second->drop();
  s.sim.run_ready();
  CHECK(s.worker(1).fake.seen.empty());
  CHECK(s.worker(0).fake.seen.size() == 2);
  s.sim.run_until_idle();
  CHECK(third->ended);
  CHECK(s.in_flight() == 0);
}

TEST_CASE("a grant that comes too late for a slot's last user does not serve the next by mistake") {
  Setup s(config_of(1, QueueConfig{1, 1s, QueueConfig::Order::fifo}), 2);
  const auto first = s.worker(0).send();
  auto second = s.worker(1).send();
  first->drop();
  second->drop();  // the grant is on its way; its permit is free again
  const auto third = s.worker(1).send();
  const auto fourth = s.worker(1).send();  // waits in the same slot
  CHECK(s.queue_length() == 1);
  s.sim.run_ready();
  CHECK(s.worker(1).fake.seen.size() == 1);
  CHECK(s.queue_length() == 1);
  s.sim.run_until_idle();
  CHECK(third->ended);
  CHECK(fourth->ended);
}

TEST_CASE("a queue timeout at the moment of the grant starts the call") {
  Setup s(config_of(1, QueueConfig{10, 50ms, QueueConfig::Order::fifo}), 2);
  s.worker(0).fake.then(FakeAnswer::silent());
  const auto first = s.worker(0).send();
  s.sim.schedule_at(s.worker(0).world.loop, s.sim.now() + 50ms, [&first] { first->drop(); });
  const auto second = s.worker(1).send();
  s.sim.advance(50ms);  // the grant is posted, then the time is over, then the grant arrives
  CHECK(s.worker(1).fake.seen.size() == 1);
  s.sim.run_until_idle();
  CHECK(second->ended);
  CHECK(s.in_flight() == 0);
  CHECK(s.queue_length() == 0);
}

TEST_CASE("waiters stay in the queue over a reload, and a higher limit serves them") {
  Setup s(config_of(1, patient()));
  const auto first = s.worker().send();
  const auto second = s.worker().send();
  const ConcurrencyLimitConfig wider = config_of(2, patient());
  CHECK(concurrency_limit_filter().make_state(&wider, s.state, 1) == s.state);
  s.worker().rebuild();
  CHECK(s.in_flight() == 2);
}

TEST_CASE("in shadow nothing waits, but places and permits are as enforcement would have them") {
  Setup s(config_of(1, QueueConfig{1, 30ms, QueueConfig::Order::fifo}), 1, true);
  const auto first = s.worker().send();   // ends at 50 ms
  const auto second = s.worker().send();  // would wait, and in vain
  const auto third = s.worker().send();   // no room
  CHECK(s.worker().fake.seen.size() == 3);
  CHECK(second->decisions() == std::vector<std::string>{"would_queue/limit_reached"});
  CHECK(third->decisions() == std::vector<std::string>{"would_reject/queue_full"});
  CHECK(s.in_flight() == 1);
  CHECK(s.queue_length() == 1);
  s.sim.advance(30ms);
  CHECK(second->decisions() == std::vector<std::string>{"would_queue/limit_reached", "would_reject/queue_timeout"});
  CHECK(s.queue_length() == 0);
  const auto fourth = s.worker().send();  // its turn would come at 50 ms, and it ends at 80 ms
  s.sim.advance(20ms);
  CHECK(first->status == 200);
  CHECK(second->status == 200);
  CHECK(third->status == 200);
  CHECK(s.in_flight() == 1);
  CHECK(s.queue_length() == 0);
  s.sim.advance(30ms);
  CHECK(fourth->status == 200);
  CHECK(fourth->decisions() == std::vector<std::string>{"would_queue/limit_reached"});
  CHECK(s.in_flight() == 0);
}

TEST_CASE("in shadow a call that ends or is dropped while it would wait leaves its place") {
  Setup s(config_of(1, patient()), 1, true);
  s.worker().fake.then(FakeAnswer::ok().delayed(1s)).then(FakeAnswer::ok().delayed(5ms));
  const auto first = s.worker().send();
  const auto quick = s.worker().send();
  const auto dropped = s.worker().send();
  CHECK(s.queue_length() == 2);
  dropped->drop();
  CHECK(s.queue_length() == 1);
  s.sim.advance(5ms);
  CHECK(quick->ended);
  CHECK(s.queue_length() == 0);
  CHECK(s.in_flight() == 1);
}

// Random clients on four workers: never more upstream calls than the limit, and at the end nothing is left behind.
TEST_CASE("the limit is exact over workers, whatever the schedule") {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    Random random(seed);
    const auto limit = 1 + static_cast<std::uint32_t>(random.below(6));
    const auto order = random.chance(0.5) ? QueueConfig::Order::fifo : QueueConfig::Order::codel;
    Setup s(config_of(limit, QueueConfig{8, 40ms, order}), 4);
    std::vector<std::unique_ptr<TestExchange>> exchanges;
    std::size_t told = 0, dropped = 0;
    const auto live = [&s] {
      int sum = 0;
      for (const auto& worker : s.workers) sum += worker->fake.live();
      return sum;
    };
    for (int step = 0; step < 300; ++step) {
      Worker& worker = s.worker(random.below(4));
      if (random.chance(0.6)) {
        worker.fake.then(FakeAnswer::ok().delayed(Duration{static_cast<std::int64_t>(random.below(60'000'000))}));
        exchanges.push_back(worker.send());
      } else if (!exchanges.empty()) {
        TestExchange& exchange = *exchanges[random.below(exchanges.size())];
        if (!exchange.told()) exchange.drop();
      }
      REQUIRE(live() <= static_cast<int>(limit));
      if (random.chance(0.7)) {
        s.sim.advance(Duration{static_cast<std::int64_t>(random.below(10'000'000))});
        REQUIRE(live() <= static_cast<int>(limit));
        REQUIRE(s.in_flight() == live());
      }
      if (random.chance(0.02)) s.worker(random.below(4)).rebuild();
    }
    s.sim.run_until_idle();
    for (const auto& exchange : exchanges) (exchange->told() ? told : dropped) += 1;
    CHECK(told > 0);
    CHECK(live() == 0);
    CHECK(s.in_flight() == 0);
    CHECK(s.queue_length() == 0);
  }
}

}  // namespace
}  // namespace weir
