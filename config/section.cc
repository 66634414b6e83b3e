#include "config/section.h"

#include "config/write.h"

namespace weir::config {

std::vector<std::string_view> SectionBase::field_names() const {
  std::vector<std::string_view> names;
  for (const Field& field : fields_) names.emplace_back(field.name);
  return names;
}

void SectionBase::declare(std::string_view name, std::string_view doc, Description type, const Value* default_value) {
  CHECK(index_of(name) == fields_.size());  // a field is declared once
  Field field;
  field.name = name;
  field.doc = doc;
  field.type = std::move(type);
  if (default_value != nullptr) field.default_text = write_flow(*default_value);
  fields_.push_back(std::move(field));
}

std::size_t SectionBase::index_of(std::string_view name) const {
  std::size_t index = 0;
  while (index < fields_.size() && fields_[index].name != name) ++index;
  return index;
}

void SectionBase::report_unknown(const Value::Member& member, Reader& reader, const SectionBase* beside) const {
  std::vector<std::string_view> known = field_names();
  if (beside != nullptr) {
    for (const std::string_view name : beside->field_names()) known.push_back(name);
  }
  reader.unknown_key(member, known);
}

bool SectionBase::is_default(std::size_t index, const Value& value) const { return write_flow(value) == fields_[index].default_text; }

bool SectionBase::report_missing(const Value& value, Reader& reader, const std::vector<bool>& seen) const {
  bool good = true;
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    if (!fields_[i].required || seen[i]) continue;
    const auto scope = reader.enter(fields_[i].name);
    reader.error(value.place, concat("missing; expected ", fields_[i].type.form));
    good = false;
  }
  return good;
}

}  // namespace weir::config
