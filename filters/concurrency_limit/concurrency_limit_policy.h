// ConcurrencyLimitPolicy: so many calls in flight and no more, and a bounded queue of waiters for the permits that come back.
// One for each (service, policy, filter name), host-wide, behind the lock of its ConcurrencyLimitState, which wakes the waiters.
// It never knows who waits: waiters are numbers. A permit is always held by exactly one ticket or one granted waiter.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "filters/concurrency_limit/limiter.h"
#include "proxy/chain/policy.h"

namespace weir {

struct QueueConfig {
  enum class Order : std::uint8_t { fifo, codel };
  std::uint32_t size = 100;
  Duration timeout = std::chrono::milliseconds(100);
  Order order = Order::fifo;
};

struct ConcurrencyLimitConfig {
  std::optional<std::uint32_t> limit;  // exactly one of limit and adaptive
  std::optional<AdaptiveLimitConfig> adaptive;
  std::optional<QueueConfig> queue;
};

class ConcurrencyLimitPolicy final : public AdmissionPolicy {
 public:
  explicit ConcurrencyLimitPolicy(const ConcurrencyLimitConfig& config);

  // A waiter: a place in a table, and which of its users, one after the other, is meant.
  struct Waiter {
    std::uint32_t slot = 0;
    std::uint64_t serial = 0;
  };
  static Waiter waiter_of(const Ticket& ticket) { return Waiter{ticket.slot, ticket.generation}; }

  // Verdict wait: the ticket names the waiter, until accept() or leave(); it is none for record().
  Admission admit(MonotonicTime now, const AdmissionFacts& facts, Random& random) override;
  // Gives the permit back. grant_next() is to follow.
  void record(MonotonicTime now, const Ticket& ticket, const Outcome& outcome, Random& random) override;
  void describe(MonotonicTime now, std::vector<StateFact>& facts) const override;

  // Hands a free permit to the waiter whose turn it is; nothing when there is no permit or no waiter. To be called until then after
  // everything that may free one: record, leave, set_config.
  std::optional<Waiter> grant_next(MonotonicTime now);
  // A granted waiter takes its permit as a ticket of its own; nothing when it was not granted, or is no more.
  std::optional<Ticket> accept(MonotonicTime now, Waiter waiter);
  // A waiter goes, with a grant or without; harmless when it is no more.
  enum class Left : std::uint8_t { unknown, waiting, granted };
  Left leave(MonotonicTime now, Waiter waiter);
  void note_timeout() { ++timeouts_; }  // for the statistics: a waiter left because its time was over
  bool granted(Waiter waiter) const;
  // How long a waiter who comes now may wait.
  Duration patience(MonotonicTime now) const;

  // A lower limit takes back no permit, a smaller queue turns out no waiter.
  void set_config(const ConcurrencyLimitConfig& config);

  std::uint32_t limit() const { return limiter_.limit(); }
  std::uint32_t in_flight() const { return in_flight_; }
  std::uint32_t queue_length() const { return queued_; }
  MonotonicTime last_seen() const { return last_seen_; }  // the time of the latest admit or record: for callers without a clock

 private:
  static constexpr std::uint32_t kNone = 0xffffffff;
  enum class Status : std::uint8_t { free, waiting, granted };
  struct Slot {
    std::uint64_t serial = 0;
    std::uint32_t previous = kNone;
    std::uint32_t next = kNone;  // in the queue, or among the free ones
    Status status = Status::free;
  };

  Ticket take_permit(MonotonicTime now);
  Waiter enqueue(MonotonicTime now);
  void unlink(std::uint32_t slot);
  void free_slot(std::uint32_t slot);
  const Slot* find(Waiter waiter) const;
  bool standing(MonotonicTime now) const;  // the queue has not been empty for as long as a waiter may wait
  void learn(MonotonicTime now, const Ticket& ticket, const Outcome& outcome, Random& random);

  std::optional<QueueConfig> queue_;
  Limiter limiter_;
  std::uint32_t in_flight_ = 0;  // tickets and granted waiters
  std::uint32_t queued_ = 0;
  std::vector<Slot> slots_;
  std::uint32_t head_ = kNone;
  std::uint32_t tail_ = kNone;
  std::uint32_t first_free_ = kNone;
  std::uint64_t last_serial_ = 0;
  MonotonicTime queue_since_{};  // when the queue was last empty
  MonotonicTime last_seen_{};
  std::uint64_t granted_ = 0;
  std::uint64_t timeouts_ = 0;
};

}  // namespace weir
