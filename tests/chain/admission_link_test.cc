#include "proxy/chain/admission_link.h"

#include <catch2/catch.hpp>
#include <vector>

#include "tests/support/chain_world.h"
#include "tests/support/fake_link.h"

using namespace weir;
using namespace weir::test;

namespace {

// Says what the test tells it to, and remembers what it was told.
class ScriptedPolicy final : public AdmissionPolicy {
 public:
  Admission::Verdict verdict = Admission::Verdict::admit;
  int asked = 0;
  std::vector<std::pair<Ticket, Outcome>> recorded;

  Admission admit(MonotonicTime now, const AdmissionFacts&, Random&) override {
    Admission admission;
    admission.verdict = verdict;
    admission.ticket.generation = static_cast<std::uint64_t>(++asked);
    admission.ticket.admitted = now;
    if (verdict != Admission::Verdict::admit) {
      admission.kind = FailureKind::breaker_open;
      admission.reason = "open";
      admission.retry_after = 3s;
    }
    return admission;
  }
  void record(MonotonicTime, const Ticket& ticket, const Outcome& outcome, Random&) override { recorded.emplace_back(ticket, outcome); }
};

struct Setup {
  explicit Setup(bool shadow = false) : fixture(world, "breaker", shadow), link(fixture.context(), shared, fake) {}
  ChainWorld world;
  ScriptedPolicy* policy = new ScriptedPolicy;  // `shared` owns it
  SharedPolicy shared{std::unique_ptr<AdmissionPolicy>(policy)};
  FakeLink fake;
  FilterFixture fixture;
  AdmissionLink link;

  Outcome only() const {
    REQUIRE(policy->recorded.size() == 1);
    return policy->recorded[0].second;
  }
};

using Class = Outcome::Class;

}  // namespace

TEST_CASE("an admitted call is recorded once, with status and times") {
  Setup s;
  auto answer = FakeAnswer::with(503, "busy").delayed(30ms);
  answer.body_after = 20ms;
  s.fake.then(answer);
  TestExchange exchange(s.world);
  exchange.start(s.link);
  s.world.loop.run_until_idle();
  CHECK(exchange.status == 503);
  CHECK(exchange.ended);
  const Outcome outcome = s.only();
  CHECK(outcome.cls == Class::answered);
  CHECK(outcome.status == 503);
  CHECK(outcome.clean);
  CHECK(outcome.to_headers == 30ms);
  CHECK(outcome.total == 50ms);
  CHECK(s.policy->recorded[0].first.generation == 1);
}

TEST_CASE("a rejection fails on the next turn and starts nothing") {
  Setup s;
  s.policy->verdict = Admission::Verdict::reject;
  TestExchange exchange(s.world);
  exchange.start(s.link);
  CHECK_FALSE(exchange.told());
  s.world.loop.run_ready();
  REQUIRE(exchange.failure);
  CHECK(exchange.failure->kind == FailureKind::breaker_open);
  CHECK(exchange.failure->retry_after == 3s);
  CHECK(exchange.failure->decided_by == &s.fixture.identity);
  CHECK(s.fake.seen.empty());
  CHECK(s.policy->recorded.empty());
  CHECK(exchange.decisions() == std::vector<std::string>{"rejected/open"});
  CHECK(s.world.metric("weir_filter_decisions_total", {"decision=rejected", "reason=open", "mode=enforce", "filter=breaker"}) == 1);
}

TEST_CASE("a policy without a queue that says wait is refused, not hung") {
  Setup s;
  s.policy->verdict = Admission::Verdict::wait;
  TestExchange exchange(s.world);
  exchange.start(s.link);
  s.world.loop.run_until_idle();
  CHECK(exchange.failure);
}

