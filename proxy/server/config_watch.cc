#include "proxy/server/config_watch.h"

#include <algorithm>
#include <set>

namespace weir {

ConfigWatch::ConfigWatch(EventLoop& loop, FileWatcher& watcher, Callback changed)
    : loop_(loop), watcher_(watcher), changed_(changed), timer_(loop, Callback::to<&ConfigWatch::on_quiet>(this)) {}

void ConfigWatch::watch(const std::vector<std::string>& paths) {
  const std::set<std::string> wanted(paths.begin(), paths.end());
  std::erase_if(watches_, [&](const auto& one) { return wanted.count(one.first) == 0; });
  for (const std::string& path : wanted) {
    if (watches_.count(path) != 0) continue;
    watches_.emplace(path, watcher_.watch(path, Callback::to<&ConfigWatch::on_event>(this)));
    on_event();
  }
}

void ConfigWatch::stop() {
  watches_.clear();
  timer_.disarm();
}

void ConfigWatch::on_event() {
  if (!timer_.armed()) latest_ = loop_.now() + kLatest;
  timer_.arm_at(std::min(loop_.now() + kQuiet, latest_));
}

void ConfigWatch::on_quiet() { changed_(); }

}  // namespace weir
