#include "config/section.h"

#include <catch2/catch.hpp>

#include "config/write.h"

namespace weir::config {
namespace {

enum class Mode { enforce, shadow };

struct Backoff {
  Duration base = 25ms;
  Duration max = 250ms;
};

const Section<Backoff>& backoff_section() {
  static const Section<Backoff> section = Section<Backoff>("backoff", "How long to wait.")
                                              .field("base", &Backoff::base, duration(1ms, 1min), "First wait.")
                                              .field("max", &Backoff::max, duration(1ms, 1min), "Longest wait.")
                                              .check([](const Backoff& backoff, const Value& value, Reader& reader) {
                                                if (backoff.base <= backoff.max) return true;
                                                reader.error(value.place, "base is above max");
                                                return false;
                                              });
  return section;
}

struct Sample {
  std::uint32_t attempts = 3;
  std::optional<Duration> total;
  Placed<Duration> idle{4s, {}};
  Mode mode = Mode::enforce;
  Backoff backoff;
  std::vector<std::uint16_t> ports;
  Entries<std::string> labels;
  std::string service;
};

const Section<Sample>& sample_section() {
  static const Section<Sample> section =
      Section<Sample>("sample", "A sample.")
          .field("attempts", &Sample::attempts, integer(1, 10), "Tries in all.")
          .field("total", &Sample::total, duration(1ms, 1h), "All of it.")
          .field("idle", &Sample::idle, duration(1ms, 1h), "Between bytes.")
          .field("mode", &Sample::mode, enumeration<Mode>({{"enforce", Mode::enforce}, {"shadow", Mode::shadow}}), "Whether.")
          .field("backoff", &Sample::backoff, object(backoff_section()), "Waits.")
          .field("ports", &Sample::ports, list_of<std::uint16_t>(integer(1, 65535)), "Where.")
          .field("labels", &Sample::labels, map_of(name(), text()), "Yours.")
          .field("service", &Sample::service, name(), "Which.")
          .required()
          .example("payments");
  return section;
}

Value scalar_at(std::string text, std::uint32_t line) {
  Value value = Value::plain(std::move(text));
  value.place = {line, 3, 0};
  return value;
}

struct Outcome {
  bool good = false;
  Sample sample;
  FieldPlaces places;
  std::string said;
};

Outcome read(const Value& value) {
  Files files;
  files.add("t.yaml");
  Diagnostics diagnostics;
  Reader reader(diagnostics, "top");
  Outcome outcome;
  outcome.good = sample_section().read(value, reader, outcome.sample, &outcome.places);
  outcome.said = diagnostics.print(files);
  return outcome;
}

Value with_service() {
  Value value = Value::map();
  value.place = {1, 1, 0};
  value.add("service", scalar_at("payments", 1));
  return value;
}

TEST_CASE("a section reads its declared fields into a plain struct") {
  Value value = with_service();
  value.add("attempts", scalar_at("7", 2));
  value.add("total", scalar_at("1h", 3));
  value.add("idle", scalar_at("9s", 4));
  value.add("mode", scalar_at("shadow", 5));
  value.add("ports", scalar_at("80", 6));
  const Outcome outcome = read(value);
  CHECK(outcome.said.empty());
  REQUIRE(outcome.good);
  CHECK(outcome.sample.attempts == 7);
  CHECK(outcome.sample.total == Duration(1h));
  CHECK(outcome.sample.idle.value == 9s);
  CHECK(outcome.sample.idle.place.line == 4);
  CHECK(outcome.sample.mode == Mode::shadow);
  CHECK(outcome.sample.ports == std::vector<std::uint16_t>{80});
  REQUIRE(outcome.places.size() == 6);
  CHECK(outcome.places[2].field == "total");
  CHECK(outcome.places[2].value.line == 3);
}

TEST_CASE("a nested section keeps the defaults of the fields that are not given") {
  Value value = with_service();
  Value backoff = Value::map();
  backoff.add("max", scalar_at("1s", 2));
  value.add("backoff", backoff);
  const Outcome outcome = read(value);
  REQUIRE(outcome.good);
  CHECK(outcome.sample.backoff.base == 25ms);
  CHECK(outcome.sample.backoff.max == 1s);
}

TEST_CASE("a section reports every error at its own place and path") {
  Value value = Value::map();
  value.place = {1, 1, 0};
  value.add("attempts", scalar_at("99", 2));
  value.add("mode", scalar_at("shadw", 3));
  value.add("atempts", scalar_at("1", 4));
  value.members.back().place = {4, 1, 0};
  value.add("total", Value::list());
  value.members.back().value.place = {5, 3, 0};
  const Outcome outcome = read(value);
  CHECK_FALSE(outcome.good);
  CHECK(outcome.said ==
        "t.yaml:1:1: error: top.service: missing; expected name\n"
        "t.yaml:2:3: error: top.attempts: expected 1 to 10, got 99\n"
        "t.yaml:3:3: error: top.mode: expected enforce or shadow, got shadw; did you mean shadow?\n"
        "t.yaml:4:1: error: top.atempts: unknown key; did you mean attempts?\n"
        "t.yaml:5:3: error: top.total: expected duration, 1ms to 1h, got a list\n");
}

TEST_CASE("a rule between fields is asked only when every field was read") {
  Value value = with_service();
  Value backoff = Value::map();
  backoff.place = {2, 9, 0};
  backoff.add("base", scalar_at("1s", 2));
  value.add("backoff", backoff);
  CHECK(read(value).said == "t.yaml:2:9: error: top.backoff: base is above max\n");
  value.members.back().value.add("max", scalar_at("never", 3));
  CHECK(read(value).said == "t.yaml:3:3: error: top.backoff.max: expected a duration such as 250ms, 2s or 1h30m, got never\n");
}

TEST_CASE("a value that came from elsewhere is named by its source, not shown") {
  Value value = with_service();
  value.add("attempts", scalar_at("hunter2", 2));
  value.members.back().value.origin = "${env:SECRET}";
  CHECK(read(value).said == "t.yaml:2:3: error: top.attempts: expected integer, 1 to 10, got the value of ${env:SECRET}\n");
}

TEST_CASE("an invalid value is passed over in silence") {
  Value value = with_service();
  Value invalid = scalar_at("x", 2);
  invalid.kind = Value::Kind::invalid;
  for (const char* field : {"attempts", "mode", "backoff", "ports", "labels"}) value.add(field, invalid);
  const Outcome outcome = read(value);
  CHECK_FALSE(outcome.good);
  CHECK(outcome.said.empty());
}

TEST_CASE("what a section prints reads back as the same") {
  Sample sample;
  sample.service = "pay: ments";
  sample.total = 1500ms;
  sample.labels = {{"owner", "true"}, {"a b", "x\ny"}};
  const Value printed = sample_section().print(sample);
  const Outcome outcome = read(printed);
  CHECK(outcome.said.empty());
  REQUIRE(outcome.good);
  CHECK(outcome.sample.total == Duration(1500ms));
  CHECK(outcome.sample.labels == sample.labels);
  CHECK(write_flow(sample_section().print(outcome.sample)) == write_flow(printed));
}

TEST_CASE("the declaration knows defaults, examples and what is required") {
  const auto& fields = sample_section().fields();
  CHECK(fields[0].default_text == "3");
  CHECK(fields[1].default_text.empty());
  CHECK(fields[4].default_text == "{ base: 25ms, max: 250ms }");
  CHECK(fields.back().required);
  CHECK(fields.back().example == "payments");
  CHECK(fields[0].type.maximum == 10);
}

TEST_CASE("keys of a section that reads beside this one are not unknown") {
  struct Common {
    std::string name;
  };
  const Section<Common> common = Section<Common>("common", "").field("name", &Common::name, text(), "");
  Files files;
  Diagnostics diagnostics;
  Reader reader(diagnostics);
  Value value = with_service();
  value.add("name", scalar_at("n", 2));
  value.add("nane", scalar_at("n", 3));
  value.members.back().place = {3, 1, 0};
  const std::shared_ptr<void> none = sample_section().read_new(value, reader, nullptr, &common);
  CHECK(none == nullptr);
  CHECK(diagnostics.print(files) == "-:3:1: error: nane: unknown key; did you mean name?\n");
}

}  // namespace
}  // namespace weir::config
