// SwarmUpstream: one endpoint of a plan: reads requests strictly and answers each as its weights draw it, well or badly.
// A run owns them, and they own the connections that they accepted. What no proxy may send they report to the ledger.
// What it does with a request depends on the plan's seed, the request's id and how often it was seen, not on what came before.
#pragma once

#include <memory>

#include "tests/support/sim_peers.h"
#include "tests/swarm/ledger.h"
#include "tests/swarm/wire.h"

namespace weir::test {

class SwarmUpstream;

// A connection that was accepted, whatever it speaks.
class SwarmPeer {
 public:
  virtual ~SwarmPeer() = default;
  virtual void begin(std::unique_ptr<ByteStream> stream) = 0;
  virtual void reset() = 0;
};

class SwarmUpstreamPeer final : public RawPeer, public SwarmPeer, public std::enable_shared_from_this<SwarmUpstreamPeer> {
 public:
  explicit SwarmUpstreamPeer(SwarmUpstream& upstream) : upstream_(upstream) {}
  void begin(std::unique_ptr<ByteStream> stream) override { adopt(std::move(stream)); }
  void reset() override { RawPeer::reset(); }

 private:
  enum class Then : std::uint8_t { keep, fin, reset };
  struct Step {
    Duration after{0};
    std::string bytes;
    Then then = Then::keep;
    bool whole = false;  // the answer is whole, though more is to happen
  };
  void on_bytes() override;
  void take_head(const WireMessage& request);
  void take_end(const WireMessage& request);
  void act(Act act, Random& random);
  void play(std::vector<Step> steps, std::size_t next);
  std::string head(int status, std::uint64_t seed, std::size_t size, const std::string& more) const;
  std::vector<Step> bodied(Act act, Random& random) const;
  std::vector<Step> broken_off(Act act, Random& random) const;
  void broken(const std::string& what);
  void trail(const std::string& what);
  RequestFacts* facts();

  SwarmUpstream& upstream_;
  WireParser parser_{WireParser::Kind::request};
  std::string id_;  // of the present request
  std::string method_;
  Act act_ = Act::ok;
  bool begun_ = false;      // the present request's script runs, or has run
  bool answering_ = false;  // ... and has not come to its end
  bool whole_ = true;       // the present request came to its end
  bool spoilt_ = false;     // bytes that nobody asked for were sent on it, in one piece with an answer
  bool doomed_ = false;     // the connection is about to be closed: who still asks on it gets nothing
};

class SwarmUpstream final : public AcceptHandler {
 public:
  SwarmUpstream(SimNet& net, SimLoop& loop, const EndpointPlan& plan, std::uint64_t seed, Ledger& ledger);
  ~SwarmUpstream();
  void up();
  void down();     // connects are refused, and what is open is reset
  void restore();  // the network as planned
  void calm();     // ... without harm, and up
  void heal();     // from now on it answers every request well
  void close_all();

  static std::uint64_t hash_of(std::string_view text, std::uint64_t hash);
  static std::size_t some_size(Act act, Random& random);  // of an answer's body

 private:
  friend class SwarmUpstreamPeer;
  friend class SwarmH2Peer;
  RequestFacts* facts(std::string_view id);  // null: none of the plan's
  Act draw(Random& random) const;
  void on_accept(std::unique_ptr<ByteStream> stream) override;

  SimNet& net_;
  SimLoop& loop_;
  const EndpointPlan& plan_;
  const Address at_;
  const std::uint64_t seed_;
  Ledger& ledger_;
  std::vector<std::shared_ptr<SwarmPeer>> peers_;
  bool listening_ = false;
  bool healed_ = false;
};

}  // namespace weir::test
