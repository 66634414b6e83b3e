// Retries of gRPC calls: the status stands in the head or in trailers, and the head is held back to see the latter.
#include <algorithm>
#include <catch2/catch.hpp>

#include "filters/timeout/timeout_filter.h"
#include "tests/filters/retry_setup.h"

using namespace weir;
using namespace weir::test;

namespace {

RetryConfig usual() {
  RetryConfig config;
  config.max_attempts = 3;
  config.causes = causes_of({"connect_failure", "reset", "timeout", "grpc_unavailable", "grpc_resource_exhausted"});
  config.methods.rule = RetryMethods::Rule::any;
  config.backoff = {10ms, 10ms};
  return config;
}

struct Setup : RetrySetup {
  explicit Setup(RetryConfig c = usual(), bool shadow = false) : RetrySetup(std::move(c), shadow) {}
};

// A call whose request has been sent whole before its answer comes: unary, or the server streams.
struct Unary {
  explicit Unary(Setup& s, std::string_view timeout = {}) : exchange(s.world) {
    exchange.make_grpc(timeout);
    TestUpload& upload = exchange.add_upload();
    exchange.start(*s.link);
    upload.send("request");
    upload.finish();
  }
  TestExchange exchange;
};

FakeAnswer soon(FakeAnswer answer) { return answer.delayed(5ms); }

using Fields = std::vector<std::pair<std::string, std::string>>;
const Fields kOk{{"grpc-status", "0"}};

}  // namespace

TEST_CASE("a unary call that fails in its trailers is tried again, and its head is never told") {
  const bool end_told_first = GENERATE(true, false);
  const Duration apart = GENERATE(Duration(0), Duration(49ms));
  Setup s;
  FakeAnswer failing = soon(FakeAnswer::grpc(14)).at_endpoint(7);
  failing.end_told_first = end_told_first;
  failing.end_after = apart;
  s.fake.then(failing).then(soon(FakeAnswer::grpc(0, "message")));
  Unary call(s);
  s.world.loop.run_until_idle();
  CHECK(call.exchange.body == "message");
  CHECK(call.exchange.trailers == kOk);
  CHECK(call.exchange.end_trailers == kOk);
  CHECK(call.exchange.decisions() == Words{"retried/grpc_unavailable"});
  REQUIRE(s.fake.seen.size() == 2);
  CHECK(s.fake.seen[1].body == "request");
  CHECK(s.fake.seen[1].tried == std::vector<std::uint32_t>{7});
  CHECK(s.fake.live() == 0);
}

TEST_CASE("a trailers-only answer is tried again at its head") {
  Setup s;
  s.fake.then(soon(FakeAnswer::grpc_trailers_only(14))).then(soon(FakeAnswer::with(503))).then(soon(FakeAnswer::grpc(0, "message")));
  Unary call(s);
  s.world.loop.run_until_idle();
  CHECK(call.exchange.body == "message");
  CHECK(call.exchange.decisions() == Words{"retried/grpc_unavailable", "retried/grpc_unavailable"});
}

TEST_CASE("an answer that is no cause passes as it came: head, trailers, end") {
  const bool end_told_first = GENERATE(true, false);
  Setup s;
  FakeAnswer answer = soon(FakeAnswer::grpc(5).header("x-served-by", "first").trailer("grpc-message", "no such cart"));
  answer.end_told_first = end_told_first;
  s.fake.then(answer);
  Unary call(s);
  s.world.loop.run_until_idle();
  const Fields trailers{{"grpc-status", "5"}, {"grpc-message", "no such cart"}};
  CHECK(call.exchange.status == 200);
  CHECK(call.exchange.headers == Fields{{"content-type", "application/grpc"}, {"x-served-by", "first"}});
  CHECK(call.exchange.trailers == trailers);
  CHECK(call.exchange.end_trailers == trailers);
  CHECK(call.exchange.body_ended);
  CHECK(call.exchange.decisions().empty());
  CHECK(s.fake.seen.size() == 1);
}

TEST_CASE("the last try's failure passes without being held") {
  RetryConfig config = usual();
  config.max_attempts = 2;
  Setup s(config);
  FakeAnswer slow = FakeAnswer::grpc(14);
  slow.body_after = 40ms;
  s.fake.always(slow);
  Unary call(s);
  s.world.loop.advance(10ms);
  CHECK(call.exchange.status == 0);
  s.world.loop.advance(45ms);  // held for 40 ms, backoff up to 10 ms, and the second head is told at once
  CHECK(call.exchange.status == 200);
  CHECK_FALSE(call.exchange.ended);
  s.world.loop.run_until_idle();
  CHECK(call.exchange.trailers == Fields{{"grpc-status", "14"}});
  CHECK(call.exchange.decisions() == Words{"retried/grpc_unavailable"});
}

