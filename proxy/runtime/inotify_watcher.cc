#include "proxy/runtime/inotify_watcher.h"

#include <limits.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <utility>

#include "proxy/base/text.h"

namespace weir {
namespace {

// Of folders: names that come and go. What is written to a file is asked of the file itself, so that a busy neighbour wakes nobody.
constexpr std::uint32_t kFolderMask =
    IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_MASK_ADD;
constexpr std::uint32_t kFileMask = IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_DONT_FOLLOW | IN_MASK_ADD;

std::deque<std::string> components(std::string_view path) {
  std::deque<std::string> parts;
  while (!path.empty()) {
    const std::size_t end = std::min(path.find('/'), path.size());
    if (end > 0 && path.substr(0, end) != ".") parts.emplace_back(path.substr(0, end));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return parts;
}

std::string read_link(const std::string& path) {
  char target[PATH_MAX];
  const ssize_t size = readlink(path.c_str(), target, sizeof target);
  return size > 0 ? std::string(target, static_cast<std::size_t>(size)) : std::string();
}

// What stat tells of the way's end: all that a change of contents or a replacement moves.
std::string look_of(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return concat("error ", errno);
  return concat(info.st_dev, ' ', info.st_ino, ' ', info.st_mode, ' ', info.st_size, ' ', info.st_mtim.tv_sec, ' ', info.st_mtim.tv_nsec,
                ' ', info.st_ctim.tv_sec, ' ', info.st_ctim.tv_nsec);
}

}  // namespace

class InotifyWatcher::Watch final : public FileWatch {
 public:
  Watch(InotifyWatcher& watcher, std::uint64_t id) : watcher_(watcher), id_(id) {}
  ~Watch() override { watcher_.drop(id_); }

 private:
  InotifyWatcher& watcher_;
  const std::uint64_t id_;
};

// Walks a path from its beginning and watches each folder before it looks at the name in it: what changes behind its back is told.
class InotifyWatcher::Resolution {
 public:
  Resolution(InotifyWatcher& watcher, std::uint64_t id) : watcher_(watcher), id_(id) {}

  // False when the kernel would not watch some part.
  bool walk(const std::string& path) {
    std::string here = path.starts_with('/') ? "/" : ".";
    std::deque<std::string> rest = components(path);
    int links = 0;
    while (!rest.empty()) {
      const std::string name = std::move(rest.front());
      rest.pop_front();
      const std::string next = here == "/" ? concat('/', name) : concat(here, '/', name);
      if (name == "..") {
        here = next;
        continue;
      }
      if (!add(here, kFolderMask, name)) return gone_;
      struct stat info {};
      if (lstat(next.c_str(), &info) != 0) return errno == ENOENT || errno == ENOTDIR;  // here somebody will make it
      if (S_ISLNK(info.st_mode)) {
        if (++links > kMaxLinks) return false;
        const std::string target = read_link(next);
        if (target.starts_with('/')) here = "/";
        std::deque<std::string> through = components(target);
        rest.insert(rest.begin(), through.begin(), through.end());
      } else if (rest.empty()) {
        return S_ISDIR(info.st_mode) ? add(next, kFolderMask, {}) || gone_ : add(next, kFileMask, {}) || gone_;
      } else {
        here = next;
      }
    }
    return add(here, kFolderMask, {}) || gone_;
  }

  std::set<int> take() { return std::move(descriptors_); }

 private:
  bool add(const std::string& at, std::uint32_t mask, const std::string& name) {
    const int descriptor = inotify_add_watch(watcher_.descriptor_, at.c_str(), mask);
    gone_ = descriptor < 0 && (errno == ENOENT || errno == ENOTDIR);  // meanwhile: the folder above has been told to us
    if (descriptor < 0) return false;
    descriptors_.insert(descriptor);
    std::vector<Interest>& all = watcher_.interests_[descriptor];
    const auto same = [&](const Interest& one) { return one.id == id_ && one.name == name; };
    if (std::none_of(all.begin(), all.end(), same)) all.push_back({id_, name});
    return true;
  }

