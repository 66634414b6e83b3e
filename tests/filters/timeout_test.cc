#include "filters/timeout/timeout_filter.h"

#include <catch2/catch.hpp>

#include "tests/support/chain_world.h"
#include "tests/support/fake_link.h"

using namespace weir;
using namespace weir::test;

namespace {

struct Setup {
  explicit Setup(TimeoutConfig c, bool shadow = false)
      : config(c), fixture(world, "timeout", shadow), link(config, fixture.context(), fake) {}
  ChainWorld world;
  TimeoutConfig config;
  FilterFixture fixture;
  FakeLink fake;
  TimeoutLink link;
};

TimeoutConfig total(Duration d) { return {d, std::nullopt, std::nullopt}; }
TimeoutConfig response_headers(Duration d) { return {std::nullopt, d, std::nullopt}; }
TimeoutConfig idle(Duration d) { return {std::nullopt, std::nullopt, d}; }

FakeAnswer slow_body(Duration after, Duration body_after) {
  auto answer = FakeAnswer::with(200, "body").delayed(after);
  answer.body_after = body_after;
  return answer;
}

using Words = std::vector<std::string>;

}  // namespace

TEST_CASE("total: an exchange without an answer in time fails, exactly then, and the inner call is cancelled") {
  Setup s(total(2s));
  s.fake.then(FakeAnswer::silent());
  TestExchange exchange(s.world);
  exchange.start(s.link);
  s.world.loop.advance(2s - 1ns);
  CHECK_FALSE(exchange.told());
  s.world.loop.advance(1ns);
  REQUIRE(exchange.failure);
  CHECK(exchange.failure->kind == FailureKind::total_timeout);
  CHECK(exchange.failure->decided_by == &s.fixture.identity);
  CHECK(s.fake.cancelled == 1);
  CHECK(exchange.decisions() == Words{"timed_out/total_timeout"});
}

TEST_CASE("total: an answer in time disturbs nothing, however long the world goes on") {
  Setup s(total(2s));
  s.fake.then(slow_body(1s, 999ms));
  TestExchange exchange(s.world);
  exchange.keep_after_end();
  exchange.start(s.link);
  s.world.loop.advance(1h);
  CHECK(exchange.status == 200);
  CHECK(exchange.body == "body");
  CHECK(exchange.ended);
  CHECK_FALSE(exchange.end_failure);
  CHECK(exchange.decisions().empty());
}

TEST_CASE("total: after the response head it cuts the body off, as a failed end") {
  Setup s(total(2s));
  s.fake.then(slow_body(1s, 5s));
  TestExchange exchange(s.world);
  exchange.start(s.link);
  s.world.loop.advance(10s);
  CHECK(exchange.status == 200);
  CHECK(exchange.end_failure == FailureKind::total_timeout);
  CHECK(exchange.body_abort != BodyAbort::none);
  CHECK(s.fake.cancelled == 1);
}

TEST_CASE("total runs from the complete request head, not from the start of the link") {
  Setup s(total(2s));
  s.fake.always(FakeAnswer::silent());
  TestExchange exchange(s.world);
  s.world.loop.advance(1500ms);
  exchange.start(s.link);
  s.world.loop.advance(500ms);
  CHECK(exchange.failure);

  TestExchange late(s.world);
  s.world.loop.advance(2s);
  late.start(s.link);
  s.world.loop.run_ready();
  CHECK(late.failure);
  CHECK(s.fake.seen.size() == 1);  // nothing was sent for what could not be answered
}

TEST_CASE("total becomes the deadline of what is inside, and never lengthens one") {
  Setup s(total(2s));
  TestExchange exchange(s.world);
  exchange.start(s.link);
  CHECK(s.fake.seen[0].deadline == exchange.context().started + 2s);

  TestExchange shorter(s.world);
  Request request;
  request.deadline = s.world.loop.now() + 1s;
  shorter.start(s.link, std::move(request));
  CHECK(s.fake.seen[1].deadline == shorter.context().started + 1s);
}

