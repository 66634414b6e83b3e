// Type<M>: how one field of C++ type M is read from a tree, printed back and described (reference page, JSON
// Schema). Types are immutable values made by the functions below and composed freely; sections keep copies
// of them. A type never knows the field that it is used for: bounds come as arguments, names and defaults are
// the section's.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "config/reader.h"
#include "config/value.h"
#include "proxy/base/text.h"

namespace weir::config {

class SectionBase;

// What a type accepts, for people and for machines.
struct Description {
  enum class Json { any, boolean, integer, string, list, map };
  Json json = Json::any;
  std::string form;                     // for people: "duration, 1ms to 1h"
  std::string pattern;                  // of a string, as JSON Schema writes it
  std::string key_pattern;              // of the keys of a map without declared fields
  std::optional<std::int64_t> minimum;  // of an integer; of a list: its length; of a string: it may be written as a number, in these bounds
  std::optional<std::int64_t> maximum;
  std::vector<std::string> values;       // the only strings allowed
  std::vector<Description> parts;        // list: the item; map: the value; any: the alternatives
  const SectionBase* section = nullptr;  // a map with declared fields
  bool single_allowed = false;           // a list that also accepts one item by itself
};

template <class M>
class Type {
 public:
  using Read = std::function<bool(const Value&, Reader&, M&)>;
  using Print = std::function<Value(const M&)>;

  Type(Description description, Read read, Print print)
      : rules_(std::make_shared<const Rules>(Rules{std::move(description), std::move(read), std::move(print)})) {}

  // False, with the error reported, when the value is not of this type; `out` holds the default before.
  bool read(const Value& value, Reader& reader, M& out) const { return rules_->read(value, reader, out); }
  Value print(const M& value) const { return rules_->print(value); }
  const Description& describe() const { return rules_->description; }

 private:
  struct Rules {
    Description description;
    Read read;
    Print print;
  };
  std::shared_ptr<const Rules> rules_;
};

// A type of your own: three functions.
template <class M, class Read, class Print>
Type<M> custom(Description description, Read read, Print print) {
  return Type<M>(std::move(description), std::move(read), std::move(print));
}

// A scalar whose text `parse` turns into M; its error becomes the message.
template <class M>
Type<M> scalar(Description description, std::function<Result<M>(std::string_view)> parse, std::function<Value(const M&)> print);

Type<bool> boolean();
Type<Duration> duration(Duration min = 1ms, Duration max = 24h * 365);
Type<std::uint64_t> size(std::uint64_t min = 1, std::uint64_t max = std::uint64_t{1} << 40);
Type<Rate> rate();  // at least 1 per unit
Type<Ratio> ratio(Ratio min = Ratio{0}, Ratio max = Ratio::percent(100));

// Text: anything; a name of a listener, service, policy or filter; a field name of HTTP (kept in lower case)
// and a field value.
Type<std::string> text();
Type<std::string> name();
Type<std::string> header_name();
Type<std::string> header_value();
Type<std::string> url_path();  // begins with a slash

// The name of something defined elsewhere in the file; `kind` is what the reader knows names of, and what
// messages call it.
Type<std::string> reference(std::string kind);

// An integer of whatever integral type the member has: .field("burst", &T::burst, integer(1, 1000), "...").
struct integer {
  integer(std::int64_t least, std::int64_t most) : min(least), max(most) {}
  std::int64_t min;
  std::int64_t max;

  template <std::integral I>
  requires(!std::same_as<I, bool>) operator Type<I>() const {  // NOLINT(google-explicit-constructor): it stands for the type of the member
    const auto parse = [lowest = min, highest = max](std::string_view text) { return bounded(text, lowest, highest); };
    return scalar<I>(
        description(min, max),
        [parse](std::string_view text) -> Result<I> {
          const Result<std::int64_t> number = parse(text);
          if (!number) return number.error();
          return static_cast<I>(*number);
        },
        [](const I& value) { return Value::plain(concat(value)); });
  }

