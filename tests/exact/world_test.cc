// Exactness of the whole proxy: several simulated workers share one limit, one queue, one budget, one breaker, seen from the upstream.
#include <catch2/catch.hpp>

#include <algorithm>
#include <memory>
#include <set>

#include "tests/support/world.h"

using namespace weir;
using namespace weir::test;

namespace {

std::string yaml(const std::string& filters, const std::string& service_fields = "") {
  return R"(version: 1
listeners:
  - { name: out, direction: outbound, listen: 127.0.0.1:15001, routes: [ { name: all, service: app, policy: p } ] }
services:
  app: { endpoints: [10.0.0.1:80], )" +
         service_fields + R"( }
policies:
  p:
    filters: [ )" +
         filters + " ]\n";
}

std::string limit_of(int limit, int queue = 500) {
  return yaml("{ concurrency_limit: { limit: " + std::to_string(limit) + ", queue: { size: " + std::to_string(queue) +
              ", timeout: 30s } } }");
}

// An upstream that knows what it is working on: a job ends with its answer, or when the connection does.
class Measured {
 public:
  Measured(World& world, std::function<Duration()> takes) : world_(world), upstream_(world.upstream("10.0.0.1:80")) {
    upstream_.script = [this, takes = std::move(takes)](UpstreamPeer& peer, const Message&, int) {
      jobs_.push_back({peer.self, false});
      const std::size_t now_inside = inside();
      most = std::max(most, now_inside);
      if (now_inside > allowed) ++over;
      ++begun;
      world_.sim.schedule_at(peer.loop(), world_.sim.now() + takes(), [this, number = jobs_.size() - 1] { finish(number); });
    };
  }
  std::size_t inside() const {
    return static_cast<std::size_t>(std::count_if(jobs_.begin() + static_cast<std::ptrdiff_t>(first_), jobs_.end(), [](const Job& job) {
      const auto peer = job.peer.lock();
      return !job.done && peer != nullptr && !peer->over();
    }));
  }

  std::size_t allowed = 10;
  std::size_t most = 0;
  int over = 0;
  int begun = 0;

 private:
  struct Job {
    std::weak_ptr<UpstreamPeer> peer;
    bool done;
  };
  void finish(std::size_t number) {
    jobs_[number].done = true;
    while (first_ < jobs_.size() && jobs_[first_].done) ++first_;
    if (const auto peer = jobs_[number].peer.lock(); peer != nullptr && !peer->over()) peer->answer(200, "ok");
  }
  World& world_;
  SimUpstream& upstream_;
  std::vector<Job> jobs_;
  std::size_t first_ = 0;
};

// Clients that ask again as soon as they are answered.
class Crowd {
 public:
  Crowd(World& world, std::size_t count) : world_(world), members_(count) {
    for (Member& member : members_) member.client = &world_.client();
  }
  void turn() {
    for (Member& member : members_) {
      if (member.client->answers().size() < member.asked) continue;
      if (member.asked > 0) longest = std::max(longest, world_.sim.now() - member.since);
      member.client->get("/");
      member.since = world_.sim.now();
      ++member.asked;
    }
  }
  // One goes, whatever it waits for, and another comes.
  void replace(std::size_t index) {
    Member& member = members_[index];
    count(member);
    gone_ += member.asked - member.client->answers().size();
    member.client->reset();
    member = Member{&world_.client(), 0, {}};
  }
  void finish() {
    for (Member& member : members_) {
      CHECK(world_.await(*member.client, member.asked));
      count(member);
    }
  }
  std::vector<std::size_t> served() {
    std::vector<std::size_t> each;
    for (Member& member : members_) each.push_back(member.client->answers().size());
    return each;
  }
  Duration longest{0};
  std::size_t good = 0;
  std::size_t refused = 0;

 private:
  struct Member {
    SimClient* client = nullptr;
    std::size_t asked = 0;
    MonotonicTime since{};
  };
  void count(Member& member) {
    for (const Message& answer : member.client->answers()) ++(answer.status() == 200 ? good : refused);
  }
  World& world_;
  std::vector<Member> members_;
  std::size_t gone_ = 0;
};

Duration milliseconds_of(Random& random, std::uint64_t bound) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(1 + random.below(bound)));
}

void check_nothing_held(World& world) {
  world.advance(2s);
  CHECK(world.metric("weir_limit_in_flight", {{"service", "app"}}) == 0);
  CHECK(world.metric("weir_queue_length", {{"service", "app"}}) == 0);
  CHECK(world.metric("weir_in_flight") == 0);
}

// Whatever came before: exactly so many can still be inside at once.
void check_reaches(World& world, Measured& upstream, std::size_t limit) {
  upstream.most = 0;
  Crowd crowd(world, limit + 5);
  for (int step = 0; step < 20; ++step) {
    crowd.turn();
    world.advance(10ms);
  }
  crowd.finish();
  CHECK(upstream.most == limit);
}

}  // namespace

