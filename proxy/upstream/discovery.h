// Discovery: turns a service's configured endpoints into addresses and keeps them current: names and SRV records are asked for again when
// their TTL ends, files are read again when they change.
// ServiceDirectory owns one for each service, on main's loop; the listener, the resolver and the tools outlive it.
// It never blocks on the network, never forgets a good answer because a later one was bad, and tells only when the endpoints changed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "proxy/base/log.h"
#include "proxy/base/random.h"
#include "proxy/base/result.h"
#include "proxy/runtime/event_loop.h"
#include "proxy/runtime/file_watch.h"
#include "proxy/runtime/name_resolver.h"
#include "proxy/upstream/service.h"

namespace weir {

class DiscoveryFile;
class DiscoveryName;
class DiscoverySource;
class DiscoverySrv;

class DiscoveryListener {
 public:
  // Told inside configure() when nothing has to be waited for, otherwise on later turns. Empty: nothing could be resolved, or a file says so.
  virtual void on_endpoints(const std::vector<Service::FoundEndpoint>& endpoints) = 0;

 protected:
  ~DiscoveryListener() = default;
};

// What discovery may use beside the resolver. All of it may be missing.
struct DiscoveryTools {
  // The endpoints that a file lists, none of them a file; or what is wrong, with file, line and column.
  std::function<Result<std::vector<EndpointConfig>>(const std::string& path)> read_file;
  FileWatcher* watcher = nullptr;  // null: files are read again when the configuration is
  Log* log = nullptr;
};

class Discovery {
 public:
  Discovery(EventLoop& loop, NameResolver& resolver, Random& random, const DiscoveryTools& tools, std::string service,
            DiscoveryListener& listener);
  ~Discovery();
  Discovery(const Discovery&) = delete;
  Discovery& operator=(const Discovery&) = delete;

  // A name that stays keeps its last answer and its time of asking again; files are read again.
  void configure(const std::vector<EndpointConfig>& endpoints, const DnsConfig& dns);
  void stop();                                    // asks no more; what was found stays found
  std::string error() const;                      // the first source's that is in trouble, and how many others are; empty when all is well
  std::optional<DiscoveryStatus> status() const;  // none where all endpoints are addresses

  // ---- for its sources ----
  EventLoop& loop() { return loop_; }
  NameResolver& resolver() { return resolver_; }
  Random& random() { return random_; }
  const DnsConfig& dns() const { return dns_; }
  const DiscoveryTools& tools() const { return tools_; }
  void changed();  // what a source gives may be another
  void relink();   // the same, and it may lead to other sources. Whoever calls it stays
  void failed() { ++errors_; }
  void log(const DiscoverySource& source, const std::string& error);  // empty: all is well again

 private:
  struct Entry {  // of what is configured, files opened up; one of the pointers, or a fixed address
    Service::FoundEndpoint fixed;
    DiscoveryName* name = nullptr;
    DiscoverySrv* srv = nullptr;
  };
  void link(const EndpointConfig& config);
  DiscoveryName* name(const std::string& host, std::uint16_t port);
  template <class F>
  void for_each_source(F apply) const;

  EventLoop& loop_;
  NameResolver& resolver_;
  Random& random_;
  const DiscoveryTools& tools_;
  const std::string service_;
  DiscoveryListener& listener_;
  DnsConfig dns_;
  std::vector<EndpointConfig> configured_;
  std::vector<Entry> entries_;
  std::vector<std::unique_ptr<DiscoveryFile>> files_;
  std::vector<std::unique_ptr<DiscoverySrv>> srvs_;
  std::vector<std::unique_ptr<DiscoveryName>> names_;
  std::vector<Service::FoundEndpoint> told_;
  bool told_any_ = false;
  std::uint64_t updates_ = 0;
  std::uint64_t errors_ = 0;
};

}  // namespace weir
