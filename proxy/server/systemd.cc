#include "proxy/server/systemd.h"

#include <systemd/sd-daemon.h>

#include <cstdlib>

#include "proxy/base/text.h"
#include "proxy/runtime/libevent_loop.h"

namespace weir {
namespace {

void say(const std::string& state) { static_cast<void>(sd_notify(0, state.c_str())); }  // nobody listens: no matter

}  // namespace

SystemdSupervisor::SystemdSupervisor() {
  std::uint64_t micros = 0;
  if (sd_watchdog_enabled(0, &micros) > 0) interval_ = std::chrono::microseconds(micros);
}

void SystemdSupervisor::ready(std::string_view status) { say(concat("READY=1\nSTATUS=", status)); }

void SystemdSupervisor::reloading() {
  const std::int64_t micros = monotonic_now().time_since_epoch().count() / 1000;
  say(concat("RELOADING=1\nMONOTONIC_USEC=", micros));  // what Type=notify-reload of later systemds asks for
}

void SystemdSupervisor::stopping() { say("STOPPING=1\nSTATUS=draining"); }

void SystemdSupervisor::watchdog() { say("WATCHDOG=1"); }

std::map<std::string, std::vector<int>> take_systemd_sockets() {
  std::map<std::string, std::vector<int>> sockets;
  char** names = nullptr;
  const int count = sd_listen_fds_with_names(1, &names);
  for (int i = 0; i < count; ++i) {
    sockets[names[i] == nullptr ? "" : names[i]].push_back(SD_LISTEN_FDS_START + i);
    std::free(names[i]);
  }
  std::free(names);
  return sockets;
}

}  // namespace weir
