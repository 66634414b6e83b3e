#include "tests/fuzz/config_check.h"

#include <algorithm>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>

#include "config/diagnostics.h"
#include "config/schema/load.h"
#include "filters/catalog.h"
#include "proxy/metrics/metrics.h"
#include "proxy/server/snapshot.h"
#include "proxy/sim/sim_net.h"
#include "proxy/upstream/directory.h"
#include "proxy/upstream/worker_services.h"
#include "tests/config/memory_sources.h"
#include "tests/fuzz/fuzz_support.h"

namespace weir {

namespace {

constexpr const char* kName = "f.yaml";

config::MemorySources sources_with(std::string_view text) {
  config::MemorySources sources;
  sources.files[kName] = text;
  sources.files["conf.d/more.yaml"] = "version: 1\nservices: { more: { endpoints: 127.0.0.1:3 } }\n";
  sources.files["secret"] = "s3cret\n";
  sources.variables["ONE"] = "1";
  sources.variables["WAIT"] = "2s";
  sources.variables["TEXT"] = "a: [b] \xc3\xa4";
  return sources;
}

LoadedConfig load(std::string_view text) {
  config::MemorySources sources = sources_with(text);
  return load_config(kName, filter_catalog(), sources);
}

std::size_t characters_of(std::string_view line) {
  return static_cast<std::size_t>(
      std::count_if(line.begin(), line.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; }));
}

// "12:5: error: ..." says where: inside the text, or just behind its end or a line's end.
void check_place(std::string_view said, const std::vector<std::string_view>& lines, std::string_view report) {
  const auto number = [&said]() {
    const std::size_t end = said.find(':');
    const Result<std::int64_t> value = parse_integer(said.substr(0, end));
    said.remove_prefix(end == std::string_view::npos ? said.size() : end + 1);
    return value ? static_cast<std::size_t>(*value) : 0;
  };
  const std::size_t line = number(), column = number();
  require(line >= 1 && line <= lines.size() + 1, "a line of the file", report);
  const std::size_t length = line <= lines.size() ? characters_of(lines[line - 1]) : 0;
  require(column >= 1 && column <= std::min<std::size_t>(length + 1, 65'535), "a column of the line", report);
  require(said.starts_with(" error: ") || said.starts_with(" warning: "), "an error or a warning", report);
}

void check_report(const LoadedConfig& loaded, std::string_view text) {
  const std::string& report = loaded.report;
  require((loaded.config == nullptr) == (loaded.errors > 0) && !loaded.unreadable, "a configuration, or errors", report);
  require(report.empty() == (loaded.errors + loaded.warnings == 0), "who has nothing to say says nothing", report);
  require(std::all_of(report.begin(), report.end(), [](char c) { return (c >= 0x20 && c != 0x7f) || c == '\n' || c < 0; }),
          "a report without controls", report);
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  const std::vector<std::string_view> lines = lines_of(text, text.size() + 1);
  std::size_t said = 0;
  for (std::string_view line : lines_of(report, report.size() + 1)) {
    if (line.starts_with("and ")) continue;  // so many more
    // built-in: a policy of ours that `use` put beside something else
    require(line.starts_with("f.yaml:") || line.starts_with("conf.d/more.yaml:") || line.starts_with("built-in:"),
            "a report of these files", report);
    if (line.starts_with("f.yaml:")) check_place(line.substr(7), lines, report);
    ++said;
  }
  constexpr std::size_t kMost = config::Diagnostics::kMost;
  require(said == std::min(loaded.errors, kMost) + std::min(loaded.warnings, kMost), "a line each", report);
}

class NoNames final : public NameResolver {
  std::unique_ptr<NameLookup> lookup(const std::string&, std::uint16_t, AddressFamilies, NameHandler&) override {
    return std::make_unique<NameLookup>();
  }
  std::unique_ptr<NameLookup> lookup_srv(const std::string&, SrvHandler&) override { return std::make_unique<NameLookup>(); }
};

void ignore(void*) {}

// The chains of every route, as a worker builds them; and once more, as a reload would.
void build_chains(const std::shared_ptr<const Config>& config) {
  SimLoop loop;
  SimNet net(loop);
  NoNames names;
  BufferPool buffers;
  ArenaPool arenas;
  Random random(1);
  MetricsRegistry registry;
  WorkerContext worker{loop, buffers, arenas, random, registry.shard(0), 0};
  ServiceDirectory directory(loop, names, 1);
  directory.apply(config->services, {});
  WorkerServices services(worker, net, directory);
  StateStore states(1);
  const RouteTableParts parts{*config, worker, states, services, directory, nullptr};
  for (std::uint64_t generation = 1; generation <= 2; ++generation) {
    states.begin_generation();
    const Snapshot snapshot(config, generation, parts, Callback(&ignore, nullptr));
    states.end_generation();
    for (const ListenerConfig& listener : config->listeners) require(snapshot.table(listener.name) != nullptr, "a table for each listener");
  }
  loop.run_ready();
}

void check_printed(const Config& config, std::string_view text) {
  const FilterCatalog& catalog = filter_catalog();
  const std::string printed = print_config(config, catalog);
  const LoadedConfig again = load(printed);
  require(again.config != nullptr, "what is printed loads", concat(text, "\n--- printed ---\n", printed, "\n--- said ---\n", again.report));
  const std::string twice = print_config(*again.config, catalog);
  require(twice == printed, "it is printed the same again", concat(printed, "\n--- again ---\n", twice));
  require(nlohmann::json::accept(print_config_json(config, catalog)), "and it is JSON", printed);
}

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

}  // namespace

bool check_config(std::string_view text) {
  const LoadedConfig loaded = load(text);
  check_report(loaded, text);
  require(load(text).report == loaded.report, "the same report twice", text);
  if (loaded.config == nullptr) return false;
  build_chains(loaded.config);
  check_printed(*loaded.config, text);
  return true;
}

void check_config_grown(std::string_view text) {
  constexpr std::size_t kSize = std::size_t{64} * 1024;
  constexpr double kMostSeconds = 4;  // of the processor, with sanitizers; a linear loader needs a tenth of it
  if (text.empty()) return;
  std::string whole, line_by_line;
  while (whole.size() < kSize) whole += text;
  const std::vector<std::string_view> lines = lines_of(text, 1000);
  const std::size_t times = kSize / text.size() + 1;
  for (const std::string_view line : lines) {
    for (std::size_t i = 0; i < times; ++i) line_by_line += concat(line, '\n');
  }
  for (const std::string& grown : {whole, line_by_line}) {
    const double before = cpu_seconds();
    (void)load(grown);
    require(cpu_seconds() - before < kMostSeconds, "loading takes time in proportion", text);
  }
}

}  // namespace weir
