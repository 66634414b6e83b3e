#include "config/schema/json_schema.h"

#include <algorithm>
#include <regex>
#include <utility>
#include <vector>

#include "config/diagnostics.h"
#include "config/schema/sections.h"
#include "config/write.h"
#include "config/yaml_tree.h"

namespace weir {
namespace {

using config::Description;
using config::SectionBase;
using config::Value;
using Json = Description::Json;

// `${env:NAME}` and `${file:PATH}` may stand for any scalar.
constexpr std::string_view kPlaceholder = "^\\$\\{(env|file):[^}]*\\}$";
constexpr std::string_view kInteger = "^-?(0|[1-9][0-9]*)$";  // in quotes: to weir it is the same

Value text(std::string_view words) {
  Value value = Value::plain(std::string(words));
  value.quoted = true;
  return value;
}
Value number(std::int64_t count) { return Value::plain(concat(count)); }
Value word(bool yes) { return Value::plain(yes ? "true" : "false"); }

Value list_of(std::vector<Value> items) {
  Value list = Value::list();
  for (Value& item : items) list.add(std::move(item));
  return list;
}

bool is_flat(const Value& schema) { return schema.find("anyOf") == nullptr; }

// The alternatives that a schema is: its own if it has some, else itself.
std::vector<Value> alternatives(Value schema) {
  if (is_flat(schema)) return {std::move(schema)};
  return std::move(schema.members[0].value.items);
}

Value any_of(std::vector<Value> schemas) {
  std::vector<Value> all;
  for (Value& schema : schemas) {
    for (Value& one : alternatives(std::move(schema))) {
      const std::string written = config::write_json(one);
      const auto same = [&](const Value& other) { return config::write_json(other) == written; };
      if (std::none_of(all.begin(), all.end(), same)) all.push_back(std::move(one));
    }
  }
  Value out = Value::map();
  out.add("anyOf", list_of(std::move(all)));
  return out;
}

// Both of two schemas in one, where each keyword says nothing of the other's types: an error then names what is wrong inside, and not
// that no alternative fits.
std::optional<Value> merged(const Value& a, const Value& b) {
  if (!is_flat(a) || !is_flat(b)) return std::nullopt;
  std::vector<Value> types;
  Value out = Value::map();
  out.add("type", Value());
  for (const Value* part : {&a, &b}) {
    for (const Value::Member& member : part->members) {
      if (member.key == "type") {
        std::vector<Value> own = member.value.is(Value::Kind::list) ? member.value.items : std::vector<Value>{member.value};
        for (Value& type : own) {
          const auto same = [&](const Value& other) { return other.text == type.text; };
          if (std::any_of(types.begin(), types.end(), same)) return std::nullopt;  // two of one type: their keywords would mix
          types.push_back(std::move(type));
        }
      } else if (member.key == "description" || member.key == "title") {
        continue;
      } else if (out.find(member.key) == nullptr) {
        out.add(member.key, member.value);
      } else {
        return std::nullopt;
      }
    }
  }
  out.members[0].value = list_of(std::move(types));
  return out;
}

class Generator {
 public:
  explicit Generator(const FilterCatalog& catalog) : catalog_(catalog) {}

  Value file() {
    const auto root = root_section(catalog_, service_section().defaults());
    Value out = Value::map();
    out.add("$schema", text("http://json-schema.org/draft-07/schema#"));
    out.add("$id", text("urn:weir:configuration:1"));
    out.add("title", text("weir configuration"));
    Value body = section(root);
    Value& properties = body.members[1].value;
    for (Value::Member& property : properties.members) {
      if (property.key != "policies") continue;  // read by hand, because items are of many kinds
      Value described = policies();
      describe(described, "Lists of filters, by name.");
      property.value = std::move(described);
    }
    Value include = type(config::list_of(config::text()).describe());
    describe(include, "Files or patterns, such as conf.d/*.yaml, whose listeners, services and policies are added.");
    properties.add("include", std::move(include));
    for (Value::Member& member : body.members) out.members.push_back(std::move(member));
    return out;
  }

 private:
  static void describe(Value& schema, const std::string& words) {
    std::erase_if(schema.members, [](const Value::Member& member) { return member.key == "description"; });
    Value::Member member;
    member.key = "description";
    member.value = text(words);
    schema.members.insert(schema.members.begin(), std::move(member));
  }

  static Value typed(std::string_view type) {
    Value out = Value::map();
    out.add("type", text(type));
    return out;
  }

  // A map with declared fields; `beside`: a section whose fields stand in the same map. Properties are its second member.
  Value section(const SectionBase& declared, const SectionBase* beside = nullptr) {
    Value out = typed("object");
    Value properties = Value::map();
    Value required = Value::list();
    for (const SectionBase* one : {&declared, beside}) {
      if (one == nullptr) continue;
      for (const SectionBase::Field& field : one->fields()) {
        properties.add(field.name, property(field));
        if (field.required) required.add(text(field.name));
      }
    }
    out.add("properties", std::move(properties));
    if (!required.items.empty()) out.add("required", std::move(required));
    out.add("additionalProperties", word(false));
    return out;
  }

  Value property(const SectionBase::Field& field) {
    Value out = type(field.type);
    const bool leads_on = field.type.section != nullptr || field.type.json == Json::map;
    describe(out, leads_on ? field.doc : concat(field.doc, "\n\n", field.type.form));
    const Value shown = value_of(field.default_text);
    const bool empty = (shown.is(Value::Kind::scalar) && shown.text.empty()) ||
                       (!shown.is(Value::Kind::scalar) && shown.items.empty() && shown.members.empty());
    if (!field.required && !empty) out.add("default", shown);
    if (!field.example.empty()) out.add("examples", list_of({value_of(field.example)}));
    return out;
  }

