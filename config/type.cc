#include "config/type.h"

#include <algorithm>

namespace weir::config {
namespace {

Description string_description(std::string form, std::string pattern = {}) {
  Description description;
  description.json = Description::Json::string;
  description.form = std::move(form);
  description.pattern = std::move(pattern);
  return description;
}

// Reads by `parse` and keeps to [min, max]; the bounds are shown as `format` writes them.
template <class M>
Type<M> bounded_scalar(std::string_view noun, std::string pattern, M min, M max, Result<M> (*parse)(std::string_view),
                       std::string (*format)(M)) {
  const std::string range = concat(format(min), " to ", format(max));
  return scalar<M>(
      string_description(concat(noun, ", ", range), std::move(pattern)),
      [=](std::string_view given) -> Result<M> {
        const Result<M> value = parse(given);
        if (value && (*value < min || *value > max)) return Error{concat("expected ", range, ", got ", given)};
        return value;
      },
      [format](const M& value) { return Value::plain(format(value)); });
}

// RFC 9110 section 5.6.2.
bool is_token(std::string_view name) {
  constexpr std::string_view kSymbols = "!#$%&'*+-.^_`|~";
  return !name.empty() && std::all_of(name.begin(), name.end(), [&](char c) {
    const char lower = ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || kSymbols.find(c) != std::string_view::npos;
  });
}

bool has_controls(std::string_view value) {
  return std::any_of(value.begin(), value.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\t') || byte == 0x7f;
  });
}

std::string range(std::int64_t min, std::int64_t max) { return min == max ? concat(min) : concat(min, " to ", max); }

Type<std::string> checked_text(Description description, Result<std::string> (*check)(std::string_view)) {
  return scalar<std::string>(std::move(description), check, [](const std::string& value) { return Value::string(value); });
}

}  // namespace

namespace type_detail {

bool scalar_text(const Value& value, Reader& reader, const Description& description) {
  return reader.expect(value, Value::Kind::scalar, description.form);
}

void refuse_scalar(const Value& value, Reader& reader, const Description& description, std::string_view message) {
  if (value.origin.empty()) return reader.error(value.place, message);
  // The text may be a secret: name its source instead.
  reader.error(value.place, concat("expected ", description.form, ", got ", value.shown()));
}

void refuse_word(const Value& value, Reader& reader, const std::vector<std::string>& words) {
  const std::vector<std::string_view> names(words.begin(), words.end());
  const bool choice = names.size() > 1 && value.origin.empty();
  const std::string hint = choice ? did_you_mean(value.text, names) : std::string();
  reader.error(value.place, concat("expected ", join_or(names), ", got ", value.shown(), hint));
}

bool list_length(const Value& value, Reader& reader, std::size_t min, std::size_t max) {
  const std::size_t length = value.items.size();
  if (length >= min && length <= max) return true;
  if (length == 0) {
    reader.error(value.place, "expected at least one item, got an empty list");
  } else {
    reader.error(value.place, concat("expected ", min, " to ", max, " items, got ", length));
  }
  return false;
}

Description list_description(Description item, std::size_t min, std::size_t max) {
  Description description;
  description.json = Description::Json::list;
  description.form = concat("list of ", item.form);
  description.minimum = static_cast<std::int64_t>(min);
  description.maximum = static_cast<std::int64_t>(max);
  description.parts = {std::move(item)};
  description.single_allowed = true;
  return description;
}

Description words_description(std::vector<std::string> words) {
  Description description = string_description(join_or({words.begin(), words.end()}));
  description.values = std::move(words);
  return description;
}

}  // namespace type_detail

Type<bool> boolean() {
  Description description;
  description.json = Description::Json::boolean;
  description.form = "true or false";
  return scalar<bool>(
      description,
      [](std::string_view given) -> Result<bool> {
        if (given == "true") return true;
        if (given == "false") return false;
        return Error{concat("expected true or false, got ", given)};
      },
      [](const bool& value) { return Value::plain(value ? "true" : "false"); });
}

Type<Duration> duration(Duration min, Duration max) {
  return bounded_scalar<Duration>("duration", "^(?=.)([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$", min, max, parse_duration,
                                  format_duration);
}