 private:
  static Result<std::int64_t> bounded(std::string_view text, std::int64_t min, std::int64_t max);
  static Description description(std::int64_t min, std::int64_t max);
};

namespace type_detail {
bool scalar_text(const Value& value, Reader& reader, const Description& description);
void refuse_scalar(const Value& value, Reader& reader, const Description& description, std::string_view message);
void refuse_word(const Value& value, Reader& reader, const std::vector<std::string>& words);
bool list_length(const Value& value, Reader& reader, std::size_t min, std::size_t max);
Description list_description(Description item, std::size_t min, std::size_t max);
Description words_description(std::vector<std::string> words);
}  // namespace type_detail

template <class M>
Type<M> scalar(Description description, std::function<Result<M>(std::string_view)> parse, std::function<Value(const M&)> print) {
  const Description copy = description;
  auto read = [copy, parse = std::move(parse)](const Value& value, Reader& reader, M& out) {
    if (!type_detail::scalar_text(value, reader, copy)) return false;
    Result<M> result = parse(value.text);
    if (result) {
      out = std::move(*result);
      return true;
    }
    type_detail::refuse_scalar(value, reader, copy, result.error().message);
    return false;
  };
  return Type<M>(std::move(description), std::move(read), std::move(print));
}

// enumeration<Balance>({{"round_robin", Balance::round_robin}, ...}): words, in the order in which messages
// list them.
template <class E>
Type<E> enumeration(std::vector<std::pair<std::string, E>> words) {
  std::vector<std::string> names;
  for (const auto& word : words) names.push_back(word.first);
  const Description description = type_detail::words_description(names);
  auto read = [words, names, description](const Value& value, Reader& reader, E& out) {
    if (!type_detail::scalar_text(value, reader, description)) return false;
    for (const auto& [word, meaning] : words) {
      if (word == value.text) return out = meaning, true;
    }
    type_detail::refuse_word(value, reader, names);
    return false;
  };
  auto print = [words](const E& value) {
    for (const auto& [word, meaning] : words) {
      if (meaning == value) return Value::string(word);
    }
    return Value::plain("?");  // a value without a word: the round-trip test of the section finds it
  };
  return Type<E>(description, std::move(read), std::move(print));
}

// A list; one item by itself is accepted too, as every plural key does.
template <class M>
Type<std::vector<M>> list_of(Type<M> item, std::size_t min = 0, std::size_t max = 10'000) {
  auto read = [item, min, max](const Value& value, Reader& reader, std::vector<M>& out) {
    out.clear();
    if (value.is(Value::Kind::invalid)) return false;
    if (!value.is(Value::Kind::list)) {
      out.emplace_back();
      return item.read(value, reader, out.back());
    }
    bool good = type_detail::list_length(value, reader, min, max);
    for (std::size_t i = 0; i < value.items.size() && i < max; ++i) {
      const auto scope = reader.enter(i);
      M one{};
      if (item.read(value.items[i], reader, one)) {
        out.push_back(std::move(one));
      } else {
        good = false;
      }
    }
    return good;
  };
  auto print = [item](const std::vector<M>& items) {
    Value out = Value::list();
    for (const M& one : items) out.add(item.print(one));
    return out;
  };
  return Type<std::vector<M>>(type_detail::list_description(item.describe(), min, max), std::move(read), std::move(print));
}

template <class M>
using Entries = std::vector<std::pair<std::string, M>>;  // of a map, in the order of the file

// A map from names of the user's own to values.
template <class M>
Type<Entries<M>> map_of(Type<std::string> key, Type<M> item) {
  Description description;
  description.json = Description::Json::map;
  description.form = concat("map of ", key.describe().form, " to ", item.describe().form);
  description.key_pattern = key.describe().pattern;
  description.parts = {item.describe()};
  auto read = [key, item](const Value& value, Reader& reader, Entries<M>& out) {
    out.clear();
    if (!reader.expect(value, Value::Kind::map, "a map")) return false;
    bool good = true;
    std::set<std::string> seen;  // two keys may be one to the type: header names
    for (const Value::Member& member : value.members) {
      const auto scope = reader.enter(member.key);
      Value written = Value::plain(member.key);
      written.place = member.place;
      std::pair<std::string, M> entry;
      const bool key_good = key.read(written, reader, entry.first);
      const bool item_good = item.read(member.value, reader, entry.second);
      if (key_good && !seen.insert(entry.first).second) {
        reader.error(member.place, concat(entry.first, " stands here twice"));
        good = false;
        continue;
      }
      if (key_good && item_good) out.push_back(std::move(entry));
      good = good && key_good && item_good;
    }
    return good;
  };
  auto print = [item](const Entries<M>& entries) {
    Value out = Value::map();
    for (const auto& [entry_key, one] : entries) out.add(entry_key, item.print(one));
    return out;
  };
  return Type<Entries<M>>(std::move(description), std::move(read), std::move(print));
}

}  // namespace weir::config
