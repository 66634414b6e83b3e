// Writes configurations that load, for a validator that is not ours: usage: write_configs FOLDER COUNT SEED
// Half of them as the grammar makes them, half changed line by line: so they hold what people would not write, and the loader takes.
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "config/schema/load.h"
#include "filters/catalog.h"
#include "proxy/base/text.h"
#include "tests/config/memory_sources.h"
#include "tests/fuzz/config_grammar.h"

namespace {

bool loads(const std::string& text) {
  weir::config::MemorySources sources;
  sources.variables["ONE"] = "1";
  return weir::load_config_text(text, "f.yaml", weir::filter_catalog(), sources).config != nullptr;
}

// Changed as long as it loads, a few times.
std::string changed(weir::ConfigGrammar& grammar, std::string text) {
  for (int round = 0; round < 40; ++round) {
    std::string next = grammar.changed(text);
    if (loads(next)) text = std::move(next);
  }
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  weir::Random random(std::strtoull(argv[3], nullptr, 10));
  weir::ConfigGrammar grammar(random);
  const int count = std::atoi(argv[2]);
  for (int written = 0, tried = 0; written < count; ++tried) {
    if (tried > count * 20) return 1;  // it hardly ever loads: the grammar is broken
    std::string text = grammar.configuration();
    if (!loads(text)) continue;
    if (written % 2 == 1) text = changed(grammar, text);
    std::ofstream(weir::concat(argv[1], '/', written, ".yaml")) << text;
    ++written;
  }
  return 0;
}
