// Section<T>: the fields of one map of the configuration, declared once, bound to the members of a plain
// struct T. Each section is a constant returned by a function (`const Section<T>& retry_section()`), made at
// first use and never changed. From the declaration come reading, printing, the reference page and the
// schema; it never holds a configured value itself.
//
//   struct Backoff { Duration base = 25ms; Duration max = 250ms; };
//   const Section<Backoff>& backoff_section() {
//     static const Section<Backoff> section = Section<Backoff>("backoff", "How long to wait between tries.")
//         .field("base", &Backoff::base, duration(1ms, 1min), "Upper bound of the first wait; doubled for
//         each further one.") .field("max", &Backoff::max, duration(1ms, 10min), "No wait is longer.");
//     return section;
//   }
//
// The default of a field is its member's value in T{}, or in the `defaults` given to the constructor. A
// member of type std::optional<M> may be absent; one of type Placed<M> remembers where it was written.
// required(), absent() and example() speak of the field declared last.
#pragma once

#include <concepts>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "config/type.h"

namespace weir::config {

// Where a field of a section was written.
struct FieldPlace {
  std::string_view field;  // the declared name
  Place key;
  Place value;
};
using FieldPlaces = std::vector<FieldPlace>;

class SectionBase {
 public:
  struct Field {
    std::string name;
    std::string doc;
    std::string default_text;  // as YAML writes it; empty: absent unless given
    std::string example;
    bool required = false;
    bool absent_by_default = false;
    Description type;
  };

  SectionBase(std::string name, std::string doc) : name_(std::move(name)), doc_(std::move(doc)) {}
  virtual ~SectionBase() = default;

  const std::string& name() const { return name_; }
  const std::string& doc() const { return doc_; }
  const std::vector<Field>& fields() const { return fields_; }
  std::vector<std::string_view> field_names() const;

  // A new T read from `value`, or null with the errors reported. `beside` names a section that reads other
  // keys of the same map.
  virtual std::shared_ptr<void> read_new(const Value& value, Reader& reader, FieldPlaces* places = nullptr,
                                         const SectionBase* beside = nullptr) const = 0;
  // `object` must come from read_new of this section.
  virtual Value print_any(const void* object) const = 0;
  virtual std::shared_ptr<void> make_default() const = 0;

 protected:
  void declare(std::string_view name, std::string_view doc, Description type, const Value* default_value);
  // The index of the field called so; fields_.size() when there is none.
  std::size_t index_of(std::string_view name) const;
  void report_unknown(const Value::Member& member, Reader& reader, const SectionBase* beside) const;
  bool is_default(std::size_t index, const Value& value) const;
  bool report_missing(const Value& value, Reader& reader, const std::vector<bool>& seen) const;

  std::string name_;
  std::string doc_;
  std::vector<Field> fields_;
};

template <class T>
class Section : public SectionBase {
  struct Bound {
    std::function<bool(const Value&, Reader&, T&)> read;
    std::function<std::optional<Value>(const T&)> print;
  };

 public:
  // `defaults` where they are not those of T{}.
  Section(std::string name, std::string doc, T defaults = T{})
      : SectionBase(std::move(name), std::move(doc)), defaults_(std::move(defaults)) {}

  template <class M, class C>
  requires std::derived_from<T, C> Section& field(const char* name, M C::*member, const std::type_identity_t<Type<M>>& type,
                                                  const char* doc) {
    return bind(name, doc, type.describe(),
                {[type, member](const Value& v, Reader& r, T& out) { return type.read(v, r, out.*member); },
                 [type, member](const T& from) { return std::optional<Value>(type.print(from.*member)); }});
  }

  template <class M, class C>
  requires std::derived_from<T, C> Section& field(const char* name, std::optional<M> C::*member, const std::type_identity_t<Type<M>>& type,
                                                  const char* doc) {
    return bind(name, doc, type.describe(),
                {[type, member](const Value& v, Reader& r, T& out) {
                   M value = (out.*member).value_or(M{});
                   const bool good = type.read(v, r, value);
                   out.*member = std::move(value);
                   return good;
                 },
                 [type, member](const T& from) { return print_optional(type, from.*member); }});
  }

  template <class M, class C>
  requires std::derived_from<T, C> Section& field(const char* name, Placed<M> C::*member, const std::type_identity_t<Type<M>>& type,
                                                  const char* doc) {
    return bind(name, doc, type.describe(),
                {[type, member](const Value& v, Reader& r, T& out) {
                   (out.*member).place = v.place;
                   return type.read(v, r, (out.*member).value);
                 },
                 [type, member](const T& from) { return std::optional<Value>(type.print((from.*member).value)); }});
  }

