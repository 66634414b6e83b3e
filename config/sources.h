// Sources: where configuration text comes from: files, the environment, and patterns of file names.
// The command line owns a HostSources; tests bring their own, so that no test needs real files or variables.
// It never interprets what it reads.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "proxy/base/result.h"

namespace weir::config {

class Sources {
 public:
  virtual ~Sources() = default;
  virtual Result<std::string> read_file(const std::string& path) = 0;  // the error is the system's words
  virtual std::optional<std::string> environment(const std::string& name) = 0;
  // Sorted; empty when nothing matches. An error where a folder cannot be read, for then nobody knows.
  virtual Result<std::vector<std::string>> match(const std::string& pattern) = 0;
};

class HostSources final : public Sources {
 public:
  Result<std::string> read_file(const std::string& path) override;
  std::optional<std::string> environment(const std::string& name) override;
  Result<std::vector<std::string>> match(const std::string& pattern) override;
};

}  // namespace weir::config