TEST_CASE("the first byte of a message releases the head, in the same turn of the world; the failure behind it passes") {
  Setup s;
  FakeAnswer answer = soon(FakeAnswer::grpc(14, "message"));
  answer.end_after = 20ms;
  s.fake.then(answer);
  Unary call(s);
  s.world.loop.advance(5ms);
  CHECK(call.exchange.status == 200);
  CHECK(call.exchange.body == "message");
  CHECK_FALSE(call.exchange.ended);
  s.world.loop.run_until_idle();
  CHECK(call.exchange.trailers == Fields{{"grpc-status", "14"}});
  CHECK(s.fake.seen.size() == 1);
  CHECK(call.exchange.decisions().empty());
}

TEST_CASE("a message and the end in one turn: the head, the message and the end are told in their order") {
  const bool end_told_first = GENERATE(true, false);
  Setup s;
  FakeAnswer answer = soon(FakeAnswer::grpc(14, "message"));
  answer.end_told_first = end_told_first;
  s.fake.then(answer);
  Unary call(s);
  s.world.loop.run_until_idle();
  CHECK(call.exchange.body == "message");
  CHECK(call.exchange.trailers == Fields{{"grpc-status", "14"}});
  CHECK(call.exchange.ended);
  CHECK(s.fake.seen.size() == 1);
}

TEST_CASE("a head is held for grpc_hold and no longer, and that is counted") {
  Setup s;
  FakeAnswer answer = soon(FakeAnswer::grpc(14));
  answer.body_after = 50ms;
  answer.end_after = 1ms;
  s.fake.then(answer);
  Unary call(s);
  s.world.loop.advance(55ms - 1ns);
  CHECK(call.exchange.status == 0);
  s.world.loop.advance(1ns);
  CHECK(call.exchange.status == 200);
  CHECK(call.exchange.decisions() == Words{"released/grpc_hold"});
  s.world.loop.run_until_idle();
  CHECK(call.exchange.trailers == Fields{{"grpc-status", "14"}});
  CHECK(s.fake.seen.size() == 1);
  CHECK(s.world.metric("weir_filter_decisions_total", {"decision=released", "reason=grpc_hold"}) == 1);
}

TEST_CASE("a stream whose client still sends never waits") {
  Setup s;
  FakeAnswer answer = soon(FakeAnswer::grpc(14));
  answer.body_after = 20ms;
  s.fake.then(answer);
  TestExchange exchange(s.world);
  exchange.make_grpc();
  TestUpload& upload = exchange.add_upload();
  exchange.start(*s.link);
  upload.send("first");
  s.world.loop.advance(5ms);
  CHECK(exchange.status == 200);
  upload.send("second");
  upload.finish();
  s.world.loop.run_until_idle();
  CHECK(exchange.trailers == Fields{{"grpc-status", "14"}});
  CHECK(s.fake.seen[0].body == "firstsecond");
}

TEST_CASE("nothing is held that could not be tried again, or is no gRPC call, or may not be held") {
  RetryConfig config = usual();
  SECTION("no gRPC status is a cause") { config.causes = causes_of({"reset", "5xx"}); }
  SECTION("the method may not be repeated") { config.methods = RetryMethods{}; }
  SECTION("the request was too large to keep") { config.max_replay = 3; }
  SECTION("holding is switched off") { config.grpc_hold = Duration(0); }
  Setup s(config);
  FakeAnswer answer = FakeAnswer::grpc(14).delayed(20ms);
  answer.body_after = 20ms;
  s.fake.then(answer);
  Unary call(s);
  s.world.loop.advance(20ms);
  CHECK(call.exchange.status == 200);
  s.world.loop.run_until_idle();
  CHECK(s.fake.seen.size() == 1);
}

TEST_CASE("an ordinary POST with gRPC causes is not held") {
  Setup s;
  FakeAnswer answer = FakeAnswer::grpc(14);
  answer.body_after = 20ms;
  s.fake.then(answer);
  TestExchange exchange(s.world, "POST");
  exchange.start(*s.link);
  s.world.loop.advance(1ms);
  CHECK(exchange.status == 200);
  s.world.loop.run_until_idle();
  CHECK(s.fake.seen.size() == 1);
}

