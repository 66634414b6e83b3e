#include "config/reader.h"

namespace weir::config {

Reader::Scope Reader::enter(std::string_view key) {
  const std::size_t length = path_.size();
  if (!path_.empty()) path_ += '.';
  path_ += key;
  return Scope(*this, length);
}

Reader::Scope Reader::enter(std::size_t index) {
  const std::size_t length = path_.size();
  path_ += concat('[', index, ']');
  return Scope(*this, length);
}

bool Reader::expect(const Value& value, Value::Kind kind, std::string_view what) {
  if (value.kind == kind) return true;
  if (value.kind != Value::Kind::invalid) error(value.place, concat("expected ", what, ", got ", value.shown()));
  return false;
}

void Reader::unknown_key(const Value::Member& member, const std::vector<std::string_view>& known) {
  const auto scope = enter(member.key);
  const std::string hint = did_you_mean(member.key, known);
  error(member.place, hint.empty() ? concat("unknown key; expected ", join_or(known)) : concat("unknown key", hint));
}

std::string did_you_mean(std::string_view name, const std::vector<std::string_view>& candidates) {
  const std::string_view nearest = nearest_name(name, candidates);
  return nearest.empty() ? std::string() : concat("; did you mean ", nearest, '?');
}

}  // namespace weir::config
