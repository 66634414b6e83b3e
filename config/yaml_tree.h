// Turns YAML text into a tree of Values with exact places; the only user of yaml-cpp, through its events and
// never its nodes. The caller owns the tree. What YAML allows and configuration does not is refused here,
// each with its place: duplicate keys, anchors, aliases, merge keys, tags, several documents, YAML 1.1
// booleans as words, control characters, absurd depth or size. It never throws, whatever the bytes.
#pragma once

#include <cstddef>
#include <string_view>

#include "config/diagnostics.h"
#include "config/value.h"

namespace weir::config {

inline constexpr std::size_t kMostYamlBytes = std::size_t{4} * 1024 * 1024;
inline constexpr std::size_t kMostYamlNodes = 200'000;
inline constexpr std::size_t kMostYamlDepth = 64;

bool is_utf8(std::string_view text);  // as RFC 3629 has it

// The one document of `text`: null when there is nothing in it, invalid when it could not be read to its end.
// What was refused within a document that was is invalid itself, or left out.
Value parse_yaml(std::string_view text, std::uint16_t file, Diagnostics& diagnostics);

}  // namespace weir::config
