// SwarmClient: one client connection of a plan: sends its requests in its manner, reads the answers strictly, and tells the ledger.
// A run owns them. What no proxy may do to a client, whatever the weather, it reports itself: answers that nobody asked for, in the wrong
// order, badly formed, of mixed or short bodies that look whole.
#pragma once

#include <memory>

#include "tests/support/sim_peers.h"
#include "tests/swarm/actor.h"
#include "tests/swarm/wire.h"

namespace weir::test {

class SwarmClient final : public RawPeer, public SwarmActor, public std::enable_shared_from_this<SwarmClient> {
 public:
  SwarmClient(Connector& connector, SimLoop& loop, const ClientPlan& plan, std::size_t index, Ledger& ledger);
  void start(const Address& to) override;
  void leave() override;
  bool done() const override { return answered_ >= plan_.requests.size() || over() || refused_; }
  bool idle() const override { return open() && !over() && !refused_ && answered_ >= plan_.requests.size(); }
  const std::string& listener() const override { return plan_.listener; }

 private:
  void on_connected(int error) override;
  void on_bytes() override;

  void send_next();
  void send_request(std::size_t index);
  void send_piece(std::size_t index, int piece);
  void send_body(std::size_t index);
  void read_answers();
  void take_head(const WireMessage& head);
  void take_end(const WireMessage& answer);
  void take_informational(const WireMessage& head);
  void check_body(const RequestPlan& request, const WireMessage& answer);
  void act_end();
  bool expects_head() const;
  RequestFacts* facts(std::size_t index);
  const RequestPlan& asked() const { return plan_.requests[answered_]; }
  void later(Duration after, std::function<void(SwarmClient&)> task);
  void broken(const std::string& what);
  void trail(const std::string& what);

  Connector& connector_;
  SimLoop& loop_;
  const ClientPlan& plan_;
  const std::size_t index_;
  Ledger& ledger_;
  WireParser parser_{WireParser::Kind::answer};
  std::size_t sent_ = 0;      // requests whose head was sent
  std::size_t answered_ = 0;  // whole answers
  bool body_under_way_ = false;
  std::size_t waits_for_continue_ = SIZE_MAX;  // the request whose body waits for a 100
  bool continued_ = false;
  bool answer_begun_ = false;
  bool closing_ = false;  // the proxy said that it closes
  bool paused_ = false;
  bool left_ = false;
};

}  // namespace weir::test
