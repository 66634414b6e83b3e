// RecordingSources: remembers what was asked of the Sources behind it, so that one can watch that, and say later whether it has changed.
// Whoever loads again and again owns one (run.cc); the Sources behind it outlives it.
// It keeps hashes of what it read, never the texts: there are passwords among them.
#pragma once

#include <cstdint>
#include <map>

#include "config/sources.h"

namespace weir::config {

class RecordingSources final : public Sources {
 public:
  explicit RecordingSources(Sources& behind) : behind_(behind) {}

  void begin() {
    files_.clear();
    patterns_.clear();
  }
  Result<std::string> read_file(const std::string& path) override;
  std::optional<std::string> environment(const std::string& name) override { return behind_.environment(name); }
  Result<std::vector<std::string>> match(const std::string& pattern) override;

  // Since begin(): the files, those that were not there too, and the folders in which a pattern's files may appear. Sorted.
  std::vector<std::string> places() const;
  // Asks all of that once more: whether any answer is another one.
  bool changed() const;

 private:
  static std::uint64_t hash_of(const Result<std::string>& text);

  Sources& behind_;
  std::map<std::string, std::uint64_t> files_;
  std::map<std::string, std::vector<std::string>> patterns_;
};

}  // namespace weir::config
