// AresResolver: the NameResolver over c-ares: /etc/hosts first, then the servers of /etc/resolv.conf or the configured ones.
// main owns it, on main's loop; a lookup owns a c-ares channel of its own, so that resolv.conf is read afresh and dropping it cancels.
// It never blocks on the network, and never answers inside a lookup. What /etc/hosts says of one family stands for both: a name
// that is written there is not asked of a server.
#pragma once

#include <memory>
#include <string>

#include "proxy/runtime/event_loop.h"
#include "proxy/runtime/name_resolver.h"

namespace weir {

class AresResolver final : public NameResolver {
 public:
  explicit AresResolver(EventLoop& loop);
  ~AresResolver() override;
  void configure(const ResolverOptions& options) override { options_ = options; }
  std::unique_ptr<NameLookup> lookup(const std::string& host, std::uint16_t port, AddressFamilies families, NameHandler& handler) override;
  std::unique_ptr<NameLookup> lookup_srv(const std::string& name, SrvHandler& handler) override;

 private:
  EventLoop& loop_;
  ResolverOptions options_;
};

}  // namespace weir
