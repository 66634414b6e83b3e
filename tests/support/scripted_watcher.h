// ScriptedWatcher: the FileWatcher of tests: the test says which path changed.
// The test owns it, and it outlives whoever watches. It knows no file.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "proxy/runtime/event_loop.h"
#include "proxy/runtime/file_watch.h"

namespace weir::test {

class ScriptedWatcher final : public FileWatcher {
 public:
  explicit ScriptedWatcher(EventLoop& loop) : loop_(loop) {}

  std::unique_ptr<FileWatch> watch(const std::string& path, Callback changed) override {
    return std::make_unique<Watch>(*this, path, changed);
  }
  // On a turn of the loop of its own, as the real one does.
  void touch(const std::string& path) {
    loop_.post([this, path] {
      for (const Watch* watch : std::vector<const Watch*>(watches_.begin(), watches_.end())) {
        if (watch->path == path) watch->changed();
      }
    });
  }
  std::size_t watches() const { return watches_.size(); }

 private:
  struct Watch final : FileWatch {
    Watch(ScriptedWatcher& owner_, std::string path_, Callback changed_) : owner(owner_), path(std::move(path_)), changed(changed_) {
      owner.watches_.push_back(this);
    }
    ~Watch() override { owner.watches_.erase(std::find(owner.watches_.begin(), owner.watches_.end(), this)); }
    ScriptedWatcher& owner;
    std::string path;
    Callback changed;
  };
  EventLoop& loop_;
  std::vector<const Watch*> watches_;
};

}  // namespace weir::test
