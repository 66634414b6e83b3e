#include "proxy/chain/chain.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <csignal>
#include <cstdio>

#include "config/section.h"
#include "proxy/chain/filter_call.h"
#include "proxy/chain/metered.h"
#include "tests/support/chain_world.h"
#include "tests/support/fake_link.h"

using namespace weir;
using namespace weir::test;

namespace {

struct MarkConfig {
  int number = 0;
};

struct MarkState final : FilterState {
  int number = 0;
  std::uint64_t seed = 0;
};

// Notes that a request passed it, as passed/<its name>, and can answer inside start, against law 1.
class MarkLink final : public Link {
 public:
  MarkLink(const LinkContext& context, Link& next) : context_(context), next_(next) {}
  CallPtr start(Request&& request, Caller& caller) override {
    context_.decisions.note(*request.exchange, "passed", context_.identity.filter);
    return next_.start(std::move(request), caller);
  }

 private:
  LinkContext context_;
  Link& next_;
};

class MarkFactory final : public FilterFactory {
 public:
  bool with_state = false;
  bool per_route = false;
  std::string_view kind() const override { return "mark"; }
  const config::SectionBase& section() const override {
    static const config::Section<MarkConfig> section("mark", "For tests.");
    return section;
  }
  FilterFacts facts(const void*) const override { return {}; }
  bool state_per_route(const void*) const override { return per_route; }
  std::shared_ptr<FilterState> make_state(const void* config, std::shared_ptr<FilterState> old, std::uint64_t seed) const override {
    if (!with_state) return nullptr;
    auto state = old ? std::static_pointer_cast<MarkState>(old) : std::make_shared<MarkState>();
    if (!old) state->seed = seed;
    state->number = static_cast<const MarkConfig*>(config)->number;
    return state;
  }
  std::unique_ptr<Link> build(const void*, const LinkContext& context, Link& next) const override {
    return std::make_unique<MarkLink>(context, next);
  }
};

FilterSpec mark(const MarkFactory& factory, std::string name, int number = 0) {
  FilterSpec spec;
  spec.factory = &factory;
  spec.name = std::move(name);
  auto config = std::make_shared<MarkConfig>();
  config->number = number;
  spec.config = config;
  return spec;
}

struct Setup {
  ChainWorld world;
  MarkFactory factory;
  PolicySpec policy;
  StateStore states{7};
  FakeLink fake;
  std::unique_ptr<Chain> build(const std::string& route = "route", const std::string& listener = "listener") {
    policy.name = "policy";
    return Chain::build(policy, {"service", "policy", route, listener}, world.worker, states, nullptr, nullptr, fake);
  }
};

}  // namespace

TEST_CASE("links are built in the order of the file, outermost first, without the disabled ones") {
  Setup s;
  s.policy.filters.push_back(mark(s.factory, "a"));
  s.policy.filters.push_back(mark(s.factory, "off"));
  s.policy.filters.back().mode = FilterMode::disabled;
  s.policy.filters.push_back(mark(s.factory, "b"));
  const auto chain = s.build();
  TestExchange exchange(s.world);
  exchange.start(chain->outermost());
  s.world.loop.run_until_idle();
  CHECK(exchange.status == 200);
  CHECK(exchange.decisions() == std::vector<std::string>{"passed/a", "passed/b"});
}

TEST_CASE("an empty policy is the upstream alone") {
  Setup s;
  const auto chain = s.build();
  TestExchange exchange(s.world);
  exchange.start(chain->outermost());
  s.world.loop.run_until_idle();
  CHECK(exchange.status == 200);
  CHECK(s.world.metric("weir_filter_requests_total", {"filter=upstream", "outcome=2xx"}) == 1);
}

TEST_CASE("when: requests that it does not match go past the filter, and are not counted there") {
  Setup s;
  s.policy.filters.push_back(mark(s.factory, "gold"));
  auto matcher = std::make_unique<Matcher>();
  matcher->methods = {"POST"};
  s.policy.filters.back().when = std::move(matcher);
  const auto chain = s.build();
  TestExchange get(s.world, "GET");
  TestExchange post(s.world, "POST");
  get.start(chain->outermost());
  post.start(chain->outermost());
  s.world.loop.run_until_idle();
  CHECK(get.decisions().empty());
  CHECK(post.decisions().size() == 1);
  CHECK(s.world.metric("weir_filter_requests_total", {"filter=gold"}) == 1);
  CHECK(s.world.metric("weir_filter_requests_total", {"filter=upstream"}) == 2);
}

