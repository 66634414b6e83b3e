#include "config/recording_sources.h"

#include <algorithm>
#include <functional>
#include <set>

namespace weir::config {
namespace {

std::vector<std::string> names_of(Result<std::vector<std::string>> found) {
  return found ? std::move(found).value() : std::vector<std::string>();
}

}  // namespace

std::uint64_t RecordingSources::hash_of(const Result<std::string>& text) {
  return text ? std::hash<std::string>()(text.value()) : ~std::uint64_t{0} - static_cast<std::uint64_t>(text.error().code);
}

Result<std::string> RecordingSources::read_file(const std::string& path) {
  Result<std::string> text = behind_.read_file(path);
  files_[path] = hash_of(text);
  return text;
}

Result<std::vector<std::string>> RecordingSources::match(const std::string& pattern) {
  Result<std::vector<std::string>> found = behind_.match(pattern);
  patterns_[pattern] = names_of(found);
  return found;
}

std::vector<std::string> RecordingSources::places() const {
  std::set<std::string> all;
  for (const auto& [path, hash] : files_) all.insert(path);
  for (const auto& [pattern, names] : patterns_) {
    // Each component with a wildcard is looked for in the folders that the part before it names.
    std::size_t begin = 0;
    while (begin < pattern.size()) {
      const std::size_t end = std::min(pattern.find('/', begin), pattern.size());
      const bool wild = pattern.substr(begin, end - begin).find_first_of("*?[") != std::string::npos;
      if (wild || end == pattern.size()) {
        const std::string before = begin == 0 ? "." : begin == 1 ? "/" : pattern.substr(0, begin - 1);
        if (before.find_first_of("*?[") == std::string::npos) {
          all.insert(before);
        } else {
          for (std::string& folder : names_of(behind_.match(before))) all.insert(std::move(folder));
        }
      }
      begin = end + 1;
    }
  }
  return {all.begin(), all.end()};
}

bool RecordingSources::changed() const {
  const auto another_text = [this](const auto& file) { return hash_of(behind_.read_file(file.first)) != file.second; };
  const auto another_list = [this](const auto& pattern) { return names_of(behind_.match(pattern.first)) != pattern.second; };
  return std::any_of(files_.begin(), files_.end(), another_text) || std::any_of(patterns_.begin(), patterns_.end(), another_list);
}

}  // namespace weir::config
