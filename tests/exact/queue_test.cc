// The queue of a concurrency limit against a plain list of who waits: who is let in, refused, granted and in which order.
#include <catch2/catch.hpp>

#include <algorithm>
#include <vector>

#include "filters/concurrency_limit/concurrency_limit_policy.h"

namespace weir {
namespace {

using Waiter = ConcurrencyLimitPolicy::Waiter;
using Left = ConcurrencyLimitPolicy::Left;
using Verdict = Admission::Verdict;

bool same(const Waiter& a, const Waiter& b) { return a.slot == b.slot && a.serial == b.serial; }

class QueueRun {
 public:
  explicit QueueRun(std::uint64_t seed) : random_(seed), config_(drawn()), policy_(config_) {}

  void run(int steps) {
    for (int step = 0; step < steps; ++step) {
      now_ += Duration{static_cast<std::int64_t>(random_.below(20'000'000))};
      switch (random_.below(8)) {
        case 0:
        case 1:
        case 2: arrive(); break;
        case 3: finish(); break;
        case 4:
        case 5: accept(); break;
        case 6: leave(); break;
        default:
          if (random_.chance(0.1)) reload();
      }
      hand_out();
      expect(policy_.in_flight() == held_.size() + granted_.size());
      expect(policy_.queue_length() == waiting_.size());
      expect(waiting_.empty() || policy_.in_flight() >= *config_.limit);
    }
    wind_up();
  }

  int wrong = 0;
  int ended = 0;   // waiters: granted and taken, or gone
  int waited = 0;  // all that ever waited
  int newest_first = 0;

 private:
  ConcurrencyLimitConfig drawn() {
    ConcurrencyLimitConfig config;
    config.limit = static_cast<std::uint32_t>(1 + random_.below(12));
    if (random_.chance(0.9)) {
      const auto size = static_cast<std::uint32_t>(1 + random_.below(20));
      config.queue = QueueConfig{size, 100ms, random_.chance(0.5) ? QueueConfig::Order::fifo : QueueConfig::Order::codel};
    }
    return config;
  }
  void expect(bool right) {
    if (!right) ++wrong;
  }
  bool standing() const {
    return config_.queue && config_.queue->order == QueueConfig::Order::codel && !waiting_.empty() &&
           now_ - waits_since_ > config_.queue->timeout;
  }
  template <class T>
  T take_any(std::vector<T>& from) {
    std::swap(from[random_.below(from.size())], from.back());
    const T value = from.back();
    from.pop_back();
    return value;
  }

  void arrive() {
    const bool room = held_.size() + granted_.size() < *config_.limit && waiting_.empty();
    const bool place = config_.queue && waiting_.size() < config_.queue->size;
    const Admission admission = policy_.admit(now_, AdmissionFacts{}, random_);
    expect(admission.verdict == (room ? Verdict::admit : place ? Verdict::wait : Verdict::reject));
    if (admission.verdict == Verdict::admit) {
      held_.push_back(admission.ticket);
      expect(held_.size() + granted_.size() <= *config_.limit);
    } else if (admission.verdict == Verdict::wait) {
      if (waiting_.empty()) waits_since_ = now_;
      waiting_.push_back(ConcurrencyLimitPolicy::waiter_of(admission.ticket));
      ++waited;
      expect(policy_.patience(now_) == (standing() ? 5ms : 100ms));
    }
  }
  void finish() {
    if (!held_.empty()) policy_.record(now_, take_any(held_), Outcome{}, random_);
  }
  void accept() {
    if (granted_.empty()) return;
    const Waiter waiter = take_any(granted_);
    const std::optional<Ticket> ticket = policy_.accept(now_, waiter);
    expect(ticket.has_value() && !policy_.accept(now_, waiter) && policy_.leave(now_, waiter) == Left::unknown);
    held_.push_back(*ticket);
    ++ended;
  }
  void leave() {
    const bool had_grant = !granted_.empty() && random_.chance(0.5);
    if (!had_grant && waiting_.empty()) return;
    Waiter waiter;
    if (had_grant) {
      waiter = take_any(granted_);
    } else {
      const auto place = waiting_.begin() + static_cast<std::ptrdiff_t>(random_.below(waiting_.size()));
      waiter = *place;
      waiting_.erase(place);
    }
    expect(policy_.leave(now_, waiter) == (had_grant ? Left::granted : Left::waiting));
    expect(policy_.leave(now_, waiter) == Left::unknown && !policy_.accept(now_, waiter));
    ++ended;
  }
  void reload() {
    config_ = drawn();
    policy_.set_config(config_);
  }
  void hand_out() {
    while (true) {
      const bool due = !waiting_.empty() && held_.size() + granted_.size() < *config_.limit;
      const bool newest = standing();
      const std::optional<Waiter> waiter = policy_.grant_next(now_);
      expect(waiter.has_value() == due);
      if (!waiter || !due) return;
      if (newest && waiting_.size() > 1) ++newest_first;
      const auto place = newest ? waiting_.end() - 1 : waiting_.begin();
      expect(same(*waiter, *place));
      waiting_.erase(place);
      granted_.push_back(*waiter);
    }
  }
  void wind_up() {
    for (int i = 0; i < 1000 && !(held_.empty() && granted_.empty() && waiting_.empty()); ++i) {
      finish();
      accept();
      hand_out();
    }
    expect(policy_.in_flight() == 0 && policy_.queue_length() == 0 && ended == waited);
  }

  Random random_;
  ConcurrencyLimitConfig config_;
  ConcurrencyLimitPolicy policy_;
  MonotonicTime now_{1h};
  MonotonicTime waits_since_{};
  std::vector<Ticket> held_;
  std::vector<Waiter> waiting_;  // the oldest first
  std::vector<Waiter> granted_;
};

}  // namespace

TEST_CASE("permits and places in the queue go as a plain list says, in any order of arrivals, ends, departures and reloads") {
  int waited = 0, newest_first = 0;
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    QueueRun run(seed);
    run.run(400);
    INFO("seed " << seed);
    REQUIRE(run.wrong == 0);
    waited += run.waited;
    newest_first += run.newest_first;
  }
  CHECK(waited > 50'000);
  CHECK(newest_first > 500);
}

}  // namespace weir
