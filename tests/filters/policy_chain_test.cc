// Whole policies of the contract, built from the catalog as the proxy builds them, over a scripted upstream.
#include <catch2/catch.hpp>

#include "config/section.h"
#include "config/yaml_tree.h"
#include "filters/catalog.h"
#include "proxy/chain/chain.h"
#include "proxy/chain/host_pressure.h"
#include "tests/support/allocation_count.h"
#include "tests/support/chain_world.h"
#include "tests/support/fake_link.h"

using namespace weir;
using namespace weir::test;

namespace {

struct PolicyWorld {
  ChainWorld world;
  PolicySpec policy;
  StateStore states{1};
  HostPressure pressure;
  FakeLink fake;
  std::unique_ptr<Chain> chain;

  void add(std::string_view kind, std::string_view fields, FilterMode mode = FilterMode::enforce, std::string name = {}) {
    config::Files files;
    config::Diagnostics diagnostics;
    const config::Value value = config::parse_yaml(fields, files.add("t"), diagnostics);
    config::Reader reader(diagnostics);
    FilterSpec spec;
    spec.factory = find_filter(kind);
    REQUIRE(spec.factory != nullptr);
    spec.name = name.empty() ? std::string(kind) : std::move(name);
    spec.mode = mode;
    spec.config = spec.factory->section().read_new(value, reader);
    INFO(diagnostics.print(files));
    REQUIRE(spec.config != nullptr);
    policy.filters.push_back(std::move(spec));
  }
  void build() {
    chain = Chain::build(policy, {"payments", "careful", "charge", "outbound"}, world.worker, states, nullptr, &pressure, fake);
  }
  void add_careful() {  // acceptance/main.yaml
    add("timeout", "{ total: 2s }");
    add("rate_limit", "{ rate: 500/s, burst: 1000 }");
    add("retry",
        "{ max_attempts: 3, causes: [connect_failure, reset, refused_stream, timeout, gateway_error], methods: idempotent, backoff: { "
        "base: 25ms, max: 250ms }, max_replay: 64KiB }");
    add("circuit_breaker",
        "{ causes: [connect_failure, reset, timeout, 5xx], window: 10s, min_calls: 20, failure_ratio: 50%, slow_call: { longer_than: "
        "300ms, ratio: 80% }, open_for: { base: 5s, max: 60s }, half_open: { probes: 10, successes: 7 } }",
        FilterMode::enforce, "payments-errors");
    add("concurrency_limit",
        "{ adaptive: { algorithm: gradient2, initial: 20, min: 5, max: 1000 }, queue: { size: 100, timeout: 100ms } }");
    add("timeout", "{ response_headers: 500ms }", FilterMode::enforce, "per-try");
  }
};

FakeAnswer reset() { return FakeAnswer::fails(FailureKind::reset, true); }

}  // namespace

TEST_CASE("the careful policy retries, then opens its breaker, then rejects without a try") {
  PolicyWorld w;
  w.add_careful();
  w.build();
  w.fake.then(reset()).then(FakeAnswer::with(200));
  TestExchange once(w.world);
  once.start(w.chain->outermost());
  w.world.loop.advance(1s);
  CHECK(once.status == 200);
  CHECK(once.decisions() == std::vector<std::string>{"retried/reset"});

  w.fake.always(reset());
  int rejected = 0;
  for (int i = 0; i < 15; ++i) {
    TestExchange exchange(w.world);
    exchange.start(w.chain->outermost());
    w.world.loop.advance(100ms);
    if (exchange.failure && exchange.failure->kind == FailureKind::breaker_open) ++rejected;
  }
  CHECK(rejected > 5);
  const std::size_t tries = w.fake.seen.size();
  TestExchange last(w.world);
  last.start(w.chain->outermost());
  w.world.loop.advance(100ms);
  REQUIRE(last.failure);
  CHECK(last.failure->kind == FailureKind::breaker_open);
  CHECK(last.failure->decided_by->filter == "payments-errors");
  CHECK(w.fake.seen.size() == tries);
}

TEST_CASE("a try's timeout counts for the breaker and is retried; the total is neither") {
  PolicyWorld w;
  w.add_careful();
  w.build();
  w.fake.always(FakeAnswer::silent());
  TestExchange exchange(w.world);
  exchange.start(w.chain->outermost());
  w.world.loop.advance(3s);
  REQUIRE(exchange.failure);
  CHECK(exchange.failure->kind == FailureKind::response_timeout);
  CHECK(w.fake.seen.size() == 3);
  CHECK(w.fake.live() == 0);
}

