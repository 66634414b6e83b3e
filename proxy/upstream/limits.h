// The host-wide limits of a service: HostLimit counts requests and pending ones; ConnectionSlots shares out connections among workers.
// Service owns them. HostLimit is atomic; ConnectionSlots is pure and used under the service's lock.
// Neither is ever approximate: what was taken is at most the limit, however many workers take (except in shadow mode).
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "proxy/base/time.h"
#include "proxy/chain/filter.h"

namespace weir {

class HostLimit {
 public:
  static constexpr std::uint32_t kUnlimited = std::numeric_limits<std::uint32_t>::max();
  enum class Taken : std::uint8_t { yes, over, no };  // over: taken, though it would have been refused (shadow)

  void configure(std::uint32_t limit, FilterMode mode) {
    limit_.store(mode == FilterMode::disabled ? kUnlimited : limit, std::memory_order_relaxed);
    shadow_.store(mode == FilterMode::shadow, std::memory_order_relaxed);
  }
  Taken take() {
    const std::uint32_t limit = limit_.load(std::memory_order_relaxed);
    std::uint32_t used = used_.load(std::memory_order_relaxed);
    while (used < limit) {  // never above, not even for a moment: a neighbor would be refused wrongly
      if (used_.compare_exchange_weak(used, used + 1, std::memory_order_relaxed)) return Taken::yes;
    }
    if (!shadow_.load(std::memory_order_relaxed)) return Taken::no;
    used_.fetch_add(1, std::memory_order_relaxed);
    return Taken::over;
  }
  void give_back() { used_.fetch_sub(1, std::memory_order_relaxed); }
  std::uint32_t used() const { return used_.load(std::memory_order_relaxed); }
  std::uint32_t limit() const { return limit_.load(std::memory_order_relaxed); }

 private:
  alignas(64) std::atomic<std::uint32_t> used_{0};
  std::atomic<std::uint32_t> limit_{kUnlimited};
  std::atomic<bool> shadow_{false};
};

// How much wants, and has, connections: compared to decide who gets the next one.
struct ConnectionDemand {
  std::uint32_t connections = 0;
  std::uint32_t waiting = 0;
  MonotonicTime oldest = kNever;  // since when the longest waiting request waits
};

// At the cap: whether a connection that became free at `mine` should be closed so that `theirs` can open one. Only if theirs is
// the worse off even afterwards; so two that are equally busy never pass connections to and fro.
bool should_yield(const ConnectionDemand& mine, const ConnectionDemand& theirs);

// Connections of one service among workers. Who finds the cap reached enlists; each slot given back is granted to who enlisted first,
// once for each time it enlists.
class ConnectionSlots {
 public:
  using Worker = std::uint32_t;
  void configure(std::uint32_t limit, FilterMode mode);
  HostLimit::Taken take(Worker worker);
  // Both return the worker that now owns the slot (it is counted as taken by it): it must be told.
  std::optional<Worker> give_back(Worker worker);
  std::optional<Worker> grant();  // after the limit was raised: until it returns nothing

  // Again: new figures in the same place, and false.
  bool enlist(Worker worker, std::uint32_t waiting, MonotonicTime oldest);
  void withdraw(Worker worker);
  // Whether `worker`, which has a connection free and requests of its own as in `mine`, should give the connection up.
  bool must_yield(Worker worker, ConnectionDemand mine) const;
  std::uint32_t release_all(Worker worker);  // it is gone: its slots are free; how many. Call grant() afterwards

  std::uint32_t used() const { return used_; }
  std::uint32_t limit() const { return limit_; }
  std::uint32_t held(Worker worker) const { return worker < held_.size() ? held_[worker] : 0; }
  bool starving() const { return !queue_.empty(); }
  bool over() const { return used_ > limit_ && !shadow_; }

 private:
  struct Entry {
    Worker worker;
    std::uint32_t waiting;
    MonotonicTime oldest;
  };
  void hold(Worker worker);

  std::vector<std::uint32_t> held_;  // by worker
  std::vector<Entry> queue_;         // at most one for each worker, in order of enlisting
  std::uint32_t used_ = 0;
  std::uint32_t limit_ = HostLimit::kUnlimited;
  bool shadow_ = false;
};

}  // namespace weir
