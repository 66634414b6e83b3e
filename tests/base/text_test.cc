#include "proxy/base/text.h"

#include <catch2/catch.hpp>

namespace weir {
namespace {

TEST_CASE("concat joins text, characters and integers") {
  CHECK(concat("a", std::string("b"), 'c', -1, std::uint64_t{18446744073709551615U}, std::int8_t{7}) == "abc-1184467440737095516157");
}

TEST_CASE("integers are decimal, whole and without padding") {
  CHECK(parse_integer("0").value() == 0);
  CHECK(parse_integer("-12").value() == -12);
  CHECK(parse_integer("9223372036854775807").value() == INT64_MAX);
  for (const char* bad : {"", "-", "+1", " 1", "1 ", "010", "-01", "0x10", "1_000", "1.0", "9223372036854775808"})
    CHECK_FALSE(parse_integer(bad).ok());
  CHECK(parse_integer("9223372036854775808").error().message == "the integer 9223372036854775808 is too large");
}

TEST_CASE("durations always carry a unit") {
  CHECK(parse_duration("250ms").value() == 250ms);
  CHECK(parse_duration("1h30m").value() == 90min);
  CHECK(parse_duration("1m30s500ms").value() == 90500ms);
  CHECK(parse_duration("0s").value() == 0s);
  CHECK(parse_duration("500").error().message == "a duration needs a unit: 500ms or 500s");
  for (const char* bad : {"", "ms", "s", "-1s", "1.5s", "1s ", " 1s", "1S", "1us", "1d", "30m1h", "1s1s", "1h30", "1ms1s",
                          "99999999999999999999s", "9223372036854775807h", "1000001h", "1 s", "+1s"})
    CHECK_FALSE(parse_duration(bad).ok());
}

TEST_CASE("sizes, rates and ratios are exact") {
  CHECK(parse_size("64KiB").value() == 65536);
  CHECK(parse_size("1GiB").value() == 1073741824);
  CHECK(parse_size("100").error().message == "a size needs a unit: 100KiB or 100MiB");
  for (const char* bad : {"", "KiB", "1KB", "1kib", "1.5MiB", "-1KiB", "9223372036854775807KiB"}) CHECK_FALSE(parse_size(bad).ok());
  CHECK(parse_rate("50/s").value() == Rate{50, 1s});
  CHECK(parse_rate("90/m").value().per_second() == Approx(1.5));
  for (const char* bad : {"", "/s", "50", "50/d", "50 /s", "-1/s", "1.5/s", "50/s ", "1000000001/s"}) CHECK_FALSE(parse_rate(bad).ok());
  CHECK(parse_ratio("0%").value().millionths == 0);
  CHECK(parse_ratio("100%").value() == Ratio::percent(100));
  CHECK(parse_ratio("0.0001%").value().millionths == 1);
  CHECK(parse_ratio("12.5%").value().value() == Approx(0.125));
  for (const char* bad : {"", "%", "50", "101%", "100.1%", "-1%", "1.%", ".5%", "1.00001%", "0.5", "1e1%", "50 %"})
    CHECK_FALSE(parse_ratio(bad).ok());
}

TEST_CASE("what is formatted reads back as the same value") {
  for (const Duration value : {Duration(0), Duration(1ms), Duration(999ms), Duration(1s), Duration(1500ms), Duration(60s), Duration(61s),
                               Duration(90min), Duration(25h), Duration(3599s)})
    CHECK(parse_duration(format_duration(value)).value() == value);
  CHECK(format_duration(90min) == "1h30m");
  CHECK(format_duration(300s) == "5m");
  CHECK(format_duration(1500ms) == "1500ms");
  for (const std::uint64_t value : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1024}, std::uint64_t{61440}, std::uint64_t{5} << 30U})
    CHECK(parse_size(format_size(value)).value() == value);
  CHECK(format_size(61440) == "60KiB");
  for (const std::uint32_t value : {0U, 1U, 10'000U, 12'500U, 500'000U, 999'999U, 1'000'000U, 10'100U})
    CHECK(parse_ratio(format_ratio(Ratio{value})).value().millionths == value);
  CHECK(format_ratio(Ratio{12'500}) == "1.25%");
  CHECK(format_rate(Rate{10, 1min}) == "10/m");
}

TEST_CASE("the nearest name is found for slips and not for other words") {
  CHECK(edit_distance("paymets", "payments") == 1);
  CHECK(edit_distance("polciy", "policy") == 1);  // a swap of neighbours is one slip
  CHECK(edit_distance("", "abc") == 3);
  CHECK(nearest_name("circuit_braker", {"retry", "circuit_breaker", "timeout"}) == "circuit_breaker");
  CHECK(nearest_name("polcy", {"policy", "service"}) == "policy");
  CHECK(nearest_name("Timeout", {"timeout"}) == "timeout");
  CHECK(nearest_name("fastest", {"round_robin", "least_request"}).empty());
  CHECK(nearest_name("ab", {"cd"}).empty());
  CHECK(nearest_name("", {"a"}).empty());
  CHECK(nearest_name(std::string(100, 'x'), {"x"}).empty());
}

TEST_CASE("names compare without case and join as a sentence") {
  CHECK(equal_ignoring_case("HoSt", "hOsT"));
  CHECK_FALSE(equal_ignoring_case("host", "hosts"));
  CHECK(ascii_lower("A-Z\xc3\x84") == "a-z\xc3\x84");
  CHECK(join_or({"a"}) == "a");
  CHECK(join_or({"a", "b", "c"}) == "a, b or c");
}

}  // namespace
}  // namespace weir
