// Outlier detection that a reload asks to look closer: what came before says nothing.
#include <catch2/catch.hpp>

#include "proxy/chain/causes_type.h"
#include "tests/upstream/upstream_world.h"

using namespace weir;
using namespace weir::test;

namespace {

struct OutlierWorld : UpstreamWorld {
  OutlierWorld() {
    listen(9001);
    listen(9002);
    config_ = config({"127.0.0.1:9001", "127.0.0.1:9002"});
    OutlierConfig& outlier = config_.outlier_detection;
    outlier.causes = causes_of({"5xx"});
    outlier.consecutive_failures = 1000;
    outlier.min_calls = 20;
    outlier.max_ejected = 1.0;
  }
  // Of the first endpoint every `bad`-th answer is an error.
  void ask(int times, int bad) {
    int own = 0;
    for (int i = 0; i < times; ++i) {
      TestRequest request(*this);
      run();
      FakeClient& client = only_busy();
      client.answer(client.port() == 9001 && bad > 0 && ++own % bad == 0 ? 503 : 200);
      run();
    }
  }
  std::string_view state(std::size_t index) { return status().endpoints[index].state; }
  ServiceConfig config_;
};

}  // namespace

TEST_CASE("a failure ratio that a reload adds is of the calls from then on") {
  OutlierWorld world;
  world.apply(world.config_);
  world.ask(1000, 5);  // a fifth of the first one's: a hundred failures, over any time
  world.config_.outlier_detection.failure_ratio = Ratio::percent(50);
  world.apply(world.config_);
  world.ask(80, 0);
  world.advance(world.config_.outlier_detection.window / 5);
  CHECK(world.state(0) == "usable");
  CHECK(world.state(1) == "usable");
}

TEST_CASE("detection that was disabled for a while sees a failing endpoint within a window, whatever went well before") {
  OutlierWorld world;
  world.config_.outlier_detection.failure_ratio = Ratio::percent(50);
  world.apply(world.config_);
  world.ask(1000, 0);
  ServiceConfig off = world.config_;
  off.outlier_detection.mode = FilterMode::disabled;
  world.apply(off);
  world.apply(world.config_);
  world.ask(100, 1);
  world.advance(world.config_.outlier_detection.window / 5);
  CHECK(world.state(0) == "ejected");
  CHECK(world.state(1) == "usable");
}
