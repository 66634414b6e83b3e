// Policies as they are read: lists of filters whose fields the filters' own sections read, and `use` of other
// policies. Drafts live while a file is loaded; resolve_policies turns them into the PolicySpecs of the
// configuration. It knows no kind of filter: everything comes from the catalog.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/diagnostics.h"
#include "config/section.h"
#include "proxy/chain/filter.h"

namespace weir {

// One item of `filters:`; with `use` set, the place of another policy's filters.
struct FilterDraft {
  std::string use;
  const FilterFactory* factory = nullptr;
  std::string name;  // as written; empty: by default
  FilterMode mode = FilterMode::enforce;
  std::optional<Matcher> when;
  double ramp = 1.0;
  std::shared_ptr<const void> config;
  config::FieldPlaces places;
  config::Place place;
  PolicyPlace source;  // the same place, as the rest of weir names it
  std::string path;    // "policies.careful.filters[1].retry"
};

struct PolicyDraft {
  std::string name;
  config::Place place;
  PolicyPlace source;
  std::vector<FilterDraft> filters;
  bool complete = true;  // false: something in it was refused, so that nothing more is said of the whole
};

// The fields that every filter has beside its own.
struct FilterCommon {
  std::string name;
  FilterMode mode = FilterMode::enforce;
  std::optional<Matcher> when;
  double ramp = 1.0;
};
const config::Section<FilterCommon>& filter_common_section();

// The `policies` map. The catalog outlives the type.
config::Type<std::vector<PolicyDraft>> policies_type(const FilterCatalog& catalog);

// For printing: a policy as it was resolved.
PolicyDraft draft_of(const PolicySpec& policy);

using Policies = std::map<std::string, std::shared_ptr<const PolicySpec>>;

// Puts used policies in and gives every filter its name, then lints what is whole. Later drafts of a name
// win, so that the file's come after the built-in ones.
Policies resolve_policies(const std::vector<PolicyDraft>& drafts, const config::Files& files, config::Diagnostics& diagnostics);

}  // namespace weir
