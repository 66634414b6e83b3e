// Outlier detection over a window: the share of failures, and latency against the others.
#include <catch2/catch.hpp>

#include <deque>
#include <vector>

#include "proxy/upstream/outlier_detection.h"

using namespace weir;

namespace {

OutlierConfig by_ratio() {
  OutlierConfig config;
  config.consecutive_failures = 1000;  // not what is tested here
  config.failure_ratio = Ratio::percent(50);
  config.max_ejected = 1.0;
  return config;
}

OutlierConfig by_latency() {
  OutlierConfig config = by_ratio();
  config.failure_ratio.reset();
  config.latency.emplace();
  return config;
}

struct Service {
  explicit Service(std::size_t count, const OutlierConfig& config) : states(count), counted(count), detector(config) {
    for (OutlierState& state : states) all.push_back(&state);
  }
  void fail(std::size_t index, int times) {
    for (int i = 0; i < times; ++i) detector.record_failure(states[index], states[index].generation, all, now, random);
  }
  void succeed(std::size_t index, int times, Duration latency = 10ms) {
    for (int i = 0; i < times; ++i) {
      counted[index].add_success();
      counted[index].add_latency(latency);
      detector.record_success(states[index], states[index].generation, now);
    }
  }
  void slice() {
    now += detector.config().window / static_cast<int>(OutlierWindow::kSlices);
    for (std::size_t i = 0; i < states.size(); ++i) {
      states[i].window.advance(counted[i], detector.config().latency.has_value(), !states[i].ejected(now));
    }
  }
  std::vector<OutlierFinding> sweep() {
    slice();
    return detector.sweep(all, now, random);
  }
  std::vector<std::size_t> ejected() const {
    std::vector<std::size_t> found;
    for (std::size_t i = 0; i < states.size(); ++i) {
      if (states[i].ejected(now)) found.push_back(i);
    }
    return found;
  }

  std::deque<OutlierState> states;
  std::deque<EndpointStatistics> counted;
  std::vector<OutlierState*> all;
  OutlierDetector detector;
  Random random{7};
  MonotonicTime now{std::chrono::hours(1)};
};

using Indices = std::vector<std::size_t>;

}  // namespace

TEST_CASE("latency classes are narrow, in order and without a gap") {
  std::size_t last = 0;
  for (Duration latency = std::chrono::microseconds(70); latency < 120s; latency += latency / 50) {
    const std::size_t index = LatencyScale::class_of(latency);
    CHECK((index == last || index == last + 1 || last == 0));
    last = index;
    const double error = seconds(LatencyScale::middle_of(index)) / seconds(latency);
    CHECK(error > 0.87);
    CHECK(error < 1.13);
  }
  CHECK(LatencyScale::class_of(std::chrono::hours(5)) == LatencyScale::kClasses - 1);
  CHECK(LatencyScale::class_of(Duration(-1)) == 0);
  CHECK(LatencyScale::class_of(Duration(0)) == 0);
}

TEST_CASE("a window forgets what is older than itself") {
  OutlierWindow window;
  EndpointStatistics counted;
  window.advance(counted, true, true);
  for (int i = 0; i < 30; ++i) counted.add_success();
  for (int i = 0; i < 30; ++i) counted.add_latency(100ms);
  for (int i = 0; i < 10; ++i) window.add_failure();
  window.advance(counted, true, true);
  for (std::size_t i = 1; i < OutlierWindow::kSlices; ++i) {
    CHECK(window.calls() == 40);
    CHECK(window.failure_ratio() == 0.25);
    CHECK(window.latency_calls() == 30);
    CHECK(window.median_latency() > 85ms);
    CHECK(window.median_latency() < 115ms);
    window.advance(counted, true, true);
  }
  CHECK(window.calls() == 40);
  window.advance(counted, true, true);
  CHECK(window.calls() == 0);
  CHECK(window.latency_calls() == 0);
  CHECK(window.median_latency() == Duration(0));
}

TEST_CASE("what was counted while an endpoint was out is nobody's") {
  OutlierWindow window;
  EndpointStatistics counted;
  window.advance(counted, true, true);
  for (int i = 0; i < 30; ++i) counted.add_success();
  for (int i = 0; i < 30; ++i) counted.add_latency(100ms);
  window.add_failure();
  window.advance(counted, true, false);
  counted.add_success();
  window.advance(counted, true, true);
  CHECK(window.calls() == 1);
  CHECK(window.latency_calls() == 0);
}

TEST_CASE("an endpoint whose share of failures reaches the ratio is ejected, though never in a row") {
  Service service(3, by_ratio());
  for (int i = 0; i < 10; ++i) {
    service.fail(0, 1);
    service.succeed(0, 1);
  }
  service.succeed(1, 20);
  service.succeed(2, 20);
  const auto found = service.sweep();
  REQUIRE(found.size() == 1);
  CHECK(found[0].index == 0);
  CHECK(found[0].sign == OutlierSign::failure_ratio);
  CHECK(found[0].verdict == OutlierVerdict::eject);
  CHECK(service.ejected() == Indices{0});
  CHECK(to_word(service.states[0].sign) == "failure_ratio");
}

TEST_CASE("below the volume, or just below the ratio, nobody is ejected") {
  Service service(3, by_ratio());
  service.fail(0, 19);  // of 20 that are wanted
  service.fail(1, 49);
  service.succeed(1, 50);
  service.succeed(2, 50);
  CHECK(service.sweep().empty());
  CHECK(service.ejected().empty());
  service.fail(0, 1);
  service.sweep();
  CHECK(service.ejected() == Indices{0});
}

