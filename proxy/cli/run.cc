// weir run: loads the configuration, stands a Server on the real platform, and serves until a signal ends it.
#include <cstdio>
#include <memory>
#include <string>

#include "config/recording_sources.h"
#include "config/schema/endpoint_file.h"
#include "config/schema/load.h"
#include "filters/catalog.h"
#include "proxy/base/text.h"
#include "proxy/cli/command_line.h"
#include "proxy/metrics/metrics.h"
#include "proxy/server/real_platform.h"
#include "proxy/server/server.h"

namespace weir::cli {
namespace {

// `weir run --listen A --upstream B...`: the built-in outbound policy between two addresses, as a file would say it.
std::string yaml_of(const RunOptions& options) {
  std::string yaml = "version: 1\n";
  if (!options.admin.empty()) yaml += concat("admin: { read_only_listen: \"", options.admin, "\" }\n");
  yaml += concat("listeners: [ { name: outbound, direction: outbound, listen: \"", options.listen,
                 "\", routes: [ { service: upstream } ] } ]\n");
  yaml += "services: { upstream: { endpoints: [";
  for (const std::string& upstream : options.upstreams) yaml += concat(" \"", upstream, "\",");
  yaml.back() = ' ';
  return yaml + "] } }\n";
}

LoadedConfig load(const RunOptions& options, config::RecordingSources& sources) {
  sources.begin();
  if (!options.config.empty()) return load_config(options.config, filter_catalog(), sources);
  return load_config_text(yaml_of(options), "command-line", filter_catalog(), sources);
}

Result<std::shared_ptr<const Config>> load_again(const RunOptions& options, config::RecordingSources& sources) {
  LoadedConfig loaded = load(options, sources);
  if (loaded.config == nullptr) return Error{loaded.report.empty() ? "it cannot be loaded" : loaded.report};
  return loaded.config;
}

void collect_log_counts(const LogWriter::Counts& counts, std::vector<MetricsRegistry::Snapshot>& rows) {
  const auto add = [&](const char* name, const char* help, std::uint64_t value) {
    MetricsRegistry::Snapshot row{name, help, MetricKind::counter, {}, {}};
    row.samples.emplace_back().value = static_cast<double>(value);
    rows.push_back(std::move(row));
  };
  add("weir_access_log_dropped_total", "Access log lines lost: the queue was full, or the end came.", counts.dropped_lines);
  add("weir_access_log_write_errors_total", "Failed writes of the access log; each is tried again.", counts.write_errors);
}

}  // namespace

int run(const RunOptions& options) {
  config::HostSources host_sources;
  config::RecordingSources sources(host_sources);
  const LoadedConfig loaded = load(options, sources);
  std::fputs(loaded.report.c_str(), stderr);
  if (loaded.config == nullptr) return loaded.exit_status(false);

  RealPlatformOptions host;
  host.workers = loaded.config->workers;
  host.json_log = loaded.config->log.json;
  host.log_level = loaded.config->log.level;
  Server* server = nullptr;
  RealPlatform* standing = nullptr;
  RealPlatform platform(host, [&server, &standing](int number) {
    if (server == nullptr) return;
    if (number == SIGHUP) {
      standing->reopen_logs();
      static_cast<void>(server->reload());  // what is wrong with it is in the log and on the admin page
    } else {
      server->terminate();
    }
  });
  MetricsRegistry metrics(loaded.config->metrics.max_series);
  bool clean = false;
  ServerHooks hooks;
  hooks.load = [&] { return load_again(options, sources); };
  hooks.read_endpoints = [](const std::string& path) {
    config::HostSources files;
    return read_endpoint_file(path, files);
  };
  if (options.watch && !options.config.empty()) {
    hooks.watched = [&sources] { return sources.places(); };
    hooks.stale = [&sources] { return sources.changed(); };
  }
  hooks.finished = [&](bool was_clean) {
    clean = was_clean;
    platform.stop_main();
  };
  const auto log_metrics = metrics.add_collector([&platform](auto& rows) { collect_log_counts(platform.log_counts(), rows); });
  Server the_server(platform, metrics, std::move(hooks));
  server = &the_server;
  standing = &platform;
  const Result<void> started = the_server.start(loaded.config);
  if (!started) {
    std::fprintf(stderr, "weir: %s\n", started.error().message.c_str());
    platform.stop_workers();
    return 1;
  }
  platform.run();
  server = nullptr;
  platform.stop_workers();
  return clean ? 0 : 1;
}

}  // namespace weir::cli
