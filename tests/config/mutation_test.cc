#include <catch2/catch.hpp>

#include "config/loader.h"
#include "config/write.h"
#include "config/yaml_tree.h"
#include "proxy/base/random.h"
#include "tests/config/memory_sources.h"

namespace weir::config {
namespace {

const char* const kSeeds[] = {
    "version: 1\nlisteners:\n  - name: outbound\n    listen: 127.0.0.1:1\n    routes: [ { service: a } ]\n",
    ("services:\n  a: { endpoints: [\"x\", 'y'], keep_alive: { idle: 4s } }  # comment\n  b:\n    - |\n      "
     "block\n    - >-\n      folded\n"),  // in brackets: clang takes it for a forgotten comma
    "a: &x [1, 2]\nb: *x\n<<: { c: d }\n? complex\n: value\n---\nsecond: !!str 1\n...\n",
    "\"quoted \\u00e4 \\n\": {a: b, c: [d, {e: f}]}\n'single''quote': ~\nempty:\n%TAG ! tag:x\n",
};

std::string mutate(std::string text, Random& random) {
  constexpr std::string_view kPieces = "{}[]:,-?&*!|>'\"%@`#~<= \t\n\r\\x01\xc3\xa4${env:A}yes0";
  for (std::uint64_t left = 1 + random.below(8); left > 0; --left) {
    const std::size_t at = random.below(text.size() + 1);
    switch (random.below(5)) {
      case 0: text.insert(at, 1, kPieces[random.below(kPieces.size())]); break;
      case 1:
        if (at < text.size()) text.erase(at, 1 + random.below(6));
        break;
      case 2:
        if (at < text.size()) text[at] = static_cast<char>(random.below(256));
        break;
      case 3: text.insert(at, text.substr(random.below(text.size() + 1), random.below(20))); break;
      default: text.insert(at, std::string(1 + random.below(70), kPieces[random.below(12)]));
    }
    if (text.empty()) text = "a";
  }
  return text;
}

void check_places(const Value& value, std::size_t lines) {
  if (value.place.line > lines + 1) FAIL("a place beyond the end of the file");
  for (const Value& item : value.items) check_places(item, lines);
  for (const Value::Member& member : value.members) check_places(member.value, lines);
}

TEST_CASE("the loader survives mutated files, and what it accepts it writes and reads back") {
  constexpr int kRounds = 4000;
  Random random(20240607);
  for (int round = 0; round < kRounds; ++round) {
    const std::string text = mutate(kSeeds[random.below(4)], random);
    INFO("round " << round << ":\n" << text);
    MemorySources sources;
    sources.files["f.yaml"] = text;
    Files files;
    Diagnostics diagnostics;
    const Result<Value> tree = load_tree("f.yaml", sources, files, diagnostics);
    REQUIRE(tree.ok());
    check_places(tree.value(), static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) + 1);
    const std::string said = diagnostics.print(files);
    REQUIRE(said.empty() != diagnostics.has_errors());
    if (diagnostics.has_errors()) continue;
    const std::string written = write_yaml(tree.value());
    Diagnostics again;
    const Value reread = parse_yaml(written, 0, again);
    INFO(written);
    REQUIRE_FALSE(again.has_errors());
    REQUIRE(write_yaml(reread) == written);
  }
}

}  // namespace
}  // namespace weir::config
