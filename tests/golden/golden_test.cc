// Every NAME.yaml here is validated, and what is said must be NAME.expected to the letter; the first line is
// the exit status. To accept new words after reading them: WEIR_UPDATE_GOLDEN=1 test_golden

#include <dirent.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "config/schema/load.h"
#include "filters/catalog.h"
#include "proxy/base/text.h"

namespace weir {
namespace {

// Files below one folder, named from there, so that messages do not depend on where the source lies.
class FolderSources final : public config::Sources {
 public:
  explicit FolderSources(std::string folder) : folder_(std::move(folder) + '/') {}
  Result<std::string> read_file(const std::string& path) override { return host_.read_file(folder_ + path); }
  std::optional<std::string> environment(const std::string& name) override {
    if (name == "WEIR_TEST_SECRET") return "hunter2";
    return std::nullopt;
  }
  Result<std::vector<std::string>> match(const std::string& pattern) override {
    Result<std::vector<std::string>> paths = host_.match(folder_ + pattern);
    if (!paths) return paths;
    for (std::string& path : *paths) path.erase(0, folder_.size());
    return paths;
  }

 private:
  config::HostSources host_;
  std::string folder_;
};

std::vector<std::string> yaml_files(const std::string& folder) {
  std::vector<std::string> names;
  DIR* directory = ::opendir(folder.c_str());
  REQUIRE(directory != nullptr);
  while (const dirent* entry = ::readdir(directory)) {
    const std::string name = entry->d_name;
    if (name.ends_with(".yaml")) names.push_back(name);
  }
  ::closedir(directory);
  std::sort(names.begin(), names.end());
  return names;
}

void compare(const std::string& folder, const std::string& name) {
  INFO(name);
  FolderSources sources(folder);
  const LoadedConfig loaded = load_config(name, filter_catalog(), sources);
  const std::string said = concat("exit ", loaded.exit_status(false), '\n', loaded.report);
  const std::string path = concat(WEIR_SOURCE_DIR "/tests/golden/", std::string_view(name).substr(0, name.size() - 5), ".expected");
  if (std::getenv("WEIR_UPDATE_GOLDEN") != nullptr) std::ofstream(path) << said;
  std::stringstream expected;
  expected << std::ifstream(path).rdbuf();
  CHECK(said == expected.str());
  CHECK((loaded.config == nullptr) == (loaded.errors > 0));
}

TEST_CASE("every kind of mistake is reported word for word") {
  const std::string folder = WEIR_SOURCE_DIR "/tests/golden";
  const std::vector<std::string> names = yaml_files(folder);
  REQUIRE(names.size() >= 10);
  for (const std::string& name : names) compare(folder, name);
}

TEST_CASE("broken.yaml is refused exactly as its comments say") { compare(WEIR_SOURCE_DIR "/tests/acceptance", "broken.yaml"); }

}  // namespace
}  // namespace weir
