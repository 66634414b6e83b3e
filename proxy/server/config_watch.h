// ConfigWatch: turns what happens to the files of the configuration into one call for each burst: editors and ConfigMaps change several
// things in several steps.
// The Server owns it, on main's loop; the FileWatcher outlives it.
// It reads nothing: the callee finds out whether anything is different.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "proxy/runtime/event_loop.h"
#include "proxy/runtime/file_watch.h"

namespace weir {

class ConfigWatch {
 public:
  static constexpr Duration kQuiet = std::chrono::milliseconds(100);  // nothing happened for so long: the burst is over
  static constexpr Duration kLatest = std::chrono::seconds(1);        // after its first event, quiet or not

  ConfigWatch(EventLoop& loop, FileWatcher& watcher, Callback changed);

  // Instead of those before; those that stay are watched throughout. A path that is new counts as changed: it may have been, between
  // reading and watching.
  void watch(const std::vector<std::string>& paths);
  void stop();

 private:
  void on_event();
  void on_quiet();

  EventLoop& loop_;
  FileWatcher& watcher_;
  Callback changed_;
  std::map<std::string, std::unique_ptr<FileWatch>> watches_;
  Timer timer_;
  MonotonicTime latest_{};
};

}  // namespace weir
