// What the fuzz targets share: stopping where a property does not hold, and cutting an input into lines.
// Free functions; they own nothing.
// They never decide what a property is.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace weir {

// Ends the run as a finding: says what does not hold and of what.
inline void require(bool condition, std::string_view what, std::string_view of = {}) {
  if (condition) return;
  std::fprintf(stderr, "violated: %.*s\n", static_cast<int>(what.size()), what.data());
  std::fwrite(of.data(), 1, of.size(), stderr);  // it may hold NULs
  std::fputc('\n', stderr);
  std::abort();
}

// At most `most` lines without their line feeds; the last holds the rest.
inline std::vector<std::string_view> lines_of(std::string_view text, std::size_t most = 64) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = lines.size() + 1 == most ? text.size() : std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

}  // namespace weir
