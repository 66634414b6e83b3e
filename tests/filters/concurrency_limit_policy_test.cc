#include "filters/concurrency_limit/concurrency_limit_policy.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <deque>
#include <vector>

namespace weir {
namespace {

using Waiter = ConcurrencyLimitPolicy::Waiter;
using Left = ConcurrencyLimitPolicy::Left;
using Verdict = Admission::Verdict;

ConcurrencyLimitConfig fixed(std::uint32_t limit) {
  ConcurrencyLimitConfig config;
  config.limit = limit;
  return config;
}

ConcurrencyLimitConfig queued(std::uint32_t limit, std::uint32_t size, QueueConfig::Order order = QueueConfig::Order::fifo) {
  ConcurrencyLimitConfig config = fixed(limit);
  config.queue = QueueConfig{size, 100ms, order};
  return config;
}

struct Bench {
  explicit Bench(const ConcurrencyLimitConfig& config) : policy(config) {}
  Admission admit() { return policy.admit(now, AdmissionFacts{}, random); }
  Ticket admitted() {
    const Admission admission = admit();
    REQUIRE(admission.verdict == Verdict::admit);
    return admission.ticket;
  }
  Waiter waiting() {
    const Admission admission = admit();
    REQUIRE(admission.verdict == Verdict::wait);
    return ConcurrencyLimitPolicy::waiter_of(admission.ticket);
  }
  void give_back(const Ticket& ticket, const Outcome& outcome = {}) { policy.record(now, ticket, outcome, random); }