TEST_CASE("of several the worst goes first, and no more than the share") {
  OutlierConfig config = by_ratio();
  config.max_ejected = 0.25;
  Service service(4, config);
  service.fail(0, 30);
  service.succeed(0, 20);
  service.fail(1, 50);
  service.succeed(2, 50);
  service.succeed(3, 50);
  const auto found = service.sweep();
  REQUIRE(found.size() == 2);
  CHECK(found[1].verdict == OutlierVerdict::max_ejected);
  CHECK(service.ejected() == Indices{1});
}

TEST_CASE("none is ejected by ratio while all fail alike") {
  Service service(3, by_ratio());
  for (std::size_t i = 0; i < 3; ++i) {
    service.fail(i, 40 - static_cast<int>(i) * 5);
    service.succeed(i, 20);
  }
  for (const auto& finding : service.sweep()) CHECK(finding.verdict == OutlierVerdict::all_fail_alike);
  CHECK(service.ejected().empty());
}

TEST_CASE("the last usable endpoint is not ejected by ratio or latency") {
  OutlierConfig config = by_ratio();
  config.latency.emplace();
  Service one(1, config);
  one.fail(0, 50);
  one.succeed(0, 20);
  const auto found = one.sweep();
  REQUIRE(found.size() == 1);
  CHECK(found[0].verdict == OutlierVerdict::last_usable);
  Service two(2, config);
  two.states[1].unhealthy = true;
  two.fail(0, 50);
  REQUIRE_FALSE(two.sweep().empty());
  CHECK(two.ejected().empty());
}

TEST_CASE("unhealthy endpoints count among the ejected, for every sign") {
  OutlierConfig config = by_ratio();
  config.consecutive_failures = 5;
  config.max_ejected = 0.5;
  Service service(4, config);
  service.states[2].unhealthy = true;
  service.states[3].unhealthy = true;
  service.succeed(1, 50);
  service.fail(0, 50);
  CHECK(service.ejected().empty());
  const auto found = service.sweep();
  REQUIRE(found.size() == 1);
  CHECK(found[0].verdict == OutlierVerdict::max_ejected);
  service.states[3].unhealthy = false;
  service.fail(0, 1);
  CHECK(service.ejected() == Indices{0});
}

TEST_CASE("an endpoint several times slower than the others is ejected") {
  Service service(4, by_latency());
  service.succeed(0, 60, 20ms);
  service.succeed(1, 60, 20ms);
  service.succeed(2, 60, 30ms);
  service.succeed(3, 60, 200ms);
  const auto found = service.sweep();
  REQUIRE(found.size() == 1);
  CHECK(found[0].sign == OutlierSign::latency);
  CHECK(service.ejected() == Indices{3});
}

TEST_CASE("one slow call in many, or slowness below the floor, ejects nobody") {
  Service service(3, by_latency());
  service.succeed(0, 100, 5ms);
  service.succeed(0, 49, 5s);  // the median is what counts
  service.succeed(1, 100, 1ms);
  service.succeed(1, 60, 40ms);
  service.succeed(2, 100, 5ms);
  CHECK(service.sweep().empty());
  Service fast(2, by_latency());
  fast.succeed(0, 100, 1ms);
  fast.succeed(1, 100, 30ms);  // thirty times, but faster than min_latency
  CHECK(fast.sweep().empty());
}

TEST_CASE("latency is compared only where there are enough calls on both sides") {
  Service service(2, by_latency());
  service.succeed(0, 100, 1s);
  service.succeed(1, 49, 1ms);
  CHECK(service.sweep().empty());
  service.succeed(1, 1, 1ms);
  service.sweep();
  CHECK(service.ejected() == Indices{0});
}

TEST_CASE("when most are slow, none is ejected for being slow") {
  Service service(3, by_latency());
  service.succeed(0, 100, 1s);
  service.succeed(1, 100, 1s);
  service.succeed(2, 100, 1ms);
  CHECK(service.sweep().empty());
}

TEST_CASE("after an ejection the window begins anew") {
  Service service(2, by_ratio());
  service.fail(0, 50);
  service.succeed(1, 50);
  service.sweep();
  REQUIRE(service.ejected() == Indices{0});
  service.now = service.states[0].ejected_until;
  service.succeed(0, 5);
  CHECK(service.sweep().empty());
  CHECK(service.states[0].window.calls() == 5);
}

TEST_CASE("where checks are enforced an ejection ends when one has passed that began after its time") {
  Service service(2, by_ratio());
  service.detector.configure(by_ratio(), true);
  service.fail(0, 50);
  service.succeed(1, 50);
  service.sweep();
  OutlierState& state = service.states[0];
  const MonotonicTime until = state.ejected_until;
  REQUIRE(state.awaits_check);
  CHECK_FALSE(service.detector.record_check_passed(state, until - 1ms, until + 1ms));  // began too early
  service.now = until + std::chrono::hours(1);
  CHECK(service.ejected() == Indices{0});  // however long
  CHECK(service.detector.record_check_passed(state, until, service.now));
  CHECK(service.ejected().empty());
  CHECK(state.ejected_until == service.now);
}

TEST_CASE("shadow mode does not wait for a check, disabled sweeps nothing") {
  OutlierConfig config = by_ratio();
  config.mode = FilterMode::shadow;
  Service shadow(2, config);
  shadow.detector.configure(config, true);
  shadow.fail(0, 50);
  shadow.succeed(1, 50);
  shadow.sweep();
  CHECK(shadow.ejected() == Indices{0});
  shadow.now = shadow.states[0].ejected_until;
  CHECK(shadow.ejected().empty());
  config.mode = FilterMode::disabled;
  Service disabled(2, config);
  disabled.fail(0, 50);
  disabled.succeed(1, 50);
  CHECK(disabled.sweep().empty());
  CHECK_FALSE(disabled.detector.sweeps());
}
