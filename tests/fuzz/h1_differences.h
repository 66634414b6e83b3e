// The intended differences between our HTTP/1 parsers and llhttp in strict mode: what each is, where it is written, who is stricter.
// A constant table; README.md shows it to people, tests/fuzz/corpus/h1_differences has a message for each, and a test holds the
// three together. It never excuses more than its rows say: each row looks at both readings before it claims one.
#pragma once

#include <span>
#include <string_view>

#include "tests/fuzz/h1_compare.h"

namespace weir {

struct Difference {
  enum class Stricter { we, they, neither };  // neither: both accept, and report something otherwise
  std::string_view name;                      // also of its corpus file
  std::string_view source;                    // what allows or demands what we do
  Stricter stricter;
  std::string_view place;                   // in our code
  bool (*shows)(const BothReadings& read);  // null: the rule of framing_rules.h of that name, where they accept the message
};

std::span<const Difference> intended_differences();

// The row that explains why the two disagree; null when none does.
const Difference* explain(const BothReadings& read);

}  // namespace weir