TEST_CASE("in shadow a rejection lets the call through and is not recorded") {
  Setup s(true);
  s.policy->verdict = Admission::Verdict::reject;
  TestExchange exchange(s.world);
  exchange.start(s.link);
  s.world.loop.run_until_idle();
  CHECK(exchange.status == 200);
  CHECK(s.policy->recorded.empty());
  CHECK(exchange.decisions() == std::vector<std::string>{"would_reject/open"});
  CHECK(s.world.metric("weir_filter_decisions_total", {"decision=would_reject", "mode=shadow"}) == 1);

  s.policy->verdict = Admission::Verdict::wait;
  TestExchange second(s.world);
  second.start(s.link);
  s.world.loop.run_until_idle();
  CHECK(second.status == 200);
  CHECK(second.decisions() == std::vector<std::string>{"would_queue/open"});
}

TEST_CASE("in shadow what would be admitted is recorded as when enforced") {
  std::vector<Outcome> outcomes[2];
  for (const bool shadow : {false, true}) {
    Setup s(shadow);
    s.fake.then(FakeAnswer::with(500).delayed(5ms)).then(FakeAnswer::fails(FailureKind::reset, true)).then(FakeAnswer::with(200, "x"));
    for (int i = 0; i < 3; ++i) {
      TestExchange exchange(s.world);
      exchange.start(s.link);
      s.world.loop.run_until_idle();
    }
    for (const auto& [ticket, outcome] : s.policy->recorded) outcomes[shadow ? 1 : 0].push_back(outcome);
  }
  REQUIRE(outcomes[0].size() == 3);
  REQUIRE(outcomes[1].size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(outcomes[0][i].cls == outcomes[1][i].cls);
    CHECK(outcomes[0][i].status == outcomes[1][i].status);
    CHECK(outcomes[0][i].failure == outcomes[1][i].failure);
    CHECK(outcomes[0][i].to_headers == outcomes[1][i].to_headers);
  }
}

TEST_CASE("failures count by the rules: the upstream's are failures, the client's and weir's own are nothing") {
  struct Row {
    FailureKind kind;
    Class expected;
  };
  const Row row = GENERATE(Row{FailureKind::connect_failure, Class::failed}, Row{FailureKind::reset, Class::failed},
                           Row{FailureKind::response_timeout, Class::failed}, Row{FailureKind::no_endpoint, Class::failed},
                           Row{FailureKind::total_timeout, Class::ignored}, Row{FailureKind::client_body, Class::ignored},
                           Row{FailureKind::client_timeout, Class::ignored}, Row{FailureKind::rate_limited, Class::ignored},
                           Row{FailureKind::deadline_exceeded, Class::ignored}, Row{FailureKind::pool_overflow, Class::ignored},
                           Row{FailureKind::internal, Class::ignored});
  Setup s;
  s.fake.then(FakeAnswer::fails(row.kind));
  TestExchange exchange(s.world);
  exchange.start(s.link);
  s.world.loop.run_until_idle();
  INFO(facts(row.kind).name);
  CHECK(s.only().cls == row.expected);
  CHECK(s.only().failure == row.kind);
  CHECK(s.only().to_headers < 0ms);
}

TEST_CASE("the keep-alive race says nothing about the upstream") {
  Setup s;
  auto answer = FakeAnswer::fails(FailureKind::reset, true);
  answer.failure->stale_connection = true;
  s.fake.then(answer);
  TestExchange exchange(s.world);
  exchange.start(s.link);
  s.world.loop.run_until_idle();
  CHECK(s.only().cls == Class::ignored);
}

TEST_CASE("an answer that breaks off is an answer that was not clean") {
  Setup s;
  auto answer = FakeAnswer::with(200, "half of it");
  answer.breaks = FailureKind::truncated;
  s.fake.then(answer);
  TestExchange exchange(s.world);
  exchange.start(s.link);
  s.world.loop.run_until_idle();
  CHECK(exchange.end_failure == FailureKind::truncated);
  CHECK(s.only().cls == Class::answered);
  CHECK_FALSE(s.only().clean);
  CHECK(s.only().failure == FailureKind::truncated);
}

