// SimLoop and SimWorld: the event loop in virtual time, and the one clock and queue that several loops (simulated workers) share.
// A test or `weir test` owns the world, which owns its loops; a lone `SimLoop loop;` brings a small world of its own.
// It never sleeps, reads a clock, opens a descriptor or uses a second thread: equal inputs give equal runs, and equal hashes.
//
// Events run in the order of (time, sequence of arming). Deadlines are exact. Time moves only inside advance() and the run_ functions,
// which must not be called from a callback.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <memory_resource>
#include <vector>

#include "proxy/base/random.h"
#include "proxy/runtime/event_loop.h"

namespace weir {

class SimLoop;

class SimWorld {
 public:
  // Identifies a scheduled event; a default one identifies none.
  struct EventId {
    MonotonicTime at = kNever;
    std::uint64_t sequence = 0;
    bool operator<(const EventId& other) const { return at != other.at ? at < other.at : sequence < other.sequence; }
    explicit operator bool() const { return sequence != 0; }
  };

  explicit SimWorld(std::uint64_t seed = 1);
  ~SimWorld();
  SimWorld(const SimWorld&) = delete;
  SimWorld& operator=(const SimWorld&) = delete;

  SimLoop& add_loop();
  SimLoop& loop(std::size_t index) { return *loops_[index]; }
  std::size_t loop_count() const { return loops_.size(); }
  Random& random() { return random_; }
  MonotonicTime now() const { return now_; }
  WallTime wall_now() const;  // a fixed day, 2026-01-01, plus the time that has passed

  void run_ready();           // all that is due at this instant; time stands still
  void advance(Duration by);  // all that is due until then, then time is there
  void advance_to(MonotonicTime time);
  // Jumps from event to event until nothing is left (true) or the limit is reached (false: somebody re-arms for ever).
  bool run_until_idle(Duration limit = std::chrono::hours(1));
  // Until `done` holds, asked after every event; false when nothing is left or the limit is reached.
  bool run_until(const std::function<bool()>& done, Duration limit = std::chrono::hours(1));

  // Runs `task` on the loop's turn at that time (at once when it has passed, but never inside).
  EventId schedule_at(SimLoop& loop, MonotonicTime time, std::function<void()> task);
  void cancel(EventId id);

  std::size_t pending() const { return queue_.size(); }
  std::size_t pending(const SimLoop& loop) const;   // of one loop: its timers and tasks
  std::uint64_t events() const { return events_; }  // dispatched so far
  std::uint64_t hash() const { return hash_; }      // of all events so far: time, loop, kind, and what was noted
  void note(std::uint64_t value);                   // mixes a fact (bytes moved, a status) into the hash

 private:
  friend class SimLoop;
  struct Event {
    SimLoop* loop = nullptr;
    Timer* timer = nullptr;  // or the task
    std::function<void()> task;
  };
  EventId add(MonotonicTime time, Event event);
  void add_loop(SimLoop& loop);
  void remove_loop(SimLoop& loop);
  void set_now(MonotonicTime now);
  bool step(MonotonicTime limit);  // dispatches the next event if it is due by the limit

  std::vector<SimLoop*> loops_;
  std::pmr::unsynchronized_pool_resource nodes_;  // so that arming a timer allocates nothing in steady state
  std::pmr::map<EventId, Event> queue_{&nodes_};
  Random random_;
  MonotonicTime now_;
  std::uint64_t sequence_ = 0;
  std::uint64_t events_ = 0;
  std::uint64_t events_at_instant_ = 0;
  std::uint64_t hash_;
  bool running_ = false;
  std::vector<std::unique_ptr<SimLoop>> owned_;
};

class SimLoop final : public EventLoop {
 public:
  SimLoop();                          // with a world of its own
  explicit SimLoop(SimWorld& world);  // one of several; SimWorld::add_loop() makes these too
  ~SimLoop() override;

  SimWorld& world() { return world_; }
  std::size_t index() const { return index_; }
  bool stopped() const { return stopped_; }

  WallTime wall_now() const override { return world_.wall_now(); }
  std::unique_ptr<IoWatch> watch(int fd, IoHandler& handler) override;
  void post(std::function<void()> task) override;
  void run() override;   // the world, until this loop is stopped or nothing is left
  void stop() override;  // its timers and tasks stay silent from now on

  // The world's, for worlds of one loop.
  void run_ready() { world_.run_ready(); }
  void advance(Duration by) { world_.advance(by); }
  bool run_until_idle(Duration limit = std::chrono::hours(1)) { return world_.run_until_idle(limit); }
  bool run_until(const std::function<bool()>& done, Duration limit = std::chrono::hours(1)) { return world_.run_until(done, limit); }

 private:
  friend class SimWorld;
  void arm_timer(Timer& timer) override;
  void disarm_timer(Timer& timer) override;
  void request_turn() override;
  void dispatch(Timer* timer, const std::function<void()>& task);

  std::unique_ptr<SimWorld> own_world_;
  SimWorld& world_;
  std::size_t index_ = 0;
  bool turn_requested_ = false;
  bool stopped_ = false;
};

}  // namespace weir
