// Loads a configuration file with its includes into one tree, with `${env:NAME}` and `${file:PATH}` put in.
// The caller owns the tree, the Files that its places refer to, and the Diagnostics.
// It knows no field but `version`, `include` and the three that hold named things; everything else is the
// schema's.
#pragma once

#include <string>

#include "config/diagnostics.h"
#include "config/sources.h"
#include "config/value.h"
#include "proxy/base/result.h"

namespace weir::config {

// An Error only when the file itself cannot be read; everything wrong inside it is in the diagnostics. Null
// when the file or one that it includes could not be read to its end: what is missing then is nobody's fault.
Result<Value> load_tree(const std::string& path, Sources& sources, Files& files, Diagnostics& diagnostics);

// The same for a text that is at hand, such as the built-in defaults. No includes.
Value load_text(std::string_view text, std::string file_name, Sources& sources, Files& files, Diagnostics& diagnostics);

}  // namespace weir::config
