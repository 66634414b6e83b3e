#include "config/value.h"

#include <algorithm>
#include <utility>

namespace weir::config {

Value Value::plain(std::string text) {
  Value value;
  value.kind = Kind::scalar;
  value.text = std::move(text);
  return value;
}

Value Value::string(std::string text) {
  const auto part_of_number = [](char c) {
    return (c >= '0' && c <= '9') || std::string_view("+-.eExob_:").find(c) != std::string_view::npos;
  };
  const bool number = text.find_first_of("0123456789.") != std::string::npos && std::all_of(text.begin(), text.end(), part_of_number);
  const std::string word = ascii_lower(text);
  const bool ambiguous =
      number || word == "true" || word == "false" || word == "null" || word == "y" || word == "n" || word == "~" || is_yaml11_boolean(word);
  Value value = plain(std::move(text));
  value.quoted = ambiguous;
  return value;
}

Value Value::list() {
  Value value;
  value.kind = Kind::list;
  return value;
}

Value Value::map() {
  Value value;
  value.kind = Kind::map;
  return value;
}

const Value::Member* Value::find(std::string_view key) const {
  const auto found = std::find_if(members.begin(), members.end(), [key](const Member& m) { return m.key == key; });
  return found == members.end() ? nullptr : &*found;
}

void Value::add(std::string key, Value value) {
  Member member;
  member.key = std::move(key);
  member.value = std::move(value);
  members.push_back(std::move(member));
}

void Value::add(Value item) { items.push_back(std::move(item)); }

std::string Value::shown() const {
  switch (kind) {
    case Kind::null: return "nothing";
    case Kind::list: return "a list";
    case Kind::map: return "a map";
    case Kind::scalar:
    case Kind::invalid: break;
  }
  if (!origin.empty()) return concat("the value of ", origin);
  return text.empty() ? "an empty text" : text;
}

bool is_yaml11_boolean(std::string_view word) {
  const std::string lowered = word.size() <= 3 ? ascii_lower(word) : std::string();
  return lowered == "on" || lowered == "off" || lowered == "yes" || lowered == "no";
}

}  // namespace weir::config
