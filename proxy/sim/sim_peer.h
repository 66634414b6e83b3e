// SimPeer and SimServer: raw ends of simulated connections, driven by a script: clients and upstreams of tests and of `weir test`.
// The test owns them; a SimServer owns the peers that it accepted, until they are closed or it goes.
// They never parse: whoever scripts them looks at `received`.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/runtime/byte_stream.h"
#include "proxy/sim/sim_net.h"

namespace weir {

class SimPeer final : private ByteStreamHandler {
 public:
  SimPeer(Connector& connector, const Address& to);      // a client
  explicit SimPeer(std::unique_ptr<ByteStream> stream);  // an accepted end

  // What has arrived and was not taken away; take() empties it.
  const std::string& received() const { return received_; }
  std::string take() { return std::exchange(received_, {}); }

  void send(std::string_view bytes);  // kept here while the network takes no more
  void finish();                      // FIN after what was sent
  void reset();                       // RST, now
  void close();                       // drops the stream
  void pause_reading(bool paused);

  bool connected() const { return connected_; }
  bool ended() const { return ended_; }  // FIN has arrived
  bool open() const { return stream_ != nullptr; }
  int error() const { return error_; }  // errno of the connect, of a read or of a write
  std::size_t unsent() const { return unsent_.size(); }
  ByteStream* stream() { return stream_.get(); }

  std::function<void(SimPeer&)> on_change;  // bytes, FIN, an error or the connect; may close the peer, not destroy it

 private:
  void on_readable() override;
  void on_writable() override;
  void on_connected(int error) override;
  void flush();
  void tell();

  std::unique_ptr<ByteStream> stream_;
  std::string received_;
  std::string unsent_;
  bool connected_ = false;
  bool finishing_ = false;
  bool ended_ = false;
  bool paused_ = false;
  int error_ = 0;
};

class SimServer final : private AcceptHandler {
 public:
  using Script = std::function<void(SimPeer&)>;
  // Listens at once; `script` is called at every change of every accepted peer (and once when it is accepted).
  SimServer(SimNet& net, SimLoop& loop, const Address& at, Script script = {});
  ~SimServer();

  std::size_t accepted() const { return accepted_; }           // ever
  std::size_t open() const;                                    // now
  SimPeer& peer(std::size_t index) { return *peers_[index]; }  // in the order of arrival, closed ones included
  SimPeer& last() { return *peers_.back(); }

 private:
  void on_accept(std::unique_ptr<ByteStream> stream) override;

  SimNet& net_;
  Address at_;
  Script script_;
  std::vector<std::unique_ptr<SimPeer>> peers_;
  std::size_t accepted_ = 0;
};

}  // namespace weir
