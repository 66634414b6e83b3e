// weir validate: loads a file and says everything that is wrong with it; runs nothing.
#include <cstdio>

#include "config/schema/load.h"
#include "config/schema/reference.h"
#include "filters/catalog.h"
#include "proxy/cli/command_line.h"

namespace weir::cli {

int validate(const ValidateOptions& options) {
  config::HostSources sources;
  const LoadedConfig loaded = load_config(options.config, filter_catalog(), sources);
  std::fputs(loaded.report.c_str(), stderr);
  const int status = loaded.exit_status(options.strict);
  if (loaded.config == nullptr || !options.print) return status;
  return print(print_config(*loaded.config, filter_catalog()), status);
}

int reference(const ReferenceOptions&) { return print(write_reference(filter_catalog())); }

}  // namespace weir::cli
