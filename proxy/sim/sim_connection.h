// SimConnection and SimStream: one simulated TCP connection, and the two ends of it that codecs hold.
// SimNet owns the connections, the codecs own the streams; a connection goes when both its streams have gone.
// Only sim_net.cc and sim_connection.cc include this; it never looks into the bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "proxy/sim/sim_net.h"

namespace weir {

class SimConnection {
 public:
  enum class Arrival : std::uint8_t { data, fin, reset };

  SimConnection(SimNet& net, std::uint64_t id, const SimConditions& conditions, const Address& to, const Address& from);

  // One end: what has arrived for it, and the stream (null once it is closed). 0 is the client.
  struct End {
    SimStream* stream = nullptr;
    SimLoop* loop = nullptr;
    Address address;
    std::string under_way;  // towards this end, in order
    std::string waiting;    // arrived, unread from `read` on
    std::size_t read = 0;
    MonotonicTime last_arrival{};
    std::vector<std::pair<Arrival, std::size_t>> held;  // arrived while stalled
    bool open = false;                                  // the handshake is done and this end has not reset
    bool fin_sent = false;                              // by this end
    bool fin_arrived = false;
    bool reset_arrived = false;
    bool closed = false;

    std::size_t unread() const { return waiting.size() - read; }
  };
  End& end(int side) { return ends_[side]; }
  End& peer(int side) { return ends_[1 - side]; }
  std::size_t room(int side);  // that this end may write now

  IoResult read(int side, std::span<std::uint8_t> into);
  IoResult write(int side, std::span<const iovec> from);
  void send_fin(int side);
  void send_reset(int side);
  void close(int side);
  void stall();
  void unstall();
  void break_now();  // the network resets both ends

  SimNet& net;
  const std::uint64_t id;
  const SimConditions conditions;
  const Address to;
  SimWorld::EventId answer;  // of the connect

 private:
  Duration draw_delay();
  void send(int from, Arrival kind, std::size_t bytes);
  void arrive(int side, Arrival kind, std::size_t bytes);
  void count(std::size_t bytes);
  void wake(int side);

  End ends_[2];
  bool stalled_ = false;
  std::size_t moved_ = 0;
  std::size_t reset_at_ = SIZE_MAX;
  std::size_t stall_at_ = SIZE_MAX;
};

class SimStream final : public ByteStream {
 public:
  SimStream(SimConnection& connection, int side, SimLoop& loop);
  ~SimStream() override;

  void set_handler(ByteStreamHandler* handler) override;
  void want_read(bool wanted) override;
  void want_write(bool wanted) override;
  IoResult read(std::span<std::uint8_t> into) override;
  IoResult write(std::span<const iovec> from) override;
  void shutdown_write() override;
  void reset() override;
  const Address& local_address() const override;
  const Address& peer_address() const override;

  void update();              // arms or cancels the next wake-ups
  void connected(int error);  // the connect's end, on this loop's turn

 private:
  bool readable() const;
  bool writable() const;
  void arm(SimWorld::EventId& event, bool wanted, void (SimStream::*fire)());
  void fire_readable();
  void fire_writable();

  SimConnection* connection_;
  const int side_;
  SimLoop& loop_;
  SimWorld& world_;
  ByteStreamHandler* handler_ = nullptr;
  SimWorld::EventId read_event_;
  SimWorld::EventId write_event_;
  bool wants_read_ = false;
  bool wants_write_ = false;
};

}  // namespace weir
