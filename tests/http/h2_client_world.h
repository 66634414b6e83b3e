// H2ClientWorld: a ClientWorld whose codec speaks HTTP/2 to a server of the test: H2Peer, which judges what it reads, or raw frames.
// A test owns it. It never judges by itself.
#pragma once

#include <catch2/catch.hpp>

#include "tests/http/h1_client_world.h"
#include "tests/http/h2_world.h"
#include "tests/support/h2_upstream.h"

namespace weir {

struct H2ClientWorld : ClientWorld {
  explicit H2ClientWorld(ClientConnectionOptions with = {}) {
    make = &make_h2_client;
    options = with;
    connect();
  }
  ~H2ClientWorld() {
    peer.reset();
    codec.reset();
    calls.clear();
    loop.settle();  // streams are buried
  }
  // From now on nghttp2 answers for the upstream.
  test::H2Peer& serve(test::H2PeerOptions with = {}) {
    peer = std::make_unique<test::H2Peer>(upstream(), with);
    upstream().on_change = [this](SimPeer&) { peer->on_change(); };
    peer->on_change();
    run();
    return *peer;
  }
  void say(const std::string& bytes) {
    upstream().send(bytes);
    run();
  }
  // Frames that came since the last time; the preface is cut off.
  std::vector<frames::Frame> heard() {
    std::string bytes = upstream().take();
    constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    if (bytes.starts_with(kPreface)) bytes.erase(0, kPreface.size());
    return frames::parse(bytes);
  }
  // Everything over: nothing is held by the codec.
  void check_nothing_left() {
    peer.reset();
    codec.reset();
    calls.clear();
    loop.settle();
    CHECK(arenas.in_use() == 0);
    CHECK(buffers.chunks_in_use() == 0);
  }
  std::unique_ptr<test::H2Peer> peer;
};

namespace frames {

inline test::H2Fields answer(std::string_view status = "200", const test::H2Fields& more = {}) {
  test::H2Fields fields{{":status", std::string(status)}};
  fields.insert(fields.end(), more.begin(), more.end());
  return fields;
}
inline std::string server_preface() { return frame(settings, 0, 0) + frame(settings, kAck, 0); }

}  // namespace frames

inline std::string told(const TestCall& call) {  // how it ended, in a word
  if (call.ended > 0 && call.failed == 0) return "ended";
  if (call.failed == 0) return "open";
  constexpr const char* kErrors[] = {"connect_failed", "reset",          "closed",         "refused_stream",
                                     "protocol_error", "head_too_large", "request_aborted"};
  std::string text = kErrors[static_cast<int>(call.failure.error)];
  if (!call.failure.rule.empty()) text += " " + std::string(call.failure.rule);
  return text;
}

}  // namespace weir
