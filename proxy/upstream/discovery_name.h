// DiscoveryName: one host:port that is looked up again and again, each family of addresses for itself.
// Its Discovery owns it; SRV records may lead several services' worth of targets to one.
// It never drops an address because a lookup failed: SERVFAIL, silence, "no such name" and an empty answer leave what was found.
// One family may end: its records are gone by a server's word, and the same round found addresses of the other.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "proxy/runtime/name_resolver.h"
#include "proxy/upstream/discovery_source.h"

namespace weir {

class DiscoveryName final : public DiscoverySource, private NameHandler {
 public:
  DiscoveryName(Discovery& owner, std::string host, std::uint16_t port);

  bool is(const std::string& host, std::uint16_t port) const { return host_ == host && port_ == port; }
  bool answered() const { return answered_; }  // well or badly
  void collect(std::vector<Address>& out) const;
  void begin();  // asks, unless that is going on
  void stop();
  void use_families();  // those that are wanted are others now

 private:
  struct Half {                      // of one family
    std::vector<Address> addresses;  // sorted; the last good ones
    bool told = true;                // in the present round
    LookupOutcome outcome = LookupOutcome::failed;
    Duration ttl{0};
    std::string error;
    bool cut = false;
  };

  void ask();
  void on_name(const NameAnswer& answer) override;
  void settle();
  Half& half(Address::Family family) { return halves_[family == Address::Family::ipv6 ? 1 : 0]; }

  const std::string host_;
  const std::uint16_t port_;
  Timer again_;
  std::unique_ptr<NameLookup> lookup_;  // kept after its answer: nothing is freed inside its callback
  std::array<Half, 2> halves_;          // IPv4, IPv6
  DiscoveryBackOff back_off_;
  bool asking_ = false;
  bool answered_ = false;
};

}  // namespace weir
