#include "config/schema/reference.h"

#include <map>
#include <string_view>

#include "config/schema/builtin.h"
#include "config/schema/sections.h"

namespace weir {
namespace {

using config::Description;
using config::SectionBase;

constexpr std::string_view kOpening = R"md(# The configuration, field by field

This page is generated from the declarations that read the file (`config/schema/`, `filters/*/`); a test checks that it is current.
Examples that load: [examples/](examples/). `weir validate FILE` says everything that is wrong with a file at once, each with its line and
column; `weir validate --print FILE` shows the effective configuration, defaults filled in.

## How things are written

| What | How |
|---|---|
| Keys, words | snake_case; names of listeners, routes, services and policies as you like |
| Duration | integers with `ms` `s` `m` `h`, also `1h30m`; always with a unit |
| Size | `KiB` `MiB` `GiB` |
| Rate | `50/s`, `10/m`, `100/h` |
| Ratio | `0%` to `100%`, up to four decimals |
| Address | `127.0.0.1:8080`, `[::1]:8080`, `unix:/path`; host names only as `dns:host:port` and `srv:name`, and only for endpoints |
| List | a plural key takes a list, and a single value too |
| `${env:NAME}`, `${file:PATH}` | stand for a whole value; not set or not there is an error. Paths are relative to the file. Within `[ ]` and `{ }` put them in quotes. Header values are shown as their source, never as what they hold |
| `include: [conf.d/*.yaml]` | adds the listeners, services and policies of other files, sorted; a name that is defined twice is an error, no match is none |

Not supported, so that a file means what it seems to mean: anchors, aliases, merge keys, tags, duplicate keys, several documents, and the
words that YAML 1.1 tools read as booleans (`on`, `off`, `yes`, `no`) without quotes.

The policy of a request is the route's, else the service's, else the built-in one of the listener's direction (`default-outbound`,
`default-inbound`; a policy of that name in the file replaces it). Whole policies are replaced, never merged field by field.
)md";

constexpr std::string_view kLints = R"md(
## Warnings

Each has a code; `weir validate --strict` makes them errors.

| Code | Means |
|---|---|
| `try-over-total` | a try's limit is not below the total that bounds it, so it never ends a try |
| `tries-over-total` | the tries that a retry allows do not fit the total |
| `unsafe-retry` | a retry repeats methods such as POST that may already have been processed |
| `unreachable-volume` | a breaker waits for more calls than a rate limit before it lets through |
| `ejects-none` | outlier detection that can eject nobody |
| `unused-field` | a field of the service that its balance does not look at |
| `senseless-order` | a total inside a shorter total; a retry inside a retry |
| `nameless-state` | two filters of a kind that keeps state, and no names to tell them apart |
| `two-breakers` | two policies break one service, each seeing a part of its calls |
| `unreachable-route` | a route after one that takes everything |
| `same-name` | two routes of a listener have one name |
)md";

std::string cell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

std::string code(std::string_view text) { return text.empty() ? std::string() : concat('`', cell(text), '`'); }

std::string anchor(std::string_view title) {  // as GitHub makes them
  std::string out;
  for (const char c : ascii_lower(title)) {
    if (c == ' ') out += '-';
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_') out += c;
  }
  return out;
}

class Page {
 public:
  // One section, then those inside it, depth first.
  void section(const std::string& title, const SectionBase& section, std::string_view note = {}) {
    titles_.emplace(&section, title);
    text_ += concat("\n### ", title, "\n\n", section.doc(), '\n', note,
                    "\n| Field | Type | Default | Example | Meaning |\n|---|---|---|---|---|\n");
    std::vector<std::pair<std::string, const SectionBase*>> inner;
    for (const SectionBase::Field& field : section.fields()) {
      std::string path;
      const SectionBase* below = section_below(field.type, path);
      std::string type = cell(field.type.form);
      if (below != nullptr) {
        const auto known = titles_.find(below);
        const std::string below_title = known != titles_.end() ? known->second : concat(prefix(title), field.name, path);
        const std::string link = concat('[', below->name(), "](#", anchor(below_title), ')');
        const std::string_view shape = path.empty() ? "" : path == "[]" ? "list of " : "map of ";
        type = has_alternatives(field.type) ? concat(type, ": ", link) : concat(shape, link);
        if (titles_.emplace(below, below_title).second) inner.emplace_back(below_title, below);
      }
      row(field, type, below != nullptr);
    }
    for (const auto& [below_title, below] : inner) this->section(below_title, *below);
  }

  void append(std::string_view text) { text_ += text; }
  std::string take() { return std::move(text_); }

 private:
  static std::string prefix(const std::string& title) { return title == "The file" ? std::string() : title + "."; }

  // The section that the type leads to, if any; `path` is the way there: "[]" into a list, ".NAME" into a
  // map.
  static const SectionBase* section_below(const Description& type, std::string& path) {
    if (type.section != nullptr) return type.section;
    const std::string start = path;
    for (const Description& part : type.parts) {
      path = start;
      if (type.json == Description::Json::list) path += "[]";
      if (type.json == Description::Json::map) path += ".NAME";
      if (const SectionBase* below = section_below(part, path)) return below;
    }
    path = start;
    return nullptr;
  }

  // A list of things that are either text or a section says both.
  static bool has_alternatives(const Description& type) {
    if (type.json == Description::Json::any) return !type.parts.empty();
    return !type.parts.empty() && has_alternatives(type.parts[0]);
  }

  void row(const SectionBase::Field& field, const std::string& type, bool nested) {
    std::string value = field.required ? "required" : code(field.default_text);
    if (field.absent_by_default && !field.required &&
        (nested || field.default_text == "\"\"" || field.default_text == "[]" || field.default_text == "{}"))
      value.clear();
    if (value.size() > 60 && nested) value = "see there";
    text_ += concat("| `", field.name, "` | ", type, " | ", value, " | ", code(field.example), " | ", cell(field.doc), " |\n");
  }

  std::map<const SectionBase*, std::string> titles_;
  std::string text_;
};

}  // namespace

std::string write_reference(const FilterCatalog& catalog) {
  Page page;
  page.append(kOpening);
  page.append("\n## The fields\n");
  page.section("The file", root_section(catalog, service_section().defaults()));
  page.append(
      "\n## The filters\n\nA policy is `{ filters: [...] }`, outermost first; the order is the meaning. An "
      "item is one filter, such as "
      "`- timeout: { total: 2s }`, or\n`- use: POLICY`, which puts the filters of another policy there.\n");
  page.section("Fields of every filter", filter_common_section());
  for (const FilterFactory* factory : catalog) page.section(std::string(factory->kind()), factory->section());
  page.append(kLints);
  page.append("\n## The built-in configuration\n\n```yaml\n");
  page.append(builtin_yaml());
  page.append("```\n");
  return page.take();
}

}  // namespace weir
