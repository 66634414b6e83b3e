// Services with endpoints of both families of addresses: a family that does not answer costs little, and is not asked again and again.
#include "proxy/upstream/happy_eyeballs.h"

#include <catch2/catch.hpp>

#include "tests/upstream/upstream_world.h"

using namespace weir;
using namespace weir::test;

namespace {

const Address kSix = *Address::parse("[::1]:9006");
const Address kFour = *Address::parse("127.0.0.1:9004");

// One endpoint of each family, both listening. Requests ask IPv6 first, as if IPv4 had been tried before.
struct DualWorld {
  DualWorld() {
    world.apply(UpstreamWorld::config({"[::1]:9006", "127.0.0.1:9004"}));
    options.tried = {world.status().endpoints[1].id};
  }
  std::unique_ptr<TestRequest> ask() {
    auto made = std::make_unique<TestRequest>(world, 0, options);
    world.run();
    return made;
  }
  double attempts(const std::string& outcome) { return world.metric("weir_attempts_total", {"s", outcome}); }
  double overtaken() { return world.metric("weir_upstream_overtaken_connects_total", {"s", "ipv6"}); }

  UpstreamWorld world;
  SimServer six{world.net, world.main, kSix};
  SimServer four{world.net, world.main, kFour};
  TestRequest::Options options;
};

}  // namespace

TEST_CASE("a connect that is not answered in 250 ms gets another beside it, of the other family, and the first that is made serves") {
  DualWorld dual;
  dual.world.net.conditions(kSix).black_hole = 1;
  const auto request = dual.ask();
  dual.world.advance(249ms);
  CHECK(dual.world.net.connects() == 1);
  CHECK(dual.world.busy().empty());
  dual.world.advance(1ms);
  CHECK(dual.world.net.connects() == 2);
  dual.world.only_busy().answer(200);
  CHECK(request->status == 200);
  CHECK(request->attempt().endpoint == "127.0.0.1:9004");
  CHECK(dual.attempts("2xx") == 1);
  CHECK(dual.attempts("connect_failure") + dual.attempts("connect_timeout") == 0);
  CHECK(dual.overtaken() == 1);
  CHECK(dual.world.status().endpoints[0].active == 0);
}

TEST_CASE("a family that was overtaken is not waited for again, until a minute has passed or a connect of it is made") {
  DualWorld dual;
  dual.world.net.conditions(kSix).black_hole = 1;
  const auto first = dual.ask();
  dual.world.advance(250ms);
  dual.world.only_busy().answer(200);
  for (int i = 0; i < 3; ++i) {
    const auto next = dual.ask();
    dual.world.only_busy().answer(200);  // at once
    CHECK(next->attempt().endpoint == "127.0.0.1:9004");
    dual.world.advance(10s);
  }
  dual.world.advance(30s);
  CHECK(dual.overtaken() == 1);
  const auto later = dual.ask();
  CHECK(dual.world.busy().empty());  // IPv6 is asked first again
  SECTION("and serves") {
    dual.world.net.conditions(kSix).black_hole = 0;
    dual.world.advance(250ms);
    dual.world.only_busy().answer(200);
    CHECK(dual.overtaken() == 2);
  }
  SECTION("and is still silent") {
    dual.world.advance(250ms);
    dual.world.only_busy().answer(200);
    CHECK(dual.overtaken() == 2);
  }
}

TEST_CASE("the first connect may still win; the second one's is kept for the next request") {
  DualWorld dual;
  dual.world.net.conditions(kSix).delay = 140ms;  // made after 280 ms
  dual.world.net.conditions(kFour).delay = 100ms;
  const auto request = dual.ask();
  dual.world.advance(285ms);
  CHECK(dual.world.net.connects() == 2);
  REQUIRE(dual.world.busy().size() == 1);
  CHECK(dual.world.busy()[0]->port() == 9006);
  CHECK(request->attempt().endpoint == "[::1]:9006");
  dual.world.advance(200ms);
  CHECK(dual.world.metric("weir_upstream_connections", {"s", "idle"}) == 1);
  dual.world.only_busy().answer(200);
  CHECK(dual.overtaken() == 0);
}

TEST_CASE("a connect that is refused goes on with the other family at once, within the try, and is counted against its endpoint") {
  DualWorld dual;
  dual.world.net.conditions(kSix).refuse = 1;
  const auto request = dual.ask();
  dual.world.only_busy().answer(200);
  CHECK(request->status == 200);
  CHECK(request->attempt().endpoint == "127.0.0.1:9004");
  CHECK(dual.attempts("2xx") == 1);
  CHECK(dual.attempts("connect_failure") == 0);
  CHECK(dual.world.status().endpoints[0].failures == 1);
  CHECK(dual.world.status().endpoints[0].consecutive_failures == 1);
}

