#include <catch2/catch.hpp>

#include <map>
#include <string>
#include <vector>

#include "config/section.h"
#include "filters/rate_limit/rate_limit_filter.h"
#include "proxy/chain/exchange_context.h"
#include "tests/support/chain_world.h"
#include "tests/support/fake_link.h"

namespace weir {
namespace {

using namespace test;

TEST_CASE("a new bucket holds its burst and then a token for each interval") {
  const BucketRules rules(Rate{500, 1s}, 1000);
  TokenBucket bucket;
  const MonotonicTime start{1h};
  for (int i = 0; i < 1000; ++i) REQUIRE(bucket.take(rules, start) == 0ns);
  CHECK(bucket.take(rules, start) == 2ms);
  CHECK(bucket.take(rules, start + 2ms - 1ns) == 1ns);
  CHECK(bucket.take(rules, start + 2ms) == 0ns);
  CHECK(bucket.take(rules, start + 2ms) == 2ms);
}

TEST_CASE("a bucket is never fuller than its burst") {
  const BucketRules rules(Rate{10, 1s}, 3);
  TokenBucket bucket;
  MonotonicTime now{1h};
  for (int pause = 0; pause < 3; ++pause) {
    for (int i = 0; i < 3; ++i) REQUIRE(bucket.take(rules, now) == 0ns);
    REQUIRE(bucket.take(rules, now) == 100ms);
    now += 24h;
  }
}

TEST_CASE("tokens are exact over a long time, for rates that do not divide a second") {
  for (const std::uint64_t rate : {std::uint64_t{3}, std::uint64_t{7}, std::uint64_t{999'983}}) {
    const BucketRules rules(Rate{rate, 1s}, 2);
    TokenBucket bucket;
    // Never full, since it is asked whenever it says that a token will be there: no part of a token is lost.
    MonotonicTime now{30 * 24h};
    const MonotonicTime start = now;
    std::uint64_t taken = 0;
    while (taken < 50'000) {
      const Duration wait = bucket.take(rules, now);
      if (wait == 0ns) {
        ++taken;
      } else {
        now += wait;
      }
    }
    // After the burst, the k-th token comes at ceil(k * 1 s / rate).
    const std::uint64_t expected = ((taken - 2) * 1'000'000'000U + rate - 1) / rate;
    CHECK(static_cast<std::uint64_t>((now - start).count()) == expected);
  }
}

TEST_CASE("no schedule takes more than burst plus rate allow") {
  Random random(3);
  for (int round = 0; round < 50; ++round) {
    const std::uint64_t rate = 1 + random.below(1000);
    const std::uint64_t burst = 1 + random.below(20);
    const BucketRules rules(Rate{rate, 1s}, burst);
    TokenBucket bucket;
    const MonotonicTime start{1h};
    MonotonicTime now = start;
    std::uint64_t taken = 0;
    for (int i = 0; i < 2000; ++i) {
      now += Duration{static_cast<std::int64_t>(random.below(3'000'000))};
      if (bucket.take(rules, now) == 0ns) ++taken;
      const auto elapsed = static_cast<std::uint64_t>((now - start).count());
      REQUIRE(taken <= burst + elapsed * rate / 1'000'000'000U);
    }
    REQUIRE(taken > 0);
  }
}

TEST_CASE("a clock that is a little behind another worker's gives no tokens away") {
  const BucketRules rules(Rate{1, 1s}, 1);
  TokenBucket bucket;
  const MonotonicTime now{1h};
  CHECK(bucket.take(rules, now) == 0ns);
  CHECK(bucket.take(rules, now - 5ms) == 1005ms);
  CHECK(bucket.take(rules, now + 1s) == 0ns);
}

TEST_CASE("changed rules keep the tokens as far as the new burst holds them") {
  const MonotonicTime now{1h};
  const BucketRules from(Rate{10, 1s}, 10);
  const auto tokens_after = [&](int used, const BucketRules& to) {
    TokenBucket bucket;
    for (int i = 0; i < used; ++i) REQUIRE(bucket.take(from, now) == 0ns);
    bucket.change_rules(from, to, now);
    int left = 0;
    while (bucket.take(to, now) == 0ns) ++left;
    return left;
  };
  CHECK(tokens_after(6, BucketRules(Rate{1000, 1s}, 100)) == 4);
  CHECK(tokens_after(2, BucketRules(Rate{1, 1h}, 5)) == 5);
  CHECK(tokens_after(10, BucketRules(Rate{1, 1s}, 50)) == 0);
  CHECK(tokens_after(0, BucketRules(Rate{1, 1s}, 50)) == 50);  // full stays full
}

KeyFingerprint key_of(std::string_view text) {
  KeyFingerprint key = KeyFingerprint::seeded(1);
  key.add(text);
  return key;
}

TEST_CASE("fingerprints tell keys, parts and missing parts apart, and depend on the seed") {
  const auto of = [](std::uint64_t seed, std::initializer_list<std::string_view> parts) {
    KeyFingerprint key = KeyFingerprint::seeded(seed);
    for (const std::string_view part : parts) key.add(part);
    return key;
  };
  CHECK(of(1, {"gold"}) == of(1, {"gold"}));
  CHECK_FALSE(of(1, {"gold"}) == of(2, {"gold"}));
  CHECK_FALSE(of(1, {"ab", "c"}) == of(1, {"a", "bc"}));
  CHECK_FALSE(of(1, {"abc"}) == of(1, {"abc", ""}));
  KeyFingerprint missing = KeyFingerprint::seeded(1);
  missing.add_missing();
  CHECK_FALSE(missing == of(1, {""}));
}

TEST_CASE("each key has a bucket of its own") {
  KeyedBuckets buckets(100);
  const BucketRules rules(Rate{1, 1s}, 1);
  const MonotonicTime now{1h};
  CHECK(buckets.take(rules, key_of("a"), now).wait == 0ns);
  CHECK(buckets.take(rules, key_of("a"), now).wait == 1s);
  CHECK(buckets.take(rules, key_of("b"), now).wait == 0ns);
  CHECK(buckets.size() == 2);
}

TEST_CASE("when the table is full, only full buckets make room and the other keys share one") {
  KeyedBuckets buckets(2);
  const BucketRules rules(Rate{1, 1s}, 2);
  MonotonicTime now{1h};
  CHECK(buckets.take(rules, key_of("a"), now).wait == 0ns);
  CHECK(buckets.take(rules, key_of("a"), now).wait == 0ns);
  CHECK(buckets.take(rules, key_of("b"), now).wait == 0ns);
  // a is full again in 2 s, b in 1 s. c and d share what is left over.
  CHECK(buckets.take(rules, key_of("c"), now).shared);
  CHECK(buckets.take(rules, key_of("d"), now).wait == 0ns);
  CHECK(buckets.take(rules, key_of("c"), now).wait == 1s);
  now += 1s;
  const KeyedBuckets::Taken c = buckets.take(rules, key_of("c"), now);
  CHECK_FALSE(c.shared);  // instead of b
  CHECK(c.wait == 0ns);
  CHECK(buckets.take(rules, key_of("a"), now).wait == 0ns);  // still there: one token, not two
  CHECK(buckets.take(rules, key_of("a"), now).wait == 1s);
  CHECK(buckets.take(rules, key_of("b"), now).shared);
  CHECK(buckets.size() == 2);
}

TEST_CASE("a newcomer to a large table does bounded work, and finds its room after a few") {
  constexpr int kKeys = 10'000;
  KeyedBuckets buckets(kKeys);
  const BucketRules rules(Rate{1, 1s}, 10);
  MonotonicTime now{1h};
  for (int i = 0; i < kKeys - 1; ++i) buckets.take(rules, key_of(concat("key-", i)), now);
  for (int i = 0; i < kKeys - 1; ++i) buckets.take(rules, key_of(concat("key-", i)), now);  // the heap does not know of these
  buckets.take(rules, key_of("last"), now);
  CHECK(buckets.take(rules, key_of("newcomer"), now).shared);  // none is full
  now += 1s;                                                   // the last one is, and nobody knows which that is
  int shared = 0;
  while (shared < kKeys && buckets.take(rules, key_of("newcomer"), now).shared) ++shared;
  CHECK(shared > 0);
  CHECK(shared <= kKeys / 256 + 1);
  now += 1s;  // all are: there is room at once
  for (int i = 0; i < 100; ++i) CHECK_FALSE(buckets.take(rules, key_of(concat("new-", i)), now).shared);
  CHECK(buckets.size() == kKeys);
}

// Against a plain map: each key's bucket, dropped by nobody but when full and at the limit.
TEST_CASE("the table behaves as a map of buckets would, whatever the schedule") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Random random(seed);
    const auto max_keys = 1 + static_cast<std::uint32_t>(random.below(40));
    const std::uint64_t burst = 1 + random.below(5);
    const BucketRules rules(Rate{1 + random.below(50), 1s}, burst);
    KeyedBuckets buckets(max_keys);
    std::map<std::string, TokenBucket> model;
    TokenBucket shared;
    MonotonicTime now{1h};
    for (int i = 0; i < 4000; ++i) {
      now += Duration{static_cast<std::int64_t>(random.below(20'000'000))};
      const std::string key = concat("key-", random.below(80));
      const KeyedBuckets::Taken taken = buckets.take(rules, key_of(key), now);
      auto found = model.find(key);
      if (found == model.end() && model.size() >= max_keys) {
        for (auto it = model.begin(); it != model.end(); ++it) {  // any of those that are full longest
          if (!it->second.full(rules, now)) continue;
          auto first = it;
          for (auto other = it; other != model.end(); ++other) {
            if (other->second.full_at() < first->second.full_at()) first = other;
          }
          model.erase(first);
          break;
        }
      }
      if (found == model.end() && model.size() >= max_keys) {
        REQUIRE(taken.shared);
        REQUIRE(taken.wait == shared.take(rules, now));
        continue;
      }
      REQUIRE_FALSE(taken.shared);
      REQUIRE(taken.wait == model[key].take(rules, now));
      REQUIRE(buckets.size() <= max_keys);
    }
  }
}

TEST_CASE("a changed limit of keys keeps the emptiest buckets") {
  KeyedBuckets buckets(10);
  const BucketRules rules(Rate{1, 1s}, 5);
  const MonotonicTime now{1h};
  for (int i = 0; i < 5; ++i) buckets.take(rules, key_of("empty"), now);
  buckets.take(rules, key_of("nearly full"), now);
  buckets.change(rules, rules, 1, now);
  CHECK(buckets.size() == 1);
  CHECK(buckets.take(rules, key_of("empty"), now).wait == 1s);
  CHECK(buckets.take(rules, key_of("nearly full"), now).shared);
  buckets.change(rules, rules, 3, now + 10s);
  CHECK(buckets.size() == 0);  // idle ones are dropped
}

TEST_CASE("the parts of a key are words or a header's name") {
  CHECK(parse_rate_key_part("header:X-Tenant")->header == "x-tenant");
  CHECK(to_text(*parse_rate_key_part("header:x-tenant")) == "header:x-tenant");
  for (const char* word : {"client_address", "path", "method"}) CHECK(to_text(*parse_rate_key_part(word)) == word);
  for (const char* bad : {"", "header:", "header:a b", "Header:x", "tenant", "client_address "}) {
    CHECK_FALSE(parse_rate_key_part(bad).ok());
  }
}

TEST_CASE("without a burst, a bucket holds what the rate gives in a second") {
  RateLimitConfig config;
  config.rate = Rate{500, 1s};
  CHECK(config.effective_burst() == 500);
  config.rate = Rate{600, 1min};
  CHECK(config.effective_burst() == 10);
  config.rate = Rate{10, 1h};
  CHECK(config.effective_burst() == 1);
  config.burst = 7;
  CHECK(config.effective_burst() == 7);
}

// A link over a fake upstream that always answers.
struct Setup {
  explicit Setup(RateLimitConfig c, bool shadow = false)
      : config(std::move(c)), fixture(world, "rate_limit", shadow), state(rate_limit_filter().make_state(&config, nullptr, 9)) {
    fixture.state = state.get();
    link = rate_limit_filter().build(&config, fixture.context(), fake);
  }
  // The failure, or none when it went through.
  std::optional<Failure> send(std::string_view tenant = {}, const Address* client = nullptr) {
    TestExchange exchange(world);
    if (!tenant.empty()) exchange.head().headers.add("x-tenant", tenant);
    exchange.context().client = client;
    exchange.start(*link);
    world.loop.run_ready();
    decisions = exchange.decisions();
    return exchange.failure;
  }

  RateLimitConfig config;
  ChainWorld world;
  FakeLink fake;
  FilterFixture fixture;
  std::shared_ptr<FilterState> state;
  std::unique_ptr<Link> link;
  std::vector<std::string> decisions;
};

RateLimitConfig one_a_second() {
  RateLimitConfig config;
  config.rate = Rate{1, 1s};
  config.burst = 1;
  return config;
}

TEST_CASE("a request over the rate is refused with the time to come back") {
  Setup s(one_a_second());
  CHECK_FALSE(s.send());
  s.world.loop.advance(300ms);
  const auto refused = s.send();
  REQUIRE(refused);
  CHECK(refused->kind == FailureKind::rate_limited);
  CHECK(refused->retry_after == 700ms);
  CHECK(refused->decided_by == &s.fixture.identity);
  CHECK(s.decisions == std::vector<std::string>{"rejected/rate"});
  s.world.loop.advance(700ms);
  CHECK_FALSE(s.send());
  CHECK(s.fake.seen.size() == 2);
}

TEST_CASE("in shadow requests over the rate go through, and cost nothing") {
  Setup s(one_a_second(), true);
  for (int i = 0; i < 5; ++i) CHECK_FALSE(s.send());
  CHECK(s.decisions == std::vector<std::string>{"would_reject/rate"});
  CHECK(s.fake.seen.size() == 5);
  s.world.loop.advance(1s);
  CHECK_FALSE(s.send());
  CHECK(s.decisions.empty());
}

TEST_CASE("keys are read from the request, and requests without one share a bucket") {
  RateLimitConfig config = one_a_second();
  config.key = {*parse_rate_key_part("header:x-tenant")};
  Setup s(config);
  CHECK_FALSE(s.send("gold"));
  CHECK(s.send("gold"));
  CHECK_FALSE(s.send("silver"));
  CHECK_FALSE(s.send());
  CHECK(s.send());
}

TEST_CASE("a composite key is counted by its combination") {
  RateLimitConfig config = one_a_second();
  config.key = {*parse_rate_key_part("header:x-tenant"), *parse_rate_key_part("client_address")};
  Setup s(config);
  const Address one = *Address::parse("10.0.0.1:1000");
  const Address same = *Address::parse("10.0.0.1:2000");
  const Address two = *Address::parse("10.0.0.2:1000");
  CHECK_FALSE(s.send("gold", &one));
  CHECK(s.send("gold", &same));  // the port does not count
  CHECK_FALSE(s.send("gold", &two));
  CHECK_FALSE(s.send("silver", &one));
}

TEST_CASE("a reload changes the rate inside the live state") {
  Setup s(one_a_second());
  CHECK_FALSE(s.send());
  RateLimitConfig faster = one_a_second();
  faster.rate = Rate{10, 1s};
  CHECK(rate_limit_filter().make_state(&faster, s.state, 9) == s.state);
  const auto refused = s.send();
  REQUIRE(refused);  // no new burst
  CHECK(refused->retry_after == 100ms);
}

TEST_CASE("admitting a known key allocates nothing") {
  RateLimitConfig config;
  config.rate = Rate{1'000'000, 1s};
  config.key = {*parse_rate_key_part("method")};
  RateLimitPolicy policy(config, 1);
  Random random(1);
  policy.admit(MonotonicTime{1h}, AdmissionFacts{}, random);
  CHECK(policy.keys() == 1);
  for (int i = 0; i < 100; ++i) policy.admit(MonotonicTime{1h}, AdmissionFacts{}, random);
  CHECK(policy.keys() == 1);
}

}  // namespace
}  // namespace weir
