#include "filters/catalog.h"

#include <catch2/catch.hpp>
#include <set>

#include "config/section.h"
#include "config/write.h"
#include "config/yaml_tree.h"
#include "filters/retry/retry_filter.h"
#include "filters/timeout/timeout_filter.h"

using namespace weir;

namespace {

// What a filter's section makes of a text: its printed form, or the messages.
std::string read(const FilterFactory& factory, std::string_view text) {
  config::Files files;
  config::Diagnostics diagnostics;
  const std::uint16_t file = files.add("t");
  const config::Value value = config::parse_yaml(text, file, diagnostics);
  config::Reader reader(diagnostics);
  const std::shared_ptr<void> config = factory.section().read_new(value, reader);
  if (config == nullptr) return diagnostics.print(files);
  return "ok";
}

template <class T>
T config_of(const FilterFactory& factory, std::string_view text) {
  config::Files files;
  config::Diagnostics diagnostics;
  const config::Value value = config::parse_yaml(text, files.add("t"), diagnostics);
  config::Reader reader(diagnostics);
  const std::shared_ptr<void> config = factory.section().read_new(value, reader);
  INFO(diagnostics.print(files));
  REQUIRE(config != nullptr);
  return *static_cast<const T*>(config.get());
}

}  // namespace

TEST_CASE("the catalog knows each filter by its kind, once") {
  std::set<std::string_view> kinds;
  for (const FilterFactory* factory : filter_catalog()) {
    CHECK(kinds.insert(factory->kind()).second);
    CHECK(find_filter(factory->kind()) == factory);
    CHECK(factory->section().name() == factory->kind());
  }
  CHECK(kinds.count("circuit_breaker") == 1);
  CHECK(find_filter("circuit_braker") == nullptr);
}

TEST_CASE("every field of every filter says what it is for, and what is printed can be read back") {
  for (const FilterFactory* factory : filter_catalog()) {
    INFO(factory->kind());
    CHECK_FALSE(factory->section().doc().empty());
    for (const auto& field : factory->section().fields()) {
      INFO(field.name);
      CHECK_FALSE(field.doc.empty());
    }
  }
}

TEST_CASE("timeout reads its fields and wants at least one") {
  const auto config = config_of<TimeoutConfig>(timeout_filter(), "{ total: 2s, response_headers: 500ms, idle: 1h }");
  CHECK(config.total == Duration(2s));
  CHECK(config.response_headers == Duration(500ms));
  CHECK(config.idle == Duration(1h));
  CHECK(read(timeout_filter(), "{}").find("at least one of total, response_headers and idle") != std::string::npos);
  CHECK(read(timeout_filter(), "{ total: 500 }").find("needs a unit") != std::string::npos);
  CHECK(read(timeout_filter(), "{ total: 0s }").find("error") != std::string::npos);
  CHECK(read(timeout_filter(), "{ totl: 2s }").find("total") != std::string::npos);
}

TEST_CASE("retry reads the fields of the contract") {
  const auto config = config_of<RetryConfig>(
      retry_filter(),
      "max_attempts: 3\ncauses: [connect_failure, reset, refused_stream, timeout, gateway_error]\nmethods: idempotent\n"
      "backoff: { base: 30ms, max: 300ms }\nmax_replay: 128KiB\nretry_after: { max: 5s }\n");
  CHECK(config.max_attempts == 3);
  CHECK(config.causes.matches_failure(FailureKind::response_timeout));
  CHECK(config.causes.matches_status(503));
  CHECK_FALSE(config.causes.matches_status(500));
  CHECK(config.methods.rule == RetryMethods::Rule::idempotent);
  CHECK(config.backoff.base == 30ms);
  CHECK(config.backoff.max == 300ms);
  CHECK(config.max_replay == 128 * 1024);
  CHECK(config.retry_after.max == 5s);
}

TEST_CASE("retry without fields is that of the default policy") {
  const auto config = config_of<RetryConfig>(retry_filter(), "{}");
  CHECK(config.max_attempts == 2);
  CHECK(config.causes.matches_failure(FailureKind::connect_failure));
  CHECK(config.causes.matches_failure(FailureKind::refused_stream));
  CHECK_FALSE(config.causes.matches_failure(FailureKind::reset));
  CHECK_FALSE(config.causes.any_status());
  CHECK(config.backoff.base == 25ms);
  CHECK(config.max_replay == 64 * 1024);
}

TEST_CASE("retry methods: any, one, a list") {
  CHECK(config_of<RetryConfig>(retry_filter(), "{ methods: any }").methods.rule == RetryMethods::Rule::any);
  CHECK(config_of<RetryConfig>(retry_filter(), "{ methods: PUT }").methods.listed == std::vector<std::string>{"PUT"});
  CHECK(config_of<RetryConfig>(retry_filter(), "{ methods: [GET, PUT] }").methods.listed == std::vector<std::string>{"GET", "PUT"});
  CHECK(read(retry_filter(), "{ methods: safe }").find("expected idempotent, any or a list") != std::string::npos);
  CHECK(read(retry_filter(), "{ methods: [] }").find("error") != std::string::npos);
}

TEST_CASE("retry refuses what is out of bounds, each with its place") {
  CHECK(read(retry_filter(), "{ max_attempts: 99 }").find("t:1:17: error: max_attempts: expected 1 to 10, got 99") == 0);
  CHECK(read(retry_filter(), "{ max_attempts: 0 }").find("error") != std::string::npos);
  CHECK(read(retry_filter(), "{ causes: [rejected] }").find("what weir rejected itself") != std::string::npos);
  CHECK(read(retry_filter(), "{ causes: [gateway_eror] }").find("gateway_error") != std::string::npos);
  CHECK(read(retry_filter(), "{ backoff: { base: 1s } }").find("base (1s) is above max (250ms)") != std::string::npos);
}

TEST_CASE("sections print what they have read, and read that again") {
  for (const FilterFactory* factory : {&retry_filter(), &timeout_filter()}) {
    const std::string_view text = factory == &retry_filter()
                                      ? "{ max_attempts: 4, causes: [5xx, reset], methods: [GET, POST], max_replay: 1KiB }"
                                      : "{ total: 90s, idle: 1h30m }";
    config::Files files;
    config::Diagnostics diagnostics;
    config::Reader reader(diagnostics);
    const auto first = factory->section().read_new(config::parse_yaml(text, files.add("t"), diagnostics), reader);
    REQUIRE(first != nullptr);
    const config::Value printed = factory->section().print_any(first.get());
    const auto second = factory->section().read_new(printed, reader);
    INFO(diagnostics.print(files));
    REQUIRE(second != nullptr);
    CHECK(config::write_yaml(factory->section().print_any(second.get())) == config::write_yaml(printed));
  }
}
