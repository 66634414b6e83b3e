// CommandLine: what the user asked for, as plain values; the one place that knows how the command line is written.
// main owns it and hands each command its options. Parsing opens no file; help and usage errors are answered here.
// Exit status: 0 done, 1 findings or failure, 2 usage.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "proxy/base/time.h"

namespace weir::cli {

struct RunOptions {
  std::string config;                // -c FILE; or, with no file at all:
  std::string listen;                // --listen ADDRESS
  std::vector<std::string> upstreams;  // --upstream ADDRESS...
  std::string admin;                 // --admin ADDRESS, only without a file
};

struct ValidateOptions {
  std::string config;
  bool print = false;
  bool strict = false;
};

struct DemoOptions {
  std::optional<Duration> duration;  // --for; without it until interrupted
};

struct ReferenceOptions {};

using Command = std::variant<RunOptions, ValidateOptions, DemoOptions, ReferenceOptions>;

struct ParsedCommandLine {
  std::optional<Command> command;  // absent: help, version or a usage error was printed
  int status = 0;                  // then exit with this
};

ParsedCommandLine parse_command_line(int argc, char** argv);

// The commands, one file each.
int run(const RunOptions& options);
int validate(const ValidateOptions& options);
int demo(const DemoOptions& options);
int reference(const ReferenceOptions& options);

}  // namespace weir::cli
