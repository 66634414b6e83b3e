// DiscoveryFile: one `file:` of endpoints: read when the configuration is taken, and again each time that it is seen to change.
// Its Discovery owns it; how the file is written is the reader's business (config/schema/endpoint_file.h).
// A file that is missing or broken leaves the last good list and is an error; a list that is empty on purpose ([]) empties the service.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "proxy/runtime/file_watch.h"
#include "proxy/upstream/discovery_source.h"
#include "proxy/upstream/service_config.h"

namespace weir {

class DiscoveryFile final : public DiscoverySource {
 public:
  DiscoveryFile(Discovery& owner, std::string path);

  bool is(const std::string& path) const { return path_ == path; }
  bool begun() const { return begun_; }
  const std::vector<EndpointConfig>& entries() const { return entries_; }  // no `file:` among them
  // While nothing is wrong with it, the file says what holds now.
  std::optional<MonotonicTime> last_good() const override;
  bool read();  // true: the entries are others than before
  void begin();
  void stop();

 private:
  void on_changed();

  const std::string path_;
  std::unique_ptr<FileWatch> watch_;
  std::vector<EndpointConfig> entries_;
  bool begun_ = false;
};

}  // namespace weir