TEST_CASE("a limit of ten with four workers: ten inside, never eleven, whatever clients come, stay and go") {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    World world(limit_of(10, 30), {.workers = 4, .seed = seed});
    Random random(seed);
    Measured upstream(world, [&random] { return milliseconds_of(random, 20); });
    Crowd crowd(world, 48);
    for (int step = 0; step < 250; ++step) {
      crowd.turn();
      if (random.chance(0.2)) crowd.replace(random.below(48));
      world.advance(milliseconds_of(random, 3));
    }
    crowd.finish();
    INFO("seed " << seed);
    CHECK(upstream.over == 0);
    CHECK(upstream.most == 10);
    CHECK(crowd.good > 200);
    CHECK(crowd.refused > 0);
    check_nothing_held(world);
    check_reaches(world, upstream, 10);
  }
}

TEST_CASE("a queue over four workers starves none: everybody gets the same share, and waits for those ahead and no longer") {
  for (std::uint64_t seed = 1; seed <= 2; ++seed) {
    World world(limit_of(10), {.workers = 4, .seed = seed});
    Measured upstream(world, [] { return Duration(10ms); });
    Crowd crowd(world, 64);
    for (int step = 0; step < 1500; ++step) {
      crowd.turn();
      world.advance(1ms);
    }
    const auto served = crowd.served();
    const auto [least, most] = std::minmax_element(served.begin(), served.end());
    INFO("seed " << seed);
    CHECK(*least >= 20);
    CHECK(*most - *least <= 5);  // those answered at one instant ask again in the order of their numbers: the last loses some places
    // 63 others ahead of it are gone after seven rounds of ten; a turn of the crowd is a millisecond late.
    CHECK(crowd.longest <= 82ms);
    crowd.finish();
    CHECK(upstream.over == 0);
    check_nothing_held(world);
  }
}

TEST_CASE("a reload to another limit holds from the next call on: lower takes nothing away, higher serves those who wait") {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    World world(limit_of(10), {.workers = 4, .seed = seed});
    Random random(seed);
    Measured upstream(world, [&random] { return milliseconds_of(random, 20); });
    Crowd crowd(world, 48);
    for (const int limit : {10, 5, 20, 1, 7}) {
      // What was let in before may stay, and so may be inside still; nothing new is let in beside it.
      upstream.allowed = std::max(static_cast<std::size_t>(limit), upstream.inside());
      REQUIRE(world.reload(limit_of(limit)));
      for (int step = 0; step < 15; ++step) {
        crowd.turn();
        world.advance(2ms);
      }
      INFO("seed " << seed << ", limit " << limit);
      CHECK(upstream.inside() <= static_cast<std::size_t>(limit));
      upstream.allowed = static_cast<std::size_t>(limit);
      upstream.most = 0;
      for (int step = 0; step < 40; ++step) {
        crowd.turn();
        world.advance(2ms);
      }
      CHECK(upstream.over == 0);
      CHECK(upstream.most == static_cast<std::size_t>(limit));
    }
    crowd.finish();
    CHECK(crowd.refused == 0);
    check_nothing_held(world);
  }
}

TEST_CASE("those who leave the queue give what was granted to them to the next, on whichever worker that waits") {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    World world(limit_of(3, 100), {.workers = 4, .seed = seed});
    Random random(seed);
    Measured upstream(world, [] { return Duration(2ms); });
    upstream.allowed = 3;
    Crowd crowd(world, 40);
    for (int step = 0; step < 300; ++step) {
      crowd.turn();
      // At the instant of the ends and grants themselves: some of those who go were just granted by another worker.
      for (int i = 0; i < 4; ++i) crowd.replace(random.below(40));
      world.advance(1ms);
      CHECK(world.metric("weir_limit_in_flight", {{"service", "app"}}) <= 3);
    }
    crowd.finish();
    INFO("seed " << seed);
    CHECK(upstream.over == 0);
    check_nothing_held(world);
    check_reaches(world, upstream, 3);
  }
}

TEST_CASE("ten connections to a service for four workers: never an eleventh, and every client is served") {
  for (std::uint64_t seed = 1; seed <= 2; ++seed) {
    World world(yaml("", "limits: { connections: 10, pending: 1000 }, pending_timeout: 30s"), {.workers = 4, .seed = seed});
    Random random(seed);
    Measured upstream(world, [&random] { return milliseconds_of(random, 10); });
    Crowd crowd(world, 48);
    std::size_t most = 0;
    for (int step = 0; step < 500; ++step) {
      crowd.turn();
      world.advance(1ms);
      most = std::max(most, world.upstream("10.0.0.1:80").open_connections());
    }
    const auto served = crowd.served();
    INFO("seed " << seed);
    CHECK(most == 10);
    CHECK(upstream.over == 0);
    CHECK(*std::min_element(served.begin(), served.end()) >= 3);
    crowd.finish();
    CHECK(crowd.refused == 0);
  }
}

