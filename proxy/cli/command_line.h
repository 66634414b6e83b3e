// CommandLine: what the user asked for, as plain values; the one place that knows how the command line is written.
// main owns it and hands each command its options. Parsing opens no file; help and usage errors are answered here.
// Exit status: 0 done, 1 findings or failure, 2 usage.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "proxy/base/time.h"

namespace weir::cli {

struct RunOptions {
  std::string config;                  // -c FILE; or, with no file at all:
  std::string listen;                  // --listen ADDRESS
  std::vector<std::string> upstreams;  // --upstream ADDRESS...
  std::string admin;                   // --admin ADDRESS, only without a file
  bool watch = true;                   // --no-watch: reload only when asked
};

struct ValidateOptions {
  std::string config;
  bool print = false;
  bool strict = false;
};

struct ReloadOptions {  // one of the two
  std::string config;   // -c FILE: the admin address stands in it
  std::string admin;    // --admin ADDRESS
  Duration timeout = std::chrono::seconds(30);
};

struct DemoOptions {
  std::optional<Duration> duration;  // --for; without it until interrupted
};

struct ReferenceOptions {};

struct SchemaOptions {};

struct ExplainOptions {
  std::string config;
  std::string method, url;
  std::vector<std::string> headers;  // "name: value"
  std::string listener;              // by name; or by direction; neither is needed where there is one
  std::string direction;
  bool json = false;
};

using Command = std::variant<RunOptions, ValidateOptions, ReloadOptions, DemoOptions, ReferenceOptions, SchemaOptions, ExplainOptions>;

struct ParsedCommandLine {
  std::optional<Command> command;  // absent: help, version or a usage error was printed
  int status = 0;                  // then exit with this
};

ParsedCommandLine parse_command_line(int argc, char** argv);

// To standard output. `status` where all of it was taken, else 2, and a word on standard error.
int print(std::string_view text, int status = 0);

// The commands, one file each.
int run(const RunOptions& options);
int validate(const ValidateOptions& options);
int reload(const ReloadOptions& options);
int demo(const DemoOptions& options);
int reference(const ReferenceOptions& options);
int schema(const SchemaOptions& options);
int explain(const ExplainOptions& options);

}  // namespace weir::cli
