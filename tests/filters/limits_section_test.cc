// What the sections of the four admitting filters read, refuse and print.
#include <catch2/catch.hpp>

#include "config/section.h"
#include "config/write.h"
#include "config/yaml_tree.h"
#include "filters/circuit_breaker/circuit_breaker_filter.h"
#include "filters/concurrency_limit/concurrency_limit_filter.h"
#include "filters/load_shed/load_shed_filter.h"
#include "filters/rate_limit/rate_limit_filter.h"
#include "proxy/chain/causes_type.h"

namespace weir {
namespace {

struct ReadText {
  ReadText(const FilterFactory& factory, std::string_view text) {
    config::Files files;
    config::Diagnostics diagnostics;
    const config::Value value = config::parse_yaml(text, files.add("t"), diagnostics);
    config::Reader reader(diagnostics);
    config = factory.section().read_new(value, reader);
    messages = diagnostics.print(files);
    if (config != nullptr) printed = config::write_yaml(factory.section().print_any(config.get()));
  }
  std::shared_ptr<void> config;
  std::string messages;
  std::string printed;
};

template <class T>
T config_of(const FilterFactory& factory, std::string_view text) {
  const ReadText read(factory, text);
  INFO(read.messages);
  REQUIRE(read.config != nullptr);
  const ReadText again(factory, read.printed);  // what is printed reads back as the same
  INFO(read.printed << again.messages);
  REQUIRE(again.printed == read.printed);
  return *static_cast<const T*>(read.config.get());
}

bool refuses(const FilterFactory& factory, std::string_view text, std::string_view message) {
  const ReadText read(factory, text);
  INFO(text << "\n" << read.messages);
  return read.config == nullptr && read.messages.find(message) != std::string::npos;
}

TEST_CASE("circuit_breaker reads the fields of the contract") {
  const auto config = config_of<CircuitBreakerConfig>(
      circuit_breaker_filter(),
      "causes: [connect_failure, reset, timeout, 5xx]\nwindow: 20s\nmin_calls: 30\nfailure_ratio: 40%\n"
      "slow_call: { longer_than: 300ms, ratio: 80% }\nopen_for: { base: 6s, max: 70s }\nhalf_open: { probes: 10, successes: 7 }\n"
      "consecutive_failures: 9\nrecover_over: 11s\nscope: route\n");
  CHECK(config.causes == CircuitBreakerConfig().causes);
  CHECK(config.window == 20s);
  CHECK(config.min_calls == 30);
  CHECK(config.failure_ratio == Ratio::percent(40));
  REQUIRE(config.slow_call);
  CHECK(config.slow_call->longer_than == 300ms);
  CHECK(config.slow_call->ratio == Ratio::percent(80));
  CHECK(config.open_for.base == 6s);
  CHECK(config.open_for.max == 70s);
  CHECK(config.half_open.probes == 10);
  CHECK(config.half_open.successes == 7);
  CHECK(config.consecutive_failures == 9U);
  CHECK(config.recover_over == Duration(11s));
  CHECK(circuit_breaker_filter().state_per_route(&config));
  CHECK(circuit_breaker_filter().facts(&config).window == 20s);
  CHECK(circuit_breaker_filter().facts(&config).min_calls == 30);
}

TEST_CASE("circuit_breaker without fields has the documented defaults") {
  const auto config = config_of<CircuitBreakerConfig>(circuit_breaker_filter(), "{}");
  CHECK(config.causes == causes_of({"connect_failure", "reset", "timeout", "5xx"}));
  CHECK(config.window == 10s);
  CHECK(config.min_calls == 20);
  CHECK(config.failure_ratio == Ratio::percent(50));
  CHECK_FALSE(config.slow_call);
  CHECK_FALSE(config.consecutive_failures);
  CHECK_FALSE(config.recover_over);
  CHECK_FALSE(circuit_breaker_filter().state_per_route(&config));
}

TEST_CASE("circuit_breaker refuses what cannot work") {
  const FilterFactory& f = circuit_breaker_filter();
  CHECK(refuses(f, "{ half_open: { probes: 2, successes: 3 } }", "successes (3) is above probes (2)"));
  CHECK(refuses(f, "{ open_for: { base: 2m } }", "base (2m) is above max (1m)"));
  CHECK(refuses(f, "{ slow_call: { ratio: 10% } }", "longer_than"));
  CHECK(refuses(f, "{ failure_ratio: 0% }", "failure_ratio"));
  CHECK(refuses(f, "{ min_calls: 0 }", "min_calls"));
  CHECK(refuses(f, "{ causes: [rejected] }", "rejected"));
  CHECK(refuses(f, "{ failure_ration: 10% }", "failure_ratio"));
}

TEST_CASE("concurrency_limit reads a fixed and a learned limit, with a queue") {
  const FilterFactory& f = concurrency_limit_filter();
  const auto fixed = config_of<ConcurrencyLimitConfig>(f, "{ limit: 100 }");
  CHECK(fixed.limit == 100U);
  CHECK_FALSE(fixed.queue);
  const auto learned = config_of<ConcurrencyLimitConfig>(
      f, "{ adaptive: { algorithm: vegas, initial: 30, min: 6, max: 900 }, queue: { size: 7, timeout: 40ms } }");
  REQUIRE(learned.adaptive);
  CHECK(learned.adaptive->algorithm == AdaptiveLimitConfig::Algorithm::vegas);
  CHECK(learned.adaptive->initial == 30);
  CHECK(learned.adaptive->min == 6);
  CHECK(learned.adaptive->max == 900);
  REQUIRE(learned.queue);
  CHECK(learned.queue->size == 7);
  CHECK(learned.queue->timeout == 40ms);
  CHECK(learned.queue->order == QueueConfig::Order::fifo);
  const auto defaults = config_of<ConcurrencyLimitConfig>(f, "{ adaptive: { algorithm: gradient2 }, queue: { order: codel } }");
  CHECK(defaults.adaptive->initial == 20);
  CHECK(defaults.adaptive->min == 5);
  CHECK(defaults.adaptive->max == 1000);
  CHECK(defaults.queue->order == QueueConfig::Order::codel);
}

TEST_CASE("concurrency_limit wants exactly one limit, and bounds in order") {
  const FilterFactory& f = concurrency_limit_filter();
  CHECK(refuses(f, "{}", "expected limit or adaptive"));
  CHECK(refuses(f, "{ limit: 1, adaptive: {} }", "exclude each other"));
  CHECK(refuses(f, "{ adaptive: { min: 30 } }", "min <= initial <= max, got 30, 20, 1000"));
  CHECK(refuses(f, "{ limit: 0 }", "limit"));
  CHECK(refuses(f, "{ limit: 1, queue: { size: 0 } }", "size"));
  CHECK(refuses(f, "{ adaptive: { algorithm: gradient } }", "gradient2"));
}

TEST_CASE("rate_limit reads its key, one part or several") {
  const FilterFactory& f = rate_limit_filter();
  const auto config = config_of<RateLimitConfig>(f, "{ rate: 500/s, burst: 1000, key: [header:X-Tenant, client_address], max_keys: 5 }");
  CHECK(config.rate == Rate{500, 1s});
  CHECK(config.burst == std::uint64_t{1000});
  REQUIRE(config.key.size() == 2);
  CHECK(config.key[0].header == "x-tenant");
  CHECK(config.key[1].kind == RateKeyPart::Kind::client_address);
  CHECK(config.max_keys == 5);
  const auto single = config_of<RateLimitConfig>(f, "{ rate: 10/m, key: path }");
  CHECK(single.key.size() == 1);
  CHECK(single.max_keys == 10000);
}

TEST_CASE("rate_limit refuses what is no rate or no key") {
  const FilterFactory& f = rate_limit_filter();
  CHECK(refuses(f, "{}", "rate"));
  CHECK(refuses(f, "{ rate: 10 }", "rate"));
  CHECK(refuses(f, "{ rate: 0/s }", "rate"));
  CHECK(refuses(f, "{ rate: 2000000000/s }", "rate"));
  CHECK(refuses(f, "{ rate: 1/s, key: tenant }", "header:NAME, client_address, client_identity, path or method"));
  CHECK(refuses(f, "{ rate: 1/s, burst: 0 }", "burst"));
}

TEST_CASE("load_shed reads its thresholds and wants at least one") {
  const FilterFactory& f = load_shed_filter();
  const auto config = config_of<LoadShedConfig>(f, "{ cpu: 90%, memory: 85%, open_files: 95%, loop_delay: 50ms }");
  CHECK(config.cpu == Ratio::percent(90));
  CHECK(config.memory == Ratio::percent(85));
  CHECK(config.open_files == Ratio::percent(95));
  CHECK(config.loop_delay == Duration(50ms));
  CHECK(refuses(f, "{}", "at least one of cpu, memory, open_files, loop_delay"));
  CHECK(refuses(f, "{ memory: 0% }", "memory"));
  CHECK(refuses(f, "{ memory: 101% }", "memory"));
}

}  // namespace
}  // namespace weir
