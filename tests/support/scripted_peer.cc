#include "tests/support/scripted_peer.h"

#include <cstdlib>

namespace weir::test {

ScriptedReply ScriptedReply::with(int status, std::string_view body) {
  ScriptedReply reply;
  reply.bytes =
      "HTTP/1.1 " + std::to_string(status) + " Scripted\r\ncontent-length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
  return reply;
}

ScriptedUpstream::ScriptedUpstream(SimNet& net, SimLoop& loop, const Address& at) : loop_(loop) {
  server_ = std::make_unique<SimServer>(net, loop, at, [this](SimPeer& peer) { on_change(peer); });
}

ScriptedUpstream::~ScriptedUpstream() = default;

std::optional<std::size_t> ScriptedUpstream::whole(const std::string& bytes, bool at_head) {
  const std::size_t end = bytes.find("\r\n\r\n");
  if (end == std::string::npos) return std::nullopt;
  const std::size_t head = end + 4;
  const std::string fields = bytes.substr(0, head);
  if (at_head) return head;
  const std::size_t length = fields.find("\r\ncontent-length: ");
  if (length != std::string::npos) {
    const std::size_t size = head + static_cast<std::size_t>(std::atoll(fields.c_str() + length + 18));
    return bytes.size() >= size ? std::optional(size) : std::nullopt;
  }
  if (fields.find("\r\ntransfer-encoding: chunked") == std::string::npos) return head;
  const std::size_t last = bytes.find("0\r\n\r\n", head);
  return last == std::string::npos ? std::nullopt : std::optional(last + 5);
}

void ScriptedUpstream::on_change(SimPeer& peer) {
  std::string& bytes = received_[&peer];
  bytes += peer.take();
  for (;;) {
    const ScriptedReply& next = script_.empty() ? always_ : script_.front();
    const auto size = whole(bytes, next.at_head);
    if (!size || !peer.open()) break;
    requests.push_back(bytes.substr(0, *size));
    bytes.erase(0, *size);
    const ScriptedReply reply = next;
    if (!script_.empty()) script_.pop_front();
    answer(peer, reply);
  }
  if (peer.open() && (peer.ended() || peer.error() != 0)) peer.close();
}

void ScriptedUpstream::answer(SimPeer& peer, const ScriptedReply& reply) {
  const auto act = [](SimPeer& to, const ScriptedReply& what) {
    if (!to.open()) return;
    if (!what.bytes.empty()) to.send(what.bytes);
    if (what.then == ScriptedReply::Then::fin) to.finish();
    if (what.then == ScriptedReply::Then::reset) to.reset();
  };
  if (reply.after == Duration(0)) return act(peer, reply);
  loop_.world().schedule_at(loop_, loop_.now() + reply.after, [alive = std::weak_ptr<int>(alive_), &peer, reply, act] {
    if (!alive.expired()) act(peer, reply);
  });
}

}  // namespace weir::test
