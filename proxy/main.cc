// main: reads the command line and hands over to the one command that was asked for.
#include <variant>

#include "proxy/cli/command_line.h"

namespace {

struct Dispatch {
  int operator()(const weir::cli::RunOptions& options) const { return weir::cli::run(options); }
  int operator()(const weir::cli::ValidateOptions& options) const { return weir::cli::validate(options); }
  int operator()(const weir::cli::ReloadOptions& options) const { return weir::cli::reload(options); }
  int operator()(const weir::cli::DemoOptions& options) const { return weir::cli::demo(options); }
  int operator()(const weir::cli::ReferenceOptions& options) const { return weir::cli::reference(options); }
  int operator()(const weir::cli::SchemaOptions& options) const { return weir::cli::schema(options); }
  int operator()(const weir::cli::ExplainOptions& options) const { return weir::cli::explain(options); }
};

}  // namespace

int main(int argc, char** argv) {
  const weir::cli::ParsedCommandLine parsed = weir::cli::parse_command_line(argc, argv);
  return parsed.command ? std::visit(Dispatch{}, *parsed.command) : parsed.status;
}
