// The connections of a service among its workers, against a plain list of who enlisted: never more than the limit, never a free one
// while somebody waits, and nobody passed over.
#include <catch2/catch.hpp>

#include <algorithm>
#include <vector>

#include "proxy/base/random.h"
#include "proxy/upstream/limits.h"

namespace weir {
namespace {

using Worker = ConnectionSlots::Worker;

class SlotsRun {
 public:
  explicit SlotsRun(std::uint64_t seed) : random_(seed), workers_(static_cast<Worker>(2 + random_.below(5))), held_(workers_) {
    limit_ = static_cast<std::uint32_t>(1 + random_.below(12));
    slots_.configure(limit_, FilterMode::enforce);
  }

  void run(int steps) {
    for (int step = 0; step < steps; ++step) {
      const Worker worker = any_worker();
      switch (random_.below(20)) {
        case 0: reload(); break;
        case 1: gone(worker); break;
        case 2:
          slots_.withdraw(worker);
          forget(worker);
          break;
        case 3:
        case 4:
        case 5:
        case 6:
        case 7:
        case 8:
        case 9:
        case 10:
        case 11: ask(worker); break;
        default: give_back(worker);
      }
      while (const std::optional<Worker> next = slots_.grant()) granted(*next);
      check();
    }
  }

  int wrong = 0;
  int grants = 0;
  std::size_t longest_wait = 0;

 private:
  struct Enlisted {
    Worker worker;
    std::size_t before;      // how many were ahead
    std::size_t passed = 0;  // grants to others since
  };

  Worker any_worker() {
    // One of them is greedy.
    return random_.chance(0.5) ? 0 : static_cast<Worker>(random_.below(workers_));
  }
  void expect(bool right) {
    if (!right) ++wrong;
  }
  std::uint32_t used() const {
    std::uint32_t sum = 0;
    for (const std::uint32_t held : held_) sum += held;
    return sum;
  }
  void forget(Worker worker) {
    queue_.erase(std::remove_if(queue_.begin(), queue_.end(), [&](const Enlisted& one) { return one.worker == worker; }), queue_.end());
  }

  void ask(Worker worker) {
    const bool free = used() < limit_ && queue_.empty();
    const HostLimit::Taken taken = slots_.take(worker);
    expect((taken == HostLimit::Taken::yes) == free);
    if (free) {
      ++held_[worker];
      return;
    }
    const bool enlisted = std::any_of(queue_.begin(), queue_.end(), [&](const Enlisted& one) { return one.worker == worker; });
    expect(slots_.enlist(worker, 1, MonotonicTime(1h)) == !enlisted);
    if (!enlisted) queue_.push_back({worker, queue_.size()});
  }
  void give_back(Worker worker) {
    if (held_[worker] == 0) return;
    --held_[worker];
    if (const std::optional<Worker> next = slots_.give_back(worker)) granted(*next);
  }
  void granted(Worker worker) {
    ++grants;
    expect(used() < limit_);
    expect(!queue_.empty() && queue_.front().worker == worker);
    if (queue_.empty()) return;
    // Whoever was ahead has gone first, and each of them once.
    expect(queue_.front().passed <= queue_.front().before && queue_.front().before < workers_);
    longest_wait = std::max(longest_wait, queue_.front().passed);
    queue_.erase(queue_.begin());
    for (Enlisted& other : queue_) ++other.passed;
    ++held_[worker];
  }
  void gone(Worker worker) {
    expect(slots_.release_all(worker) == held_[worker]);
    held_[worker] = 0;
    forget(worker);
  }
  void reload() {
    limit_ = static_cast<std::uint32_t>(1 + random_.below(12));
    slots_.configure(limit_, FilterMode::enforce);
  }
  void check() {
    expect(slots_.used() == used() && slots_.over() == (used() > limit_));
    for (Worker worker = 0; worker < workers_; ++worker) expect(slots_.held(worker) == held_[worker]);
    expect(queue_.empty() || used() >= limit_);
  }

  Random random_;
  Worker workers_;
  std::vector<std::uint32_t> held_;
  std::uint32_t limit_ = 0;
  ConnectionSlots slots_;
  std::vector<Enlisted> queue_;
};

}  // namespace

TEST_CASE("connections go to workers as a plain list says, never one too many, and nobody is passed over") {
  int grants = 0;
  std::size_t longest = 0;
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    SlotsRun run(seed);
    run.run(400);
    INFO("seed " << seed);
    REQUIRE(run.wrong == 0);
    grants += run.grants;
    longest = std::max(longest, run.longest_wait);
  }
  CHECK(grants > 50'000);
  CHECK(longest >= 3);
}

}  // namespace weir
