// The mutator of config_fuzz: beside libFuzzer's own changes to bytes, changes that know what a configuration is made of
// (config_grammar.h), so that inputs get past the reading of YAML.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

#include "tests/fuzz/config_grammar.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed) {
  weir::Random random(seed);
  const std::uint64_t choice = random.below(100);
  if (choice < 50) return LLVMFuzzerMutate(data, size, max_size);
  weir::ConfigGrammar grammar(random);
  std::string text(reinterpret_cast<const char*>(data), size);
  if (choice < 55) {
    text = grammar.configuration();
  } else {
    for (std::uint64_t left = 1 + random.below(3); left > 0; --left) text = grammar.changed(text);
  }
  const std::size_t made = std::min(text.size(), max_size);
  std::memcpy(data, text.data(), made);
  return made;
}