TEST_CASE("total stops at an upgrade, at CONNECT and for streams that are connected") {
  Setup s(total(2s));
  TestExchange upgrade(s.world), connect(s.world, "CONNECT"), stream(s.world);
  auto tunnel = slow_body(1s, 1h);
  tunnel.status = 101;
  s.fake.then(tunnel);
  upgrade.start(s.link);
  tunnel.status = 200;
  s.fake.then(tunnel);
  connect.start(s.link);
  tunnel.status = 0;
  s.fake.then(tunnel);
  stream.start(s.link, RequestKind::stream);
  s.world.loop.advance(10s);
  CHECK(upgrade.status == 101);
  CHECK(connect.status == 200);
  CHECK(stream.status == -1);
  CHECK_FALSE(upgrade.told());
  CHECK_FALSE(connect.told());
  CHECK_FALSE(stream.told());
}

TEST_CASE("a refused CONNECT is an ordinary answer") {
  Setup s(total(2s));
  auto answer = slow_body(1s, 1h);
  answer.status = 403;
  s.fake.then(answer);
  TestExchange connect(s.world, "CONNECT");
  connect.start(s.link);
  s.world.loop.advance(10s);
  CHECK(connect.end_failure == FailureKind::total_timeout);
}

TEST_CASE("response_headers: from the start of the try to the head; the body may take its time") {
  Setup s(response_headers(500ms));
  s.fake.then(FakeAnswer::with(200).delayed(501ms)).then(slow_body(499ms, 1h));
  TestExchange late(s.world), slow(s.world);
  s.world.loop.advance(400ms);
  late.start(s.link);
  slow.start(s.link);
  s.world.loop.advance(500ms);
  REQUIRE(late.failure);
  CHECK(late.failure->kind == FailureKind::response_timeout);
  CHECK(late.failure->request_sent);
  CHECK(late.told_at == slow.context().started + 900ms);
  CHECK(slow.status == 200);
  s.world.loop.advance(2h);
  CHECK(slow.ended);
  CHECK_FALSE(slow.end_failure);
}

TEST_CASE("response_headers: while the client owes its body nobody is late; after its last byte the upstream has the whole time") {
  Setup s(response_headers(500ms));
  s.fake.always(FakeAnswer::silent());
  TestExchange exchange(s.world, "POST");
  TestUpload& upload = exchange.add_upload();
  exchange.start(s.link);
  upload.send("a");
  s.world.loop.advance(800ms);
  upload.send("b");
  s.world.loop.advance(59s);
  CHECK_FALSE(exchange.told());
  upload.send("c");
  upload.finish();
  s.world.loop.advance(500ms - 1ns);
  CHECK_FALSE(exchange.told());
  s.world.loop.advance(1ns);
  REQUIRE(exchange.failure);
  CHECK(exchange.failure->kind == FailureKind::response_timeout);
}

TEST_CASE("response_headers: an upload that flows may take longer; one that the upstream does not take may not") {
  Setup s(response_headers(500ms));
  s.fake.then(FakeAnswer::silent());
  auto deaf = FakeAnswer::silent();
  deaf.reads_body = false;
  s.fake.then(deaf);
  TestExchange flowing(s.world, "POST"), stuck(s.world, "POST");
  TestUpload& upload = flowing.add_upload();
  TestUpload& blocked = stuck.add_upload();
  flowing.start(s.link);
  stuck.start(s.link);
  blocked.send("nobody reads this");
  for (int i = 0; i < 20; ++i) {
    upload.send("x");
    s.world.loop.advance(100ms);
  }
  CHECK_FALSE(flowing.told());
  REQUIRE(stuck.failure);
  CHECK(stuck.failure->kind == FailureKind::response_timeout);
  CHECK(stuck.told_at == stuck.context().started + 500ms);
}

