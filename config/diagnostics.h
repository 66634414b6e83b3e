// All errors and warnings of one run over a configuration, each with its place and path.
// Owned by whoever loads or validates; readers add to it and never stop at the first error.
// It never says the same thing about the same place twice, and never prints control characters of the input.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "config/place.h"

namespace weir::config {

struct Diagnostic {
  enum class Severity { error, warning };
  Severity severity = Severity::error;
  Place place;
  std::string path;  // "policies.careful.filters[1].retry.max_attempts"; may be empty
  std::string message;
  std::string code;  // of a lint: "try-over-total"
};

class Diagnostics {
 public:
  static constexpr std::size_t kMost = 1000;  // of each severity that are kept; the rest are counted

  void error(Place place, std::string_view path, std::string_view message);
  void warning(Place place, std::string_view path, std::string_view message, std::string_view code);

  bool has_errors() const { return errors_ > 0; }
  std::size_t errors() const { return errors_; }
  std::size_t warnings() const { return warnings_; }

  // Sorted by file in the order of loading, then line and column.
  const std::vector<Diagnostic>& sorted();

  // One line each: "file:line:column: error: path: message" and "... warning: path: message [code]".
  std::string print(const Files& files);
  static std::string print(const Diagnostic& entry, const Files& files);  // one of them, without a line end

 private:
  void add(Diagnostic diagnostic, std::size_t& count);

  std::vector<Diagnostic> kept_;
  std::size_t errors_ = 0;
  std::size_t warnings_ = 0;
};

}  // namespace weir::config
