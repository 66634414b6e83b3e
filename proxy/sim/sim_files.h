// SimFiles: files of a simulated world: texts by path, and the FileWatcher that tells of their changes.
// A test (or `weir test`) owns it beside the loop and drops it after every watch. A path's folder is what stands before its last slash.
// It never touches the machine. What changes is told once the loop turns, never inside write().
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "config/sources.h"
#include "proxy/runtime/event_loop.h"
#include "proxy/runtime/file_watch.h"

namespace weir {

class SimFiles final : public FileWatcher, public config::Sources {
 public:
  explicit SimFiles(EventLoop& loop) : loop_(loop) {}
  ~SimFiles() override;

  void write(const std::string& path, std::string text);
  void remove(const std::string& path);
  std::size_t watches() const { return watches_.size(); }

  std::unique_ptr<FileWatch> watch(const std::string& path, Callback changed) override;
  Result<std::string> read_file(const std::string& path) override;
  std::optional<std::string> environment(const std::string&) override { return std::nullopt; }
  Result<std::vector<std::string>> match(const std::string& pattern) override;

 private:
  class Watch;
  struct Entry {
    std::string path;
    Callback changed;
  };
  void tell(const std::string& path);

  EventLoop& loop_;
  std::map<std::string, std::string> texts_;
  std::map<std::uint64_t, Entry> watches_;
  std::uint64_t last_id_ = 0;
  std::shared_ptr<int> alive_ = std::make_shared<int>();  // what was posted outlives nobody
};

}  // namespace weir
