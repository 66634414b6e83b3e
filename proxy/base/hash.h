// hash_text and spread_bits: hashes of text and of words that are the same in every process, so that all weirs of a fleet agree.
// Pure functions; nobody owns anything.
// They are never for secrets, nor for tables whose keys an outsider may choose to collide.
#pragma once

#include <cstdint>
#include <string_view>

namespace weir {

std::uint64_t hash_text(std::string_view text);

// The finish of splitmix64: a bijection after which neighbors are far apart.
constexpr std::uint64_t spread_bits(std::uint64_t word) {
  word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9U;
  word = (word ^ (word >> 27)) * 0x94d049bb133111ebU;
  return word ^ (word >> 31);
}

}  // namespace weir
