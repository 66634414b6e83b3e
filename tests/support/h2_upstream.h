// H2Peer and H2Upstream: HTTP/2 servers with prior knowledge on the simulated network: nghttp2's server session over a raw peer, which
// judges our frames and messages while it reads them. A test owns the H2Upstream; the network outlives it.
// They never answer by themselves but as the protocol demands (SETTINGS, PING, windows) and as their script says.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/sim/sim_loop.h"
#include "tests/support/h2_client.h"

namespace weir::test {

struct H2Request {
  std::int32_t id = 0;
  H2Fields fields, trailers;  // pseudo-header fields are among the former
  std::string body;
  bool head = false;                               // all of the former came
  bool ended = false;                              // END_STREAM came
  bool closed = false;                             // the session has forgotten the stream
  int reset = -1;                                  // the error code of a RST_STREAM that came
  std::string field(std::string_view name) const;  // joined by '|' where there are several
};

struct H2PeerOptions {
  std::uint32_t max_streams = 100;
  std::uint32_t window = 65535;  // of each stream
  bool by_hand = false;          // windows are given back by consume() alone
};

class H2Peer {
 public:
  using Script = std::function<void(H2Peer&, H2Request&)>;
  // `at_head`: the script runs when a request's head is there, else when all of it is.
  H2Peer(SimPeer& peer, H2PeerOptions options = {}, Script script = {}, bool at_head = false);
  ~H2Peer();
  H2Peer(const H2Peer&) = delete;

  void answer(std::int32_t id, int status, std::string_view body = {}, const H2Fields& fields = {}, const H2Fields& trailers = {});
  void inform(std::int32_t id, int status, const H2Fields& fields = {});
  void begin(std::int32_t id, int status, const H2Fields& fields = {});  // write() and finish() go on
  void write(std::int32_t id, std::string_view bytes);
  void finish(std::int32_t id, const H2Fields& trailers = {});
  void reset(std::int32_t id, std::uint32_t code);
  void consume(std::int32_t id, std::size_t bytes);
  void goaway(std::int32_t last, std::uint32_t code = 0);
  void allow(std::uint32_t max_streams);
  void ping();
  void flush();

  H2Request& request(std::int32_t id) { return requests_[id]; }
  const std::map<std::int32_t, H2Request>& requests() const { return requests_; }
  std::vector<std::int32_t> open() const;  // requests that came and are not closed
  std::size_t unsent(std::int32_t id) const { return bodies_.at(id).out.size(); }
  std::int32_t received_window(std::int32_t id) const;  // what may still come on a stream
  int pings() const { return pings_; }
  int pongs() const { return pongs_; }
  int goaway_code() const { return goaway_code_; }
  bool broken() const { return broken_; }  // what came was not HTTP/2, or not a well-formed request
  SimPeer& peer() { return peer_; }
  void on_change();

 private:
  struct Body {
    std::string out;
    H2Fields trailers;
    bool finished = false;
  };
  struct Callbacks;
  void submit(std::int32_t id, int status, const H2Fields& fields, bool has_body);

  SimPeer& peer_;
  nghttp2_session* session_ = nullptr;
  Script script_;
  std::map<std::int32_t, H2Request> requests_;
  std::map<std::int32_t, Body> bodies_;
  std::vector<std::int32_t> arrived_;
  int pings_ = 0, pongs_ = 0, goaway_code_ = -1;
  const bool by_hand_, at_head_;
  bool broken_ = false;
  bool busy_ = false;
};

class H2Upstream {
 public:
  H2Upstream(SimNet& net, SimLoop& loop, const Address& at, H2PeerOptions options = {});
  H2Peer::Script script;                       // default: 200 "ok"
  bool at_head = false;                        // of peers that connect later
  H2PeerOptions options;                       // the same
  std::vector<std::unique_ptr<H2Peer>> peers;  // in the order of arrival
  std::size_t open() const { return server_->open(); }
  std::size_t requests() const;  // on all, ever
  bool broken() const;
  // Answers after a while, unless the peer is gone by then.
  void later(Duration after, std::function<void()> what);
  SimLoop& loop() { return loop_; }

 private:
  void on_change(SimPeer& peer);
  SimLoop& loop_;
  std::shared_ptr<int> alive_ = std::make_shared<int>();
  std::unique_ptr<SimServer> server_;
};

}  // namespace weir::test