TEST_CASE("an answer that breaks off while its head is held is tried again as a reset, or told as a failure") {
  RetryConfig config = usual();
  const bool is_cause = GENERATE(true, false);
  if (!is_cause) config.causes = causes_of({"grpc_unavailable"});
  Setup s(config);
  FakeAnswer broken = soon(FakeAnswer::grpc(0));
  broken.body_after = 10ms;
  broken.breaks = FailureKind::truncated;
  broken.end_told_first = GENERATE(true, false);
  s.fake.then(broken).then(soon(FakeAnswer::grpc(0, "message")));
  Unary call(s);
  s.world.loop.run_until_idle();
  if (is_cause) {
    CHECK(call.exchange.body == "message");
    CHECK(call.exchange.decisions() == Words{"retried/truncated"});
  } else {
    REQUIRE(call.exchange.failure);
    CHECK(call.exchange.failure->kind == FailureKind::truncated);
    CHECK(call.exchange.status == 0);
  }
}

TEST_CASE("an answer that breaks off together with its first message is told broken") {
  Setup s;
  FakeAnswer broken = soon(FakeAnswer::grpc(0, "message"));
  broken.breaks = FailureKind::truncated;
  broken.end_told_first = GENERATE(true, false);
  s.fake.then(broken);
  Unary call(s);
  s.world.loop.run_until_idle();
  CHECK(call.exchange.status == 200);
  CHECK(call.exchange.end_failure == FailureKind::truncated);
  CHECK(call.exchange.body == "mes");
  CHECK(call.exchange.body_abort == BodyAbort::peer_gone);
}

TEST_CASE("a client that goes while its answer is held leaves nothing behind") {
  Setup s;
  FakeAnswer answer = soon(FakeAnswer::grpc(14));
  answer.body_after = 30ms;
  s.fake.then(answer);
  Unary call(s);
  const Duration at = GENERATE(Duration(5ms), Duration(20ms), Duration(35ms));
  s.world.loop.advance(at);
  call.exchange.drop();
  s.world.loop.run_until_idle();
  CHECK_FALSE(call.exchange.told());
  CHECK(call.exchange.status == 0);
  CHECK(s.fake.live() == 0);
  CHECK(s.budget.left == 1e9);  // what was charged for a retry that never began is given back
}

TEST_CASE("pushback: the server says when") {
  Setup s;
  s.fake.then(soon(FakeAnswer::grpc(14).trailer("grpc-retry-pushback-ms", "700")));
  s.fake.then(soon(FakeAnswer::grpc_trailers_only(14).header("grpc-retry-pushback-ms", "0")));
  s.fake.then(soon(FakeAnswer::grpc(0, "message")));
  Unary call(s);
  s.world.loop.run_until_idle();
  CHECK(call.exchange.body == "message");
  CHECK(s.fake.seen[1].at - s.fake.seen[0].at == 705ms);  // no jitter of ours: it was chosen for this call
  CHECK(s.fake.seen[2].at - s.fake.seen[1].at == 5ms);
}

TEST_CASE("pushback: the server says no") {
  const std::string value = GENERATE("-1", "never", "5001");  // 5001: above retry_after.max
  Setup s;
  s.fake.then(soon(FakeAnswer::grpc(14).trailer("grpc-retry-pushback-ms", value)));
  Unary call(s);
  s.world.loop.run_until_idle();
  CHECK(call.exchange.trailers.size() == 2);
  CHECK(s.fake.seen.size() == 1);
  CHECK(call.exchange.decisions() == Words{"not_retried/pushback"});
}

TEST_CASE("pushback of exactly retry_after.max is honored") {
  Setup s;
  s.fake.then(soon(FakeAnswer::grpc(14).trailer("grpc-retry-pushback-ms", "5000"))).then(FakeAnswer::grpc(0, "message"));
  Unary call(s);
  s.world.loop.run_until_idle();
  CHECK(call.exchange.body == "message");
}

