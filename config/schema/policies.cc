#include "config/schema/policies.h"

#include <algorithm>
#include <set>

#include "config/schema/lint.h"
#include "config/schema/types.h"

namespace weir {
namespace {

using config::Reader;
using config::Section;
using config::Type;
using config::Value;

constexpr std::size_t kMostFilters = 100;  // of one policy, used ones included
constexpr std::size_t kMostUses = 1000;    // of policies by one, each counted as often as it is used

std::vector<std::string_view> kinds_of(const FilterCatalog& catalog) {
  std::vector<std::string_view> kinds;
  for (const FilterFactory* factory : catalog) kinds.push_back(factory->kind());
  kinds.emplace_back("use");
  return kinds;
}

bool read_fields(const Value& value, Reader& reader, const FilterFactory& factory, FilterDraft& out) {
  const auto& common_section = filter_common_section();
  if (!reader.expect(value, Value::Kind::map, "a map of fields, {} for none")) return false;
  out.config = factory.section().read_new(value, reader, &out.places, &common_section);
  Value common_part = Value::map();  // the other keys were judged by the filter's own section
  common_part.place = value.place;
  for (const Value::Member& member : value.members) {
    for (const auto& field : common_section.fields()) {
      if (field.name == member.key) common_part.members.push_back(member);
    }
  }
  FilterCommon common;
  const bool good = common_section.read(common_part, reader, common, &out.places);
  out.name = common.name;
  out.mode = common.mode;
  out.when = common.when;
  out.ramp = common.ramp;
  return good && out.config != nullptr;
}

bool read_filter(const Value& value, Reader& reader, const FilterCatalog& catalog, FilterDraft& out) {
  if (!reader.expect(value, Value::Kind::map, "a filter such as { timeout: { total: 2s } }")) return false;
  if (value.members.size() != 1) {
    reader.error(value.place, concat("expected one filter an item, got ", value.members.size(), " keys"));
    return false;
  }
  const Value::Member& member = value.members[0];
  const auto scope = reader.enter(member.key);
  out.place = member.place;
  out.source = policy_place(reader, member.place);
  out.path = reader.path();
  if (member.key == "use") return config::reference("policy").read(member.value, reader, out.use);
  const auto found =
      std::find_if(catalog.begin(), catalog.end(), [&](const FilterFactory* factory) { return factory->kind() == member.key; });
  if (found == catalog.end()) {
    const std::string hint = config::did_you_mean(member.key, kinds_of(catalog));
    reader.error(member.place, concat("unknown filter", hint.empty() ? concat("; expected ", join_or(kinds_of(catalog))) : hint));
    return false;
  }
  out.factory = *found;
  return read_fields(member.value, reader, **found, out);
}

// The fields of a policy itself, for the reference page; its filters are read by hand.
bool read_policy(const Value& value, Reader& reader, const FilterCatalog& catalog, PolicyDraft& out) {
  if (!reader.expect(value, Value::Kind::map, "a policy such as { filters: [...] }")) return false;
  bool good = true;
  for (const Value::Member& member : value.members) {
    if (member.key == "filters") continue;
    reader.unknown_key(member, {"filters"});
    good = false;
  }
  const auto scope = reader.enter("filters");
  const Value::Member* filters = value.find("filters");
  if (filters == nullptr) {
    reader.error(value.place, "missing; expected a list of filters");
    return false;
  }
  const auto read_one = [&](const Value& item) {
    FilterDraft draft;
    if (read_filter(item, reader, catalog, draft)) {
      out.filters.push_back(std::move(draft));
    } else {
      good = false;
    }
  };
  if (filters->value.is(Value::Kind::map)) {  // one by itself, as every plural key takes it
    read_one(filters->value);
    return good;
  }
  if (!reader.expect(filters->value, Value::Kind::list, "a list of filters")) return false;
  for (std::size_t i = 0; i < filters->value.items.size(); ++i) {
    const auto item_scope = reader.enter(i);
    read_one(filters->value.items[i]);
  }
  return good;
}

bool read_policies(const Value& value, Reader& reader, const FilterCatalog& catalog, std::vector<PolicyDraft>& out) {
  if (!reader.expect(value, Value::Kind::map, "a map of policies")) return false;
  bool good = true;
  for (const Value::Member& member : value.members) {
    const auto scope = reader.enter(member.key);
    Value key = Value::plain(member.key);
    key.place = member.place;
    PolicyDraft draft;
    draft.place = member.place;
    draft.source = policy_place(reader, member.place);
    const bool name_good = config::name().read(key, reader, draft.name);
    draft.complete = read_policy(member.value, reader, catalog, draft);
    good = good && name_good && draft.complete;
    if (name_good) out.push_back(std::move(draft));
  }
  return good;
}

Value print_filter(const FilterDraft& filter) {
  Value fields = Value::map();
  FilterCommon common;
  common.name = filter.name;
  common.mode = filter.mode;
  common.when = filter.when;
  common.ramp = filter.ramp;
  Value all = filter_common_section().print(common);
  const Value own = filter.factory->section().print_any(filter.config.get());
  const auto take = [&](std::string_view key) {
    for (Value::Member& member : all.members) {
      if (member.key == key) fields.members.push_back(std::move(member));
    }
  };
  take("name");  // first, as people write it; the rest of the common fields comes last
  fields.members.insert(fields.members.end(), own.members.begin(), own.members.end());
  for (const char* key : {"mode", "when", "ramp"}) take(key);
  Value item = Value::map();
  item.add(std::string(filter.factory->kind()), std::move(fields));
  return item;
}

Value print_policies(const std::vector<PolicyDraft>& policies) {
  Value out = Value::map();
  for (const PolicyDraft& policy : policies) {
    Value filters = Value::list();
    for (const FilterDraft& filter : policy.filters) filters.add(print_filter(filter));
    Value fields = Value::map();
    fields.add("filters", std::move(filters));
    out.add(policy.name, std::move(fields));
  }
  return out;
}

class Resolver {
 public:
  Resolver(const std::vector<PolicyDraft>& drafts, const config::Files& files, config::Diagnostics& diagnostics)
      : files_(files), diagnostics_(diagnostics) {
    for (const PolicyDraft& draft : drafts) by_name_[draft.name] = &draft;
  }

