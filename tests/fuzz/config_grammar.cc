#include "tests/fuzz/config_grammar.h"

#include <algorithm>

#include "config/reader.h"
#include "config/schema/sections.h"
#include "config/write.h"
#include "config/yaml_tree.h"
#include "filters/catalog.h"

namespace weir {

namespace {

using config::Description;
using config::SectionBase;
using config::Value;
using Field = SectionBase::Field;

constexpr int kDeepest = 5;
constexpr int kTries = 12;
constexpr const char* kServices[] = {"payments", "payments-next", "pay ments", "x.y"};  // the first two are those of the examples
constexpr const char* kPolicies[] = {"careful", "on", "default-inbound", "default-outbound"};
constexpr const char* kDurations[] = {"1ms", "25ms", "250ms", "1s", "2s",    "5s",    "10s",   "30s",
                                      "1m",  "1h",   "24h",   "0s", "1h30m", "8760h", "1500ms"};
constexpr const char* kSizes[] = {"1B", "1KiB", "64KiB", "1MiB", "16MiB", "1GiB", "1024GiB", "100B"};
constexpr const char* kRates[] = {"1/s", "50/s", "10/m", "100/h", "1000000000/s", "7/h", "3/m"};
constexpr const char* kRatios[] = {"0%", "1%", "20%", "33.3333%", "50%", "99.9999%", "100%", "0.0001%"};
constexpr const char* kAddresses[] = {"127.0.0.1:8080", "[::1]:80", "unix:/run/x.sock", "dns:pay.local:80", "10.0.0.1:1", "0.0.0.0:65535"};
constexpr const char* kTexts[] = {"x",       "/",          "/v1/",     "GET", "pay.local", "*.pay.local", "503", "5xx",
                                  "500-503", "true",       "null",     "no",  "'q'",       "a: b",        "#h",  "~",
                                  "",        "${env:ONE}", "\xc3\xa4", "- x", "0",         "-1"};
constexpr std::string_view kBreaks[] = {"{",  "}",  "[",  "]",     ", ", ": ",  "- ", "'", "\"", "|",
                                        ">-", "&a", "*a", "!!str", "? ", "---", "\t", "#", "<<", "~"};

Value parsed(const std::string& text) {
  config::Diagnostics unsaid;
  return config::parse_yaml(text, 0, unsaid);
}

bool reads(const SectionBase& section, const Value& value) {
  config::Diagnostics unsaid;
  config::Reader reader(unsaid);
  reader.know("service", {std::begin(kServices), std::end(kServices)});
  reader.know("policy", {std::begin(kPolicies), std::end(kPolicies)});
  return section.read_new(value, reader) != nullptr && unsaid.errors() == 0;
}

// Every field of every section that the file can have, as "name: value" where there is a value to show.
class Vocabulary {
 public:
  Vocabulary() {
    collect(root_section(filter_catalog(), service_section().defaults()));
    for (const FilterFactory* factory : filter_catalog()) {
      lines_.push_back(concat("- ", factory->kind(), ": {}"));
      collect(factory->section());
    }
    collect(filter_common_section());
  }
  const std::vector<std::string>& lines() const { return lines_; }

