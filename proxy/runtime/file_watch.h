// FileWatcher: tells when what a path names may have changed; by inotify in inotify_watcher.h, simulated in proxy/sim/sim_files.h.
// main owns it and it lives on main's loop; whoever reads files (reload, discovery) holds a FileWatch for each.
// It never reads a file, and may say "changed" where nothing did: its user compares.
#pragma once

#include <memory>
#include <string>

#include "proxy/base/callback.h"

namespace weir {

class FileWatch {
 public:
  virtual ~FileWatch() = default;
};  // dropping it ends the watch

class FileWatcher {
 public:
  virtual ~FileWatcher() = default;
  // `changed` is called on a later turn of the owner's loop each time that what the path names may have changed: written, replaced by
  // rename, created, removed, or a symlink on the way swapped. Of a folder: also when a name in it appears or goes.
  virtual std::unique_ptr<FileWatch> watch(const std::string& path, Callback changed) = 0;
};

}  // namespace weir
