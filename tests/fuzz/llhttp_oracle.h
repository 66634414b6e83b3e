// The oracle: what llhttp (Debian's node-llhttp, strict mode) understands of the first message in some bytes.
// Fuzz and test builds only; the program never links it. Each call makes a parser of its own.
// It is no authority: it misses rules that we have (see h1_differential_fuzz.cc); it only must not refuse, or
// frame otherwise, what we take.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weir {

struct OracleAnswer {
  bool complete = false;
  std::size_t used = 0;  // bytes of the message, when complete
  std::string method;
  std::string target;
  int status = 0;
  std::vector<std::pair<std::string, std::string>> fields;  // of the head; names in lower case
  std::string body;
  std::string error;  // HPE_..., empty while more is wanted
};

// `closed`: the bytes are followed by a FIN.
OracleAnswer ask_oracle(bool response, std::string_view bytes, bool closed);

}  // namespace weir
