#include "tests/support/world.h"

#include <stdexcept>

#include "config/schema/endpoint_file.h"
#include "config/schema/load.h"
#include "filters/catalog.h"

namespace weir::test {
namespace {

Address address_of(const std::string& text) { return Address::parse(text).value(); }

}  // namespace

World::World(std::string yaml, WorldOptions options)
    : sim(options.seed), platform(sim, options.workers), yaml_(std::move(yaml)), from_file_(options.from_file), sources_(platform.files) {
  platform.pipes = options.pipes;
  for (const auto& [path, text] : options.files) platform.files.write(path, text);
  ServerHooks hooks;
  hooks.read_endpoints = [this](const std::string& path) { return read_endpoint_file(path, platform.files); };
  if (from_file_) {
    platform.files.write(kFile, yaml_);
    hooks.watched = [this] { return sources_.places(); };
    hooks.stale = [this] { return sources_.changed(); };
  }
  hooks.load = [this] { return load(); };
  hooks.finished = [this](bool clean) {
    finished = true;
    finished_clean = clean;
  };
  server = std::make_unique<Server>(platform, metrics, std::move(hooks));
  if (!options.start) return;
  auto config = load();
  if (!config) throw std::runtime_error(config.error().message);
  const Result<void> started = server->start(std::move(config).value());
  if (!started) throw std::runtime_error(started.error().message);
  settle();
}

World::~World() {
  clients.clear();
  for (std::size_t i = 0; i < sim.loop_count(); ++i) sim.loop(i).stop();  // as the threads have ended before a real server is dropped
  server.reset();
  upstreams.clear();
}

Result<std::shared_ptr<const Config>> World::load() {
  sources_.begin();
  LoadedConfig loaded =
      from_file_ ? load_config(kFile, filter_catalog(), sources_) : load_config_text(yaml_, "test.yaml", filter_catalog(), platform.files);
  if (loaded.config == nullptr) return Error{loaded.report, 0};
  return loaded.config;
}

Result<void> World::reload(std::string yaml) {
  yaml_ = std::move(yaml);
  Result<void> done = server->reload();
  settle();
  return done;
}

SimUpstream& World::upstream(const std::string& address) {
  auto& found = upstreams[address];
  if (found == nullptr) found = std::make_unique<SimUpstream>(platform.net, sim.loop(0), address_of(address));
  return *found;
}

SimClient& World::client_to(const Address& address) {
  clients.push_back(std::make_unique<SimClient>(platform.net, address));
  return *clients.back();
}

SimClient& World::client(const std::string& listener) { return client_to(server->listening().at(listener)); }

bool World::await(SimClient& client, std::size_t answers, Duration within) {
  return sim.run_until([&] { return client.answered(answers) || client.over() || client.refused(); }, within) && client.answered(answers);
}

Message World::get(const std::string& path, const std::string& fields, const std::string& listener) {
  SimClient& one = client(listener);
  one.get(path, fields);
  if (!await(one)) return {};
  const Message answer = one.answers().back();
  one.close();
  settle();
  return answer;
}

Message World::admin(const std::string& method, const std::string& target, const std::string& fields, bool changes) {
  SimClient& one = client_to(server->admin_address(changes).value());
  one.request(method, target, "", fields);
  if (!await(one)) return {};
  const Message answer = one.answers().back();
  one.close();
  settle();
  return answer;
}

double World::metric(const std::string& name, const Labels& labels) const {
  double sum = 0;
  for (const auto& family : metrics.collect()) {
    if (family.name != name) continue;
    for (const auto& sample : family.samples) {
      bool wanted = true;
      for (const auto& [key, value] : labels) {
        bool has = false;
        for (std::size_t i = 0; i < family.label_names.size(); ++i) {
          has = has || (family.label_names[i] == key && sample.labels[i] == value);
        }
        wanted = wanted && has;
      }
      if (!wanted) continue;
      sum += sample.value;
      for (const std::uint64_t count : sample.buckets) sum += static_cast<double>(count);
    }
  }
  return sum;
}

std::vector<nlohmann::json> World::access_log(const std::string& path) {
  sim.advance(AccessLog::kFlushAfter);
  std::vector<nlohmann::json> lines;
  const std::string& text = platform.logs[path];
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = text.find('\n', at);
    lines.push_back(nlohmann::json::parse(text.substr(at, end - at)));
    at = end + 1;
  }
  return lines;
}

nlohmann::json World::last_line() {
  const auto lines = access_log();
  return lines.empty() ? nlohmann::json() : lines.back();
}

}  // namespace weir::test
