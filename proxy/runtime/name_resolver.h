// NameResolver: turns names into addresses, later and without blocking; c-ares in proxy/net/ares_resolver.h, scripted in tests and simulation.
// main owns it and it lives on main's loop; discovery (proxy/upstream) borrows it.
// It never answers inside a lookup, never caches and never retries: how long answers are kept is discovery's decision.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proxy/base/time.h"
#include "proxy/runtime/address.h"

namespace weir {

enum class AddressFamilies : std::uint8_t { both, ipv4, ipv6 };

enum class LookupOutcome : std::uint8_t {
  found,   // at least one record
  absent,  // a server says that there is none: no such name, or no record of this kind
  failed   // nobody knows: no server answered, or none that could
};

struct NameAnswer {
  LookupOutcome outcome = LookupOutcome::failed;
  Address::Family family = Address::Family::ipv4;  // that was asked for
  std::vector<Address> addresses;                  // all of the answer, in no order
  Duration ttl{0};                                 // the smallest of the records'
  std::string error;                               // for people, unless found
};

class NameHandler {
 public:
  // Once for each family that was asked for, in any order: a server that is slow with one does not hold up the other.
  virtual void on_name(const NameAnswer& answer) = 0;

 protected:
  ~NameHandler() = default;
};

struct SrvTarget {   // RFC 2782
  std::string host;  // lower case, without the last dot; empty: the record's target was the root, "no such service here"
  std::uint16_t port = 0;
  std::uint16_t priority = 0;  // the lowest first
  std::uint16_t weight = 0;    // among those of one priority
};

struct SrvAnswer {
  LookupOutcome outcome = LookupOutcome::failed;
  std::vector<SrvTarget> targets;
  Duration ttl{0};
  std::string error;
};

class SrvHandler {
 public:
  virtual void on_srv(const SrvAnswer& answer) = 0;  // once

 protected:
  ~SrvHandler() = default;
};

class NameLookup {  // dropping it cancels: the handler hears nothing more
 public:
  virtual ~NameLookup() = default;
};

struct ResolverOptions {
  std::vector<Address> servers;                // instead of those that resolv_conf names
  std::string resolv_conf;                     // empty: /etc/resolv.conf
  std::uint16_t port = 53;                     // of the servers that resolv_conf names
  Duration timeout = std::chrono::seconds(2);  // of one query to one server; doubles with each try
  std::uint32_t tries = 3;                     // of each server
};

class NameResolver {
 public:
  virtual ~NameResolver() = default;
  virtual void configure(const ResolverOptions& /*options*/) {}  // for lookups that begin from now on
  virtual std::unique_ptr<NameLookup> lookup(const std::string& host, std::uint16_t port, AddressFamilies families,
                                             NameHandler& handler) = 0;
  virtual std::unique_ptr<NameLookup> lookup_srv(const std::string& name, SrvHandler& handler) = 0;
};

}  // namespace weir
