// Chain: the onion of one (route, service, policy) on one worker: its links, outermost first, each wrapped by metered.
// The worker's snapshot owns it; exchanges keep the snapshot that they started with alive. It is built off the data path and never changes.
// It never owns the innermost link (the upstream's) nor the host-wide states, which the StateStore keeps.
#pragma once

#include <compare>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "proxy/chain/filter.h"

namespace weir {

// Whose state it is: of a filter of a policy that protects a service, apart for each route only where the filter asks for that. A route is
// known by its name in its listener; other states have neither.
struct StateKey {
  std::string service, policy, filter, listener, route;
  auto operator<=>(const StateKey&) const = default;
  std::string text() const;  // "service/policy/filter[/listener/route]", for people: a name may hold a slash
};

// Host-wide filter states by key; owned by main, used when chains are built (any worker, so locked).
class StateStore {
 public:
  explicit StateStore(std::uint64_t seed) : seed_(seed) {}
  // Makes the state, or hands the parameters of `config` to the one that is there.
  std::shared_ptr<FilterState> obtain(const StateKey& key, const FilterFactory& factory, const void* config);
  // A reload has begun / ended: states that no chain asked for in between are let go when their last user is.
  void begin_generation();
  void end_generation();
  // Visits the living states with their keys (admin: /breakers).
  void visit(const std::function<void(const StateKey& key, FilterState&)>& visitor) const;

 private:
  struct Entry {
    std::shared_ptr<FilterState> state;
    const FilterFactory* factory = nullptr;
    const void* configured = nullptr;  // the config its parameters come from
    std::uint64_t generation = 0;
  };
  mutable std::mutex mutex_;
  std::map<StateKey, Entry> entries_;
  std::uint64_t generation_ = 0;
  std::uint64_t seed_;
};

struct ChainNames {
  std::string service, policy, route, listener;
};

class Chain {
 public:
  // `policy` outlives the chain (both belong to one snapshot). Disabled filters build no link.
  static std::unique_ptr<Chain> build(const PolicySpec& policy, const ChainNames& names, WorkerContext& worker, StateStore& states,
                                      RetryBudget* budget, const HostPressure* pressure, Link& innermost);
  ~Chain();
  Link& outermost() const { return *outermost_; }
  // What each built filter decided so far on this worker, outermost first (virtual worlds, `weir test`).
  const std::vector<std::unique_ptr<Decisions>>& decisions() const { return decisions_; }

 private:
  Chain() = default;
  ChainNames names_;
  class Builder;
  std::vector<std::unique_ptr<LinkIdentity>> identities_;
  std::vector<std::unique_ptr<Decisions>> decisions_;
  std::vector<std::shared_ptr<FilterState>> states_;
  std::vector<std::unique_ptr<Link>> links_;  // innermost first
  Link* outermost_ = nullptr;
};

}  // namespace weir
