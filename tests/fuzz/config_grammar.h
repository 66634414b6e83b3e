// ConfigGrammar: writes random configurations and random changes to them, from the declarations that read the file: field names,
// words, bounds and examples are asked of the sections, so that a new field is fuzzed without a change here.
// The fuzz target's mutator and a test own one for a moment each; it borrows the generator of chance.
// It aims at configurations that load, and misses on purpose now and then.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/section.h"
#include "config/value.h"
#include "proxy/base/random.h"

namespace weir {

class ConfigGrammar {
 public:
  explicit ConfigGrammar(Random& random) : random_(random) {}

  std::string configuration();                   // a whole file
  std::string changed(const std::string& text);  // a line put in, replaced, repeated, moved or taken out

 private:
  using Value = config::Value;

  bool chance(unsigned percent) { return random_.below(100) < percent; }
  template <class List>
  const auto& one_of(const List& list) {
    return list[random_.below(std::size(list))];
  }
  Value section(const config::SectionBase& declared, unsigned share, int depth);
  Value fields_of(const config::SectionBase& declared, unsigned share, int depth);
  Value field(const config::SectionBase::Field& declared, int depth);
  Value value(const config::Description& type, int depth);
  Value scalar(const config::Description& type);
  Value policies();
  Value filter();
  Value services();
  Value listeners();
  Value route(int depth);
  std::string line();

  Random& random_;
  std::string_view using_;  // the policy that is being written
};

}  // namespace weir
