// SwarmH2Client: one HTTP/2 connection of a plan: its requests are streams, one after another or all at once; it tells the ledger.
// A run owns it. nghttp2 judges frames and messages (tests/support/h2_client.h); what no proxy may do besides, it reports itself: short
// bodies that look whole, the answer to another request, streams that are taken after they were said to be refused.
#pragma once

#include <functional>
#include <vector>

#include "tests/support/h2_client.h"
#include "tests/swarm/actor.h"

namespace weir::test {

class SwarmH2Client final : public SwarmActor, public std::enable_shared_from_this<SwarmH2Client> {
 public:
  SwarmH2Client(Connector& connector, SimLoop& loop, const ClientPlan& plan, std::size_t index, Ledger& ledger);
  ~SwarmH2Client() override;
  void start(const Address& to) override;
  void leave() override;
  bool done() const override;
  bool idle() const override { return open() && done() && !over_ && !refused_; }
  const std::string& listener() const override { return plan_.listener; }

 private:
  struct Exchange {  // one request of the plan
    std::int32_t id = 0;
    bool waits_for_continue = false;
    std::size_t informational = 0;  // told already
    bool headed = false;
    bool settled = false;  // answered whole, reset, or lost with the connection
  };

  bool open() const { return client_ != nullptr && client_->peer().open(); }
  void on_update();
  void look_at(std::size_t index);
  void hear_informational(std::size_t index, int status);
  void take_head(std::size_t index, const H2Reply& reply);
  void take_end(std::size_t index, const H2Reply& reply);
  void check_body(std::size_t index, const H2Reply& reply);
  void settle(std::size_t index);
  void note_end_of_connection();
  void send_next();
  void send_request(std::size_t index);
  void send_piece(std::size_t index, int piece);
  void cancel(std::size_t index);
  void act_end();
  void later(Duration after, std::function<void(SwarmH2Client&)> task);
  RequestFacts& facts(std::size_t index) { return ledger_.request(plan_.requests[index].id); }
  void broken(std::size_t index, const std::string& what);
  void trail(const std::string& what);

  Connector& connector_;
  SimLoop& loop_;
  const ClientPlan& plan_;
  const std::size_t index_;
  Ledger& ledger_;
  std::unique_ptr<H2Client> client_;
  std::vector<Exchange> exchanges_;  // of the requests that were sent
  std::size_t settled_ = 0;
  bool refused_ = false;
  bool over_ = false;    // FIN, RST, or it left by itself
  bool goaway_ = false;  // nothing more is begun
  bool paused_ = false;
  bool left_ = false;
};

}  // namespace weir::test