TEST_CASE("ramp: its share of requests, and always the same ones") {
  Setup s;
  s.policy.filters.push_back(mark(s.factory, "ramped"));
  s.policy.filters.back().ramp = 0.25;
  const auto chain = s.build();
  int passed = 0;
  for (std::uint64_t id = 0; id < 4000; ++id) {
    bool decided[2] = {};
    for (bool& one : decided) {
      TestExchange exchange(s.world);
      exchange.context().id_hash = id;
      exchange.start(chain->outermost());
      one = !exchange.decisions().empty();
    }
    CHECK(decided[0] == decided[1]);
    passed += decided[0] ? 1 : 0;
  }
  CHECK(passed > 900);
  CHECK(passed < 1100);

  s.policy.filters.back().ramp = 0.0;
  const auto none = s.build();
  TestExchange exchange(s.world);
  exchange.start(none->outermost());
  CHECK(exchange.decisions().empty());
}

TEST_CASE("calls are counted by how they ended") {
  Setup s;
  s.policy.filters.push_back(mark(s.factory, "a"));
  const auto chain = s.build();
  auto broken = FakeAnswer::with(200, "long body");
  broken.breaks = FailureKind::reset;
  s.fake.then(FakeAnswer::with(204))
      .then(FakeAnswer::with(503))
      .then(broken)
      .then(FakeAnswer::fails(FailureKind::reset))
      .then(FakeAnswer::fails(FailureKind::queue_full))
      .then(FakeAnswer::silent());
  for (int i = 0; i < 6; ++i) {
    TestExchange exchange(s.world);
    exchange.start(chain->outermost());
    s.world.loop.advance(10ms);
  }
  for (const char* outcome : {"2xx", "5xx", "broken", "failed", "rejected", "cancelled"}) {
    INFO(outcome);
    CHECK(s.world.metric("weir_filter_requests_total", {"filter=a", std::string("outcome=") + outcome}) == 1);
  }
}

TEST_CASE("state is kept by its key: one for all workers, with new parameters after a reload, gone with its key") {
  Setup s;
  s.factory.with_state = true;
  MarkConfig first{1}, second{2};
  const auto a = s.states.obtain(StateKey{"service", "policy", "a", {}, {}}, s.factory, &first);
  CHECK(s.states.obtain(StateKey{"service", "policy", "a", {}, {}}, s.factory, &first) == a);
  const auto b = s.states.obtain(StateKey{"service", "policy", "b", {}, {}}, s.factory, &first);
  CHECK(b != a);
  CHECK(std::static_pointer_cast<MarkState>(a)->seed != std::static_pointer_cast<MarkState>(b)->seed);

  s.states.begin_generation();
  first.number = 3;  // the same address, other content: what a reload may well do
  CHECK(s.states.obtain(StateKey{"service", "policy", "a", {}, {}}, s.factory, &first) == a);
  CHECK(std::static_pointer_cast<MarkState>(a)->number == 3);
  CHECK(s.states.obtain(StateKey{"service", "policy", "a", {}, {}}, s.factory, &second) == a);
  CHECK(std::static_pointer_cast<MarkState>(a)->number == 2);
  s.states.end_generation();
  std::vector<std::string> keys;
  s.states.visit([&](const StateKey& key, FilterState&) { keys.push_back(key.text()); });
  CHECK(keys == std::vector<std::string>{"service/policy/a"});
  CHECK(s.states.obtain(StateKey{"service", "policy", "b", {}, {}}, s.factory, &first) != b);
}

TEST_CASE("a state of another kind under the same key is a new one") {
  Setup s;
  MarkFactory other;
  s.factory.with_state = other.with_state = true;
  MarkConfig config;
  const auto a = s.states.obtain(StateKey{"service", "policy", "key", {}, {}}, s.factory, &config);
  CHECK(s.states.obtain(StateKey{"service", "policy", "key", {}, {}}, other, &config) != a);
}

TEST_CASE("state is keyed by route only where the filter asks for it") {
  Setup s;
  s.factory.with_state = true;
  s.policy.filters.push_back(mark(s.factory, "a"));
  const auto count = [&] {
    int states = 0;
    s.states.visit([&](const StateKey&, FilterState&) { ++states; });
    return states;
  };
  const auto one = s.build("x");
  const auto two = s.build("y");
  CHECK(count() == 1);
  s.factory.per_route = true;
  const auto three = s.build("x");
  const auto four = s.build("y");
  CHECK(count() == 3);
  const auto five = s.build("x", "another");  // a route is known by its name in its listener
  CHECK(count() == 4);
  std::vector<std::string> keys;
  s.states.visit([&](const StateKey& key, FilterState&) { keys.push_back(key.text()); });
  CHECK(std::count(keys.begin(), keys.end(), "service/policy/a/another/x") == 1);
}

