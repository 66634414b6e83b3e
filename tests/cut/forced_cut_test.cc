// A local answer forced from every filter and in every phase, both directions, with whatever may follow it.
#include <catch2/catch.hpp>

#include "tests/cut/forced_case.h"
#include "tests/cut/sample.h"

using namespace weir;
using namespace weir::test;

TEST_CASE("whatever follows a forced local answer, it is whole, told once, and the connection is usable or closed") {
  Sample sample(7);
  for (const ForcedRow& row : forced_rows()) {
    for (std::size_t s = 0; s < static_cast<std::size_t>(Shape::count_); ++s) {
      const auto shape = static_cast<Shape>(s);
      if (!row.half && shape >= Shape::half_length) continue;
      for (std::size_t t = 0; t < static_cast<std::size_t>(Then::count_); ++t) {
        for (const bool inbound : {false, true}) {
          if (!sample.take()) continue;
          const auto then = static_cast<Then>(t);
          const Problems problems = ForcedCase(row, shape, then, inbound).run();
          if (problems.empty()) continue;
          INFO(row.name << ", " << name_of(shape) << ", then " << name_of(then) << (inbound ? ", inbound" : ", outbound"));
          FAIL_CHECK(joined(problems));
        }
      }
    }
  }
  if (Sample::all()) WARN(sample.taken() << " cases");
  CHECK(sample.taken() > 400);
}
