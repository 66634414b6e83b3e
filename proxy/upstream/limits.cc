#include "proxy/upstream/limits.h"

#include <algorithm>

#include "proxy/base/check.h"

namespace weir {

bool should_yield(const ConnectionDemand& mine, const ConnectionDemand& theirs) {
  if (theirs.waiting == 0) return false;
  if (mine.waiting == 0) return true;
  if (theirs.connections == 0) return theirs.oldest < mine.oldest;
  if (mine.connections <= 1) return false;
  // Waiting requests for each connection, as it would be afterwards.
  return std::uint64_t{theirs.waiting} * (mine.connections - 1) > std::uint64_t{mine.waiting} * (theirs.connections + 1);
}

void ConnectionSlots::configure(std::uint32_t limit, FilterMode mode) {
  limit_ = mode == FilterMode::disabled ? HostLimit::kUnlimited : limit;
  shadow_ = mode == FilterMode::shadow;
}

void ConnectionSlots::hold(Worker worker) {
  if (worker >= held_.size()) held_.resize(worker + 1, 0);
  ++held_[worker];
  ++used_;
}

HostLimit::Taken ConnectionSlots::take(Worker worker) {
  if (used_ < limit_ && queue_.empty()) {  // nobody passes those who wait
    hold(worker);
    return HostLimit::Taken::yes;
  }
  if (!shadow_) return HostLimit::Taken::no;
  hold(worker);
  return HostLimit::Taken::over;
}

std::optional<ConnectionSlots::Worker> ConnectionSlots::give_back(Worker worker) {
  WEIR_CHECK(held(worker) > 0);
  --held_[worker];
  --used_;
  return grant();
}

std::optional<ConnectionSlots::Worker> ConnectionSlots::grant() {
  if (queue_.empty() || (used_ >= limit_ && !shadow_)) return std::nullopt;
  const Worker worker = queue_.front().worker;
  queue_.erase(queue_.begin());
  hold(worker);
  return worker;
}

bool ConnectionSlots::enlist(Worker worker, std::uint32_t waiting, MonotonicTime oldest) {
  for (Entry& entry : queue_) {
    if (entry.worker != worker) continue;
    entry.waiting = waiting;
    entry.oldest = oldest;
    return false;
  }
  queue_.push_back({worker, waiting, oldest});
  return true;
}

void ConnectionSlots::withdraw(Worker worker) {
  queue_.erase(std::remove_if(queue_.begin(), queue_.end(), [&](const Entry& entry) { return entry.worker == worker; }), queue_.end());
}

bool ConnectionSlots::must_yield(Worker worker, ConnectionDemand mine) const {
  if (queue_.empty() || queue_.front().worker == worker) return false;
  const Entry& first = queue_.front();
  mine.connections = held(worker);
  return should_yield(mine, {held(first.worker), first.waiting, first.oldest});
}

std::uint32_t ConnectionSlots::release_all(Worker worker) {
  withdraw(worker);
  if (worker >= held_.size()) return 0;
  const std::uint32_t released = held_[worker];
  held_[worker] = 0;
  used_ -= released;
  return released;
}

}  // namespace weir
