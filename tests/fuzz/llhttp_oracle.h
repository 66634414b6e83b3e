// The oracle: what llhttp (Debian's node-llhttp, strict mode) understands of the first message in some bytes.
// Fuzz and test builds only; the program never links it. Each call makes a parser of its own.
// It is no authority: where the two differ on purpose is written down in h1_differences.cc and README.md.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weir {

using OracleFields = std::vector<std::pair<std::string, std::string>>;  // names in lower case

struct OracleAnswer {
  bool complete = false;
  std::size_t used = 0;  // bytes of the message, when complete
  std::string method;
  std::string target;
  int status = 0;
  OracleFields fields;  // of the head
  OracleFields trailers;
  std::string body;
  bool keep_alive = false;   // when complete
  bool upgrade = false;      // it stops for another protocol
  std::string error;         // HPE_..., empty while more is wanted
  std::size_t error_at = 0;  // where in the bytes, when there is an error
};

struct OracleQuestion {
  bool response = false;
  bool to_head = false;  // of a response: the request was HEAD
  bool closed = true;    // the bytes are followed by a FIN
};

OracleAnswer ask_oracle(const OracleQuestion& question, std::string_view bytes);

}  // namespace weir
