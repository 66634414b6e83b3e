#include "filters/retry/retry_filter.h"

#include <catch2/catch.hpp>

#include "filters/timeout/timeout_filter.h"
#include "proxy/chain/local_reply.h"
#include "tests/filters/retry_setup.h"

using namespace weir;
using namespace weir::test;

namespace {

using Setup = RetrySetup;

FakeAnswer stale() {
  auto answer = reset();
  answer.failure->stale_connection = true;
  return answer;
}

}  // namespace

TEST_CASE("an answer that is no cause passes through the first try") {
  Setup s;
  s.fake.then(FakeAnswer::with(200, "fine"));
  TestExchange exchange(s.world);
  exchange.start(*s.link);
  s.world.loop.run_until_idle();
  CHECK(exchange.body == "fine");
  CHECK(s.fake.seen.size() == 1);
  CHECK(s.fake.seen[0].attempt == 1);
  CHECK(exchange.decisions().empty());
  CHECK(s.budget.taken == 0);
}

TEST_CASE("failed tries are repeated, elsewhere, after a wait, and the client sees one answer") {
  Setup s;
  s.fake.then(reset().at_endpoint(4)).then(FakeAnswer::with(503, "busy").at_endpoint(9)).then(FakeAnswer::with(200, "fine"));
  TestExchange exchange(s.world);
  exchange.start(*s.link);
  s.world.loop.run_until_idle();
  CHECK(exchange.status == 200);
  CHECK(exchange.body == "fine");
  REQUIRE(s.fake.seen.size() == 3);
  CHECK(s.fake.seen[1].tried == std::vector<std::uint32_t>{4});
  CHECK(s.fake.seen[2].tried == std::vector<std::uint32_t>{4, 9});
  CHECK(s.fake.seen[2].attempt == 3);
  CHECK(s.fake.seen[1].at - s.fake.seen[0].at <= 25ms);
  CHECK(s.fake.seen[2].at - s.fake.seen[1].at <= 50ms);
  CHECK(exchange.decisions() == Words{"retried/reset", "retried/503"});
  CHECK(s.budget.requests == 0);  // the upstream link counts those
  CHECK(s.budget.taken == 2);
  CHECK(s.budget.refunded == 0);
  CHECK(s.world.metric("weir_filter_decisions_total", {"decision=retried"}) == 2);
}

TEST_CASE("a retry also avoids the endpoint that its try passed over") {
  Setup s;
  s.fake.then(reset().at_endpoint(4).delayed(10ms)).then(FakeAnswer::with(200, "fine"));
  TestExchange exchange(s.world);
  exchange.start(*s.link);
  exchange.context().last_attempt->passed_over_id = 7;
  s.world.loop.run_until_idle();
  REQUIRE(s.fake.seen.size() == 2);
  CHECK(s.fake.seen[1].tried == std::vector<std::uint32_t>{7, 4});
}

TEST_CASE("of two retries the inner one avoids what was tried before its own tries") {
  RetryConfig config = usual_retry();
  config.max_attempts = 2;
  Setup s(config);
  RetryLink outer(s.config, s.fixture.context(), *s.link);
  s.fake.then(reset().at_endpoint(4)).then(reset().at_endpoint(9)).then(reset().at_endpoint(5)).then(FakeAnswer::ok());
  TestExchange exchange(s.world);
  exchange.start(outer);
  s.world.loop.run_until_idle();
  CHECK(exchange.status == 200);
  REQUIRE(s.fake.seen.size() == 4);
  CHECK(s.fake.seen[1].tried == std::vector<std::uint32_t>{4});
  CHECK(s.fake.seen[2].tried == std::vector<std::uint32_t>{9});  // the outer one knows its own try by how it ended
  CHECK(s.fake.seen[3].tried == std::vector<std::uint32_t>{9, 5});
}

TEST_CASE("when the tries are used up the last failure is told") {
  Setup s;
  s.fake.always(reset());
  TestExchange exchange(s.world);
  exchange.start(*s.link);
  s.world.loop.run_until_idle();
  CHECK(s.fake.seen.size() == 3);
  REQUIRE(exchange.failure);
  CHECK(exchange.failure->kind == FailureKind::reset);
  CHECK(exchange.decisions() == Words{"retried/reset", "retried/reset", "not_retried/attempts"});
}

TEST_CASE("when the tries are used up the last answer is told whole") {
  Setup s;
  s.fake.always(FakeAnswer::with(503, "busy"));
  TestExchange exchange(s.world);
  exchange.start(*s.link);
  s.world.loop.run_until_idle();
  CHECK(s.fake.seen.size() == 3);
  CHECK(exchange.status == 503);
  CHECK(exchange.body == "busy");
  CHECK(exchange.ended);
}

