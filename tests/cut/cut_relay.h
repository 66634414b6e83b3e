// CutRelay: a wire that can be cut: it listens at one address, passes every byte on to another, and at one byte of one direction does what the
// case asks of it. So peers that speak frames or records, which no script can write byte for byte, are cut at any byte all the same.
// A case owns one for each wire; it is dropped before the network.
#pragma once

#include <memory>
#include <vector>

#include "proxy/sim/sim_peer.h"
#include "tests/cut/peers.h"

namespace weir::test {

class CutRelay final : private AcceptHandler {
 public:
  CutRelay(SimNet& net, SimLoop& loop, const Address& at, const Address& to);
  ~CutRelay();

  // `cut.side` client: of the bytes of whoever dials; upstream: of whoever is dialled. Over all connections together.
  void arm(const Cut& cut) { cut_ = cut; }
  std::size_t passed(Side side) const { return side == Side::client ? passed_[0] : passed_[1]; }
  bool struck() const { return struck_; }
  void close_all();

 private:
  struct Wire {
    std::unique_ptr<SimPeer> ends[2];  // who dialled, who was dialled
    bool ended[2] = {false, false};    // its FIN was passed on
    bool dead = false;
  };
  void on_accept(std::unique_ptr<ByteStream> stream) override;
  void on_change(Wire& wire);
  void pass_on(Wire& wire, std::size_t from);
  void strike(Wire& wire, std::size_t from);
  void send(Wire& wire, std::size_t from, std::string bytes);
  void trickle(const std::shared_ptr<Wire>& wire);

  SimNet& net_;
  SimLoop& loop_;
  const Address at_;
  const Address to_;
  Cut cut_{Side::none, Act::fin, 0};
  std::vector<std::shared_ptr<Wire>> wires_;
  std::string held_;  // behind a split, or to be sent byte by byte
  std::size_t passed_[2] = {0, 0};
  bool struck_ = false;
  Wire* holding_ = nullptr;  // whose bytes are held
};

}  // namespace weir::test