TEST_CASE("names with slashes mix up no states") {
  Setup s;
  s.factory.with_state = true;
  MarkConfig config;
  const auto one = s.states.obtain(StateKey{"a/b", "c", "f", {}, {}}, s.factory, &config);
  const auto other = s.states.obtain(StateKey{"a", "b/c", "f", {}, {}}, s.factory, &config);
  CHECK(one != other);
}

TEST_CASE("decisions past the table are counted together, and none is lost") {
  ChainWorld world;
  FilterFixture fixture(world);
  TestExchange exchange(world);
  std::vector<std::string> words;
  for (std::size_t i = 0; i < Decisions::kPairs + 5; ++i) words.push_back("reason-" + std::to_string(i));
  for (const std::string& word : words) fixture.decisions.note(exchange.context(), "decided", word);
  CHECK(world.metric("weir_filter_decisions_total", {}) == static_cast<double>(words.size()));
  CHECK(world.metric("weir_filter_decisions_total", {"decision=other"}) == 5);
  CHECK(exchange.context().decided);
  CHECK(exchange.decisions().size() == words.size());
}

TEST_CASE("fail_later tells on the next turn, and not at all once dropped") {
  class FailingLink final : public Link {
   public:
    CallPtr start(Request&& request, Caller& caller) override {
      Failure failure;
      failure.kind = FailureKind::shed;
      return fail_later(*request.exchange, caller, failure);
    }
  } link;
  ChainWorld world;
  TestExchange told(world);
  TestExchange dropped(world);
  told.start(link);
  dropped.start(link);
  dropped.drop();
  CHECK_FALSE(told.told());
  world.loop.run_until_idle();
  CHECK(told.failure);
  CHECK_FALSE(dropped.told());
}

namespace {

// Runs `act` in a child process and says whether it was stopped by a failed check.
template <class Act>
bool aborts(Act act) {
  const pid_t child = fork();
  if (child == 0) {
    REQUIRE(std::freopen("/dev/null", "w", stderr) != nullptr);
    std::signal(SIGABRT, SIG_DFL);  // the test framework's own handler would report it
    act();
    _exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

// Checks nothing itself.
struct DeafCaller final : Caller {
  void on_informational(const ResponseHead&) override {}
  void on_response(Response&&) override {}
  void on_end(const End&) override {}
  void on_failure(const Failure&) override {}
};

// Breaks a law, as asked.
enum class Crime { none, tells_in_start, ends_twice, ends_first, answers_twice };

class LawlessCall final : public Call {
 public:
  LawlessCall(ExchangeContext& exchange, Caller& caller, Crime crime) : Call(exchange, caller), crime_(crime) {
    if (crime == Crime::tells_in_start) tell_failure(Failure{});
  }
  void act() {
    if (crime_ == Crime::ends_first) tell_end(End{});
    if (crime_ == Crime::ends_twice) tell_failure(Failure{});
    if (crime_ == Crime::answers_twice) tell_response(Response{});
    tell_response(Response{});
    tell_end(End{});
  }

 private:
  Crime crime_;
};

struct LawlessLink final : Link {
  Crime crime = Crime::none;
  LawlessCall* call = nullptr;
  CallPtr start(Request&& request, Caller& caller) override {
    return CallPtr(call = make_call<LawlessCall>(*request.exchange, caller, crime));
  }
};

}  // namespace

TEST_CASE("a call that breaks the laws is stopped") {
  ChainWorld world;
  LinkIdentity identity;
  identity.filter = "lawless";
  for (const auto crime : {Crime::none, Crime::tells_in_start, Crime::ends_twice, Crime::ends_first, Crime::answers_twice}) {
    CHECK(aborts([&] {
            LawlessLink link;
            link.crime = crime;
            Metered metered(link, identity, world.registry.shard(0));
            TestExchange exchange(world);
            DeafCaller caller;
            Request request;
            request.exchange = &exchange.context();
            const CallPtr call = metered.start(std::move(request), caller);
            link.call->act();
          }) == (crime != Crime::none));
  }
}