TEST_CASE("the budget stops retries, and says so") {
  Setup s;
  s.budget.left = 1;
  s.fake.always(reset());
  TestExchange exchange(s.world);
  exchange.start(*s.link);
  s.world.loop.run_until_idle();
  CHECK(s.fake.seen.size() == 2);
  CHECK(exchange.decisions() == Words{"retried/reset", "not_retried/budget"});
}

TEST_CASE("a retry that is cancelled while it waits gives its charge back; one that began does not") {
  Setup s;
  s.fake.then(reset()).then(FakeAnswer::silent());
  TestExchange exchange(s.world);
  exchange.start(*s.link);
  s.world.loop.run_ready();
  CHECK(s.budget.taken == 1);
  exchange.drop();
  CHECK(s.budget.refunded == 1);
  CHECK(s.world.loop.run_until_idle());
  CHECK(s.fake.seen.size() == 1);

  s.fake.then(reset());
  s.fake.always(FakeAnswer::silent());
  TestExchange second(s.world);
  second.start(*s.link);
  s.world.loop.advance(1s);
  CHECK(s.fake.live() == 1);
  second.drop();
  CHECK(s.budget.refunded == 1);
  CHECK(s.fake.live() == 0);
}

TEST_CASE("a rejection further in is told at once") {
  Setup s;
  s.fake.then(FakeAnswer::fails(FailureKind::breaker_open));
  TestExchange exchange(s.world);
  exchange.start(*s.link);
  s.world.loop.run_until_idle();
  CHECK(s.fake.seen.size() == 1);
  CHECK(exchange.failure->kind == FailureKind::breaker_open);
  CHECK(exchange.decisions().empty());
}

TEST_CASE("what another weir rejected is not multiplied by this one") {
  Setup s;
  s.fake.then(FakeAnswer::with(503).header("proxy-status", "weir; error=http_request_denied; details=\"limit_reached, policy p\""));
  TestExchange exchange(s.world);
  exchange.start(*s.link);
  s.world.loop.run_until_idle();
  CHECK(s.fake.seen.size() == 1);
  CHECK(exchange.status == 503);
}

TEST_CASE("a POST is repeated after a failure to connect, not after it was sent, unless it carries a key") {
  Setup s;
  s.fake.then(FakeAnswer::fails(FailureKind::connect_failure)).then(reset());
  TestExchange plain(s.world, "POST");
  plain.start(*s.link);
  s.world.loop.run_until_idle();
  CHECK(plain.failure->kind == FailureKind::reset);
  CHECK(plain.decisions() == Words{"retried/connect_failure", "not_retried/method"});

  s.fake.then(reset());
  TestExchange keyed(s.world, "POST");
  keyed.head().headers.add("idempotency-key", "1");
  keyed.start(*s.link);
  s.world.loop.run_until_idle();
  CHECK(keyed.status == 200);
}

TEST_CASE("a stale connection is resent once, at once, free of budget and count") {
  Setup s;
  s.budget.left = 0;
  s.fake.then(stale()).then(FakeAnswer::with(200));
  TestExchange exchange(s.world);
  const MonotonicTime begin = s.world.loop.now();
  exchange.start(*s.link);
  s.world.loop.run_until_idle();
  CHECK(exchange.status == 200);
  CHECK(exchange.told_at == begin);
  CHECK(exchange.decisions() == Words{"resent/stale_connection"});
  CHECK(s.budget.taken == 0);

  s.budget.left = 10;
  s.fake.always(stale());
  TestExchange twice(s.world);
  twice.start(*s.link);
  s.world.loop.run_until_idle();
  CHECK(twice.failure);
  CHECK(twice.decisions() == Words{"resent/stale_connection", "retried/reset", "retried/reset", "not_retried/attempts"});
}

TEST_CASE("a try's timeout inside is a cause, the total outside ends everything") {
  ChainWorld world;
  FakeLink fake;
  RetryConfig config = usual_retry();
  const TimeoutConfig per_try{std::nullopt, 500ms, std::nullopt};
  const TimeoutConfig whole{1200ms, std::nullopt, std::nullopt};
  FilterFixture inner_fixture(world, "per-try"), retry_fixture(world, "retry"), outer_fixture(world, "timeout");
  TimeoutLink inner(per_try, inner_fixture.context(), fake);
  RetryLink retry(config, retry_fixture.context(), inner);
  TimeoutLink outer(whole, outer_fixture.context(), retry);
  fake.always(FakeAnswer::silent());
  TestExchange exchange(world);
  exchange.start(outer);
  world.loop.run_until_idle();
  REQUIRE(exchange.failure);
  CHECK(exchange.failure->kind == FailureKind::total_timeout);
  CHECK(exchange.told_at == exchange.context().started + 1200ms);
  CHECK(fake.seen.size() == 3);
  CHECK(fake.cancelled == 3);
}

