// SimNet: a network in virtual time: pairs of ByteStreams with seeded delay, short reads and writes, a window, half-close and faults.
// The world's owner owns it and it outlives every stream that it made; it borrows the loops, one per simulated worker.
// It never opens a socket, and equal seeds give equal runs.
//
// It behaves as the kernel does: on_readable comes on a turn of its own while data, FIN or an error waits and reading is wanted,
// on_writable while there is room and writing is wanted. Closing with unread data, or data that meets a closed end, makes a RST.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "proxy/base/random.h"
#include "proxy/runtime/byte_stream.h"
#include "proxy/sim/sim_loop.h"

namespace weir {

class SimConnection;
class SimStream;

// How the network treats connections to one address. Chances are drawn from the network's seed.
struct SimConditions {
  Duration delay{0};                            // one way
  Duration jitter{0};                           // added, uniformly; order is kept, so late segments join earlier ones
  std::size_t window = std::size_t{64} * 1024;  // bytes under way and unread, in each direction; then write() would block
  double fragment = 0;                          // chance that a write travels in two segments
  double short_read = 0;                        // chance that a read gives a part of what waits
  double short_write = 0;                       // chance that a write takes a part of what has room
  double refuse = 0;                            // chance that a connect is refused; 1 = always ...
  int refuse_error = ECONNREFUSED;              // ... with this
  double black_hole = 0;                        // chance that a connect is never answered
  double reset = 0;                             // chance that a connection is reset ...
  double stall = 0;                             // ... or stands still for ever ...
  std::size_t within = std::size_t{16} * 1024;  // ... at a random one of the first so many bytes, both ways counted
};

class SimNet final : public Connector {
 public:
  explicit SimNet(SimLoop& loop);  // the loop that connect() and listen() mean when none is named
  ~SimNet() override;
  SimNet(const SimNet&) = delete;
  SimNet& operator=(const SimNet&) = delete;

  std::unique_ptr<ByteStream> connect(const Address& to, ByteStreamHandler& handler) override;
  Connector& connector(SimLoop& loop);  // whose streams live on that loop

  // Listening twice on one address (two workers) shares its connections out by chance. Nobody listens: refused.
  void listen(const Address& at, AcceptHandler& handler) { listen(loop_, at, handler); }
  void listen(SimLoop& loop, const Address& at, AcceptHandler& handler);
  void stop_listening(const Address& at);  // all of them; who waits to be accepted is reset
  void stop_listening(const Address& at, const AcceptHandler& handler);

  // For connections made from now on, to one address or to all that have no conditions of their own.
  SimConditions& conditions() { return defaults_; }
  SimConditions& conditions(const Address& to);

  // Scripted faults, on the present connections to an address.
  void stall(const Address& to);    // nothing arrives any more, in either direction
  void unstall(const Address& to);  // what was held back arrives
  void reset(const Address& to);    // both ends get a RST, what was under way is lost

  std::size_t open_streams() const { return open_streams_; }
  std::uint64_t connects() const { return connects_; }  // tried so far
  SimWorld& world() { return loop_.world(); }

 private:
  friend class SimConnection;
  friend class SimStream;
  struct Listener {
    SimLoop* loop;
    AcceptHandler* handler;
  };
  struct LoopConnector;

  std::unique_ptr<ByteStream> connect_on(SimLoop& loop, const Address& to, ByteStreamHandler& handler);
  void answer_connect(SimConnection& connection);
  void accept(SimConnection& connection, AcceptHandler* handler);
  // Runs `task` then, if the network and the connection still live.
  SimWorld::EventId later(SimLoop& loop, MonotonicTime time, SimConnection& connection, std::function<void(SimConnection&)> task);
  void forget(SimConnection& connection);
  const SimConditions& conditions_of(const Address& to) const;
  template <class F>
  void for_each_to(const Address& to, F apply);

  SimLoop& loop_;
  Random random_;
  SimConditions defaults_;
  std::map<std::string, SimConditions, std::less<>> conditions_;
  std::map<std::string, std::vector<Listener>, std::less<>> listeners_;
  std::map<SimLoop*, std::unique_ptr<LoopConnector>> connectors_;
  std::map<std::uint64_t, std::unique_ptr<SimConnection>> connections_;
  std::shared_ptr<int> alive_ = std::make_shared<int>();  // events of the world may outlive the network
  std::uint64_t next_id_ = 1;
  std::uint64_t connects_ = 0;
  std::size_t open_streams_ = 0;
};

}  // namespace weir
