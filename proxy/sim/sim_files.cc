#include "proxy/sim/sim_files.h"

#include <fnmatch.h>

#include <cerrno>
#include <utility>

namespace weir {

class SimFiles::Watch final : public FileWatch {
 public:
  Watch(SimFiles& files, std::uint64_t id) : files_(files), id_(id) {}
  ~Watch() override { files_.watches_.erase(id_); }

 private:
  SimFiles& files_;
  const std::uint64_t id_;
};

SimFiles::~SimFiles() { DCHECK(watches_.empty()); }

void SimFiles::write(const std::string& path, std::string text) {
  const bool fresh = texts_.insert_or_assign(path, std::move(text)).second;
  tell(path);
  if (fresh) tell(path.substr(0, path.rfind('/')));
}

void SimFiles::remove(const std::string& path) {
  if (texts_.erase(path) == 0) return;
  tell(path);
  tell(path.substr(0, path.rfind('/')));
}

std::unique_ptr<FileWatch> SimFiles::watch(const std::string& path, Callback changed) {
  watches_[++last_id_] = Entry{path, changed};
  return std::make_unique<Watch>(*this, last_id_);
}

void SimFiles::tell(const std::string& path) {
  for (const auto& [id, entry] : watches_) {
    if (entry.path != path) continue;
    loop_.post([this, id = id, alive = std::weak_ptr<int>(alive_)] {
      if (alive.expired()) return;
      const auto found = watches_.find(id);
      if (found == watches_.end()) return;
      const Callback told = found->second.changed;
      told();
    });
  }
}

Result<std::string> SimFiles::read_file(const std::string& path) {
  const auto found = texts_.find(path);
  if (found == texts_.end()) return Error{"No such file or directory", ENOENT};
  return found->second;
}

Result<std::vector<std::string>> SimFiles::match(const std::string& pattern) {
  std::vector<std::string> out;
  for (const auto& [path, text] : texts_) {
    if (fnmatch(pattern.c_str(), path.c_str(), FNM_PATHNAME) == 0) out.push_back(path);
  }
  return out;
}

}  // namespace weir
