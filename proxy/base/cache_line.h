// The size of what a processor fetches from memory at once, on x86-64 and most of arm64.
// Objects of which there are thousands begin at one, so that their first fields, the ones used most, take no more lines than they must.
#pragma once

#include <cstddef>

namespace weir {

inline constexpr std::size_t kCacheLine = 64;

}  // namespace weir
