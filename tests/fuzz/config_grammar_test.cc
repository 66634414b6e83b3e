// Configurations that the grammar of the fuzzer writes: everything that holds of any text holds of them, and enough of them load for
// the fuzz target to get past the reading.
#include <catch2/catch.hpp>

#include "tests/fuzz/config_check.h"
#include "tests/fuzz/config_grammar.h"

namespace weir {

TEST_CASE("what is written from the declarations loads often, and is built, printed and read back") {
  Random random(20261125);
  ConfigGrammar grammar(random);
  constexpr int kRounds = 300;
  int loaded = 0;
  for (int round = 0; round < kRounds; ++round) {
    const std::string text = grammar.configuration();
    INFO(text);
    loaded += check_config(text) ? 1 : 0;
  }
  CAPTURE(loaded);
  CHECK(loaded > kRounds / 2);
  CHECK(loaded < kRounds);  // it misses on purpose, too
}

TEST_CASE("a configuration that was changed line by line holds what every text holds") {
  Random random(7);
  ConfigGrammar grammar(random);
  std::string text = grammar.configuration();
  for (int round = 0; round < 300; ++round) {
    text = round % 20 == 0 ? grammar.configuration() : grammar.changed(text);
    INFO(text);
    check_config(text);
  }
}

TEST_CASE("loading takes time in proportion to the text") {
  check_config_grown("services:\n  a: { endpoints: [127.0.0.1:1] }\n");
  check_config_grown("policies:\n  p:\n    filters:\n      - retry: { max_attempts: 99 }\n");
  check_config_grown("[");
  check_config_grown("a: ");
}

}  // namespace weir
