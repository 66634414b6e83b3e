// The retry budget against lists of all requests and retries: when it grants one, and what an outage can come to at most.
#include <catch2/catch.hpp>

#include <algorithm>
#include <vector>

#include "proxy/base/random.h"
#include "proxy/upstream/retry_budget.h"

namespace weir {
namespace {

struct Drawn {
  std::uint32_t percent = 20;
  std::uint32_t floor_per_second = 0;
  std::uint32_t window_seconds = 10;

  RetryBudgetConfig config() const {
    RetryBudgetConfig made;
    made.ratio = static_cast<double>(percent) / 100;
    made.min_rate_per_second = floor_per_second;
    made.window = std::chrono::seconds(window_seconds);
    return made;
  }
};

Drawn draw(Random& random) {
  return {static_cast<std::uint32_t>(random.below(101)), random.chance(0.5) ? 0 : static_cast<std::uint32_t>(random.below(5)),
          static_cast<std::uint32_t>(1 + random.below(20))};
}

// Counts what is in the window anew each time, in hundredths so that all is whole numbers.
class NaiveBudget {
 public:
  explicit NaiveBudget(const Drawn& drawn) : drawn_(drawn) {}

  void on_request(MonotonicTime now) { requests_.push_back(tenth(now)); }
  bool may_take(MonotonicTime now) {
    const std::int64_t oldest = tenth(now) - 9;
    const auto inside = [oldest](const std::vector<std::int64_t>& all) {
      return std::count_if(all.begin(), all.end(), [oldest](std::int64_t at) { return at >= oldest; });
    };
    const std::int64_t credit = std::int64_t{drawn_.percent} * inside(requests_) +
                                std::int64_t{100} * drawn_.floor_per_second * drawn_.window_seconds - 100 * inside(retries_);
    return credit >= 100;
  }
  void take(MonotonicTime now) { retries_.push_back(tenth(now)); }
  void refund(MonotonicTime now) {
    const auto newest = std::max_element(retries_.begin(), retries_.end());
    if (newest != retries_.end() && *newest > tenth(now) - 10) retries_.erase(newest);
  }

 private:
  std::int64_t tenth(MonotonicTime now) {
    tenth_ = std::max(tenth_, now.time_since_epoch() / (Duration(std::chrono::seconds(drawn_.window_seconds)) / 10));
    return tenth_;
  }
  Drawn drawn_;
  std::vector<std::int64_t> requests_;
  std::vector<std::int64_t> retries_;
  std::int64_t tenth_ = 0;
};

Duration milliseconds_below(Random& random, std::uint64_t bound) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(random.below(bound)));
}

// A total outage: every try fails and is tried again up to `tries`, as far as the budget allows, after a back-off, in any order.
struct Outage {
  std::uint64_t requests = 0;
  std::uint64_t attempts = 0;
  int over = 0;  // moments at which attempts were more than the ratio allows

  void play(WindowedRetryBudget& budget, Random& random, MonotonicTime& now, Duration lasts, std::uint32_t percent, int tries) {
    std::vector<int> backing_off;  // tries made so far, of requests whose retry was charged
    const double load = 0.1 + 0.8 * random.unit();
    const MonotonicTime end = now + lasts;
    while (now < end) {
      now += random.chance(0.002) ? milliseconds_below(random, 15'000) : milliseconds_below(random, 20);
      const MonotonicTime worker_now = now - milliseconds_below(random, 5);
      int made = 0;
      if (random.chance(load)) {
        budget.on_request(worker_now);
        ++requests;
        made = 1;
      } else if (!backing_off.empty()) {
        std::swap(backing_off[random.below(backing_off.size())], backing_off.back());
        made = backing_off.back() + 1;
        backing_off.pop_back();
        if (random.chance(0.1)) {
          budget.refund(worker_now);  // the client has gone meanwhile
          continue;
        }
      }
      if (made == 0) continue;
      ++attempts;
      if (made < tries && budget.try_take(worker_now)) backing_off.push_back(made);
      if (attempts * 100 > requests * (100 + percent)) ++over;
    }
    for (std::size_t i = 0; i < backing_off.size(); ++i) budget.refund(now);
  }
};

}  // namespace

TEST_CASE("a retry is granted exactly when the lists of requests and retries in the window leave one, in any schedule") {
  int granted = 0, refused = 0;
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    Random random(seed);
    const Drawn drawn = draw(random);
    WindowedRetryBudget budget(drawn.config());
    NaiveBudget model(drawn);
    MonotonicTime now{1h};
    int wrong = 0;
    for (int step = 0; step < 300; ++step) {
      now += random.chance(0.02) ? milliseconds_below(random, 30'000) : milliseconds_below(random, 200);
      const MonotonicTime worker_now = now - milliseconds_below(random, 5);
      if (random.chance(0.6)) {
        budget.on_request(worker_now);
        model.on_request(worker_now);
      } else if (random.chance(0.1)) {
        budget.refund(worker_now);
        model.refund(worker_now);
      } else {
        const bool may = model.may_take(worker_now);
        const bool did = budget.try_take(worker_now);
        if (may != did) ++wrong;
        if (did) model.take(worker_now);
        ++(did ? granted : refused);
      }
    }
    INFO("seed " << seed << ", " << drawn.percent << "%, " << drawn.floor_per_second << "/s, " << drawn.window_seconds << " s");
    REQUIRE(wrong == 0);
  }
  CHECK(granted > 10'000);
  CHECK(refused > 10'000);
}

TEST_CASE("through a total outage with 20% and a floor of 0 attempts are at no moment more than 1.2 for each request") {
  std::uint64_t requests = 0, attempts = 0;
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    Random random(seed);
    Drawn drawn;
    drawn.window_seconds = static_cast<std::uint32_t>(1 + random.below(20));
    WindowedRetryBudget budget(drawn.config());
    MonotonicTime now{1h};
    Outage outage;
    outage.play(budget, random, now, 20s, drawn.percent, 2 + static_cast<int>(random.below(4)));
    INFO("seed " << seed);
    REQUIRE(outage.over == 0);
    requests += outage.requests;
    attempts += outage.attempts;
  }
  CHECK(static_cast<double>(attempts) > 1.1 * static_cast<double>(requests));  // and it is there to be used
}

TEST_CASE("an outage after good times has the credit of one window more, and not a retry beyond") {
  std::uint64_t used_up = 0;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Random random(seed);
    Drawn drawn;
    drawn.window_seconds = static_cast<std::uint32_t>(1 + random.below(10));
    WindowedRetryBudget budget(drawn.config());
    std::vector<MonotonicTime> before;
    MonotonicTime now{1h};
    for (const MonotonicTime until = now + 30s; now < until; now += milliseconds_below(random, 20)) {
      budget.on_request(now);
      before.push_back(now);
    }
    const MonotonicTime began = now;
    Outage outage;
    outage.play(budget, random, now, 5s, 100, 3);
    const auto recent = static_cast<std::uint64_t>(std::count_if(
        before.begin(), before.end(), [&](MonotonicTime at) { return at >= began - std::chrono::seconds(drawn.window_seconds) - 5ms; }));
    const std::uint64_t retries = outage.attempts - outage.requests;
    INFO("seed " << seed);
    REQUIRE(retries * 100 <= drawn.percent * (recent + outage.requests));
    if (retries * 100 > drawn.percent * outage.requests) ++used_up;
  }
  CHECK(used_up > 0);
}

}  // namespace weir
