// Loads a configuration file: from a path to an immutable Config, or to everything that is wrong with it, at once.
// The command line and reload call it, off the data path; what it returns belongs to the caller.
// It never half-loads: with one error there is no Config, and the one that runs is left alone.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/schema/config.h"
#include "config/sources.h"

namespace weir {

// An error or a warning, and what it is about: "policies.careful.filters[1].retry.max_attempts".
struct Finding {
  std::string path;
  std::string line;  // as in the report
};

struct LoadedConfig {
  std::shared_ptr<const Config> config;  // null when there are errors
  std::string report;                    // all errors and warnings, a line each; empty when there is nothing to say
  std::size_t errors = 0;
  std::size_t warnings = 0;
  std::vector<Finding> findings;  // the report's lines, as far as they are kept
  bool unreadable = false;        // the file itself could not be read

  // Of `weir validate`: 0 clean or warnings only, 1 errors, 2 the file cannot be read. Strict: warnings are errors.
  int exit_status(bool strict) const;
};

LoadedConfig load_config(const std::string& path, const FilterCatalog& catalog, config::Sources& sources);

// A configuration that weir made up itself, such as for `weir run --listen A --upstream B`. `name` stands for the file in messages.
LoadedConfig load_config_text(std::string_view yaml, const std::string& name, const FilterCatalog& catalog, config::Sources& sources);

// The effective configuration as YAML that loads again, and as JSON for the admin page.
std::string print_config(const Config& config, const FilterCatalog& catalog);
std::string print_config_json(const Config& config, const FilterCatalog& catalog);

}  // namespace weir