  InotifyWatcher& watcher_;
  const std::uint64_t id_;
  std::set<int> descriptors_;
  bool gone_ = false;
};

InotifyWatcher::InotifyWatcher(EventLoop& loop, Options options) : loop_(loop), look_(loop, Callback::to<&InotifyWatcher::look>(this)) {
  if (options.use_inotify) descriptor_ = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
}

InotifyWatcher::~InotifyWatcher() {
  readable_.reset();
  if (descriptor_ >= 0) close(descriptor_);
}

std::unique_ptr<FileWatch> InotifyWatcher::watch(const std::string& path, Callback changed) {
  if (descriptor_ >= 0 && readable_ == nullptr) {
    readable_ = loop_.watch(descriptor_, *this);
    readable_->want(true, false);
  }
  const std::uint64_t id = ++last_id_;
  Entry& entry = entries_[id];
  entry.path = path;
  entry.changed = changed;
  follow(id, entry);
  return std::make_unique<Watch>(*this, id);
}

std::size_t InotifyWatcher::looked_at() const {
  return static_cast<std::size_t>(std::count_if(entries_.begin(), entries_.end(), [](const auto& one) { return one.second.by_stat; }));
}

// Anew from the beginning of the path; what is watched already stays watched throughout.
void InotifyWatcher::follow(std::uint64_t id, Entry& entry) {
  for (const int descriptor : entry.descriptors) {
    std::erase_if(interests_[descriptor], [id](const Interest& one) { return one.id == id; });
  }
  Resolution resolution(*this, id);
  entry.by_stat = descriptor_ < 0 || !resolution.walk(entry.path);
  const std::set<int> before = std::exchange(entry.descriptors, resolution.take());
  forget(id, before);
  if (!entry.by_stat) return;
  entry.seen = look_of(entry.path);
  if (!look_.armed()) look_.arm(kLookEvery);
}

// Lets the kernel's watches go that nobody is interested in any more.
void InotifyWatcher::forget(std::uint64_t id, const std::set<int>& descriptors) {
  for (const int descriptor : descriptors) {
    const auto found = interests_.find(descriptor);
    if (found == interests_.end()) continue;
    const auto entry = entries_.find(id);
    if (entry == entries_.end() || entry->second.descriptors.count(descriptor) == 0) {
      std::erase_if(found->second, [id](const Interest& one) { return one.id == id; });
    }
    if (!found->second.empty()) continue;
    inotify_rm_watch(descriptor_, descriptor);  // fails where the inode is gone, and the watch with it
    interests_.erase(found);
  }
}

void InotifyWatcher::drop(std::uint64_t id) {
  const auto found = entries_.find(id);
  const std::set<int> descriptors = std::move(found->second.descriptors);
  entries_.erase(found);
  forget(id, descriptors);
}

void InotifyWatcher::note(const char* at, const char* end, std::set<std::uint64_t>& dirty) const {
  while (at < end) {
    inotify_event event{};
    std::memcpy(&event, at, sizeof event);
    const char* name = at + sizeof event;
    at = name + event.len;
    if ((event.mask & IN_Q_OVERFLOW) != 0) {  // nobody knows what was lost
      for (const auto& [id, entry] : entries_) dirty.insert(id);
      continue;
    }
    const auto found = interests_.find(event.wd);
    if (found == interests_.end()) continue;
    const std::string_view what = event.len == 0 ? std::string_view() : std::string_view(name);
    for (const Interest& one : found->second) {
      if (what.empty() || one.name.empty() || one.name == what) dirty.insert(one.id);
    }
  }
}

void InotifyWatcher::on_readable() {
  alignas(inotify_event) char buffer[16 * 1024];
  std::set<std::uint64_t> dirty;
  while (true) {
    const ssize_t got = read(descriptor_, buffer, sizeof buffer);
    if (got <= 0) break;
    note(buffer, buffer + got, dirty);
  }
  tell(dirty);
}

void InotifyWatcher::tell(const std::set<std::uint64_t>& dirty) {
  for (const std::uint64_t id : dirty) {  // whoever is told may drop any watch, or make new ones
    const auto found = entries_.find(id);
    if (found == entries_.end()) continue;
    follow(id, found->second);
    const Callback changed = found->second.changed;
    changed();
  }
}

void InotifyWatcher::look() {
  std::set<std::uint64_t> dirty;
  bool more = false;
  for (const auto& [id, entry] : entries_) {
    if (!entry.by_stat) continue;
    more = true;
    if (look_of(entry.path) != entry.seen) dirty.insert(id);
  }
  if (more) look_.arm(kLookEvery);
  tell(dirty);
}

}  // namespace weir
