// MemorySources: files and variables of a test, in memory.
// The test owns it and fills it. It never touches the machine.
#pragma once

#include <fnmatch.h>

#include <cerrno>
#include <map>
#include <string>
#include <vector>

#include "config/sources.h"

namespace weir::config {

class MemorySources : public Sources {
 public:
  std::map<std::string, std::string> files;
  std::map<std::string, std::string> variables;

  Result<std::string> read_file(const std::string& path) override {
    const auto found = files.find(path);
    if (found == files.end()) return Error{"No such file or directory", ENOENT};
    return found->second;
  }
  std::optional<std::string> environment(const std::string& name) override {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  }
  Result<std::vector<std::string>> match(const std::string& pattern) override {
    std::vector<std::string> out;
    for (const auto& [path, text] : files) {
      if (::fnmatch(pattern.c_str(), path.c_str(), FNM_PATHNAME) == 0) out.push_back(path);
    }
    return out;
  }
};

}  // namespace weir::config