TEST_CASE("an answer that the client breaks off is ignored, but keeps its time to the headers") {
  Setup s;
  auto answer = FakeAnswer::with(200, "body").delayed(40ms);
  answer.body_after = 1s;
  s.fake.then(answer);
  TestExchange exchange(s.world);
  exchange.start(s.link);
  s.world.loop.advance(100ms);
  REQUIRE(exchange.status == 200);
  exchange.drop();
  CHECK(s.only().cls == Class::ignored);
  CHECK(s.only().to_headers == 40ms);
  CHECK(s.only().total == 100ms);
}

TEST_CASE("a cancel before the answer is cut short only when the upstream owed it") {
  Setup s;
  s.fake.always(FakeAnswer::silent());
  TestExchange whole(s.world);
  whole.start(s.link);
  s.world.loop.advance(2s);
  whole.drop();
  CHECK(s.only().cls == Class::ignored);
  CHECK(s.only().cut_short);
  CHECK(s.only().total == 2s);

  TestExchange stalling(s.world, "POST");
  TestUpload& upload = stalling.add_upload();
  stalling.start(s.link);
  upload.send("a part");
  s.world.loop.advance(2s);
  stalling.drop();
  REQUIRE(s.policy->recorded.size() == 2);
  CHECK_FALSE(s.policy->recorded[1].second.cut_short);
}

TEST_CASE("a cancel while the call waits in weir itself is not cut short, one while a connection is being made is") {
  Setup s;
  auto waiting = FakeAnswer::silent();
  waiting.connects = false;
  s.fake.then(waiting);
  TestExchange roomless(s.world);
  roomless.start(s.link);
  s.world.loop.advance(2s);
  roomless.drop();
  CHECK_FALSE(s.only().cut_short);

  s.fake.then(waiting);
  TestExchange connecting(s.world);
  connecting.start(s.link);
  connecting.context().last_attempt->connecting = true;  // as the innermost link says when it is dropped
  s.world.loop.advance(2s);
  connecting.drop();
  REQUIRE(s.policy->recorded.size() == 2);
  CHECK(s.policy->recorded[1].second.cut_short);
}

TEST_CASE("a cancel between two tries is not cut short") {
  Setup s;
  s.fake.always(FakeAnswer::silent());
  TestExchange exchange(s.world);
  exchange.start(s.link);
  s.world.loop.advance(1s);
  exchange.context().last_attempt->ended = s.world.loop.now();
  s.world.loop.advance(1s);  // the next one waits for its turn
  exchange.drop();
  CHECK_FALSE(s.only().cut_short);
}

TEST_CASE("a call that waits for a filter further in is not cut short") {
  Setup s;
  ScriptedPolicy* const inner = new ScriptedPolicy;
  SharedPolicy shared(std::unique_ptr<AdmissionPolicy>{inner});
  class Waits final : public AdmissionLink {
   public:
    using AdmissionLink::AdmissionLink;

   private:
    class Waiting final : public AdmittedCall {
     public:
      using AdmittedCall::AdmittedCall;
    };
    CallPtr wait(Request&& request, Caller& caller, const Admission&) override {
      return CallPtr(make_call<Waiting>(*request.exchange, caller, policy()));
    }
  };
  Waits queue(s.fixture.context(), shared, s.fake);
  inner->verdict = Admission::Verdict::wait;
  AdmissionLink outer(s.fixture.context(), s.shared, queue);
  TestExchange exchange(s.world);
  exchange.start(outer);
  s.world.loop.advance(2s);
  exchange.drop();
  CHECK(s.only().cls == Class::ignored);
  CHECK_FALSE(s.only().cut_short);
}

