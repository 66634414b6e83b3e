#include "proxy/cli/command_line.h"

#include <CLI/CLI.hpp>

#include "proxy/base/text.h"

namespace weir::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  weir demo                                               see what weir does, in one command
  weir run --listen 127.0.0.1:8081 --upstream 127.0.0.1:8080
  weir run -c /etc/weir/weir.yaml
  weir validate --strict /etc/weir/weir.yaml              exit status 0 clean, 1 errors, 2 usage or I/O
The configuration language: config/README.md. Signals of `weir run`: SIGTERM drains and exits 0, a second one ends it at once; SIGHUP reloads.)";

struct Words {  // as typed, before they mean something
  RunOptions run;
  ValidateOptions validate;
  std::string duration;
};

void add_run(CLI::App& app, Words& words) {
  CLI::App* command = app.add_subcommand("run", "Run the proxy: with a configuration file, or from one address to others with the built-in policy");
  auto* config = command->add_option("-c,--config", words.run.config, "The YAML file (and what it includes)");
  auto* listen = command->add_option("--listen", words.run.listen, "Without a file: where to listen, host:port or unix:/path");
  auto* upstream = command->add_option("--upstream", words.run.upstreams, "Without a file: what to call, host:port, unix:/path or dns:host:port; may be repeated");
  auto* admin = command->add_option("--admin", words.run.admin, "Without a file: the read-only listener for /metrics and the pages");
  config->excludes(listen)->excludes(upstream)->excludes(admin);
  listen->needs(upstream);
  upstream->needs(listen);
  admin->needs(listen);
}

void add_validate(CLI::App& app, Words& words) {
  CLI::App* command = app.add_subcommand("validate", "Check a configuration: every error and warning at once, each with its place");
  command->add_option("file", words.validate.config, "The YAML file")->required();
  command->add_flag("--print", words.validate.print, "Print the effective configuration, every default resolved");
  command->add_flag("--strict", words.validate.strict, "Warnings are errors");
}

void add_demo(CLI::App& app, Words& words) {
  CLI::App* command = app.add_subcommand("demo", "A flaky service, load and weir in one process, with a live table of what happens");
  command->add_option("--for", words.duration, "Stop after this long, e.g. 20s; without it the demo runs until interrupted")
      ->check([](const std::string& text) {
        const auto parsed = parse_duration(text);
        if (!parsed) return parsed.error().message;
        return *parsed < 1s ? std::string("at least 1s") : std::string();
      });
}

}  // namespace

ParsedCommandLine parse_command_line(int argc, char** argv) {
  CLI::App app("weir: a per-host resilience proxy: timeouts, retries, circuit breaking and load shedding for the calls of one service", "weir");
  app.footer(kFooter);
  app.set_version_flag("--version", "weir " WEIR_VERSION);
  app.require_subcommand(1);
  Words words;
  add_run(app, words);
  add_validate(app, words);
  add_demo(app, words);
  CLI::App* reference = app.add_subcommand("reference", "Print the reference of the configuration language (config/README.md)");

  ParsedCommandLine parsed;
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    parsed.status = app.exit(error) == 0 ? 0 : 2;
    return parsed;
  }
  if (app.got_subcommand("run")) {
    if (words.run.config.empty() && words.run.listen.empty()) {
      std::cerr << "weir run: -c FILE, or --listen ADDRESS with --upstream ADDRESS, is required\nRun with --help for more information.\n";
      parsed.status = 2;
      return parsed;
    }
    parsed.command = words.run;
  } else if (app.got_subcommand("validate")) {
    parsed.command = words.validate;
  } else if (app.got_subcommand("demo")) {
    DemoOptions demo;
    if (!words.duration.empty()) demo.duration = *parse_duration(words.duration);
    parsed.command = demo;
  } else if (app.got_subcommand(reference)) {
    parsed.command = ReferenceOptions{};
  }
  return parsed;
}

}  // namespace weir::cli