TEST_CASE("response_headers: a body that is there from the start does not wait for the connection to start the clock") {
  Setup s(response_headers(500ms));
  auto connecting = FakeAnswer::silent();
  connecting.reads_body = false;
  s.fake.always(connecting);
  TestExchange exchange(s.world, "POST");
  TestUpload& upload = exchange.add_upload();
  upload.send("a");
  upload.finish();
  exchange.start(s.link);
  s.world.loop.advance(500ms);
  REQUIRE(exchange.failure);
  CHECK(exchange.failure->kind == FailureKind::response_timeout);
}

TEST_CASE("response_headers: the wait for a client ends with the total") {
  TimeoutConfig both = total(2s);
  both.response_headers = 500ms;
  Setup s(both);
  s.fake.always(FakeAnswer::silent());
  TestExchange exchange(s.world, "POST");
  TestUpload& upload = exchange.add_upload();
  exchange.start(s.link);
  s.world.loop.advance(1800ms);
  upload.send("a");
  upload.finish();
  s.world.loop.advance(200ms);
  REQUIRE(exchange.failure);
  CHECK(exchange.failure->kind == FailureKind::total_timeout);
}

TEST_CASE("a try that has no connection yet when it times out sent nothing") {
  Setup s(response_headers(500ms));
  auto connecting = FakeAnswer::silent();
  connecting.connects = false;
  s.fake.then(connecting);
  TestExchange exchange(s.world, "POST");
  exchange.start(s.link);
  s.world.loop.advance(1s);
  REQUIRE(exchange.failure);
  CHECK_FALSE(exchange.failure->request_sent);
}

TEST_CASE("response_headers that would come after the deadline leave it to the total") {
  TimeoutConfig both = total(400ms);
  both.response_headers = 500ms;
  Setup s(both);
  s.fake.always(FakeAnswer::silent());
  TestExchange exchange(s.world);
  exchange.start(s.link);
  s.world.loop.advance(1s);
  REQUIRE(exchange.failure);
  CHECK(exchange.failure->kind == FailureKind::total_timeout);

  Setup inner(response_headers(500ms));
  inner.fake.always(FakeAnswer::silent());
  TestExchange bounded(inner.world);
  Request request;
  request.deadline = inner.world.loop.now() + 500ms;
  bounded.start(inner.link, std::move(request));
  inner.world.loop.advance(1s);
  CHECK_FALSE(bounded.told());  // the total outside speaks
}

TEST_CASE("idle: a silent upstream is cut off one period after its last byte") {
  Setup s(idle(5s));
  s.fake.always(FakeAnswer::silent());
  TestExchange before_head(s.world);
  before_head.start(s.link);
  s.world.loop.advance(5s - 1ns);
  CHECK_FALSE(before_head.told());
  s.world.loop.advance(1ns);
  REQUIRE(before_head.failure);
  CHECK(before_head.failure->kind == FailureKind::idle_timeout);

  s.fake.then(slow_body(3s, 1h));
  TestExchange after_head(s.world);
  after_head.start(s.link);
  s.world.loop.advance(8s - 1ns);
  CHECK_FALSE(after_head.told());
  s.world.loop.advance(1ns);
  CHECK(after_head.end_failure == FailureKind::idle_timeout);
}

TEST_CASE("idle: an interim answer is progress") {
  Setup s(idle(5s));
  auto answer = FakeAnswer::with(200).delayed(4s);
  answer.informational = {102};
  answer.body_after = 4s;
  s.fake.then(answer);
  TestExchange exchange(s.world);
  exchange.start(s.link);
  s.world.loop.advance(20s);
  CHECK(exchange.informational == std::vector<int>{102});
  CHECK(exchange.ended);
  CHECK_FALSE(exchange.end_failure);
}

