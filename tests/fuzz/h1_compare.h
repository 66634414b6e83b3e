// Reads bytes with our HTTP/1 parsers and with the oracle side by side, message after message, and says where the two do not agree.
// Fuzzers and the test of the intended differences call it; it owns nothing and keeps nothing between calls.
// It knows no excuse itself: what may differ is listed in h1_differences.cc.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tests/fuzz/llhttp_oracle.h"
#include "tests/http/h1_harness.h"

namespace weir {

struct Difference;

// One message as both read it.
struct BothReadings {
  BothReadings(std::string_view bytes, bool is_response, Method request, const HttpLimits& limits);

  std::string_view input;  // from the message's first byte to the FIN
  bool response;
  Method asked;  // of a response
  std::unique_ptr<H1Harness> ours;
  OracleAnswer theirs;

  bool refused() const { return ours->broken() != nullptr; }
  bool complete() const { return !refused() && ours->complete(); }
  std::size_t used() const { return input.size() - ours->left_over().size(); }  // when complete
  const Headers& headers() const { return response ? ours->response().headers : ours->request().headers; }
};

// Small, so that a small input can reach every one of them.
HttpLimits compared_limits();

// What the two disagree on, such as "the body"; empty when they say the same of the message.
std::string disagreement(const BothReadings& read);

struct Comparison {
  std::string unexplained;               // empty, or all about the first disagreement that is on no list
  std::vector<const Difference*> shown;  // the listed ones that were met; reading ends at the first
  std::vector<std::string> understood;   // what we read, a line for each message
};
struct ComparedStream {
  std::string_view bytes;  // to the FIN
  bool response = false;
  std::vector<Method> asked;  // by answers but 1xx; the last stands for all that follow, GET where there is none
  HttpLimits limits = compared_limits();
};
Comparison compare_readings(const ComparedStream& stream);

}  // namespace weir
