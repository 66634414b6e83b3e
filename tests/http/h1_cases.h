// The accepted and refused messages of the HTTP/1.1 rules, one row each, with what is understood of them.
// Shared by the parser test (whole, byte by byte, every cut in two) and by the test of the fuzzer's oracle.
// Rows are data only: nothing here parses.
#pragma once

#include <string>
#include <vector>

#include "proxy/message/head.h"

namespace weir {

struct H1Case {
  std::string text;
  std::string verdict;           // H1Harness::verdict()
  Method request = Method::get;  // responses: what was asked
};

const std::vector<H1Case>& request_cases();
const std::vector<H1Case>& response_cases();

}  // namespace weir
