#include "proxy/base/hash.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace weir {

std::uint64_t hash_text(std::string_view text) {
  std::uint64_t hash = 0x9e3779b97f4a7c15U ^ text.size();
  while (!text.empty()) {
    const std::size_t taken = std::min<std::size_t>(text.size(), 8);
    std::uint64_t word = 0;
    if (taken == 8) {
      std::memcpy(&word, text.data(), 8);
      if constexpr (std::endian::native == std::endian::big) word = __builtin_bswap64(word);
    } else {
      for (std::size_t i = 0; i < taken; ++i) {
        word |= static_cast<std::uint64_t>(static_cast<unsigned char>(text[i])) << (8 * i);
      }
    }
    hash = (hash ^ word) * 0xbf58476d1ce4e5b9U;
    hash ^= hash >> 29;
    text.remove_prefix(taken);
  }
  hash = (hash ^ (hash >> 30)) * 0x94d049bb133111ebU;  // the finish of splitmix64
  return hash ^ (hash >> 31);
}

}  // namespace weir
