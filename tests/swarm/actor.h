// SwarmActor: one client of a plan, whatever it speaks: SwarmClient over HTTP/1, SwarmH2Client over HTTP/2.
// A run owns them all, and begins, asks and sends home each in the same way.
// It says nothing of what was answered: that goes to the ledger.
#pragma once

#include <memory>
#include <string>

#include "proxy/sim/sim_net.h"
#include "tests/swarm/ledger.h"

namespace weir::test {

class SwarmActor {
 public:
  virtual ~SwarmActor() = default;
  virtual void start(const Address& to) = 0;
  virtual void leave() = 0;       // the world ends: whatever it still waits for
  virtual bool done() const = 0;  // nothing more is to come for it
  virtual bool idle() const = 0;  // done, and its connection is open
  virtual const std::string& listener() const = 0;
};

std::shared_ptr<SwarmActor> make_swarm_client(Connector& connector, SimLoop& loop, const ClientPlan& plan, std::size_t index,
                                              Ledger& ledger);

}  // namespace weir::test
