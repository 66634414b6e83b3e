// SwarmH2Peer: one HTTP/2 connection that a SwarmUpstream accepted: answers each stream as its weights draw it, well or badly.
// The SwarmUpstream owns it; nghttp2 judges frames and requests (tests/support/h2_upstream.h). What no proxy may send it reports itself.
// What it does with a request depends on the plan's seed, the request's id and how often it was seen, as over HTTP/1.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tests/support/h2_upstream.h"
#include "tests/swarm/swarm_upstream.h"

namespace weir::test {

class SwarmH2Peer final : public SwarmPeer, public std::enable_shared_from_this<SwarmH2Peer> {
 public:
  explicit SwarmH2Peer(SwarmUpstream& upstream) : upstream_(upstream) {}
  ~SwarmH2Peer() override;
  void begin(std::unique_ptr<ByteStream> stream) override;
  void reset() override;

 private:
  struct Stream {
    std::string request;  // its x-request-id
    std::string method;
    Act act = Act::ok;
    bool begun = false;  // the script runs, or has run
    bool ended = false;  // the request was seen whole
    int informed = 0;
  };
  struct Step {
    Duration after{0};
    std::function<void(SwarmH2Peer&)> act;
  };

  bool open() const { return peer_ != nullptr && peer_->open(); }
  void on_update();
  void take_head(std::int32_t id, const H2Request& request);
  void take_end(std::int32_t id, const H2Request& request);
  void act(std::int32_t id, Random& random);
  std::vector<Step> steps_of(std::int32_t id, Random& random);
  std::vector<Step> bodied(std::int32_t id, Random& random);
  std::vector<Step> broken_off(std::int32_t id, Random& random);
  void play(std::vector<Step> steps, std::size_t next);
  void say_goodbye();
  void end_connection(bool fin);
  RequestFacts* facts(std::int32_t id);
  void broken(std::int32_t id, const std::string& what);
  void trail(const std::string& what);

  SwarmUpstream& upstream_;
  std::unique_ptr<SimPeer> peer_;
  std::unique_ptr<H2Peer> session_;
  std::map<std::int32_t, Stream> streams_;
  bool said_goodbye_ = false;
};

}  // namespace weir::test