TEST_CASE("with every filter in shadow, the answers are those of no policy at all") {
  PolicyWorld w;
  w.add_careful();
  w.add("load_shed", "{ memory: 1%, open_files: 1% }");
  for (FilterSpec& spec : w.policy.filters) spec.mode = FilterMode::shadow;
  w.pressure.memory = 999;
  w.build();
  for (int i = 0; i < 60; ++i) {
    w.fake.then(i % 3 == 0 ? reset() : FakeAnswer::with(i % 3 == 1 ? 503 : 200, "body").delayed(700ms));
    TestExchange exchange(w.world);
    exchange.start(w.chain->outermost());
    w.world.loop.advance(1s);
    if (i % 3 == 0) {
      REQUIRE(exchange.failure);
      CHECK(exchange.failure->kind == FailureKind::reset);
    } else {
      CHECK(exchange.status == (i % 3 == 1 ? 503 : 200));
      CHECK(exchange.body == "body");
    }
  }
  CHECK(w.fake.seen.size() == 60);
  CHECK(w.fake.cancelled == 0);
  CHECK(w.world.metric("weir_filter_decisions_total", {"mode=shadow"}) > 0);
  CHECK(w.world.metric("weir_filter_decisions_total", {"mode=enforce"}) == 0);
}

TEST_CASE("in steady state a request through all filters allocates nothing and fits one block") {
  // An innermost link that is as lean as the others: FakeLink keeps what it sees.
  class LeanLink final : public Link {
   public:
    CallPtr start(Request&& request, Caller& caller) override {
      ExchangeContext& exchange = *request.exchange;
      return CallPtr(make_call<LeanCall>(exchange, caller));
    }

   private:
    class LeanCall final : public Call {
     public:
      LeanCall(ExchangeContext& exchange, Caller& caller)
          : Call(exchange, caller), later_(exchange.loop(), Callback::to<&LeanCall::answer>(this)) {
        later_.schedule();
      }

     private:
      void answer() {
        ResponseHead head(exchange().arena);
        head.status = 204;
        head.has_body = false;
        Response response;
        response.head = &head;
        response.endpoint = 1;
        later_.schedule();
        std::exchange(told_, true) ? tell_end(End{}) : tell_response(std::move(response));
      }
      void silence() noexcept override { later_.cancel(); }
      Deferred later_;
      bool told_ = false;
    };
  };
  // Says nothing of its own; drops the call at its end.
  struct LeanCaller final : Caller {
    CallPtr call;
    int status = 0;
    void on_informational(const ResponseHead&) override {}
    void on_response(Response&& response) override { status = response.head->status; }
    void on_end(const End&) override { call.reset(); }
    void on_failure(const Failure&) override { call.reset(); }
  };
  PolicyWorld w;
  w.add_careful();
  LeanLink lean;
  w.chain = Chain::build(w.policy, {"payments", "careful", "charge", "outbound"}, w.world.worker, w.states, nullptr, &w.pressure, lean);
  std::size_t most_bytes = 0;
  bool good = true;
  const auto run = [&] {
    Arena& arena = w.world.arenas.open();
    auto* head = arena.make<RequestHead>(arena);
    head->method = Method::get;
    head->method_text = "GET";
    auto* context = arena.make<ExchangeContext>(w.world.worker, arena, *head);
    context->started = w.world.loop.now();
    LeanCaller caller;
    Request request;
    request.exchange = context;
    request.head = head;
    caller.call = w.chain->outermost().start(std::move(request), caller);
    w.world.loop.run_ready();
    good = good && caller.status == 204 && caller.call == nullptr;  // Catch's own checks allocate
    most_bytes = std::max(most_bytes, arena.bytes());
    arena.release();
  };
  for (int i = 0; i < 200; ++i) run();  // the first ones fill pools and tables
  const std::uint64_t before = allocation_count();
  for (int i = 0; i < 200; ++i) run();
  CHECK(allocation_count() == before);
  CHECK(good);
  CHECK(most_bytes <= ArenaPool::kBlockSize);
}

TEST_CASE("a breaker inside a retry counts the answers that the retry discards") {
  PolicyWorld w;
  w.add_careful();
  w.build();
  w.fake.always(FakeAnswer::with(503));
  for (int i = 0; i < 7; ++i) {  // three tries each: the twentieth opens it
    TestExchange exchange(w.world);
    exchange.start(w.chain->outermost());
    w.world.loop.advance(1s);
  }
  CHECK(w.fake.seen.size() == 20);
  TestExchange refused(w.world);
  refused.start(w.chain->outermost());
  w.world.loop.advance(100ms);
  REQUIRE(refused.failure);
  CHECK(refused.failure->kind == FailureKind::breaker_open);
}

TEST_CASE("a client that leaves after a good head says nothing to the breaker") {
  PolicyWorld w;
  w.add("circuit_breaker", "{ causes: [5xx], window: 10s, min_calls: 2, failure_ratio: 50% }");
  w.build();
  FakeAnswer slow_body = FakeAnswer::with(200, "x");
  slow_body.body_after = 10s;
  w.fake.always(slow_body);
  for (int i = 0; i < 5; ++i) {
    TestExchange exchange(w.world);
    exchange.start(w.chain->outermost());
    w.world.loop.advance(10ms);
    CHECK(exchange.status == 200);
  }
  TestExchange next(w.world);
  next.start(w.chain->outermost());
  w.world.loop.advance(10ms);
  CHECK_FALSE(next.failure);
}
