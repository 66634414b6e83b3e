// The file of a `file:` endpoint: a YAML list of endpoints in the forms of `endpoints:`, addresses with or without a weight, names too.
// `weir run` reads it through this when the configuration is taken and when the file changes; the loader checks it with everything else.
// It never takes a part: a list with one bad entry, or too many, is refused as a whole.
//
//   - 10.0.0.1:8080
//   - { address: 10.0.0.2:8080, weight: 2 }
#pragma once

#include <string>
#include <vector>

#include "config/diagnostics.h"
#include "config/sources.h"
#include "config/value.h"
#include "proxy/base/result.h"
#include "proxy/upstream/service_config.h"

namespace weir {

// The error is one line: the first mistake, with file, line and column.
Result<std::vector<EndpointConfig>> read_endpoint_file(const std::string& path, config::Sources& sources);

// Of a whole configuration: every file that an endpoint names is read, and what is wrong with it is said; a file that cannot be read is
// the endpoint's mistake.
void check_endpoint_files(const config::Value& root, config::Sources& sources, config::Files& files, config::Diagnostics& diagnostics);

}  // namespace weir
