// The sections of the whole configuration, bound to the plain structs of config.h and
// proxy/upstream/service_config.h. Constants, made at first use; the root is made for a catalog of filters,
// because policies read and print through it. They hold no configured value and check no rule that spans
// sections: load.cc does.
#pragma once

#include "config/schema/config.h"
#include "config/schema/policies.h"
#include "config/section.h"

namespace weir {

const config::Section<ServiceConfig>& service_section();
const config::Section<RouteConfig>& route_section();
const config::Section<ListenerConfig>& listener_section();

// The configuration while it is read: policies are drafts until every `use` is resolved.
struct ConfigDraft : Config {
  int version = 1;
  std::vector<PolicyDraft> drafts;
};

// `defaults`: what a service has where it says nothing.
config::Section<ConfigDraft> root_section(const FilterCatalog& catalog, const ServiceConfig& defaults);

// The effective configuration as a tree, with nothing hidden: for comparing, not for showing.
config::Value config_tree(const Config& config, const FilterCatalog& catalog);

// Texts that came from elsewhere, and from where.
using Substituted = std::map<std::string, std::string>;
// Tokens and passwords stand in header values: what came from elsewhere is shown as its source there, for the effective configuration is
// shown on pages and pasted into tickets.
void hide_substituted(config::Value& value, const Substituted& substituted, bool in_headers);

}  // namespace weir
