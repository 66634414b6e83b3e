// Systemd: the Supervisor over sd_notify, and the listening sockets that systemd hands down by name.
// The real platform owns both; the only includer of libsystemd.
// Without systemd they say nothing and have no sockets.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "proxy/server/platform.h"

namespace weir {

class SystemdSupervisor final : public Supervisor {
 public:
  SystemdSupervisor();
  void ready(std::string_view status) override;
  void reloading() override;
  void stopping() override;
  void watchdog() override;
  Duration watchdog_interval() const override { return interval_; }

 private:
  Duration interval_{0};
};

// FileDescriptorName -> descriptors. Each belongs to the caller; the environment is cleared, so that children take none for theirs.
std::map<std::string, std::vector<int>> take_systemd_sockets();

}  // namespace weir