  static Value value_of(const std::string& yaml) {
    config::Diagnostics unsaid;
    return config::parse_yaml(yaml, 0, unsaid);
  }

  Value type(const Description& described) {
    switch (described.json) {
      case Json::boolean: return scalar({"boolean", "string"}, "^(true|false)$", described);
      case Json::integer: return scalar({"integer", "string"}, kInteger, described);
      case Json::string: return words(described);
      case Json::list: return list(described);
      case Json::map: return map(described);
      case Json::any: break;
    }
    std::vector<Value> parts;
    for (const Description& part : described.parts) parts.push_back(type(part));
    if (parts.size() == 2) {
      if (std::optional<Value> both = merged(parts[0], parts[1])) return std::move(*both);
    }
    return any_of(std::move(parts));
  }

  // Bounds count for numbers, the pattern for strings.
  static Value scalar(std::vector<std::string_view> types, std::string_view pattern, const Description& described) {
    Value out = Value::map();
    Value names = Value::list();
    for (const std::string_view one : types) names.add(text(one));
    out.add("type", types.size() == 1 ? text(types[0]) : std::move(names));
    if (!pattern.empty()) out.add("pattern", text(concat(pattern, '|', kPlaceholder)));
    if (described.minimum) out.add("minimum", number(*described.minimum));
    if (described.maximum) out.add("maximum", number(*described.maximum));
    return out;
  }

  // Text. What looks like a number or a boolean to a YAML tool is text to weir, wherever the pattern allows it.
  static Value words(const Description& described) {
    std::vector<std::string_view> types = {"string"};
    std::string pattern = described.pattern;
    if (described.minimum) {
      types.emplace_back("integer");
      if (!std::regex_search(concat(*described.minimum), std::regex(pattern))) pattern = concat(pattern, '|', kInteger);
    } else if (described.values.empty()) {
      const std::regex allowed(pattern);
      if (std::regex_search("7", allowed)) types.emplace_back("number");
      if (std::regex_search("true", allowed)) types.emplace_back("boolean");
    }
    if (described.values.empty()) return scalar(types, pattern, described);
    Value known = Value::map();
    Value values = Value::list();
    for (const std::string& value : described.values) values.add(text(value));
    known.add("enum", std::move(values));
    Value other = scalar(types, pattern, described);
    if (pattern.empty()) other.add("pattern", text(kPlaceholder));
    return any_of({std::move(known), std::move(other)});
  }

  Value list(const Description& described) {
    Value item = described.parts.empty() ? Value::map() : type(described.parts[0]);
    Value out = typed("array");
    Value described_item = item;
    if (!described.parts.empty() && described.parts[0].section != nullptr) describe(described_item, described.parts[0].section->doc());
    out.add("items", std::move(described_item));
    if (described.minimum.value_or(0) > 0) out.add("minItems", number(*described.minimum));
    if (described.maximum) out.add("maxItems", number(*described.maximum));
    if (!described.single_allowed) return out;
    if (std::optional<Value> both = merged(out, item)) return std::move(*both);
    return any_of({std::move(out), std::move(item)});
  }

  Value map(const Description& described) {
    if (described.section != nullptr) return section(*described.section);
    Value out = typed("object");
    if (!described.key_pattern.empty()) {
      Value names = Value::map();
      names.add("pattern", text(described.key_pattern));
      out.add("propertyNames", std::move(names));
    }
    if (!described.parts.empty()) {
      Value item = type(described.parts[0]);
      if (described.parts[0].section != nullptr) describe(item, described.parts[0].section->doc());
      out.add("additionalProperties", std::move(item));
    }
    return out;
  }

  // { NAME: { filters: [ { KIND: { ... } } ] } }
  Value policies() {
    Value kinds = Value::map();
    for (const FilterFactory* factory : catalog_) {
      Value fields = section(factory->section(), &filter_common_section());
      describe(fields, factory->section().doc());
      kinds.add(std::string(factory->kind()), std::move(fields));
    }
    Value use = words(config::reference("policy").describe());
    describe(use, "The filters of another policy stand here.");
    kinds.add("use", std::move(use));
    Value item = typed("object");
    item.add("properties", std::move(kinds));
    item.add("minProperties", number(1));
    item.add("maxProperties", number(1));
    item.add("additionalProperties", word(false));
    Value described_item = item;
    describe(described_item, "One filter, such as { timeout: { total: 2s } }.");
    Value list = typed("array");
    list.add("items", std::move(described_item));
    Value filters = merged(list, item).value_or(list);
    describe(filters, "Outermost first; the order is the meaning. One filter may stand by itself.");
    Value fields = Value::map();
    fields.add("filters", std::move(filters));
    Value policy = typed("object");
    describe(policy, "A list of filters.");
    policy.add("properties", std::move(fields));
    policy.add("required", list_of({text("filters")}));
    policy.add("additionalProperties", word(false));
    Value out = typed("object");
    Value names = Value::map();
    names.add("pattern", text(config::name().describe().pattern));
    out.add("propertyNames", std::move(names));
    out.add("additionalProperties", std::move(policy));
    return out;
  }

  const FilterCatalog& catalog_;
};

}  // namespace

std::string write_json_schema(const FilterCatalog& catalog) { return config::write_json_indented(Generator(catalog).file()); }

}  // namespace weir
