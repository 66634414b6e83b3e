// InotifyWatcher: the real FileWatcher: inotify on every folder that a path leads through, symlinks followed, and on what it names.
// The platform owns it, on main's loop, longer than every FileWatch that it gave out.
// Where inotify cannot look (no instance or watch is left, a folder that may not be read) it looks by stat, every kLookEvery; on a network
// file system that others write to the kernel says nothing: ask for a reload there.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/runtime/event_loop.h"
#include "proxy/runtime/file_watch.h"

namespace weir {

class InotifyWatcher final : public FileWatcher, private IoHandler {
 public:
  static constexpr Duration kLookEvery = std::chrono::seconds(1);
  static constexpr int kMaxLinks = 40;  // symlinks on one way, as the kernel counts

  struct Options {
    bool use_inotify = true;  // false: as on a host that has no instance left
  };
  explicit InotifyWatcher(EventLoop& loop) : InotifyWatcher(loop, Options{}) {}
  InotifyWatcher(EventLoop& loop, Options options);
  ~InotifyWatcher() override;
  InotifyWatcher(const InotifyWatcher&) = delete;
  InotifyWatcher& operator=(const InotifyWatcher&) = delete;

  std::unique_ptr<FileWatch> watch(const std::string& path, Callback changed) override;

  std::size_t looked_at() const;                                    // paths that are looked at by stat
  std::size_t kernel_watches() const { return interests_.size(); }  // in use

 private:
  class Watch;
  struct Interest {  // of a path in what happens to one inode
    std::uint64_t id;
    std::string name;  // in that folder; empty: whatever happens
  };
  struct Entry {
    std::string path;
    Callback changed;
    std::set<int> descriptors;
    bool by_stat = false;
    std::string seen;  // by stat: what it looked like
  };
  class Resolution;

  void on_readable() override;
  void on_writable() override {}
  void look();
  void note(const char* at, const char* end, std::set<std::uint64_t>& dirty) const;
  void tell(const std::set<std::uint64_t>& dirty);
  void follow(std::uint64_t id, Entry& entry);
  void forget(std::uint64_t id, const std::set<int>& descriptors);
  void drop(std::uint64_t id);

  EventLoop& loop_;
  int descriptor_ = -1;
  std::unique_ptr<IoWatch> readable_;
  std::uint64_t last_id_ = 0;
  std::map<std::uint64_t, Entry> entries_;
  std::map<int, std::vector<Interest>> interests_;  // by inotify's watch descriptor
  Timer look_;
};

}  // namespace weir