Type<std::uint64_t> size(std::uint64_t min, std::uint64_t max) {
  return bounded_scalar<std::uint64_t>("size", "^[0-9]+(B|KiB|MiB|GiB)$", min, max, parse_size, format_size);
}

Type<Rate> rate() {
  return scalar<Rate>(
      string_description("rate, such as 50/s, 10/m or 100/h", "^[0-9]+/[smh]$"),
      [](std::string_view given) -> Result<Rate> {
        const Result<Rate> value = parse_rate(given);
        if (value && value.value().count == 0) return Error{concat("expected a rate of at least 1, got ", given)};
        return value;
      },
      [](const Rate& value) { return Value::plain(format_rate(value)); });
}

Type<Ratio> ratio(Ratio min, Ratio max) {
  return bounded_scalar<Ratio>("ratio", "^[0-9]+(\\.[0-9]{1,4})?%$", min, max, parse_ratio, format_ratio);
}

Type<std::string> text() {
  return checked_text(string_description("text"), [](std::string_view given) -> Result<std::string> { return std::string(given); });
}

Type<std::string> name() {
  static constexpr std::size_t kLongest = 128;  // names become metric labels
  return checked_text(string_description("name", "^[^\\u0000-\\u0008\\u000a-\\u001f\\u007f]{1,128}$"),
                      [](std::string_view given) -> Result<std::string> {
                        if (given.empty() || given.size() > kLongest)
                          return Error{concat("expected a name of 1 to ", kLongest, " characters, got ", given.size())};
                        if (has_controls(given)) return Error{"a name has no control characters"};
                        return std::string(given);
                      });
}

Type<std::string> header_name() {
  return checked_text(string_description("header name", "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"),
                      [](std::string_view given) -> Result<std::string> {
                        if (!is_token(given)) return Error{concat("expected a header name, got ", given)};
                        return ascii_lower(given);
                      });
}

Type<std::string> header_value() {
  return checked_text(string_description("header value"), [](std::string_view given) -> Result<std::string> {
    const bool padded = !given.empty() && (given.front() == ' ' || given.back() == ' ' || given.front() == '\t' || given.back() == '\t');
    if (has_controls(given)) return Error{"a header value has no control characters or line ends"};
    if (padded) return Error{"a header value neither begins nor ends with a blank"};
    return std::string(given);
  });
}

Type<std::string> url_path() {
  return checked_text(string_description("path", "^/[^?#\\u0000-\\u0020\\u007f]*$"), [](std::string_view given) -> Result<std::string> {
    if (!given.starts_with('/')) return Error{concat("expected a path that begins with /, got ", given)};
    if (given.find_first_of("?# \t\r\n") != std::string_view::npos || has_controls(given))
      return Error{concat("a path has no blank, query or fragment, got ", given)};
    return std::string(given);
  });
}

Type<std::string> reference(std::string kind) {
  const Description description = string_description(concat("name of a ", kind));
  auto read = [kind, description](const Value& value, Reader& reader, std::string& out) {
    if (!type_detail::scalar_text(value, reader, description)) return false;
    out = value.text;
    const std::vector<std::string>* known = reader.known(kind);
    if (known == nullptr || std::find(known->begin(), known->end(), value.text) != known->end()) return true;
    const std::string hint = value.origin.empty() ? did_you_mean(value.text, {known->begin(), known->end()}) : std::string();
    reader.error(value.place, concat("no such ", kind, ", got ", value.shown(), hint));
    return false;
  };
  return Type<std::string>(description, std::move(read), [](const std::string& name) { return Value::string(name); });
}

Result<std::int64_t> integer::bounded(std::string_view text, std::int64_t min, std::int64_t max) {
  const Result<std::int64_t> number = parse_integer(text);
  if (number && (*number < min || *number > max)) return Error{concat("expected ", range(min, max), ", got ", text)};
  return number;
}

Description integer::description(std::int64_t min, std::int64_t max) {
  Description description;
  description.json = Description::Json::integer;
  description.form = min == max ? concat(min) : concat("integer, ", range(min, max));
  description.minimum = min;
  description.maximum = max;
  return description;
}

}  // namespace weir::config
