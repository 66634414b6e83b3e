// The token bucket against the list of all that it let through: a request may pass exactly when no stretch of time, from any earlier
// admission until now, would then hold more than its burst and rate allow. No tokens, no levels: just counting.
#include <catch2/catch.hpp>

#include <algorithm>
#include <vector>

#include "filters/rate_limit/rate_limit_policy.h"

namespace weir {
namespace {

__extension__ using Wide = __int128;

class NaiveLimit {
 public:
  NaiveLimit(Rate rate, std::uint64_t burst) : rate_(rate), burst_(burst) {}

  bool may_pass(MonotonicTime now) const {
    for (std::size_t i = 0; i < passed_.size(); ++i) {
      // From this admission to the new one, both counted, without the burst: they took that many tokens of the rate.
      const Wide beyond = static_cast<Wide>(passed_.size() - i + 1) - static_cast<Wide>(burst_);
      if (beyond * rate_.per.count() > static_cast<Wide>(rate_.count) * (now - passed_[i]).count()) return false;
    }
    return burst_ > 0;
  }
  void pass(MonotonicTime now) { passed_.push_back(now); }

 private:
  Rate rate_;
  std::uint64_t burst_;
  std::vector<MonotonicTime> passed_;
};

Duration below(Random& random, Duration bound) {
  return Duration{static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(bound.count())))};
}

RateLimitConfig limit_of(Rate rate, std::optional<std::uint64_t> burst = std::nullopt) {
  RateLimitConfig config;
  config.rate = rate;
  config.burst = burst;
  return config;
}

// Four workers that ask all the time, each by its own clock, which stands still for a while and then catches up.
std::vector<MonotonicTime> admitted_under_saturation(RateLimitPolicy& policy, Random& random, MonotonicTime from, Duration duration) {
  std::vector<MonotonicTime> admitted;
  MonotonicTime worker_now[4] = {from, from, from, from};
  for (MonotonicTime now = from; now < from + duration; now += 20us + below(random, 60us)) {
    const std::size_t worker = random.below(4);
    if (random.chance(0.8)) worker_now[worker] = now;
    if (policy.admit(worker_now[worker], AdmissionFacts{}, random).verdict == Admission::Verdict::admit) admitted.push_back(now);
  }
  return admitted;
}

// The least and the most of `times` in any second that lies between `from` and `until`: these change only at admissions.
std::pair<std::size_t, std::size_t> least_and_most_in_a_second(const std::vector<MonotonicTime>& times, MonotonicTime from,
                                                               MonotonicTime until) {
  std::size_t least = times.size();
  std::size_t most = 0;
  const auto count = [&](MonotonicTime begin) {
    if (begin < from || begin + 1s > until) return;
    const auto first = std::lower_bound(times.begin(), times.end(), begin);
    const auto last = std::lower_bound(times.begin(), times.end(), begin + 1s);
    const auto inside = static_cast<std::size_t>(last - first);
    least = std::min(least, inside);
    most = std::max(most, inside);
  };
  for (const MonotonicTime time : times) {
    count(time);
    count(time + 1ns);
    count(time - 1s);
    count(time - 1s + 1ns);
  }
  return {least, most};
}

}  // namespace

TEST_CASE("a rate limit lets a request pass exactly when no stretch of time holds too many, whatever rate, burst, demand and clocks") {
  int passed = 0, refused = 0;
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    Random random(seed);
    const Duration pers[] = {1s, 1min, 1h};
    const Rate rate{1 + random.below(random.chance(0.5) ? 10 : 3000), pers[random.below(3)]};
    const std::uint64_t burst = 1 + random.below(40);
    RateLimitPolicy policy(limit_of(rate, burst), seed);
    NaiveLimit model(rate, burst);
    const Duration pace = rate.per * 2 / static_cast<std::int64_t>(rate.count);
    MonotonicTime now{1h};
    int wrong = 0;
    for (int i = 0; i < 150; ++i) {
      if (random.chance(0.6)) now += below(random, random.chance(0.05) ? pace * 60 : pace);
      const MonotonicTime worker_now = random.chance(0.3) ? now - below(random, pace) : now;
      const bool may = model.may_pass(worker_now);
      const Admission admission = policy.admit(worker_now, AdmissionFacts{}, random);
      const bool did = admission.verdict == Admission::Verdict::admit;
      if (may != did) ++wrong;
      if (did) {
        model.pass(worker_now);
        ++passed;
      } else {
        ++refused;  // and it says to the nanosecond when to come back
        if (!model.may_pass(worker_now + admission.retry_after) || model.may_pass(worker_now + admission.retry_after - 1ns)) ++wrong;
      }
    }
    INFO("seed " << seed << ", " << rate.count << " per " << seconds(rate.per) << " s, burst " << burst);
    REQUIRE(wrong == 0);
  }
  CHECK(passed > 50'000);
  CHECK(refused > 30'000);
}

TEST_CASE("at 500/s and more demand, any second after the burst holds 500 requests, give or take one percent") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    Random random(seed);
    // At least two: a bucket of one is full, and its time lost, whenever nobody asks at the very instant of the next token.
    const std::optional<std::uint64_t> burst =
        random.chance(0.3) ? std::nullopt : std::optional<std::uint64_t>(2 + random.below(random.chance(0.5) ? 20 : 700));
    const RateLimitConfig config = limit_of(Rate{500, 1s}, burst);
    RateLimitPolicy policy(config, seed);
    const MonotonicTime begin{1h};
    const auto times = admitted_under_saturation(policy, random, begin, 5s);
    // The burst is gone when its tokens are: asked more than ten times as often as the rate, that is within a tenth of what it holds.
    const Duration burst_time = 10ms + Duration(1s) * static_cast<std::int64_t>(config.effective_burst()) / 5000;
    const auto [least, most] = least_and_most_in_a_second(times, begin + burst_time, begin + 5s);
    INFO("seed " << seed << ", burst " << config.effective_burst());
    REQUIRE(least >= 495);
    REQUIRE(most <= 505);
    const std::uint64_t allowed = config.effective_burst() + 5 * 500;
    REQUIRE(times.size() <= allowed);
    REQUIRE(times.size() >= allowed - 2);
  }
}

TEST_CASE("a reload of the rate under full demand gives away no burst, and the new rate holds at once") {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    Random random(seed);
    RateLimitPolicy policy(limit_of(Rate{500, 1s}, 50), seed);
    MonotonicTime begin{1h};
    admitted_under_saturation(policy, random, begin, 1s);
    for (const std::uint64_t rate : {2000U, 100U, 500U}) {
      begin += 1s;
      policy.set_config(limit_of(Rate{rate, 1s}, 1 + random.below(1000)));
      const auto times = admitted_under_saturation(policy, random, begin, 1s);
      INFO("seed " << seed << ", rate " << rate);
      REQUIRE(times.size() <= rate + 1);
      REQUIRE(times.size() >= rate - 2);
    }
  }
}

}  // namespace weir
