// NameResolver: turns a host name into addresses, later and without blocking; c-ares in proxy/net/ares_resolver.h, scripted in tests and simulation.
// main owns it and it lives on main's loop; discovery (proxy/upstream) borrows it.
// It never answers inside lookup(), never caches and never retries: how long answers are kept is discovery's decision.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proxy/base/time.h"
#include "proxy/runtime/address.h"

namespace weir {

struct NameAnswer {
  bool ok = false;
  std::vector<Address> addresses;  // every address, A and AAAA, without repetition; with ok at least one
  Duration ttl{0};                 // the smallest of the records'
  std::string error;               // for people, when not ok
};

class NameHandler {
 public:
  virtual void on_name(const NameAnswer& answer) = 0;

 protected:
  ~NameHandler() = default;
};

class NameLookup {  // dropping it cancels: the handler hears nothing more
 public:
  virtual ~NameLookup() = default;
};

class NameResolver {
 public:
  virtual ~NameResolver() = default;
  virtual std::unique_ptr<NameLookup> lookup(const std::string& host, std::uint16_t port, NameHandler& handler) = 0;
};

}  // namespace weir
