// Sample: which cases of a product too large for each run are taken: every n-th, so that runs are alike; WEIR_CUT_ALL=1 takes all.
// Each test makes one and asks it once a case.
// It never draws lots.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <string_view>

namespace weir::test {

class Sample {
 public:
  explicit Sample(std::size_t every) : every_(all() ? 1 : every) {}
  bool take() {
    if (seen_++ % every_ != 0) return false;
    ++taken_;
    return true;
  }
  std::size_t taken() const { return taken_; }
  std::size_t seen() const { return seen_; }
  static bool all() {
    const char* wanted = std::getenv("WEIR_CUT_ALL");
    return wanted != nullptr && std::string_view(wanted) == "1";
  }

 private:
  std::size_t every_;
  std::size_t seen_ = 0;
  std::size_t taken_ = 0;
};

}  // namespace weir::test
