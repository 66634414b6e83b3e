// Where a value was written: file, line and column (both from 1, columns in characters), and the table of
// file names. A Files is owned by whoever loads a configuration and lives as long as anything that prints
// places; a Place is a plain value. It never opens a file.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <tuple>

#include "proxy/base/check.h"
#include "proxy/base/text.h"

namespace weir::config {

struct Place {
  std::uint32_t line = 0;  // 0: nowhere in a file, such as a default
  std::uint16_t column = 0;
  std::uint16_t file = 0;

  explicit operator bool() const { return line != 0; }
  friend bool operator==(const Place&, const Place&) = default;
  friend bool operator<(const Place& a, const Place& b) { return std::tie(a.file, a.line, a.column) < std::tie(b.file, b.line, b.column); }
};

// A field that remembers where it was written, for lints and for the access log.
template <class T>
struct Placed {
  T value{};
  Place place;
};

class Files {
 public:
  static constexpr std::size_t kMost = 4096;

  std::uint16_t add(std::string name) {
    WEIR_CHECK(names_.size() < kMost);
    names_.push_back(std::move(name));
    return static_cast<std::uint16_t>(names_.size() - 1);
  }
  std::string_view name(std::uint16_t file) const { return file < names_.size() ? names_[file] : std::string_view("-"); }
  const char* c_name(std::uint16_t file) const { return file < names_.size() ? names_[file].c_str() : "-"; }
  std::size_t size() const { return names_.size(); }

  // "weir.yaml:12:5", and "weir.yaml:12" as the access log names a policy.
  std::string print(Place place) const { return concat(print_line(place), ':', place.column); }
  std::string print_line(Place place) const { return concat(name(place.file), ':', place.line); }

 private:
  std::deque<std::string> names_;  // a deque: c_name() must not move when files are added
};

}  // namespace weir::config