 private:
  void collect(const SectionBase& section) {
    if (std::find(seen_.begin(), seen_.end(), section.name()) != seen_.end()) return;
    seen_.push_back(section.name());
    for (const Field& field : section.fields()) {
      lines_.push_back(concat(field.name, ": ", field.example.empty() ? field.default_text : field.example));
      for (const std::string& word : field.type.values) lines_.push_back(concat(field.name, ": ", word));
      collect(field.type);
    }
  }
  void collect(const Description& type) {
    if (type.section != nullptr) collect(*type.section);
    for (const Description& part : type.parts) collect(part);
  }
  std::vector<std::string> seen_;
  std::vector<std::string> lines_;
};

}  // namespace

Value ConfigGrammar::scalar(const Description& type) {
  const std::string& form = type.form;
  const auto is = [&form](std::string_view beginning) { return form.starts_with(beginning); };
  if (!type.values.empty()) return Value::string(one_of(type.values));
  if (is("duration")) return Value::plain(one_of(kDurations));
  if (is("size")) return Value::plain(one_of(kSizes));
  if (is("rate")) return Value::plain(one_of(kRates));
  if (is("ratio")) return Value::plain(one_of(kRatios));
  if (is("name of a service")) return Value::string(one_of(kServices));
  if (is("name of a policy")) return Value::string(one_of(kPolicies));
  if (is("name")) return Value::string(concat("n", random_.below(1000)));
  if (is("header")) return Value::string(concat("x-h", random_.below(9)));
  if (is("path")) return Value::string(chance(50) ? "/v1/" : "/a");
  if (form.find("host:port") != std::string::npos) return Value::plain(one_of(kAddresses));
  if (is("auto")) return Value::plain("auto");
  return Value::string(one_of(kTexts));
}

Value ConfigGrammar::value(const Description& type, int depth) {
  if (chance(1)) return Value::string(one_of(kTexts));
  switch (type.json) {
    case Description::Json::boolean: return Value::plain(chance(50) ? "true" : "false");
    case Description::Json::integer: {
      const std::int64_t low = type.minimum.value_or(0), high = type.maximum.value_or(1000);
      const std::int64_t span = std::min<std::int64_t>(high - low, 1'000'000) + 1;
      const std::int64_t edges[] = {low, high, low + static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(span)))};
      return Value::plain(concat(one_of(edges) + (chance(3) ? 1 : 0)));
    }
    case Description::Json::list: {
      if (type.parts.empty() || depth > kDeepest) return Value::list();
      if (type.single_allowed && chance(20)) return value(type.parts[0], depth + 1);
      Value list = Value::list();
      for (std::uint64_t left = 1 + random_.below(3); left > 0; --left) list.add(value(type.parts[0], depth + 1));
      return list;
    }
    case Description::Json::map: {
      if (type.section != nullptr) return depth > kDeepest ? Value::map() : section(*type.section, 40, depth + 1);
      Value map = Value::map();
      if (!type.parts.empty()) map.add(concat("k", random_.below(9)), value(type.parts[0], depth + 1));
      return map;
    }
    case Description::Json::any:
      if (!type.parts.empty()) return value(one_of(type.parts), depth + 1);
      return scalar(type);
    case Description::Json::string: break;
  }
  return scalar(type);
}

Value ConfigGrammar::field(const Field& declared, int depth) {
  if (!declared.example.empty() && chance(75)) return parsed(declared.example);
  if (!declared.default_text.empty() && chance(50)) return parsed(declared.default_text);
  return value(declared.type, depth);
}

// `share`: percent of the fields that are not required. Sections with rules of their own are seldom met by chance: the first of a few tries
// that reads without complaint is taken, most of the time.
Value ConfigGrammar::section(const SectionBase& declared, unsigned share, int depth) {
  Value made = fields_of(declared, share, depth);
  for (int tries = 1; tries < kTries && !reads(declared, made) && chance(97); ++tries) made = fields_of(declared, share, depth);
  return made;
}

Value ConfigGrammar::fields_of(const SectionBase& declared, unsigned share, int depth) {
  Value map = Value::map();
  for (const Field& one : declared.fields()) {
    if (one.required ? !chance(98) : !chance(share)) continue;
    if (one.name == "tls" && !chance(5)) continue;  // it names files, and there are none: the whole configuration is refused
    map.add(one.name, field(one, depth));
  }
  return map;
}

Value ConfigGrammar::filter() {
  Value item = Value::map();
  if (chance(10)) {
    const std::string used = one_of(kPolicies);
    if (used > using_ || chance(3)) {  // in one direction there is no circle
      item.add("use", Value::string(used));
      return item;
    }
  }
  const FilterFactory& factory = *one_of(filter_catalog());
  Value fields = section(factory.section(), 40, 2);
  for (Value::Member& common : section(filter_common_section(), 20, 2).members) fields.members.push_back(std::move(common));
  item.add(std::string(factory.kind()), std::move(fields));
  return item;
}