TEST_CASE("four workers at 500/s: any second after the burst lets 500 requests through, give or take one percent") {
  World world(yaml("{ rate_limit: { rate: 500/s, burst: 20 } }"), {.workers = 4});
  std::vector<MonotonicTime> came;
  world.upstream("10.0.0.1:80").script = [&](UpstreamPeer& peer, const Message&, int) {
    came.push_back(world.sim.now());
    peer.answer(200, "ok");
  };
  Crowd crowd(world, 3);
  const MonotonicTime begin = world.sim.now();
  while (world.sim.now() < begin + 2500ms) {
    crowd.turn();
    world.advance(1ms);
  }
  for (std::size_t i = 0; i < came.size(); ++i) {
    if (came[i] < begin + 50ms || came[i] + 1s > begin + 2500ms) continue;
    const auto until = std::lower_bound(came.begin(), came.end(), came[i] + 1s);
    const auto inside = until - (came.begin() + static_cast<std::ptrdiff_t>(i));
    REQUIRE(inside >= 495);
    REQUIRE(inside <= 505);
  }
  CHECK(came.size() >= 1245);
  CHECK(came.size() <= 1270);
  crowd.finish();
}

// Free resends are apart: a reused connection that breaks before any byte of the answer is no sign of an outage, and is not charged.
TEST_CASE("a total outage on four workers with 20% and a floor of 0: attempts stay within 1.2 for each request, at every moment") {
  World world(yaml("{ retry: { max_attempts: 4, causes: [5xx, connect_failure, reset], backoff: { base: 5ms, max: 40ms } } }",
                   "retry_budget: { ratio: 20%, min_rate: 0/s, window: 2s }, outlier_detection: { mode: disabled }"),
              {.workers = 4});
  auto& upstream = world.upstream("10.0.0.1:80");
  Random random(3);
  upstream.script = [&](UpstreamPeer& peer, const Message&, int) {
    if (random.chance(0.3)) return peer.reset();
    peer.answer(503, "no", "", milliseconds_of(random, 5));
  };
  const auto tries = [&world] {
    return world.metric("weir_attempts_total") + world.metric("weir_attempts_in_flight") -
           world.metric("weir_filter_decisions_total", {{"filter", "retry"}, {"decision", "resent"}});
  };
  Crowd crowd(world, 32);
  for (int step = 0; step < 600; ++step) {
    crowd.turn();
    world.advance(milliseconds_of(random, 3));
    if (step == 300) upstream.down();
    if (step % 10 == 0) REQUIRE(tries() <= 1.2 * (world.metric("weir_requests_total") + world.metric("weir_in_flight")) + 1e-6);
  }
  crowd.finish();
  CHECK(upstream.seen.size() > 500);
  CHECK(tries() <= 1.2 * world.metric("weir_requests_total"));
  CHECK(tries() >= 1.2 * world.metric("weir_requests_total") - 32);  // and what was paid for was used, but for what ended last
}

TEST_CASE("a breaker over four workers opens at exactly the twentieth call, and its probes are as many as it says while they hang") {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    World world(yaml("{ circuit_breaker: { causes: [5xx], min_calls: 20, failure_ratio: 50%, open_for: { base: 1s, max: 1s }, "
                     "half_open: { probes: 4, successes: 3, expire_after: 1m } } }"),
                {.workers = 4, .seed = seed});
    auto& upstream = world.upstream("10.0.0.1:80");
    upstream.script = [](UpstreamPeer& peer, const Message&, int number) { peer.answer(number % 2 == 0 ? 500 : 200, "x"); };
    int refused = 0;
    for (int i = 0; i < 40; ++i) refused += world.get("/").status() == 503 ? 1 : 0;
    INFO("seed " << seed);
    CHECK(upstream.seen.size() == 20);
    CHECK(refused == 20);

    upstream.script = [](UpstreamPeer& peer, const Message&, int) { peer.answer(200, "ok", "", 500ms); };
    world.advance(1s);
    std::vector<SimClient*> all;
    for (int i = 0; i < 50; ++i) {
      all.push_back(&world.client());
      all.back()->get("/");
      if (i % 7 == 0) world.advance(1ms);
    }
    world.advance(100ms);
    CHECK(upstream.seen.size() == 24);
    world.advance(1s);
    int good = 0;
    for (SimClient* one : all) good += one->answered() && one->answers()[0].status() == 200 ? 1 : 0;
    CHECK(good == 4);
    CHECK(world.get("/").status() == 200);
    CHECK(world.metric("weir_breaker_state", {{"service", "app"}}) == 0);
  }
}