TEST_CASE("idle: a client that stalls its upload is not the upstream's fault; afterwards the upstream has a whole period") {
  Setup s(idle(5s));
  s.fake.always(FakeAnswer::silent());
  TestExchange exchange(s.world, "POST");
  TestUpload& upload = exchange.add_upload();
  exchange.start(s.link);
  upload.send("a");
  s.world.loop.advance(60s);
  CHECK_FALSE(exchange.told());
  upload.finish();
  s.world.loop.advance(5s - 1ns);
  CHECK_FALSE(exchange.told());
  s.world.loop.advance(5s);
  REQUIRE(exchange.failure);
  CHECK(exchange.failure->kind == FailureKind::idle_timeout);
}

TEST_CASE("idle: an upload that flows keeps it quiet, one that the upstream does not take does not") {
  Setup s(idle(5s));
  s.fake.then(FakeAnswer::silent());
  auto deaf = FakeAnswer::silent();
  deaf.reads_body = false;
  s.fake.then(deaf);
  TestExchange flowing(s.world, "POST"), stuck(s.world, "POST");
  TestUpload& upload = flowing.add_upload();
  TestUpload& blocked = stuck.add_upload();
  flowing.start(s.link);
  stuck.start(s.link);
  blocked.send("nobody reads this");
  for (int i = 0; i < 10; ++i) {
    upload.send("x");
    s.world.loop.advance(4s);
  }
  CHECK_FALSE(flowing.told());
  REQUIRE(stuck.failure);
  CHECK(stuck.failure->kind == FailureKind::idle_timeout);
}

TEST_CASE("idle: a client that does not take the answer is not the upstream's fault") {
  Setup s(idle(5s));
  auto answer = slow_body(0s, 1s);
  s.fake.then(answer);
  TestExchange exchange(s.world);
  exchange.stop_reading();
  exchange.keep_after_end();
  exchange.start(s.link);
  s.world.loop.advance(60s);
  CHECK(exchange.ended);  // all of it was received: nobody waits for the client
  CHECK_FALSE(exchange.end_failure);
}

TEST_CASE("idle: a silent tunnel ends, whoever is silent") {
  Setup s(idle(5s));
  auto tunnel = slow_body(0s, 1h);
  tunnel.status = 101;
  s.fake.then(tunnel);
  TestExchange exchange(s.world);
  TestUpload& up = exchange.add_upload();
  exchange.start(s.link);
  s.world.loop.advance(4s);
  up.send("ping");
  s.world.loop.advance(4s);
  CHECK_FALSE(exchange.told());
  s.world.loop.advance(2s);
  CHECK(exchange.end_failure == FailureKind::idle_timeout);
}

TEST_CASE("one filter may hold all three; whichever comes first speaks") {
  Setup s({3s, 1s, 2s});
  s.fake.always(slow_body(500ms, 1h));
  TestExchange exchange(s.world);
  exchange.start(s.link);
  s.world.loop.advance(1h);
  CHECK(exchange.end_failure == FailureKind::idle_timeout);
  CHECK(exchange.told_at == exchange.context().started + 2500ms);
}

TEST_CASE("in shadow nothing changes but a count, once") {
  Setup s({1s, 300ms, 200ms}, true);
  s.fake.then(slow_body(2s, 2s));
  TestExchange exchange(s.world);
  exchange.start(s.link);
  s.world.loop.run_until_idle();
  CHECK(exchange.status == 200);
  CHECK(exchange.body == "body");
  CHECK_FALSE(exchange.end_failure);
  CHECK(s.fake.seen[0].deadline == kNever);
  CHECK(s.fake.cancelled == 0);
  CHECK(exchange.decisions() == Words{"would_time_out/idle_timeout"});
  CHECK(s.world.metric("weir_filter_decisions_total", {"decision=would_time_out", "mode=shadow"}) == 1);
}

TEST_CASE("shadow counts what enforcement would have cut, and nothing else") {
  for (int ms = 1; ms < 20; ++ms) {
    bool cut[2] = {};
    for (const bool shadow : {false, true}) {
      Setup s({9ms, 5ms, std::nullopt}, shadow);
      s.fake.then(slow_body(Duration(ms * 1ms) / 2, Duration(ms * 1ms) / 2));
      TestExchange exchange(s.world);
      exchange.start(s.link);
      s.world.loop.run_until_idle();
      cut[shadow ? 1 : 0] = exchange.context().decided;
    }
    INFO(ms);
    CHECK(cut[0] == cut[1]);
  }
}