  Policies resolve() {
    Policies policies;
    for (const auto& [name, draft] : by_name_) {
      uses_ = 0;
      std::vector<const FilterDraft*> filters;
      std::vector<std::string> users = {name};
      const bool whole = expand(*draft, users, filters);
      std::shared_ptr<const PolicySpec> spec = build(*draft, filters);
      if (whole) lint_policy(filters, files_, diagnostics_);
      policies.emplace(name, std::move(spec));
    }
    return policies;
  }

 private:
  // False when a part of it was refused.
  bool expand(const PolicyDraft& draft, std::vector<std::string>& users, std::vector<const FilterDraft*>& out) {
    bool whole = draft.complete;
    for (const FilterDraft& filter : draft.filters) {
      if (uses_ > kMostUses) return false;
      if (out.size() >= kMostFilters) {
        diagnostics_.error(filter.place, filter.path, concat("more than ", kMostFilters, " filters in one policy"));
        return false;
      }
      if (filter.use.empty()) {
        out.push_back(&filter);
        continue;
      }
      const auto used = by_name_.find(filter.use);
      if (used == by_name_.end()) {  // said already where it was read, or refused itself
        whole = false;
      } else if (std::find(users.begin(), users.end(), filter.use) != users.end()) {
        report_cycle(filter, users);
        whole = false;
      } else if (++uses_ > kMostUses) {  // policies without filters may use each other more often than anybody can count
        diagnostics_.error(filter.place, filter.path, concat("more than ", kMostUses, " policies used in one"));
        return false;
      } else {
        users.push_back(filter.use);
        whole = expand(*used->second, users, out) && whole;
        users.pop_back();
      }
    }
    return whole;
  }

