// weir schema: prints the JSON Schema of the configuration, for editors and CI.
#include "config/schema/json_schema.h"

#include "filters/catalog.h"
#include "proxy/cli/command_line.h"

namespace weir::cli {

int schema(const SchemaOptions&) { return print(write_json_schema(filter_catalog())); }

}  // namespace weir::cli
