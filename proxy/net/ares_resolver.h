// AresResolver: the NameResolver over c-ares: /etc/hosts first, then the servers of /etc/resolv.conf, A and AAAA together.
// main owns it, on main's loop; a lookup owns a c-ares channel of its own, so that resolv.conf is read afresh and dropping it cancels.
// It never blocks on the network, and never answers inside lookup().
#pragma once

#include <memory>
#include <string>

#include "proxy/runtime/event_loop.h"
#include "proxy/runtime/name_resolver.h"

namespace weir {

struct AresOptions {
  std::string servers;  // "127.0.0.1:5353,..." instead of resolv.conf's; empty: resolv.conf
  Duration timeout = std::chrono::seconds(2);  // of one query to one server; doubles with each try
  int tries = 3;
};

class AresResolver final : public NameResolver {
 public:
  explicit AresResolver(EventLoop& loop, AresOptions options = {});
  ~AresResolver() override;
  std::unique_ptr<NameLookup> lookup(const std::string& host, std::uint16_t port, NameHandler& handler) override;

 private:
  EventLoop& loop_;
  AresOptions options_;
};

}  // namespace weir