TEST_CASE("a try that went on beside says which endpoint it passed over, for a retry to avoid") {
  DualWorld dual;
  dual.world.net.conditions(kSix).refuse = 1;
  const auto request = dual.ask();
  CHECK(request->attempt().endpoint_id == dual.world.status().endpoints[1].id);
  CHECK(request->attempt().passed_over_id == dual.world.status().endpoints[0].id);
  dual.world.only_busy().answer(200);
}

TEST_CASE("when both families refuse, the try fails once") {
  DualWorld dual;
  dual.world.net.conditions(kSix).refuse = 1;
  dual.world.net.conditions(kFour).refuse = 1;
  const auto request = dual.ask();
  REQUIRE(request->failed);
  CHECK(request->failure.kind == FailureKind::connect_failure);
  CHECK(dual.attempts("connect_failure") == 1);
  CHECK(dual.world.net.connects() == 2);
  for (const EndpointStatus& endpoint : dual.world.status().endpoints) CHECK(endpoint.failures == 1);
}

TEST_CASE("one of two that is refused leaves the try to the other") {
  DualWorld dual;
  dual.world.net.conditions(kSix).black_hole = 1;
  dual.world.net.conditions(kFour).refuse = 1;
  const auto request = dual.ask();
  dual.world.advance(1s);
  CHECK_FALSE(request->told());
  CHECK(dual.world.status().endpoints[1].failures == 1);
  dual.world.advance(2s);
  REQUIRE(request->failed);
  CHECK(request->attempt().passed_over_id == dual.world.status().endpoints[1].id);
  CHECK(dual.attempts("connect_timeout") == 1);
}

TEST_CASE("a request that ends while both connect gives everything back") {
  DualWorld dual;
  dual.world.net.conditions(kSix).black_hole = 1;
  dual.world.net.conditions(kFour).black_hole = 1;
  auto request = dual.ask();
  dual.world.advance(300ms);
  CHECK(dual.world.net.connects() == 2);
  SECTION("dropped") {
    request->drop();
    CHECK(request->attempt().connecting);
    CHECK(request->attempt().passed_over_id == dual.world.status().endpoints[1].id);
  }
  SECTION("waited too long") {
    dual.world.advance(3s);
    CHECK(request->failure.kind == FailureKind::connect_timeout);
    CHECK(request->attempt().passed_over_id == dual.world.status().endpoints[1].id);
  }
  CHECK(dual.world.status().pending.used == 0);
  dual.world.advance(10s);
  CHECK(dual.world.status().connections.used == 0);
}

TEST_CASE("without an endpoint of the other family a failed connect is a failed try") {
  UpstreamWorld world;
  world.apply(UpstreamWorld::config({"127.0.0.1:9001", "127.0.0.1:9002"}));
  TestRequest request(world);
  world.run();
  CHECK(request.failed);
  CHECK(world.net.connects() == 1);
}

TEST_CASE("the second endpoint is picked by weight among the usable ones, the untried first") {
  std::vector<EndpointSlot> slots;
  const auto add = [&](const char* address, std::uint32_t weight) {
    slots.push_back({std::make_shared<Endpoint>(static_cast<std::uint32_t>(slots.size() + 1), *Address::parse(address)), weight});
  };
  add("[::1]:1", 1);
  add("127.0.0.1:1", 1);
  add("127.0.0.1:2", 3);
  add("127.0.0.1:3", 5);
  add("unix:/run/a", 9);
  slots[3].endpoint->ejected_until = 1000;
  const EndpointSet set(std::move(slots));
  CHECK(set.dual_stack);
  Random random(1);
  PickContext context;
  std::map<std::size_t, int> count;
  for (int i = 0; i < 4000; ++i) ++count[HappyEyeballs::pick_other(set, 0, context, MonotonicTime{}, random)];
  CHECK(count.size() == 2);
  CHECK(count[1] > 900);
  CHECK(count[1] < 1100);
  TriedEndpoints tried;
  tried.add(3);  // 127.0.0.1:2
  context.tried = &tried;
  for (int i = 0; i < 20; ++i) CHECK(HappyEyeballs::pick_other(set, 0, context, MonotonicTime{}, random) == 1);
  tried.add(2);
  CHECK(HappyEyeballs::pick_other(set, 0, context, MonotonicTime{}, random) != HappyEyeballs::kNone);
  CHECK(HappyEyeballs::pick_other(set, 1, context, MonotonicTime{}, random) == 0);
  CHECK(HappyEyeballs::pick_other(set, 4, context, MonotonicTime{}, random) == HappyEyeballs::kNone);
  HappyEyeballs eyeballs;
  eyeballs.distrust(Address::Family::ipv6, MonotonicTime{});
  CHECK(eyeballs.first(set, 0, {}, MonotonicTime{}, random) != 0);
  CHECK(eyeballs.first(set, 0, {}, MonotonicTime(60s), random) == 0);
  eyeballs.distrust(Address::Family::ipv4, MonotonicTime{});
  CHECK(eyeballs.first(set, 0, {}, MonotonicTime{}, random) == 0);
}
