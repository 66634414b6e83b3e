// What the cut tests have in common: the ways to cut, and that a case has no problems.
// It owns nothing and runs nothing.
// Only the *_cut_test.cc include it: it needs Catch2.
#pragma once

#include <catch2/catch.hpp>
#include <string>

#include "tests/cut/judge.h"

namespace weir::test {

inline constexpr Act kActs[] = {Act::fin, Act::reset, Act::close, Act::close_unread, Act::stall, Act::split};

inline void expect_none(const Problems& problems, const std::string& what) {
  if (problems.empty()) return;
  INFO(what);
  FAIL_CHECK(joined(problems));
}

}  // namespace weir::test