TEST_CASE("the time that the client took for its body is not the upstream's") {
  Setup s;
  auto answer = FakeAnswer::with(200, "body").delayed(30ms);
  answer.waits_for_body = true;
  answer.body_after = 20ms;
  s.fake.then(answer);
  TestExchange exchange(s.world, "POST");
  TestUpload& upload = exchange.add_upload();
  exchange.start(s.link);
  upload.send("a part");
  s.world.loop.advance(10s);
  upload.send("and the rest");
  upload.finish();
  s.world.loop.run_until_idle();
  CHECK(s.only().to_headers == 30ms);
  CHECK(s.only().total == 50ms);
}

TEST_CASE("weir's own answers from further in are ignored") {
  Setup s;
  s.fake.then(FakeAnswer::with(503).at_endpoint(0));
  TestExchange exchange(s.world);
  exchange.start(s.link);
  s.world.loop.run_until_idle();
  CHECK(s.only().cls == Class::ignored);
}

TEST_CASE("each ticket comes back exactly once, wherever the call is dropped") {
  for (int steps = 0; steps < 8; ++steps) {
    Setup s;
    auto answer = FakeAnswer::with(200, "body").delayed(2ms);
    answer.body_after = 3ms;
    answer.informational = {103};
    s.fake.always(answer);
    {
      TestExchange exchange(s.world);
      if (steps == 7) exchange.drop_on_response();
      exchange.start(s.link);
      s.world.loop.advance(steps * 1ms);
      exchange.drop();
      s.world.loop.run_until_idle();
    }
    CHECK(s.policy->recorded.size() == 1);
    CHECK(s.fake.live() == 0);
    CHECK(s.world.arenas.in_use() == 0);
  }
}

TEST_CASE("a gRPC answer is recorded with its status, wherever that stood") {
  struct Row {
    FakeAnswer answer;
    GrpcStatus expected;
  };
  const Row row =
      GENERATE(Row{FakeAnswer::grpc(0, "message"), GrpcStatus::ok}, Row{FakeAnswer::grpc(14, "message"), GrpcStatus::unavailable},
               Row{FakeAnswer::grpc_trailers_only(13), GrpcStatus::internal}, Row{FakeAnswer::with(503), GrpcStatus::unavailable},
               Row{FakeAnswer::with(200, "no trailers"), GrpcStatus::unknown});
  Setup s;
  s.fake.then(row.answer);
  TestExchange exchange(s.world);
  exchange.make_grpc();
  exchange.start(s.link);
  s.world.loop.run_until_idle();
  CHECK(exchange.ended);
  CHECK(s.only().cls == Class::answered);
  CHECK(s.only().grpc_status == row.expected);
}

TEST_CASE("what is no gRPC call has no gRPC status, even if the answer says one") {
  Setup s;
  s.fake.then(FakeAnswer::grpc(14, "message"));
  TestExchange exchange(s.world);
  exchange.start(s.link);
  s.world.loop.run_until_idle();
  CHECK(s.only().grpc_status == GrpcStatus::none);
}

TEST_CASE("a gRPC answer that was dropped after its head still says the status that the head had") {
  Setup s;
  s.fake.then(FakeAnswer::grpc_trailers_only(14));
  TestExchange exchange(s.world);
  exchange.make_grpc();
  exchange.drop_on_response();
  exchange.start(s.link);
  s.world.loop.run_until_idle();
  CHECK(s.only().cls == Class::ignored);
  CHECK(s.only().grpc_status == GrpcStatus::unavailable);
}

TEST_CASE("deadline_exceeded says nothing about the upstream when it was the client's deadline, and something when it was not") {
  const bool late = GENERATE(true, false);
  Setup s;
  s.fake.then(FakeAnswer::grpc_trailers_only(4).delayed(late ? 996ms : 900ms));
  TestExchange exchange(s.world);
  exchange.make_grpc("1S");
  exchange.start(s.link);
  s.world.loop.run_until_idle();
  CHECK(s.only().cls == (late ? Class::ignored : Class::answered));
  CHECK(s.only().grpc_status == (late ? GrpcStatus::none : GrpcStatus::deadline_exceeded));
  CHECK(s.only().cut_short == late);
}
