// The whole configuration loader over any bytes: it never crashes or hangs, says where in the file everything is that it refuses,
// and what it accepts can be built, printed and read back to the same thing (config_check.h). One input in 64 is also tried large.
#include <cstdint>
#include <string_view>

#include "proxy/base/hash.h"
#include "tests/fuzz/config_check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  weir::check_config(text);
  if (weir::hash_text(text) % 64 == 0) weir::check_config_grown(text);
  return 0;
}
