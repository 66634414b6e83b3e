// How a server connection of either version lets its client read the last answers before it closes (RFC 9112 9.6): what still comes is read
// away, for bytes that nobody read turn the close into a RST, and that may take the answer from the client.
#pragma once

#include <cstdint>

#include "proxy/base/time.h"

namespace weir {

inline constexpr std::uint64_t kLingerBytes = std::uint64_t{8} * 1024 * 1024;  // read away at most
inline constexpr Duration kLingerTime = std::chrono::seconds(5);               // for the client to read and close

}  // namespace weir
