#include "proxy/cli/command_line.h"

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "proxy/base/text.h"

namespace weir::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  weir demo                                               see what weir does, in one command
  weir run --listen 127.0.0.1:8081 --upstream 127.0.0.1:8080
  weir run -c /etc/weir/weir.yaml
  weir validate --strict /etc/weir/weir.yaml              exit status 0 clean, 1 errors, 2 usage or I/O
  weir reload -c /etc/weir/weir.yaml                      exit status 0 taken, 1 refused, 2 usage or no weir there
  weir explain -c weir.yaml GET http://payments.local/v1/ which route, filters, timers and worst case a request gets
  weir schema > weir.schema.json                          for editors: completion, and documentation at each field
The configuration language: config/README.md. Signals of `weir run`: SIGTERM drains and exits 0, a second one ends it at once; SIGHUP reloads,
as does any change of the file, of what it includes and of what ${file:PATH} names.)";

struct Words {  // as typed, before they mean something
  RunOptions run;
  ValidateOptions validate;
  ExplainOptions explain;
  ReloadOptions reload;
  std::string duration;
  std::string timeout;
};

void add_run(CLI::App& app, Words& words) {
  CLI::App* command =
      app.add_subcommand("run", "Run the proxy: with a configuration file, or from one address to others with the built-in policy");
  auto* config = command->add_option("-c,--config", words.run.config, "The YAML file (and what it includes)");
  auto* listen = command->add_option("--listen", words.run.listen, "Without a file: where to listen, host:port or unix:/path");
  auto* upstream = command->add_option("--upstream", words.run.upstreams,
                                       "Without a file: what to call, host:port, unix:/path or dns:host:port; may be repeated");
  auto* admin = command->add_option("--admin", words.run.admin, "Without a file: the read-only listener for /metrics and the pages");
  command->add_flag("!--no-watch", words.run.watch, "Do not reload by itself when the file changes; only by SIGHUP and weir reload");
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

void add_explain(CLI::App& app, Words& words) {
  CLI::App* command =
      app.add_subcommand("explain", "Say what a request meets: listener, route, policy, filters, timers, limits, worst case");
  command->add_option("-c,--config", words.explain.config, "The YAML file (and what it includes)")->required();
  command->add_option("method", words.explain.method, "GET, POST, ...")->required();
  command->add_option("url", words.explain.url, "http://host/path, /path, or host:port with CONNECT")->required();
  command->add_option("-H,--header", words.explain.headers, "A field of the request, name:value; may be repeated")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->check([](const std::string& text) {
        const std::size_t colon = text.find(':');
        return colon == std::string::npos || colon == 0 ? std::string("a header is written name:value") : std::string();
      });
  command->add_option("--listener", words.explain.listener, "The listener it comes to, where there are several");
  command->add_option("--direction", words.explain.direction, "Or its direction")->check(CLI::IsMember({"outbound", "inbound"}));
  command->add_flag("--json", words.explain.json, "For machines");
}

void add_reload(CLI::App& app, Words& words) {
  CLI::App* command = app.add_subcommand(
      "reload",
      "Have the running weir read its configuration again, wait until every worker serves it, and say what changed or what is wrong");
  auto* config = command->add_option("-c,--config", words.reload.config, "The YAML file that it runs: its admin.listen is asked");
  auto* admin = command->add_option("--admin", words.reload.admin, "Its admin.listen: unix:/path or host:port");
  command->add_option("--timeout", words.timeout, "Give up waiting after this long (30s)")->check([](const std::string& text) {
    const auto parsed = parse_duration(text);
    return parsed.ok() ? std::string() : parsed.error().message;
  });
  config->excludes(admin);
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
  CLI::App app("weir: a per-host resilience proxy: timeouts, retries, circuit breaking and load shedding for the calls of one service",
               "weir");
  app.footer(kFooter);
  app.set_version_flag("--version", "weir " WEIR_VERSION);
  app.require_subcommand(1);
  Words words;
  add_run(app, words);
  add_validate(app, words);
  add_explain(app, words);
  add_reload(app, words);
  add_demo(app, words);
  CLI::App* reference = app.add_subcommand("reference", "Print the reference of the configuration language (config/README.md)");
  CLI::App* schema = app.add_subcommand("schema", "Print the JSON Schema (draft-07) of the configuration, for editors and CI");

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
  } else if (app.got_subcommand("reload")) {
    if (words.reload.config.empty() && words.reload.admin.empty()) {
      std::cerr << "weir reload: -c FILE or --admin ADDRESS is required\nRun with --help for more information.\n";
      parsed.status = 2;
      return parsed;
    }
    if (!words.timeout.empty()) words.reload.timeout = *parse_duration(words.timeout);
    parsed.command = words.reload;
  } else if (app.got_subcommand("demo")) {
    DemoOptions demo;
    if (!words.duration.empty()) demo.duration = *parse_duration(words.duration);
    parsed.command = demo;
  } else if (app.got_subcommand(reference)) {
    parsed.command = ReferenceOptions{};
  } else if (app.got_subcommand(schema)) {
    parsed.command = SchemaOptions{};
  } else if (app.got_subcommand("explain")) {
    parsed.command = words.explain;
  }
  return parsed;
}

int print(std::string_view text, int status) {
  const bool taken = std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
  if (taken) return status;
  std::fprintf(stderr, "weir: standard output: %s\n", std::strerror(errno));
  return 2;
}

}  // namespace weir::cli