TEST_CASE("interim answers pass, but 100 only once") {
  Setup s;
  auto first = FakeAnswer::with(503);
  first.informational = {100, 103};
  auto second = FakeAnswer::with(200);
  second.informational = {100, 103};
  s.fake.then(first).then(second);
  TestExchange exchange(s.world);
  exchange.start(*s.link);
  s.world.loop.run_until_idle();
  CHECK(exchange.informational == std::vector<int>{100, 103, 103});
}

TEST_CASE("Retry-After of the answer sets the wait") {
  Setup s;
  s.fake.then(FakeAnswer::with(503).header("retry-after", "2")).then(FakeAnswer::with(503).header("retry-after", "60"));
  TestExchange exchange(s.world);
  exchange.start(*s.link);
  s.world.loop.run_until_idle();
  REQUIRE(s.fake.seen.size() == 2);
  CHECK(s.fake.seen[1].at - s.fake.seen[0].at >= 2s);
  CHECK(s.fake.seen[1].at - s.fake.seen[0].at <= 2s + 25ms);
  CHECK(exchange.status == 503);
  CHECK(exchange.decisions() == Words{"retried/503", "not_retried/retry_after"});
}

TEST_CASE("streams are connected again like requests") {
  Setup s;
  auto connected = FakeAnswer::with(0);
  s.fake.then(FakeAnswer::fails(FailureKind::connect_failure)).then(connected);
  TestExchange exchange(s.world);
  exchange.start(*s.link, RequestKind::stream);
  s.world.loop.run_until_idle();
  CHECK(exchange.status == -1);
  CHECK(s.fake.seen.size() == 2);
}

TEST_CASE("shadow says what it would have done at the first try, and changes and charges nothing") {
  Setup s(usual_retry(), true);
  s.fake.then(FakeAnswer::with(503, "busy")).then(reset()).then(FakeAnswer::with(200));
  for (const char* expected : {"would_retry/503", "would_retry/reset", ""}) {
    TestExchange exchange(s.world);
    exchange.start(*s.link);
    s.world.loop.run_until_idle();
    CHECK(exchange.told());
    CHECK(exchange.decisions() == (*expected == 0 ? Words{} : Words{expected}));
  }
  CHECK(s.fake.seen.size() == 3);
  CHECK(s.budget.requests == 0);
  CHECK(s.budget.taken == 0);
  s.budget.left = 0;
  s.fake.then(reset());
  TestExchange exhausted(s.world);
  exhausted.start(*s.link);
  s.world.loop.run_until_idle();
  CHECK(exhausted.decisions().empty());
}

TEST_CASE("retry: dropping at any point leaves nothing behind") {
  for (int step = 0; step < 40; ++step) {
    Setup s;
    auto answer = FakeAnswer::with(503, "busy").delayed(3ms);
    answer.body_after = 3ms;
    auto good = FakeAnswer::with(200, "fine").delayed(3ms);
    good.body_after = 3ms;
    s.fake.then(answer).then(reset().delayed(2ms)).then(good);
    {
      TestExchange exchange(s.world, "PUT");
      TestUpload& upload = exchange.add_upload();
      if (step == 39) exchange.drop_on_response();
      exchange.start(*s.link);
      upload.send(std::string(20000, 'x'));
      s.world.loop.advance(step * 2ms / 3);
      if (step % 3 == 0) upload.finish();
      if (step % 3 == 1) upload.abort(BodyAbort::reset);
      s.world.loop.advance(step * 1ms / 3);
      exchange.drop();
    }
    INFO(step);
    CHECK(s.fake.live() == 0);
    CHECK(s.world.loop.run_until_idle());
    CHECK(s.world.arenas.in_use() == 0);
    CHECK(s.world.buffers.chunks_in_use() == 0);
    CHECK(s.budget.taken >= s.budget.refunded);
  }
}

TEST_CASE("retry tells the chain's lints what it may do") {
  RetryConfig config = usual_retry();
  FilterFacts facts = retry_filter().facts(&config);
  CHECK(facts.max_attempts == 3);
  CHECK(facts.max_backoff == 250ms);
  CHECK_FALSE(facts.retries_unsafe);
  config.methods.rule = RetryMethods::Rule::any;
  CHECK(retry_filter().facts(&config).retries_unsafe);
}
