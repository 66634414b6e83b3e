// The JSON Schema (draft-07) of the configuration, for editors and CI: `weir schema > weir.schema.json`.
// Made from the declarations that read the file; it speaks of the file as a YAML 1.2 tool loads it, and accepts whatever loads.
// It never knows the rules between fields, or whether a name exists: `weir validate` does.
#pragma once

#include <string>

#include "proxy/chain/filter.h"

namespace weir {

std::string write_json_schema(const FilterCatalog& catalog);  // indented JSON; the same each time

}  // namespace weir
