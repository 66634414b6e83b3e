// BalancerWorld: an endpoint set, one balancer over it and a seeded generator; picks are counted by index.
// A test owns it. It keeps no connections and no clock: the test moves `now` and the endpoints' state itself.
// It never acquires what is picked, unless asked to.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "proxy/upstream/balancer.h"

namespace weir::test {

struct BalancerWorld {
  explicit BalancerWorld(const std::vector<std::uint32_t>& weights, Balancer::Options options_ = {}, std::uint64_t seed = 3)
      : set(make(weights, options_.balance)), options(options_), random(seed) {
    balancer.configure(options);
    balancer.reset(set, random);
  }
  static EndpointSet make(const std::vector<std::uint32_t>& weights, Balance balance) {
    std::vector<EndpointSlot> slots;
    for (std::size_t i = 0; i < weights.size(); ++i) slots.push_back({endpoint(i), weights[i]});
    return with_circle(std::move(slots), balance);
  }
  static std::shared_ptr<Endpoint> endpoint(std::size_t i) {
    const auto address =
        Address::parse("10." + std::to_string(i / 65536) + "." + std::to_string(i / 256 % 256) + "." + std::to_string(i % 256) + ":80");
    return std::make_shared<Endpoint>(static_cast<std::uint32_t>(i + 1), *address);
  }
  static EndpointSet with_circle(std::vector<EndpointSlot> slots, Balance balance) {
    EndpointSet made(std::move(slots));
    made.circle = make_hash_circle(balance, made.slots);
    return made;
  }

  Endpoint& at(std::size_t index) { return *set.slots[index].endpoint; }
  Balancer::Pick pick() { return balancer.pick(set, context, any_ejected, now, random, around); }
  Balancer::Pick pick_for(std::uint64_t key) {
    context.hash = scattered(key);
    return pick();
  }
  std::map<std::size_t, int> picks(int count, bool busy = false) {
    std::map<std::size_t, int> found;
    for (int i = 0; i < count; ++i) {
      const std::size_t index = pick().index;
      ++found[index];
      if (busy) ++at(index).active;
    }
    return found;
  }
  void eject(std::size_t index, Duration length = std::chrono::seconds(5)) {
    any_ejected = true;
    at(index).ejected_until = (now + length).time_since_epoch().count();
  }
  void warm(std::size_t index) {
    around.any_warming = true;
    at(index).warm_since = now.time_since_epoch().count();
  }
  void tried(std::uint32_t id) {
    tried_before.add(id);
    context.tried = &tried_before;
  }

  static std::uint64_t scattered(std::uint64_t key) {
    Random generator(key);
    return generator.next();
  }

  EndpointSet set;
  Balancer::Options options;
  Balancer balancer;
  Random random;
  PickContext context;
  TriedEndpoints tried_before;
  Balancer::Surroundings around;
  bool any_ejected = false;
  MonotonicTime now{std::chrono::hours(1)};
};

}  // namespace weir::test
