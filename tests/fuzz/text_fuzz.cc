// Text as people write it in configuration: each line of the input goes through every parser of proxy/base/text.h and the ones built
// on it. A plain second implementation says what each must answer, and what a formatter writes is read back as the same value.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>

#include "filters/rate_limit/rate_limit_policy.h"
#include "proxy/base/text.h"
#include "proxy/chain/causes.h"
#include "proxy/runtime/address.h"
#include "tests/fuzz/fuzz_support.h"

namespace weir {

namespace {

__extension__ using Wide = __int128;

// Digits at the front and what follows them; numbers beyond 10^25 all count as that.
struct Split {
  bool digits = false;
  Wide number = 0;
  std::string_view rest;
};
Split split(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789";
  const std::size_t end = std::min(text.find_first_not_of(kDigits), text.size());
  Wide most = 1;
  for (int i = 0; i < 25; ++i) most *= 10;
  Split out{end > 0, 0, text.substr(end)};
  for (const char c : text.substr(0, end)) out.number = std::min(most, out.number * 10 + static_cast<Wide>(kDigits.find(c)));
  return out;
}

std::optional<Wide> plain_integer(std::string_view text) {
  const bool negative = text.substr(0, 1) == "-";
  const std::string_view digits = negative ? text.substr(1) : text;
  const Split number = split(digits);
  if (!number.digits || !number.rest.empty() || (digits.size() > 1 && digits.front() == '0')) return std::nullopt;
  const Wide value = negative ? -number.number : number.number;
  if (value > std::numeric_limits<std::int64_t>::max() || value < std::numeric_limits<std::int64_t>::min()) return std::nullopt;
  return value;
}

std::optional<Wide> plain_milliseconds(std::string_view text) {
  Wide total = 0;
  bool any = false;
  for (const auto& [name, unit] : {std::pair<std::string_view, int>{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}}) {
    const Split part = split(text);
    const std::string_view letters = part.rest.substr(0, std::min(part.rest.find_first_of("0123456789"), part.rest.size()));
    if (!part.digits || letters != name) continue;
    total += part.number * unit;
    text = part.rest.substr(name.size());
    any = true;
  }
  if (!any || !text.empty() || total > Wide{1'000'000} * 3600 * 1000) return std::nullopt;
  return total;
}

std::optional<Wide> plain_bytes(std::string_view text) {
  const Split part = split(text);
  for (const auto& [name, shift] : {std::pair<std::string_view, int>{"B", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}}) {
    if (!part.digits || part.rest != name) continue;
    const Wide bytes = part.number * (Wide{1} << shift);
    if (bytes > std::numeric_limits<std::int64_t>::max()) return std::nullopt;
    return bytes;
  }
  return std::nullopt;
}

std::optional<Wide> plain_rate(std::string_view text) {
  const Split part = split(text);
  const bool unit = part.rest == "/s" || part.rest == "/m" || part.rest == "/h";
  if (!part.digits || !unit || part.number > 1'000'000'000) return std::nullopt;
  return part.number;
}

std::optional<Wide> plain_millionths(std::string_view text) {
  if (!text.ends_with('%')) return std::nullopt;
  const Split whole = split(text.substr(0, text.size() - 1));
  if (!whole.digits) return std::nullopt;
  Wide value = whole.number * 10'000;
  if (!whole.rest.empty()) {
    const Split fraction = split(whole.rest.substr(1));
    const std::size_t places = whole.rest.size() - 1;
    if (whole.rest[0] != '.' || !fraction.digits || !fraction.rest.empty() || places > 4) return std::nullopt;
    Wide scaled = fraction.number;
    for (std::size_t i = places; i < 4; ++i) scaled *= 10;
    value += scaled;
  }
  if (value > 1'000'000) return std::nullopt;
  return value;
}

template <class R, class Number>
void same(const R& ours, const std::optional<Wide>& plain, const Number& number, std::string_view what, std::string_view text) {
  require(ours.ok() == plain.has_value(), what, text);
  if (ours.ok()) require(static_cast<Wide>(number(ours.value())) == *plain, what, text);
}

void check_numbers(std::string_view text) {
  same(
      parse_integer(text), plain_integer(text), [](std::int64_t v) { return v; }, "an integer", text);
  const auto duration = parse_duration(text);
  same(
      duration, plain_milliseconds(text), [](Duration v) { return v / 1ms; }, "a duration", text);
  if (duration) require(parse_duration(format_duration(*duration)).value() == *duration, "a duration written back", text);
  const auto size = parse_size(text);
  same(
      size, plain_bytes(text), [](std::uint64_t v) { return v; }, "a size", text);
  if (size) require(parse_size(format_size(*size)).value() == *size, "a size written back", text);
  const auto rate = parse_rate(text);
  same(
      rate, plain_rate(text), [](const Rate& v) { return v.count; }, "a rate", text);
  if (rate) require(parse_rate(format_rate(*rate)).value() == *rate, "a rate written back", text);
  const auto ratio = parse_ratio(text);
  same(
      ratio, plain_millionths(text), [](const Ratio& v) { return v.millionths; }, "a ratio", text);
  if (ratio) require(parse_ratio(format_ratio(*ratio)).value() == *ratio, "a ratio written back", text);
}

void check_address(std::string_view text) {
  const Result<Address> address = Address::parse(text);
  if (!address) return;
  const Result<Address> again = Address::parse(address->text());
  require(again.ok() && *again == *address && again->port() == address->port(), "an address written back", text);
  const bool v6 = address->family() == Address::Family::ipv6;
  if (address->family() == Address::Family::unix_path) {
    require(address->text() == text && address->host() == text.substr(5), "a path as it was written", text);
  } else {
    const std::string joined = concat(v6 ? "[" : "", address->host(), v6 ? "]:" : ":", address->port());
    require(joined == address->text(), "host and port make the text", text);
    require(Address::parse(address->with_port(7).text())->port() == 7, "another port", text);
  }
  const Address copied = Address::from_sockaddr(address->data(), address->size());
  require(copied == *address, "through the system's form and back", text);
}

void check_words(std::string_view text) {
  const Result<RateKeyPart> part = parse_rate_key_part(text);
  if (part) require(parse_rate_key_part(to_text(*part)).value() == *part, "a part of a key written back", text);
  const Result<Causes> causes = Causes::parse_word(text);
  if (causes) require(!causes->empty(), "a cause means something", text);
  require(ascii_lower(ascii_lower(text)) == ascii_lower(text) && equal_ignoring_case(text, ascii_lower(text)), "lower case", text);
}

// The definition, without a table: optimal string alignment.
std::size_t plain_distance(std::string_view a, std::string_view b) {
  if (a.empty() || b.empty()) return a.size() + b.size();
  const std::string_view a1 = a.substr(1), b1 = b.substr(1);
  std::size_t best = std::min({plain_distance(a1, b) + 1, plain_distance(a, b1) + 1, plain_distance(a1, b1) + (a[0] == b[0] ? 0U : 1U)});
  if (a.size() > 1 && b.size() > 1 && a[0] == b[1] && a[1] == b[0]) best = std::min(best, plain_distance(a.substr(2), b.substr(2)) + 1);
  return best;
}

void check_distance(std::string_view a, std::string_view b) {
  constexpr std::size_t kLongest = 64, kPlain = 5;
  a = a.substr(0, kLongest);
  b = b.substr(0, kLongest);
  const std::size_t distance = edit_distance(a, b);
  require(distance == edit_distance(b, a), "a distance is the same from both sides", a);
  require((distance == 0) == (a == b) && distance <= std::max(a.size(), b.size()), "the bounds of a distance", a);
  const std::string_view c = a.substr(0, kPlain), d = b.substr(0, kPlain);
  require(edit_distance(c, d) == plain_distance(c, d), "a distance by its definition", c);
}

void run(std::string_view input) {
  const std::vector<std::string_view> lines = lines_of(input);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    check_numbers(lines[i]);
    check_address(lines[i]);
    check_words(lines[i]);
    if (i > 0 && i < 4) check_distance(lines[i - 1], lines[i]);
  }
  const std::string_view nearest = nearest_name(input.substr(0, input.find('\n')), lines);
  require(nearest.empty() || std::find(lines.begin(), lines.end(), nearest) != lines.end(), "the nearest name is one of them", input);
}

}  // namespace

}  // namespace weir

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  weir::run(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
