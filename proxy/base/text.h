// Text as people write it in configuration and read it in messages: concatenation, numbers with units,
// nearest names. Owned by nobody: pure functions over string views, each parser with the formatter that gives
// its text back. It never guesses a unit, never accepts surrounding blanks and never depends on the locale.
#pragma once

#include <charconv>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/result.h"
#include "proxy/base/time.h"

namespace weir {

namespace text_detail {
inline void append(std::string& out, std::string_view part) { out.append(part); }
inline void append(std::string& out, char part) { out.push_back(part); }
template <std::integral I>
requires(!std::same_as<I, char> && !std::same_as<I, bool>) void append(std::string& out, I part) {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof digits, part).ptr;
  out.append(digits, end);
}
}  // namespace text_detail

// concat("expected ", 1, " to ", 10): strings, characters and integers, in order.
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::string out;
  (text_detail::append(out, parts), ...);
  return out;
}

// A number of things per second, minute or hour; it remembers the unit in which it was written.
struct Rate {
  std::uint64_t count = 0;
  Duration per = 1s;

  double per_second() const { return static_cast<double>(count) / seconds(per); }
  friend bool operator==(const Rate&, const Rate&) = default;
};

// A share of a whole, 0% to 100%, exact to a ten-thousandth of a percent.
struct Ratio {
  static constexpr std::uint32_t kWhole = 1'000'000;
  std::uint32_t millionths = 0;

  static constexpr Ratio percent(std::uint32_t value) { return Ratio{value * (kWhole / 100)}; }
  constexpr double value() const { return static_cast<double>(millionths) / kWhole; }
  friend constexpr bool operator==(const Ratio&, const Ratio&) = default;
  friend constexpr auto operator<=>(const Ratio& a, const Ratio& b) { return a.millionths <=> b.millionths; }
};

// Parsers. The error says what was expected, with the text that was given.
Result<std::int64_t> parse_integer(std::string_view text);  // "42", "-1"; no plus sign, no leading zeros beside "0"
Result<Duration> parse_duration(std::string_view text);     // "250ms", "1h30m": units h m s ms, each at most once, in that order
Result<std::uint64_t> parse_size(std::string_view text);    // "64KiB", "16MiB", "1GiB", in bytes
Result<Rate> parse_rate(std::string_view text);             // "50/s", "10/m", "100/h"
Result<Ratio> parse_ratio(std::string_view text);           // "0%" to "100%", up to four decimals

// Formatters: the shortest form that the parser reads back as the same value.
std::string format_duration(Duration value);   // below a millisecond it rounds down; "1h30m", "2s", "1500ms"
std::string format_size(std::uint64_t bytes);  // a size that is no whole number of KiB is written in bytes: "100B"
std::string format_rate(Rate value);
std::string format_ratio(Ratio value);

// ASCII only, as HTTP names and hosts are compared; other bytes are left alone.
constexpr char ascii_lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
std::string ascii_lower(std::string_view text);
bool equal_ignoring_case(std::string_view a, std::string_view b);
bool is_digits(std::string_view text);  // one or more of 0-9

// Insertions, deletions, replacements and swaps of neighbours that turn a into b (optimal string alignment).
std::size_t edit_distance(std::string_view a, std::string_view b);

// The candidate that `name` is most likely a misspelling of; empty when none is near enough to be worth
// saying.
std::string_view nearest_name(std::string_view name, const std::vector<std::string_view>& candidates);

// "a, b or c": the names as a sentence lists them.
std::string join_or(const std::vector<std::string_view>& names);

}  // namespace weir
