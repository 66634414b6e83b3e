#include "config/schema/load.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "config/loader.h"
#include "config/schema/builtin.h"
#include "config/schema/endpoint_file.h"
#include "config/schema/lint.h"
#include "config/schema/sections.h"
#include "config/schema/tls_files.h"
#include "config/write.h"

namespace weir {
namespace {

using config::Diagnostics;
using config::Files;
using config::Reader;
using config::Value;

std::vector<std::string> keys_of(const Value& root, std::string_view map) {
  std::vector<std::string> keys;
  const Value::Member* member = root.find(map);
  if (member == nullptr) return keys;
  for (const Value::Member& entry : member->value.members) keys.push_back(entry.key);
  return keys;
}

// The built-in policies, and the fields of every service.
ConfigDraft read_builtin(const FilterCatalog& catalog, config::Sources& sources, Files& files, Diagnostics& diagnostics) {
  const Value root = config::load_text(builtin_yaml(), kBuiltinFile, sources, files, diagnostics);
  Reader reader(diagnostics, {}, &files);
  ConfigDraft builtin;
  (void)root_section(catalog, service_section().defaults()).read(root, reader, builtin);  // errors are in the diagnostics
  return builtin;
}

ServiceConfig service_defaults(const ConfigDraft& builtin) {
  const auto any = builtin.services.find("any");
  ServiceConfig defaults = any == builtin.services.end() ? service_section().defaults() : any->second;
  defaults.name.clear();
  defaults.endpoints.clear();
  return defaults;
}

// The drafts that replace none of `others`: a printed configuration holds the built-in policies, and is no
// worse for it.
std::vector<PolicyDraft> without(std::vector<PolicyDraft> drafts, const std::vector<PolicyDraft>& others) {
  std::erase_if(drafts, [&](const PolicyDraft& draft) {
    return std::any_of(others.begin(), others.end(), [&](const PolicyDraft& other) { return other.name == draft.name; });
  });
  return drafts;
}

void name_routes(ConfigDraft& draft) {
  for (ListenerConfig& listener : draft.listeners) {
    std::set<std::string> taken;
    for (const RouteConfig& route : listener.routes) taken.insert(route.name);
    for (std::size_t i = 0; i < listener.routes.size(); ++i) {
      std::string& name = listener.routes[i].name;
      if (!name.empty()) continue;
      name = concat("route-", i + 1);
      while (!taken.insert(name).second) name += "-other";  // that one is somebody else's
    }
  }
}

LoadedConfig report(Diagnostics& diagnostics, const Files& files) {
  LoadedConfig loaded;
  loaded.report = diagnostics.print(files);
  loaded.errors = diagnostics.errors();
  loaded.warnings = diagnostics.warnings();
  for (const config::Diagnostic& one : diagnostics.sorted()) loaded.findings.push_back({one.path, diagnostics.print(one, files)});
  return loaded;
}

void collect_substituted(const Value& value, Substituted& out) {
  if (!value.origin.empty() && !value.text.empty()) out.emplace(value.text, value.origin);
  for (const Value& item : value.items) collect_substituted(item, out);
  for (const Value::Member& member : value.members) collect_substituted(member.value, out);
}

LoadedConfig build(const Value& root, const FilterCatalog& catalog, config::Sources& sources, std::shared_ptr<Files> files,
                   Diagnostics& diagnostics) {
  if (!root.is(Value::Kind::map)) return report(diagnostics, *files);
  const ConfigDraft builtin = read_builtin(catalog, sources, *files, diagnostics);
  Reader reader(diagnostics, {}, files.get());
  std::vector<std::string> policies = keys_of(root, "policies");
  for (const PolicyDraft& policy : builtin.drafts) policies.push_back(policy.name);
  reader.know("service", keys_of(root, "services"));
  reader.know("policy", std::move(policies));
  ConfigDraft draft;
  (void)root_section(catalog, service_defaults(builtin)).read(root, reader, draft);
  check_endpoint_files(root, sources, *files, diagnostics);
  load_tls_files(root, sources, *files, diagnostics, draft);

  std::vector<PolicyDraft> drafts = builtin.drafts;  // the file's come later and replace those of the same name
  drafts.insert(drafts.end(), draft.drafts.begin(), draft.drafts.end());
  draft.policies = resolve_policies(drafts, *files, diagnostics);
  name_routes(draft);
  collect_substituted(root, draft.substituted);
  lint_services(draft, without(draft.drafts, builtin.drafts), *files, diagnostics);

  LoadedConfig loaded = report(diagnostics, *files);
  if (loaded.errors > 0) return loaded;
  draft.files = files;
  loaded.config = std::make_shared<const Config>(std::move(static_cast<Config&>(draft)));
  return loaded;
}

Value shown_tree(const Config& config, const FilterCatalog& catalog) {
  Value tree = config_tree(config, catalog);
  hide_substituted(tree, config.substituted, false);
  return tree;
}

}  // namespace

int LoadedConfig::exit_status(bool strict) const {
  if (unreadable) return 2;
  return errors > 0 || (strict && warnings > 0) ? 1 : 0;
}

LoadedConfig load_config(const std::string& path, const FilterCatalog& catalog, config::Sources& sources) {
  const auto files = std::make_shared<Files>();
  Diagnostics diagnostics;
  const Result<Value> root = config::load_tree(path, sources, *files, diagnostics);
  if (root) return build(*root, catalog, sources, files, diagnostics);
  LoadedConfig loaded;
  loaded.report = root.error().message + '\n';
  loaded.errors = 1;
  loaded.unreadable = true;
  return loaded;
}

LoadedConfig load_config_text(std::string_view yaml, const std::string& name, const FilterCatalog& catalog, config::Sources& sources) {
  const auto files = std::make_shared<Files>();
  Diagnostics diagnostics;
  const Value root = config::load_text(yaml, name, sources, *files, diagnostics);
  return build(root, catalog, sources, files, diagnostics);
}

Value config_tree(const Config& config, const FilterCatalog& catalog) {
  ConfigDraft draft;
  static_cast<Config&>(draft) = config;
  return root_section(catalog, service_section().defaults()).print(draft);
}

void hide_substituted(Value& value, const Substituted& substituted, bool in_headers) {
  if (in_headers && value.is(Value::Kind::scalar)) {
    const auto found = substituted.find(value.text);
    if (found != substituted.end()) value = Value::string(found->second);
  }
  for (Value& item : value.items) hide_substituted(item, substituted, in_headers);
  for (Value::Member& member : value.members)
    hide_substituted(member.value, substituted, in_headers || member.key == "headers" || member.key == "set");
}

std::string print_config(const Config& config, const FilterCatalog& catalog) { return config::write_yaml(shown_tree(config, catalog)); }

std::string print_config_json(const Config& config, const FilterCatalog& catalog) {
  return config::write_json(shown_tree(config, catalog));
}

PolicyChoice Config::choose_policy(const ListenerConfig& listener, const RouteConfig& route, const std::string& service) const {
  PolicyChoice choice;
  std::string name = listener.direction == Direction::inbound ? "default-inbound" : "default-outbound";
  const auto called = services.find(service);
  if (!route.policy.empty()) {
    choice.by = PolicyChoice::By::route;
    name = route.policy;
  } else if (called != services.end() && !called->second.policy.empty()) {
    choice.by = PolicyChoice::By::service;
    name = called->second.policy;
  }
  const auto found = policies.find(name);
  CHECK(found != policies.end());  // references were checked when the configuration was loaded
  choice.policy = found->second.get();
  return choice;
}

}  // namespace weir