TEST_CASE("timeout: dropping at any point leaves nothing behind") {
  for (int step = 0; step < 12; ++step) {
    Setup s({6ms, 4ms, 5ms});
    s.fake.always(slow_body(3ms, 2ms));
    {
      TestExchange exchange(s.world);
      if (step == 11) exchange.drop_on_response();
      exchange.start(s.link);
      s.world.loop.advance(step * 1ms);
      exchange.drop();
    }
    CHECK(s.fake.live() == 0);
    CHECK(s.world.loop.run_until_idle());
    CHECK(s.world.arenas.in_use() == 0);
    CHECK(s.world.buffers.chunks_in_use() == 0);
  }
}

TEST_CASE("timeout tells the chain's lints its limits") {
  const TimeoutConfig config{2s, 500ms, std::nullopt};
  const FilterFacts facts = timeout_filter().facts(&config);
  CHECK(facts.total == 2s);
  CHECK(facts.try_limit == 500ms);
}

TEST_CASE("the client's grpc-timeout shortens total; its deadline is nobody's failure") {
  Setup s(total(2s));
  s.fake.then(FakeAnswer::silent());
  TestExchange exchange(s.world);
  exchange.make_grpc("1500m");
  exchange.start(s.link);
  CHECK(s.fake.seen[0].deadline == exchange.context().started + 1500ms);
  s.world.loop.advance(1500ms - 1ns);
  CHECK_FALSE(exchange.told());
  s.world.loop.advance(1ns);
  REQUIRE(exchange.failure);
  CHECK(exchange.failure->kind == FailureKind::deadline_exceeded);
  CHECK(exchange.decisions() == Words{"timed_out/deadline_exceeded"});
}

TEST_CASE("total that is not longer than grpc-timeout is weir's own") {
  const char* timeout = GENERATE("2S", "3S");
  Setup s(total(2s));
  s.fake.then(FakeAnswer::silent());
  TestExchange exchange(s.world);
  exchange.make_grpc(timeout);
  exchange.start(s.link);
  s.world.loop.advance(2s);
  REQUIRE(exchange.failure);
  CHECK(exchange.failure->kind == FailureKind::total_timeout);
}

TEST_CASE("a grpc-timeout that has passed is refused before anything is sent; one that cannot be read is none") {
  Setup s(total(2s));
  s.fake.always(FakeAnswer::grpc(0, "message"));
  TestExchange expired(s.world);
  expired.make_grpc("0S");
  expired.start(s.link);
  s.world.loop.run_until_idle();
  REQUIRE(expired.failure);
  CHECK(expired.failure->kind == FailureKind::deadline_exceeded);
  CHECK(s.fake.seen.empty());
  TestExchange unreadable(s.world);
  unreadable.make_grpc("soon");
  unreadable.start(s.link);
  CHECK(s.fake.seen[0].deadline == unreadable.context().started + 2s);
  s.world.loop.run_until_idle();
  CHECK(unreadable.ended);
}

TEST_CASE("grpc-timeout is enforced only by a total that is enforced") {
  const bool shadow = GENERATE(true, false);
  Setup s(shadow ? total(2s) : response_headers(2s), shadow);
  s.fake.then(FakeAnswer::grpc(0, "message").delayed(1500ms));
  TestExchange exchange(s.world);
  exchange.make_grpc("1S");
  exchange.start(s.link);
  CHECK(s.fake.seen[0].deadline == kNever);
  s.world.loop.run_until_idle();
  CHECK(exchange.ended);
  CHECK(exchange.decisions() == (shadow ? Words{"would_time_out/deadline_exceeded"} : Words{}));
}