  // A field without a member of its own: `get` makes the M to start from and to print (nothing: absent),
  // `set` puts it into T.
  template <class M>
  Section& projected(const char* name, std::type_identity_t<std::function<std::optional<M>(const T&)>> get,
                     std::type_identity_t<std::function<void(T&, M)>> set, const Type<M>& type, const char* doc) {
    return bind(name, doc, type.describe(),
                {[type, get, set](const Value& v, Reader& r, T& out) {
                   M value = get(out).value_or(M{});
                   const bool good = type.read(v, r, value);
                   set(out, std::move(value));
                   return good;
                 },
                 [type, get](const T& from) { return print_optional(type, get(from)); }});
  }

  Section& required() { return fields_.back().required = true, fields_.back().default_text.clear(), *this; }
  // Not printed while it has its default: for fields whose default is to be absent.
  Section& absent() { return fields_.back().absent_by_default = true, *this; }
  Section& example(const char* text) { return fields_.back().example = text, *this; }

  // Called before the fields of a map are read: for the place of the map itself.
  Section& on_read(std::function<void(T&, const Value&, Reader&)> hook) { return hook_ = std::move(hook), *this; }

  // Rules between fields. Called when every field was read without an error; returns false after reporting
  // one.
  Section& check(std::function<bool(const T&, const Value&, Reader&)> rule) { return rules_.push_back(std::move(rule)), *this; }

  bool read(const Value& value, Reader& reader, T& out, FieldPlaces* places = nullptr, const SectionBase* beside = nullptr) const {
    if (!reader.expect(value, Value::Kind::map, "a map of fields")) return false;
    if (hook_) hook_(out, value, reader);
    std::vector<bool> seen(fields_.size(), false);
    bool good = true;
    for (const Value::Member& member : value.members) {
      const std::size_t index = index_of(member.key);
      if (index == fields_.size()) {
        if (beside_declares(beside, member.key)) continue;
        report_unknown(member, reader, beside);
        good = false;
        continue;
      }
      seen[index] = true;
      if (places != nullptr) places->push_back({fields_[index].name, member.place, member.value.place});
      const auto scope = reader.enter(member.key);
      good = bound_[index].read(member.value, reader, out) && good;
    }
    good = report_missing(value, reader, seen) && good;
    for (const auto& rule : rules_) good = good && rule(out, value, reader);
    return good;
  }

  Value print(const T& from) const {
    Value out = Value::map();
    for (std::size_t i = 0; i < fields_.size(); ++i) {
      auto value = bound_[i].print(from);
      if (!value || (fields_[i].absent_by_default && is_default(i, *value))) continue;
      out.add(fields_[i].name, std::move(*value));
    }
    return out;
  }

  // The T behind what read_new returned.
  static const T& as(const void* object) { return *static_cast<const T*>(object); }

  std::shared_ptr<void> read_new(const Value& value, Reader& reader, FieldPlaces* places = nullptr,
                                 const SectionBase* beside = nullptr) const override {
    auto out = std::make_shared<T>(defaults_);
    if (!read(value, reader, *out, places, beside)) return nullptr;
    return out;
  }
  Value print_any(const void* object) const override { return print(as(object)); }
  std::shared_ptr<void> make_default() const override { return std::make_shared<T>(defaults_); }
  const T& defaults() const { return defaults_; }

 private:
  Section& bind(const char* name, const char* doc, const Description& type, Bound bound) {
    const std::optional<Value> printed = bound.print(defaults_);
    declare(name, doc, type, printed ? &*printed : nullptr);
    bound_.push_back(std::move(bound));
    return *this;
  }

  template <class M>
  static std::optional<Value> print_optional(const Type<M>& type, const std::optional<M>& value) {
    if (!value) return std::nullopt;
    return type.print(*value);
  }
  static bool beside_declares(const SectionBase* beside, std::string_view key) {
    if (beside == nullptr) return false;
    for (const Field& field : beside->fields()) {
      if (field.name == key) return true;
    }
    return false;
  }

  T defaults_;
  std::vector<Bound> bound_;
  std::function<void(T&, const Value&, Reader&)> hook_;
  std::vector<std::function<bool(const T&, const Value&, Reader&)>> rules_;
};

// A field that is a map with fields of its own.
template <class T>
Type<T> object(const Section<T>& section) {
  Description description;
  description.json = Description::Json::map;
  description.form = section.name();
  description.section = &section;
  return Type<T>(
      std::move(description), [&section](const Value& value, Reader& reader, T& out) { return section.read(value, reader, out); },
      [&section](const T& value) { return section.print(value); });
}

}  // namespace weir::config