TEST_CASE("a pushback beyond the client's deadline is no retry") {
  Setup s;
  const TimeoutConfig total{2s, std::nullopt, std::nullopt};
  FilterFixture outside(s.world, "timeout");
  TimeoutLink timeout(total, outside.context(), *s.link);
  s.fake.then(soon(FakeAnswer::grpc(14).trailer("grpc-retry-pushback-ms", "600")));
  TestExchange exchange(s.world);
  exchange.make_grpc("500m");
  exchange.start(timeout);
  s.world.loop.run_until_idle();
  CHECK(exchange.trailers[0] == std::pair<std::string, std::string>{"grpc-status", "14"});
  CHECK(exchange.decisions() == Words{"not_retried/deadline"});
}

TEST_CASE("what another weir refused is not tried again, though it is unavailable") {
  Setup s;
  s.fake.then(
      soon(FakeAnswer::grpc_trailers_only(14).header("proxy-status", "weir; error=destination_unavailable; details=\"breaker_open\"")));
  Unary call(s);
  s.world.loop.run_until_idle();
  CHECK(call.exchange.status == 200);
  CHECK(s.fake.seen.size() == 1);
}

TEST_CASE("an empty budget tells the failure at once, with its trailers") {
  Setup s;
  s.budget.left = 0;
  s.fake.then(soon(FakeAnswer::grpc(14)));
  Unary call(s);
  s.world.loop.run_until_idle();
  CHECK(call.exchange.trailers == Fields{{"grpc-status", "14"}});
  CHECK(call.exchange.ended);
  CHECK(call.exchange.decisions() == Words{"not_retried/budget"});
}

TEST_CASE("the timeouts around a held answer still count") {
  Setup s;
  const TimeoutConfig idle{std::nullopt, std::nullopt, 20ms};
  FilterFixture inside(s.world, "timeout");
  TimeoutLink timeout(idle, inside.context(), s.fake);
  RetryLink retry(s.config, s.fixture.context(), timeout);
  FakeAnswer stalls = soon(FakeAnswer::grpc(0));
  stalls.body_after = 1h;
  s.fake.then(stalls).then(soon(FakeAnswer::grpc(0, "message")));
  TestExchange exchange(s.world);
  exchange.make_grpc();
  exchange.start(retry);
  s.world.loop.run_until_idle();
  CHECK(exchange.body == "message");
  CHECK(exchange.decisions() == Words{"timed_out/idle_timeout", "retried/idle_timeout"});
}

TEST_CASE("shadow says which failing trailers it would have tried again, and holds nothing") {
  Setup s(usual(), true);
  FakeAnswer quick = soon(FakeAnswer::grpc(14));
  quick.body_after = 50ms;
  FakeAnswer late = quick;
  late.body_after = 51ms;
  s.fake.then(quick).then(late).then(soon(FakeAnswer::grpc(14, "message"))).then(soon(FakeAnswer::grpc_trailers_only(14)));
  const std::vector<Words> expected{{"would_retry/grpc_unavailable"}, {}, {}, {"would_retry/grpc_unavailable"}};
  for (const Words& words : expected) {
    Unary call(s);
    s.world.loop.advance(5ms);
    CHECK(call.exchange.status == 200);
    s.world.loop.run_until_idle();
    CHECK(call.exchange.decisions() == words);
  }
}

TEST_CASE("lints and explain know what gRPC causes mean") {
  RetryConfig config = usual();
  config.causes = causes_of({"connect_failure", "refused_stream", "grpc_unavailable"});
  CHECK_FALSE(retry_filter().facts(&config).retries_unsafe);  // none of them says that it may have been done
  CHECK(retry_filter().facts(&config).holds_answer == 50ms);
  CHECK(retry_filter().facts(&config).max_retry_after == 5s);
  ChainWorld world;
  TestExchange call(world), plain(world, "POST");
  call.make_grpc();
  const auto says = [&](TestExchange& exchange, std::string_view what) {
    std::vector<FilterNote> notes;
    retry_filter().explain(&config, exchange.head(), notes);
    return std::any_of(notes.begin(), notes.end(), [what](const FilterNote& note) { return note.what == what; });
  };
  CHECK(says(call, "grpc_hold"));
  CHECK(says(call, "pushback"));
  CHECK_FALSE(says(plain, "grpc_hold"));
  config.causes = causes_of({"grpc_unavailable", "grpc_internal"});
  CHECK(retry_filter().facts(&config).retries_unsafe);
  config.causes = causes_of({"connect_failure"});
  CHECK(retry_filter().facts(&config).holds_answer == Duration(0));
  CHECK_FALSE(says(call, "pushback"));
}
