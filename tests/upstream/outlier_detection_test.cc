#include "proxy/upstream/outlier_detection.h"

#include <catch2/catch.hpp>

#include <deque>
#include <vector>

using namespace weir;

namespace {

struct Service {
  explicit Service(std::size_t count, OutlierConfig config = {}) : states(count), detector(config) {
    for (OutlierState& state : states) all.push_back(&state);
  }
  OutlierVerdict fail(std::size_t index, int times = 1) {
    OutlierVerdict last = OutlierVerdict::none;
    for (int i = 0; i < times; ++i) last = detector.record_failure(states[index], states[index].generation, all, now, random);
    return last;
  }
  void succeed(std::size_t index) { detector.record_success(states[index], states[index].generation, now); }
  std::size_t ejected() const {
    std::size_t count = 0;
    for (const OutlierState& state : states) count += state.ejected(now) ? 1 : 0;
    return count;
  }
  Duration eject(std::size_t index) {  // how long for
    REQUIRE(fail(index, 5) == OutlierVerdict::eject);
    return states[index].ejected_until - now;
  }

  std::deque<OutlierState> states;
  std::vector<OutlierState*> all;
  OutlierDetector detector;
  Random random{7};
  MonotonicTime now{std::chrono::hours(1)};
};

OutlierConfig share(double max_ejected) {
  OutlierConfig config;
  config.max_ejected = max_ejected;
  return config;
}

}  // namespace

TEST_CASE("an endpoint is ejected at the fifth failure in a row, not before") {
  Service service(3);
  CHECK(service.fail(0, 4) == OutlierVerdict::none);
  CHECK(service.ejected() == 0);
  CHECK(service.fail(0) == OutlierVerdict::eject);
  CHECK(service.states[0].ejected(service.now));
}

TEST_CASE("a success in between begins the count anew") {
  Service service(2);
  service.fail(0, 4);
  service.succeed(0);
  CHECK(service.fail(0, 4) == OutlierVerdict::none);
  CHECK(service.fail(0) == OutlierVerdict::eject);
}

TEST_CASE("an ejected endpoint returns by time") {
  Service service(2);
  const Duration length = service.eject(0);
  CHECK(length >= 5s);
  CHECK(length <= std::chrono::milliseconds(6250));
  service.now += length - Duration(1);
  CHECK(service.states[0].ejected(service.now));
  service.now += Duration(1);
  CHECK_FALSE(service.states[0].ejected(service.now));
  CHECK(service.states[0].consecutive == 0);
}

TEST_CASE("tries that began before the ejection say nothing after it") {
  Service service(2);
  const std::uint32_t before = service.states[0].generation;
  service.eject(0);
  service.now += 7s;
  for (int i = 0; i < 10; ++i) {
    CHECK(service.detector.record_failure(service.states[0], before, service.all, service.now, service.random) == OutlierVerdict::none);
  }
  CHECK(service.states[0].consecutive == 0);
}

TEST_CASE("ejections in a row double up to the maximum, and never pass it") {
  Service service(2);
  std::vector<Duration> lengths;
  for (int i = 0; i < 8; ++i) {
    lengths.push_back(service.eject(0));
    service.now += lengths.back();
    CHECK(lengths.back() <= 60s);
    CHECK(lengths.back() >= 5s);
  }
  CHECK(lengths[1] >= 10s);
  CHECK(lengths[2] >= 20s);
  CHECK(lengths[7] >= 45s);
  bool jitters = false;
  for (std::size_t i = 5; i < lengths.size(); ++i) jitters = jitters || lengths[i] != lengths[4];
  CHECK(jitters);
}

TEST_CASE("health for as long as the last ejection takes one step back") {
  Service service(2);
  service.now += service.eject(0);
  const Duration second = service.eject(0);
  service.now += second;
  REQUIRE(service.states[0].ejections == 2);
  service.now += 2 * second;  // two healthy spells
  CHECK(service.eject(0) <= std::chrono::milliseconds(6250));
  CHECK(service.states[0].ejections == 1);
}

TEST_CASE("the last usable endpoint is never ejected") {
  Service one(1);
  CHECK(one.fail(0, 50) == OutlierVerdict::last_usable);
  Service two(2, share(1.0));
  two.eject(0);
  CHECK(two.fail(1, 50) == OutlierVerdict::last_usable);
  CHECK(two.ejected() == 1);
}

TEST_CASE("of two or more endpoints one may always go, however small the share") {
  const auto count = GENERATE(std::size_t{2}, std::size_t{3}, std::size_t{9});
  Service service(count, share(0.1));
  service.eject(0);
  CHECK(service.fail(1, 50) != OutlierVerdict::eject);
  CHECK(service.ejected() == 1);
}

TEST_CASE("a share of nothing ejects nobody") {
  Service service(4, share(0));
  CHECK(service.fail(0, 50) == OutlierVerdict::max_ejected);
}

TEST_CASE("no more than the share is ejected at a time") {
  Service service(4, share(0.5));
  service.eject(0);
  service.eject(1);
  CHECK(service.fail(2, 50) == OutlierVerdict::max_ejected);
  service.now += 60s;  // they are back
  CHECK(service.fail(2) == OutlierVerdict::eject);
}

TEST_CASE("none is ejected while all fail alike") {
  Service service(4, share(1.0));
  for (int round = 0; round < 50; ++round) {
    for (std::size_t i = 0; i < 4; ++i) CHECK(service.fail(i) != OutlierVerdict::eject);
  }
  CHECK(service.ejected() == 0);
  service.succeed(3);  // one recovers: now the others stand out
  CHECK(service.fail(0) == OutlierVerdict::eject);
}

TEST_CASE("disabled counts nothing") {
  OutlierConfig config;
  config.mode = FilterMode::disabled;
  Service service(2, config);
  CHECK(service.fail(0, 50) == OutlierVerdict::none);
  CHECK(service.states[0].consecutive == 0);
}
