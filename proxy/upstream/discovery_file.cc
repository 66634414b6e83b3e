#include "proxy/upstream/discovery_file.h"

#include <algorithm>

#include "proxy/base/text.h"
#include "proxy/upstream/discovery.h"

namespace weir {

DiscoveryFile::DiscoveryFile(Discovery& owner, std::string path) : DiscoverySource(owner, concat("file:", path)), path_(std::move(path)) {}

std::optional<MonotonicTime> DiscoveryFile::last_good() const { return error().empty() && last_good_ ? owner_.loop().now() : last_good_; }

void DiscoveryFile::begin() {
  begun_ = true;
  FileWatcher* watcher = owner_.tools().watcher;
  // The watch first: what changes while the file is being read is seen afterwards.
  if (watcher != nullptr && watch_ == nullptr) watch_ = watcher->watch(path_, Callback::to<&DiscoveryFile::on_changed>(this));
  (void)read();
}

void DiscoveryFile::stop() {
  watch_.reset();
  begun_ = false;
}

void DiscoveryFile::on_changed() {
  if (read()) return owner_.relink();
}

bool DiscoveryFile::read() {
  if (!owner_.tools().read_file) {
    bad("nothing here reads files");
    return false;
  }
  Result<std::vector<EndpointConfig>> list = owner_.tools().read_file(path_);
  if (!list) {
    bad(list.error().message);
    return false;
  }
  last_good_ = owner_.loop().now();
  good();
  const auto same = [](const EndpointConfig& a, const EndpointConfig& b) { return a.text == b.text && a.weight == b.weight; };
  if (std::equal(list->begin(), list->end(), entries_.begin(), entries_.end(), same)) return false;
  entries_ = std::move(list).value();
  return true;
}

}  // namespace weir