  ConcurrencyLimitPolicy policy;
  Random random{1};
  MonotonicTime now{1h};
};

bool same(const std::optional<Waiter>& a, const Waiter& b) { return a && a->slot == b.slot && a->serial == b.serial; }

TEST_CASE("so many calls are in flight and no more") {
  Bench bench(fixed(3));
  std::vector<Ticket> tickets;
  for (int i = 0; i < 3; ++i) tickets.push_back(bench.admitted());
  const Admission refused = bench.admit();
  CHECK(refused.verdict == Verdict::reject);
  CHECK(refused.kind == FailureKind::limit_reached);
  bench.give_back(tickets[1]);
  CHECK(bench.admit().verdict == Verdict::admit);
  CHECK(bench.admit().verdict == Verdict::reject);
}

TEST_CASE("over the limit calls wait, and over the queue's size they are refused") {
  Bench bench(queued(1, 2));
  const Ticket ticket = bench.admitted();
  bench.waiting();
  bench.waiting();
  const Admission refused = bench.admit();
  CHECK(refused.verdict == Verdict::reject);
  CHECK(refused.kind == FailureKind::queue_full);
  CHECK(bench.policy.queue_length() == 2);
  CHECK_FALSE(bench.policy.grant_next(bench.now));
  bench.give_back(ticket);
  CHECK(bench.policy.grant_next(bench.now));
  CHECK_FALSE(bench.policy.grant_next(bench.now));
}

TEST_CASE("a permit goes to the one who waits longest, not to the one who comes next") {
  Bench bench(queued(1, 10));
  const Ticket ticket = bench.admitted();
  const Waiter first = bench.waiting();
  const Waiter second = bench.waiting();
  bench.give_back(ticket);
  CHECK(bench.admit().verdict == Verdict::wait);  // even before the grant was handed out
  CHECK(same(bench.policy.grant_next(bench.now), first));
  CHECK(bench.policy.in_flight() == 1);
  const std::optional<Ticket> mine = bench.policy.accept(bench.now, first);
  REQUIRE(mine);
  CHECK(bench.policy.in_flight() == 1);
  bench.give_back(*mine);
  CHECK(same(bench.policy.grant_next(bench.now), second));
}

TEST_CASE("a waiter who leaves takes nothing along") {
  Bench bench(queued(1, 10));
  const Ticket ticket = bench.admitted();
  const Waiter first = bench.waiting();
  const Waiter second = bench.waiting();
  const Waiter third = bench.waiting();
  CHECK(bench.policy.leave(bench.now, second) == Left::waiting);
  CHECK(bench.policy.leave(bench.now, second) == Left::unknown);
  bench.give_back(ticket);
  CHECK(same(bench.policy.grant_next(bench.now), first));
  // first is granted and leaves: the permit is free again.
  CHECK(bench.policy.leave(bench.now, first) == Left::granted);
  CHECK_FALSE(bench.policy.accept(bench.now, first));
  CHECK(bench.policy.in_flight() == 0);
  CHECK(same(bench.policy.grant_next(bench.now), third));
}

TEST_CASE("a slot's next user is not mistaken for the one before") {
  Bench bench(queued(1, 1));
  const Ticket ticket = bench.admitted();
  const Waiter before = bench.waiting();
  bench.policy.leave(bench.now, before);
  const Waiter after = bench.waiting();
  CHECK(after.slot == before.slot);
  CHECK(bench.policy.leave(bench.now, before) == Left::unknown);
  bench.give_back(ticket);
  CHECK(same(bench.policy.grant_next(bench.now), after));
  CHECK_FALSE(bench.policy.granted(before));
  CHECK_FALSE(bench.policy.accept(bench.now, before));
  CHECK(bench.policy.accept(bench.now, after));
}

TEST_CASE("a lower limit takes back no permit, a higher one serves those who wait") {
  Bench bench(queued(4, 10));
  std::vector<Ticket> tickets;
  for (int i = 0; i < 4; ++i) tickets.push_back(bench.admitted());
  bench.policy.set_config(queued(2, 10));
  CHECK(bench.policy.in_flight() == 4);
  const Waiter waiter = bench.waiting();
  bench.give_back(tickets[0]);
  bench.give_back(tickets[1]);
  CHECK_FALSE(bench.policy.grant_next(bench.now));  // two are in flight
  bench.policy.set_config(queued(3, 10));
  CHECK(same(bench.policy.grant_next(bench.now), waiter));
}

TEST_CASE("those who wait stay when a reload takes the queue away") {
  Bench bench(queued(1, 10));
  const Ticket ticket = bench.admitted();
  const Waiter waiter = bench.waiting();
  bench.policy.set_config(fixed(1));
  CHECK(bench.admit().kind == FailureKind::limit_reached);
  bench.give_back(ticket);
  CHECK(same(bench.policy.grant_next(bench.now), waiter));
}

TEST_CASE("codel: in a standing queue newcomers wait a twentieth, and the newest goes first") {
  Bench bench(queued(1, 10, QueueConfig::Order::codel));
  Ticket ticket = bench.admitted();
  const auto next = [&] {
    bench.give_back(ticket);
    const std::optional<Waiter> granted = bench.policy.grant_next(bench.now);
    REQUIRE(granted);
    ticket = *bench.policy.accept(bench.now, *granted);
    return *granted;
  };
  const Waiter a = bench.waiting();
  CHECK(bench.policy.patience(bench.now) == 100ms);
  const Waiter b = bench.waiting();
  bench.now += 100ms;
  CHECK(bench.policy.patience(bench.now) == 100ms);
  CHECK(same(next(), a));  // not standing for longer than the timeout yet
  bench.now += 1ms;
  const Waiter c = bench.waiting();
  CHECK(bench.policy.patience(bench.now) == 5ms);
  CHECK(same(next(), c));
  CHECK(same(next(), b));
  bench.now += 1s;
  const Waiter d = bench.waiting();  // it was empty in between
  CHECK(bench.policy.patience(bench.now) == 100ms);
  const Waiter e = bench.waiting();
  CHECK(same(next(), d));
  CHECK(same(next(), e));
}

Outcome answered(int status, Duration to_headers) {
  Outcome outcome;
  outcome.cls = Outcome::Class::answered;
  outcome.status = status;
  outcome.to_headers = to_headers;
  outcome.total = to_headers + 1h;  // a long body is no sign of load
  return outcome;
}

// Feeds outcomes until the limit moves, or for so long that it will not.
std::uint32_t limit_after(AdaptiveLimitConfig::Algorithm algorithm, const Outcome& usual, const Outcome& then) {
  ConcurrencyLimitConfig config;
  config.adaptive = AdaptiveLimitConfig{algorithm, 100, 5, 1000};
  Bench bench(config);
  for (const Outcome* outcome : {&usual, &then}) {
    for (int i = 0; i < 300; ++i) {
      bench.now += 10ms;
      bench.give_back(bench.admitted(), *outcome);
    }
  }
  return bench.policy.limit();
}

TEST_CASE("only outcomes of the upstream move an adaptive limit") {
  using Algorithm = AdaptiveLimitConfig::Algorithm;
  const Outcome good = answered(200, 10ms);
  Outcome timeout;
  timeout.cls = Outcome::Class::failed;
  timeout.failure = FailureKind::response_timeout;
  timeout.total = 10ms;
  CHECK(limit_after(Algorithm::aimd, good, timeout) < 100);
  CHECK(limit_after(Algorithm::vegas, good, timeout) < 100);
  Outcome reset = timeout;
  reset.failure = FailureKind::reset;
  CHECK(limit_after(Algorithm::aimd, good, reset) == 100);
  Outcome cancelled;
  cancelled.failure = FailureKind::client_gone;
  cancelled.total = 1h;
  CHECK(limit_after(Algorithm::aimd, good, cancelled) == 100);
}

TEST_CASE("quick errors do not count as quick answers") {
  ConcurrencyLimitConfig config;
  config.adaptive = AdaptiveLimitConfig{AdaptiveLimitConfig::Algorithm::gradient2, 10, 5, 1000};
  Bench bench(config);
  const auto grpc = [](GrpcStatus status) {
    Outcome outcome = answered(200, 200us);
    outcome.grpc_status = status;
    return outcome;
  };
  for (const Outcome& quick : {answered(500, 200us), answered(503, 200us), answered(429, 200us), grpc(GrpcStatus::unavailable),
                               grpc(GrpcStatus::resource_exhausted)}) {
    for (int i = 0; i < 1000; ++i) {
      bench.now += 10ms;
      std::vector<Ticket> tickets;
      for (int k = 0; k < 10; ++k) tickets.push_back(bench.admitted());
      for (const Ticket& ticket : tickets) bench.give_back(ticket, quick);
    }
    CHECK(bench.policy.limit() == 10);
  }
}

TEST_CASE("cancelled calls that had waited longer than usual lower an adaptive limit") {
  ConcurrencyLimitConfig config;
  config.adaptive = AdaptiveLimitConfig{AdaptiveLimitConfig::Algorithm::gradient2, 100, 5, 1000};
  Bench bench(config);
  const auto round = [&](const Outcome& outcome) {
    std::vector<Ticket> tickets;
    while (tickets.size() < bench.policy.limit()) tickets.push_back(bench.admitted());
    bench.now += 100ms;
    for (const Ticket& ticket : tickets) bench.give_back(ticket, outcome);
  };
  for (int i = 0; i < 100; ++i) round(answered(200, 10ms));
  const std::uint32_t before = bench.policy.limit();
  Outcome early;  // a client that changed its mind says nothing
  early.cut_short = true;
  early.total = 9ms;
  for (int i = 0; i < 100; ++i) round(early);
  CHECK(bench.policy.limit() == before);
  Outcome late = early;
  late.total = 500ms;
  for (int i = 0; i < 100; ++i) round(late);
  CHECK(bench.policy.limit() < before);
}

TEST_CASE("calls that are given up are no answers: among timeouts the limit falls to its minimum at once") {
  ConcurrencyLimitConfig config;
  config.adaptive = AdaptiveLimitConfig{AdaptiveLimitConfig::Algorithm::gradient2, 50, 5, 1000};
  Bench bench(config);
  for (int i = 0; i < 200; ++i) {
    const Ticket ticket = bench.admitted();
    bench.now += 20ms;
    bench.give_back(ticket, answered(200, 20ms));
  }
  REQUIRE(bench.policy.limit() >= 50);
  Outcome timed_out;
  timed_out.cls = Outcome::Class::failed;
  timed_out.failure = FailureKind::response_timeout;
  timed_out.total = 500ms;
  Outcome given_up;  // a second try, which the total ends first
  given_up.cut_short = true;
  given_up.total = 480ms;
  std::vector<Ticket> tickets;
  while (tickets.size() < 48) tickets.push_back(bench.admitted());
  for (int wave = 0; wave < 3 && bench.policy.limit() > 5; ++wave) {
    bench.now += 100ms;
    for (std::size_t i = 0; i < tickets.size(); ++i) bench.give_back(tickets[i], i % 6 == 5 ? given_up : timed_out);
    tickets.clear();
    while (tickets.size() < 48 && bench.policy.limit() > 5) tickets.push_back(bench.admitted());
  }
  for (const Ticket& ticket : tickets) bench.give_back(ticket, given_up);
  CHECK(bench.policy.limit() == 5);
}

// Whatever the schedule: never more permits out than the limit, never a free permit while someone waits, nobody lost.
TEST_CASE("permits and waiters are never lost nor doubled, whatever the schedule") {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Random random(seed);
    std::uint32_t limit = 1 + static_cast<std::uint32_t>(random.below(8));
    const auto size = 1 + static_cast<std::uint32_t>(random.below(12));
    const auto order = random.chance(0.5) ? QueueConfig::Order::fifo : QueueConfig::Order::codel;
    Bench bench(queued(limit, size, order));
    std::vector<Ticket> held;
    std::deque<Waiter> waiting;
    std::vector<Waiter> granted;
    const auto hand_out = [&] {
      while (const std::optional<Waiter> waiter = bench.policy.grant_next(bench.now)) {
        const auto place = std::find_if(waiting.begin(), waiting.end(), [&](const Waiter& w) { return same(waiter, w); });
        REQUIRE(place != waiting.end());
        if (order == QueueConfig::Order::fifo) REQUIRE(place == waiting.begin());
        waiting.erase(place);
        granted.push_back(*waiter);
      }
    };
    const auto pick = [&random](auto& from) {
      const auto place = from.begin() + static_cast<std::ptrdiff_t>(random.below(from.size()));
      const auto value = *place;
      from.erase(place);
      return value;
    };
    for (int step = 0; step < 500; ++step) {
      bench.now += Duration{static_cast<std::int64_t>(random.below(40'000'000))};
      switch (random.below(6)) {
        case 0:
        case 1: {
          const Admission admission = bench.admit();
          if (admission.verdict == Verdict::admit) {
            held.push_back(admission.ticket);
            REQUIRE(held.size() + granted.size() <= limit);
          } else if (admission.verdict == Verdict::wait) {
            waiting.push_back(ConcurrencyLimitPolicy::waiter_of(admission.ticket));
          } else {
            REQUIRE(waiting.size() == size);
          }
          break;
        }
        case 2:
          if (!held.empty()) bench.give_back(pick(held));
          break;
        case 3:
          if (!granted.empty()) {
            const std::optional<Ticket> ticket = bench.policy.accept(bench.now, pick(granted));
            REQUIRE(ticket);
            held.push_back(*ticket);
          }
          break;
        case 4:
          if (!granted.empty() && random.chance(0.3)) REQUIRE(bench.policy.leave(bench.now, pick(granted)) == Left::granted);
          if (!waiting.empty() && random.chance(0.3)) REQUIRE(bench.policy.leave(bench.now, pick(waiting)) == Left::waiting);
          break;
        default:
          if (random.chance(0.1)) {
            limit = 1 + static_cast<std::uint32_t>(random.below(8));
            bench.policy.set_config(queued(limit, size, order));
          }
      }
      hand_out();
      REQUIRE(bench.policy.in_flight() == held.size() + granted.size());
      REQUIRE(bench.policy.queue_length() == waiting.size());
      if (!waiting.empty()) REQUIRE(bench.policy.in_flight() >= limit);
    }
  }
}

}  // namespace
}  // namespace weir