Value ConfigGrammar::policies() {
  Value map = Value::map();
  for (const char* name : kPolicies) {
    using_ = name;
    if (name != kPolicies[0] && name != kPolicies[1] && !chance(50)) continue;  // the others are built in
    Value filters = Value::list();
    for (std::uint64_t left = random_.below(4); left > 0; --left) filters.add(filter());
    Value policy = Value::map();
    policy.add("filters", std::move(filters));
    map.add(name, std::move(policy));
  }
  return map;
}

Value ConfigGrammar::services() {
  Value map = Value::map();
  for (const char* name : kServices) {
    map.add(name, section(service_section(), 15, 1));
  }
  return map;
}

Value ConfigGrammar::route(int depth) {
  Value made = Value::map();
  const std::string kind = chance(50) ? "service" : chance(50) ? "split" : "respond";
  for (const Field& one : route_section().fields()) {
    const bool answer = one.name == "service" || one.name == "split" || one.name == "respond";
    if (answer ? one.name != kind : !chance(25)) continue;
    const Value::Member* match = made.find("match");
    if (one.name == "rewrite" && (match == nullptr || match->value.find("path_prefix") == nullptr)) continue;
    made.add(one.name, field(one, depth));
  }
  return made;
}

Value ConfigGrammar::listeners() {
  Value list = Value::list();
  const std::uint64_t count = 1 + random_.below(2);
  for (std::uint64_t i = 0; i < count; ++i) {
    Value made = section(listener_section(), 30, 1);
    for (Value::Member& member : made.members) {
      if (member.key == "name") member.value = Value::string(concat("listener-", i));
      if (member.key == "listen") member.value = Value::plain(concat("127.0.0.1:", 9000 + i));
      if (member.key != "routes") continue;
      member.value = Value::list();
      for (std::uint64_t left = 1 + random_.below(3); left > 0; --left) member.value.add(route(2));
    }
    list.add(std::move(made));
  }
  return list;
}

std::string ConfigGrammar::configuration() {
  Value root = section(root_section(filter_catalog(), service_section().defaults()), 25, 0);
  std::erase_if(root.members, [](const Value::Member& member) {
    return member.key == "services" || member.key == "policies" || member.key == "listeners" || member.key == "version";
  });
  root.members.insert(root.members.begin(), Value::Member());
  root.members[0].key = "version";
  root.members[0].value = Value::plain("1");
  if (chance(99)) root.add("services", services());
  if (chance(99)) root.add("policies", policies());
  if (chance(80)) root.add("listeners", listeners());
  return config::write_yaml(root);
}

std::string ConfigGrammar::line() {
  static const Vocabulary vocabulary;
  std::string text = one_of(vocabulary.lines());
  if (chance(30)) text = text.substr(0, text.find(':') + 1) + ' ' + config::write_flow(scalar(Description()));
  if (chance(10)) text.insert(random_.below(text.size() + 1), one_of(kBreaks));
  return text;
}

std::string ConfigGrammar::changed(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  if (lines.empty()) lines.emplace_back();
  const std::size_t at = random_.below(lines.size());
  const auto place = lines.begin() + static_cast<std::ptrdiff_t>(at);
  const std::string margin(std::min(lines[at].find_first_not_of(' '), lines[at].size()), ' ');
  switch (random_.below(7)) {
    case 0:
    case 1: lines.insert(place, margin + line()); break;
    case 2: lines[at] = margin + line(); break;
    case 3: lines.insert(place, lines[random_.below(lines.size())]); break;
    case 4: lines.erase(place); break;
    case 5: lines[at] = (chance(50) ? "  " : "") + lines[at].substr(std::min<std::size_t>(margin.size(), random_.below(3))); break;
    default: {
      const std::size_t colon = lines[at].find(": ");
      if (colon != std::string::npos) lines[at] = lines[at].substr(0, colon + 2) + one_of(kTexts);
    }
  }
  std::string out;
  for (const std::string& one : lines) out += one + '\n';
  return out;
}

}  // namespace weir