  void report_cycle(const FilterDraft& filter, const std::vector<std::string>& users) {
    // Every policy of the circle, and every one that leads into it, would find it: one report is enough.
    auto from = std::find(users.begin(), users.end(), filter.use);
    std::set<std::string> circle(from, users.end());
    if (!cycles_.insert(circle).second) return;
    std::string path;
    for (; from != users.end(); ++from) path += concat(*from, " uses ");
    diagnostics_.error(filter.place, filter.path, concat("a circle: ", path, filter.use));
  }

  std::shared_ptr<const PolicySpec> build(const PolicyDraft& draft, const std::vector<const FilterDraft*>& filters) {
    auto policy = std::make_shared<PolicySpec>();
    policy->name = draft.name;
    policy->place = draft.source;
    std::map<std::string_view, std::size_t> seen;  // of each kind
    std::map<std::string, config::Place> names;
    for (const FilterDraft* filter : filters) {
      FilterSpec spec;
      spec.factory = filter->factory;
      const std::string kind(filter->factory->kind());
      const std::size_t count = ++seen[filter->factory->kind()];
      spec.named = !filter->name.empty();
      spec.name = spec.named ? filter->name : count == 1 ? kind : concat(kind, '-', count);
      spec.mode = filter->mode;
      if (filter->when) spec.when = std::make_unique<const Matcher>(*filter->when);
      spec.ramp = filter->ramp;
      spec.config = filter->config;
      spec.place = filter->source;
      spec.column = filter->place.column;
      spec.path = filter->path;
      const auto [first, fresh] = names.emplace(spec.name, filter->place);
      if (!fresh)
        diagnostics_.error(
            filter->place, filter->path,
            concat("a second filter called ", spec.name, " in policy ", draft.name, ", first at ", files_.print_line(first->second)));
      policy->filters.push_back(std::move(spec));
    }
    return policy;
  }

  const config::Files& files_;
  config::Diagnostics& diagnostics_;
  std::map<std::string, const PolicyDraft*> by_name_;
  std::set<std::set<std::string>> cycles_;
  std::size_t uses_ = 0;  // by the policy that is being expanded
};

}  // namespace

const Section<FilterCommon>& filter_common_section() {
  static const Section<FilterCommon> section =
      Section<FilterCommon>("filter", "Every filter takes these beside its own.")
          .field("name", &FilterCommon::name, config::name(), "For metrics, logs and state; by default the kind, then kind-2 and so on.")
          .absent()
          .example("per-try")
          .field("mode", &FilterCommon::mode, filter_mode(),
                 "enforce; shadow: decides, counts what it would do, and lets the call through; disabled: "
                 "not there.")
          .absent()
          .field("when", &FilterCommon::when, config::object(matcher_section()), "Only for requests that match.")
          .example("{ methods: [GET] }")
          .field("ramp", &FilterCommon::ramp, share(), "Enforced for this share of requests, by hash; the rest pass it by.")
          .absent()
          .example("10%");
  return section;
}

Type<std::vector<PolicyDraft>> policies_type(const FilterCatalog& catalog) {
  config::Description description;
  description.json = config::Description::Json::map;
  description.form = "map of names to policies";
  return Type<std::vector<PolicyDraft>>(
      std::move(description),
      [&catalog](const Value& value, Reader& reader, std::vector<PolicyDraft>& out) { return read_policies(value, reader, catalog, out); },
      print_policies);
}

PolicyDraft draft_of(const PolicySpec& policy) {
  PolicyDraft draft;
  draft.name = policy.name;
  for (const FilterSpec& spec : policy.filters) {
    FilterDraft filter;
    filter.factory = spec.factory;
    if (spec.named || spec.name != spec.factory->kind()) filter.name = spec.name;
    filter.mode = spec.mode;
    if (spec.when != nullptr) filter.when = *spec.when;
    filter.ramp = spec.ramp;
    filter.config = spec.config;
    draft.filters.push_back(std::move(filter));
  }
  return draft;
}

Policies resolve_policies(const std::vector<PolicyDraft>& drafts, const config::Files& files, config::Diagnostics& diagnostics) {
  return Resolver(drafts, files, diagnostics).resolve();
}

}  // namespace weir
