// World: the whole proxy in virtual time: a Server made from a YAML text, scripted upstreams and raw clients around it.
// A scenario test owns one; what it made is ended in the right order by its destructor, which checks that nothing is left behind.
// It never sleeps and never touches the machine: seconds pass in microseconds, and equal seeds give equal runs.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "config/recording_sources.h"
#include "proxy/server/server.h"
#include "tests/support/sim_peers.h"
#include "tests/support/sim_platform.h"

namespace weir::test {

struct WorldOptions {
  std::size_t workers = 1;
  std::uint64_t seed = 1;
  bool start = true;
  std::map<std::string, std::string> files = {};  // what the configuration may name, by path: into platform.files
  SplicePipeMaker pipes = make_kernel_pipe;       // these join no simulated streams: for long bodies to be spliced, proxy/sim/sim_pipe.h
  bool from_file = false;                         // the text stands in kFile of platform.files, which is watched
};

class World {
 public:
  using Labels = std::map<std::string, std::string>;

  static constexpr const char* kFile = "/etc/weir/weir.yaml";

  explicit World(std::string yaml, WorldOptions options = {});
  ~World();

  SimUpstream& upstream(const std::string& address);  // made on first use, listening
  SimClient& client(const std::string& listener = "out");
  SimClient& client_to(const Address& address);
  void advance(Duration by) { sim.advance(by); }
  void settle() { sim.run_ready(); }
  // Until the client has so many answers; false when a minute of virtual time has passed.
  bool await(SimClient& client, std::size_t answers = 1, Duration within = std::chrono::minutes(1));
  // A request on a connection of its own, and its answer; status 0 when there was none.
  Message get(const std::string& path = "/", const std::string& fields = "", const std::string& listener = "out");
  Message admin(const std::string& method, const std::string& target, const std::string& fields = "", bool changes = false);

  Result<std::shared_ptr<const Config>> load();  // of the present text
  // Loads this text on the next reload.
  void set_yaml(std::string yaml) { yaml_ = std::move(yaml); }
  Result<void> reload(std::string yaml);

  // The sum of a family's samples that have all of these labels; a histogram's count.
  double metric(const std::string& name, const Labels& labels = {}) const;
  std::vector<nlohmann::json> access_log(const std::string& path = "/access.log");  // flushed first
  nlohmann::json last_line();

  SimWorld sim;
  MetricsRegistry metrics;
  SimPlatform platform;
  std::map<std::string, std::unique_ptr<SimUpstream>> upstreams;
  std::vector<std::unique_ptr<SimClient>> clients;
  bool finished = false;
  bool finished_clean = false;
  std::unique_ptr<Server> server;

 private:
  std::string yaml_;
  const bool from_file_;
  config::RecordingSources sources_;
};

}  // namespace weir::test
