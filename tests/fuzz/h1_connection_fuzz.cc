// Both codecs between a client and an upstream that send any bytes, in any pieces, with FIN, RST and time
// passing in between: nothing crashes, no check fails, nothing is left behind, and no second answer follows a
// broken one.
//
// The input is a script: a byte of order (what, and how many bytes follow), then those bytes.
#include <cstdlib>

#include "proxy/metrics/metrics.h"
#include "proxy/sim/sim_net.h"
#include "proxy/sim/sim_peer.h"
#include "tests/http/h1_relay.h"

namespace weir {

namespace {

struct World final : private AcceptHandler, private ByteStreamHandler {
  World() : front(Address::parse("127.0.0.1:1").value()), back(Address::parse("127.0.0.1:2").value()) {
    net.conditions().window = 3000;
    net.listen(front, *this);
  }
  ~World() { relay.reset(); }
  void on_accept(std::unique_ptr<ByteStream> stream) override {
    accepted = std::move(stream);
    connecting = net.connect(back, *this);
  }
  void on_readable() override {}
  void on_writable() override {}
  void on_connected(int) override {
    relay = std::make_unique<H1Relay>(worker, std::move(accepted), std::move(connecting));
  }

  SimLoop loop;
  SimNet net{loop};
  Address front, back;
  BufferPool buffers;
  ArenaPool arenas;
  Random random{5};
  MetricsRegistry registry;
  WorkerContext worker{loop, buffers, arenas, random, registry.shard(0), 0};
  std::unique_ptr<ByteStream> accepted, connecting;
  std::unique_ptr<H1Relay> relay;
};

void require(bool condition) {
  if (!condition) std::abort();
}

void play(std::string_view script) {
  World w;
  SimServer server(w.net, w.loop, w.back);
  SimPeer client(w.net, w.front);
  w.loop.run_ready();
  SimPeer& upstream = server.last();
  while (!script.empty()) {
    const auto order = static_cast<std::uint8_t>(script.front());
    script.remove_prefix(1);
    SimPeer& peer = (order & 1) != 0 ? upstream : client;
    const unsigned what = (order >> 1) & 0x7;
    if (what < 5) {
      const std::size_t size =
          std::min<std::size_t>(script.size(), what == 4 ? 2000 : (std::size_t{order} >> 4) * 8 + 1);
      peer.send(script.substr(0, size));
      script.remove_prefix(size);
    } else if (what == 5) {
      (order & 0x10) != 0 ? peer.reset() : peer.finish();
    } else if (what == 6) {
      w.loop.advance(std::chrono::milliseconds(order & 0x10 ? 20'000 : 300));
    } else {
      peer.pause_reading((order & 0x10) != 0);
    }
    if ((order & 0x80) == 0) w.loop.run_ready();
  }
  w.loop.run_ready();
  require(w.buffers.bytes_held() < 4 * 1024 * 1024);
  client.close();
  upstream.close();
  w.loop.advance(2h);
  if (w.relay != nullptr) {
    require(!w.relay->busy() && w.relay->closed);
    w.relay.reset();
  }
  require(w.buffers.bytes_held() == 0 && w.arenas.in_use() == 0);
}

}  // namespace

}  // namespace weir

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  weir::play(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
