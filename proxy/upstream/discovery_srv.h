// DiscoverySrv: one `srv:` name: its records' targets, each resolved as a DiscoveryName, by the rules of RFC 2782.
// Its Discovery owns it and lends it the names of its targets; each record is asked for again when its own time is over.
// Targets of the lowest priority value that have an address serve; higher values only while the lower have none. While new targets are
// being resolved, the endpoints of the old ones stay beside those that are known.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "proxy/runtime/name_resolver.h"
#include "proxy/upstream/discovery_name.h"
#include "proxy/upstream/discovery_source.h"
#include "proxy/upstream/service.h"

namespace weir {

// The weights of one priority's targets (RFC 2782, 0 to 65535), each divided among its addresses, as endpoint weights of 1 to 1000:
// unchanged where they are such already; where all are 0, all alike; a 0 beside others, or less than a thousandth, is the least.
std::vector<std::uint32_t> spread_srv_weights(const std::vector<std::pair<std::uint16_t, std::size_t>>& weight_and_addresses);

class DiscoverySrv final : public DiscoverySource, private SrvHandler {
 public:
  struct Target {
    SrvTarget record;
    DiscoveryName* name = nullptr;  // lent
  };

  DiscoverySrv(Discovery& owner, std::string name);

  bool is(const std::string& name) const { return name_ == name; }
  bool answered() const;  // well or badly, down to the addresses
  std::vector<Target>& targets() { return targets_; }
  void collect(std::vector<Service::FoundEndpoint>& out);
  void begin();
  void stop();

 private:
  void ask();
  void on_srv(const SrvAnswer& answer) override;
  bool take(std::vector<SrvTarget> records);
  std::vector<Service::FoundEndpoint> spread(std::size_t first, std::size_t last);

  const std::string name_;
  Timer again_;
  std::unique_ptr<NameLookup> lookup_;
  std::vector<Target> targets_;               // by priority
  std::vector<Service::FoundEndpoint> kept_;  // what was found last
  DiscoveryBackOff back_off_;
  bool asking_ = false;
  bool answered_ = false;
  bool targets_cut_ = false;
};

}  // namespace weir
