// Our HTTP/1 parsers and llhttp in strict mode, over the same bytes as requests, as answers and as answers to HEAD: message after
// message they say the same, or one refuses for a reason that is on the list of intended differences (h1_differences.h, README.md).
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "tests/fuzz/h1_compare.h"
#include "tests/http/h1_cases.h"

namespace weir {

namespace {

void compare(std::string_view input, bool response, Method asked) {
  const Comparison result = compare_readings({input, response, {asked}});
  if (result.unexplained.empty()) return;
  std::fprintf(stderr, "%s\n", result.unexplained.c_str());
  std::abort();
}

void compare_rows() {  // the rows of the parser's test
  for (const H1Case& row : request_cases()) compare(row.text, false, Method::get);
  for (const H1Case& row : response_cases()) compare(row.text, true, row.request);
}

}  // namespace

}  // namespace weir

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bool kRowsCompared = (weir::compare_rows(), true);
  static_cast<void>(kRowsCompared);
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  weir::compare(input, false, weir::Method::get);
  weir::compare(input, true, weir::Method::get);
  weir::compare(input, true, weir::Method::head);
  return 0;
}
