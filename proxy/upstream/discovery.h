// Discovery: turns a service's configured endpoints into addresses and keeps them current: dns names are resolved again when their TTL ends.
// ServiceDirectory owns one for each service, on main's loop; the listener and the resolver outlive it.
// It never blocks, never forgets a good answer because a later lookup failed, and tells only when the addresses changed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proxy/base/random.h"
#include "proxy/runtime/event_loop.h"
#include "proxy/runtime/name_resolver.h"
#include "proxy/upstream/service.h"

namespace weir {

class DiscoveryListener {
 public:
  // Told inside configure() when nothing has to be waited for, otherwise on later turns. Empty: nothing could be resolved.
  virtual void on_endpoints(const std::vector<Service::FoundEndpoint>& endpoints) = 0;

 protected:
  ~DiscoveryListener() = default;
};

class Discovery {
 public:
  Discovery(EventLoop& loop, NameResolver& resolver, Random& random, DiscoveryListener& listener);
  ~Discovery();
  Discovery(const Discovery&) = delete;
  Discovery& operator=(const Discovery&) = delete;

  // A name that stays keeps its last answer and its time of asking again.
  void configure(const std::vector<EndpointConfig>& endpoints, const DnsConfig& dns);
  void stop();                                  // asks no more; what was found stays found
  const std::string& error() const { return error_; }  // of the last lookup that failed, empty when the last ones all worked

 private:
  class Name;
  struct Source {
    EndpointConfig config;
    Name* name = nullptr;  // null: a fixed address
  };
  void name_changed();
  void update_error();

  EventLoop& loop_;
  NameResolver& resolver_;
  Random& random_;
  DiscoveryListener& listener_;
  DnsConfig dns_;
  std::vector<Source> sources_;
  std::vector<std::unique_ptr<Name>> names_;
  std::vector<Service::FoundEndpoint> told_;
  bool told_any_ = false;
  std::string error_;
};

}  // namespace weir
