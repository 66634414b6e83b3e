// ScriptedUpstream: an HTTP/1.1 server on the simulated network that answers with given bytes, after given delays, in the order of its
// script. The test owns it; the network outlives it.
// It never checks what it is sent: tests look at `requests`. It waits for whole requests (Content-Length or chunked) before it answers,
// unless a reply says otherwise.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proxy/sim/sim_peer.h"

namespace weir::test {

struct ScriptedReply {
  enum class Then : std::uint8_t { keep, fin, reset };
  std::string bytes;       // empty: no answer at all
  Then then = Then::keep;  // what becomes of the connection afterwards
  Duration after{0};
  bool at_head = false;  // does not wait for the request's body

  static ScriptedReply with(int status, std::string_view body = {});
  static ScriptedReply raw(std::string_view bytes, Then then = Then::keep) {
    ScriptedReply reply;
    reply.bytes = bytes;
    reply.then = then;
    return reply;
  }
  ScriptedReply late(Duration by) && {
    after = by;
    return std::move(*this);
  }
};

class ScriptedUpstream {
 public:
  ScriptedUpstream(SimNet& net, SimLoop& loop, const Address& at);
  ~ScriptedUpstream();

  ScriptedUpstream& then(ScriptedReply reply) {
    script_.push_back(std::move(reply));
    return *this;
  }
  void always(ScriptedReply reply) { always_ = std::move(reply); }  // when the script is at its end; at first: 200, "ok"
  SimServer& server() { return *server_; }
  std::size_t accepted() const { return server_->accepted(); }

  std::vector<std::string> requests;  // head and body as they came

 private:
  void on_change(SimPeer& peer);
  void answer(SimPeer& peer, const ScriptedReply& reply);
  static std::optional<std::size_t> whole(const std::string& bytes, bool at_head);  // the size of the first request

  SimLoop& loop_;
  std::deque<ScriptedReply> script_;
  ScriptedReply always_ = ScriptedReply::with(200, "ok");
  std::map<SimPeer*, std::string> received_;
  std::unique_ptr<SimServer> server_;
  std::shared_ptr<int> alive_ = std::make_shared<int>();
};

}  // namespace weir::test
