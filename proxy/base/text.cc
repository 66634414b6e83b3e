#include "proxy/base/text.h"

#include <algorithm>
#include <array>
#include <limits>

namespace weir {
namespace {

constexpr std::uint64_t kKib = 1024;
// Longer than any clock that weir keeps: about 114 years, far from overflowing nanoseconds in 64 bits.
constexpr std::int64_t kLongestMilliseconds = std::int64_t{1'000'000} * 3600 * 1000;

struct Unit {
  std::string_view name;
  std::int64_t milliseconds;
};
constexpr std::array<Unit, 4> kUnits = {{{"h", 3'600'000}, {"m", 60'000}, {"s", 1'000}, {"ms", 1}}};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Takes the leading digits off `rest`. Nothing when they do not fit.
std::optional<std::uint64_t> take_number(std::string_view& rest) {
  std::uint64_t number = 0;
  const auto [end, code] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
  rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
  if (code != std::errc{}) return std::nullopt;
  return number;
}

std::string_view take_letters(std::string_view& rest) {
  std::size_t length = 0;
  while (length < rest.size() && !is_digit(rest[length])) ++length;
  const std::string_view letters = rest.substr(0, length);
  rest.remove_prefix(length);
  return letters;
}

Error expected(std::string_view what, std::string_view got) {
  return Error{got.empty() ? concat("expected ", what, ", got nothing") : concat("expected ", what, ", got ", got)};
}

}  // namespace

Result<std::int64_t> parse_integer(std::string_view text) {
  const std::string_view digits = text.starts_with('-') ? text.substr(1) : text;
  std::int64_t number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool padded = digits.size() > 1 && digits[0] == '0';  // 010 is eight to some YAML tools
  if (!is_digits(digits) || padded || end != text.data() + text.size()) return expected("an integer", text);
  if (code == std::errc::result_out_of_range) return Error{concat("the integer ", text, " is too large")};
  return number;
}

Result<Duration> parse_duration(std::string_view text) {
  constexpr std::string_view kWhat = "a duration such as 250ms, 2s or 1h30m";
  if (is_digits(text)) return Error{concat("a duration needs a unit: ", text, "ms or ", text, "s")};
  std::int64_t total = 0;
  std::size_t next_unit = 0;
  std::string_view rest = text;
  if (rest.empty()) return expected(kWhat, text);
  while (!rest.empty()) {
    if (!is_digit(rest[0])) return expected(kWhat, text);
    const auto number = take_number(rest);
    const std::string_view name = take_letters(rest);
    while (next_unit < kUnits.size() && kUnits[next_unit].name != name) ++next_unit;
    if (next_unit == kUnits.size()) return expected(kWhat, text);
    const std::int64_t unit = kUnits[next_unit++].milliseconds;
    if (!number || *number > static_cast<std::uint64_t>((kLongestMilliseconds - total) / unit))
      return Error{concat("the duration ", text, " is too long")};
    total += static_cast<std::int64_t>(*number) * unit;
  }
  return Duration{std::chrono::milliseconds{total}};
}

Result<std::uint64_t> parse_size(std::string_view text) {
  if (is_digits(text)) return Error{concat("a size needs a unit: ", text, "KiB or ", text, "MiB")};
  std::string_view rest = text;
  if (rest.empty() || !is_digit(rest[0])) return expected("a size such as 64KiB, 16MiB or 1GiB", text);
  const auto number = take_number(rest);
  std::uint64_t unit = 0;
  if (rest == "B") unit = 1;
  if (rest == "KiB") unit = kKib;
  if (rest == "MiB") unit = kKib * kKib;
  if (rest == "GiB") unit = kKib * kKib * kKib;
  if (unit == 0) return expected("a size such as 64KiB, 16MiB or 1GiB", text);
  constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (!number || *number > kMost / unit) return Error{concat("the size ", text, " is too large")};
  return *number * unit;
}

Result<Rate> parse_rate(std::string_view text) {
  constexpr std::string_view kWhat = "a rate such as 50/s, 10/m or 100/h";
  if (is_digits(text)) return Error{concat("a rate needs a unit: ", text, "/s, ", text, "/m or ", text, "/h")};
  std::string_view rest = text;
  if (rest.empty() || !is_digit(rest[0])) return expected(kWhat, text);
  const auto count = take_number(rest);
  Rate rate;
  if (rest == "/s") {
    rate.per = 1s;
  } else if (rest == "/m") {
    rate.per = 1min;
  } else if (rest == "/h") {
    rate.per = 1h;
  } else if (count) {
    return expected(kWhat, text);
  }
  if (!count || *count > 1'000'000'000) return Error{concat("the rate ", text, " is too large")};
  rate.count = *count;
  return rate;
}

Result<Ratio> parse_ratio(std::string_view text) {
  constexpr std::string_view kWhat = "a ratio from 0% to 100%";
  if (is_digits(text)) return Error{concat("a ratio needs a percent sign: ", text, "%")};
  std::string_view rest = text;
  if (rest.empty() || !is_digit(rest[0]) || rest.back() != '%') return expected(kWhat, text);
  rest.remove_suffix(1);
  const auto whole = take_number(rest);
  std::uint32_t fraction = 0;
  if (!rest.empty()) {
    std::string_view decimals = rest.substr(1);
    if (rest[0] != '.' || decimals.size() > 4 || !is_digits(decimals)) return expected(kWhat, text);
    std::uint32_t scale = 1'000;
    for (const char digit : decimals) {
      fraction += static_cast<std::uint32_t>(digit - '0') * scale;
      scale /= 10;
    }
  }
  if (!whole || *whole > 100 || (*whole == 100 && fraction > 0)) return expected(kWhat, text);
  return Ratio{static_cast<std::uint32_t>(*whole) * (Ratio::kWhole / 100) + fraction};
}

std::string format_duration(Duration value) {
  std::int64_t rest = std::chrono::duration_cast<std::chrono::milliseconds>(value).count();
  if (rest < 0) return concat('-', format_duration(-value));
  if (rest == 0) return "0s";
  if (rest % 1'000 != 0) return concat(rest, "ms");
  std::string out;
  for (const Unit& unit : kUnits) {
    if (rest < unit.milliseconds) continue;
    text_detail::append(out, rest / unit.milliseconds);
    out.append(unit.name);
    rest %= unit.milliseconds;
  }
  return out;
}

std::string format_size(std::uint64_t bytes) {
  if (bytes == 0) return "0KiB";
  if (bytes % (kKib * kKib * kKib) == 0) return concat(bytes / (kKib * kKib * kKib), "GiB");
  if (bytes % (kKib * kKib) == 0) return concat(bytes / (kKib * kKib), "MiB");
  if (bytes % kKib == 0) return concat(bytes / kKib, "KiB");
  return concat(bytes, "B");
}

std::string format_rate(Rate value) { return concat(value.count, value.per == 1h ? "/h" : value.per == 1min ? "/m" : "/s"); }

std::string format_ratio(Ratio value) {
  constexpr std::uint32_t kPercent = Ratio::kWhole / 100;
  std::string out = concat(value.millionths / kPercent);
  if (const std::uint32_t fraction = value.millionths % kPercent; fraction != 0) {
    std::string decimals = concat(kPercent + fraction).substr(1);  // with its leading zeros
    decimals.erase(decimals.find_last_not_of('0') + 1);
    out += concat('.', decimals);
  }
  return out + '%';
}

std::string ascii_lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](char c) { return ascii_lower(c); });
  return out;
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return ascii_lower(x) == ascii_lower(y); });
}

bool is_digits(std::string_view text) { return !text.empty() && std::all_of(text.begin(), text.end(), is_digit); }

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

std::string_view nearest_name(std::string_view name, const std::vector<std::string_view>& candidates) {
  constexpr std::size_t kLongest = 64;  // nobody misspells more than that, and the distance is quadratic
  constexpr std::size_t kMostCandidates = 2000;
  if (name.empty() || name.size() > kLongest || candidates.size() > kMostCandidates) return {};
  std::size_t best_distance = std::clamp<std::size_t>(name.size() / 3, 1, 3) + 1;
  std::string_view best;
  const std::string lowered = ascii_lower(name);
  for (const std::string_view candidate : candidates) {
    if (candidate.size() > kLongest || candidate.size() + 3 < name.size() || candidate == name) continue;
    const std::size_t distance = edit_distance(lowered, ascii_lower(candidate));
    if (distance < best_distance && distance < candidate.size()) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string join_or(const std::vector<std::string_view>& names) {
  std::string out;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) out += i + 1 == names.size() ? " or " : ", ";
    out += names[i];
  }
  return out;
}

}  // namespace weir
