// A client and a server of TLS, and between them whoever carries their bytes: in any pieces, changed, with bytes of his own, with FIN and
// RST, while the ends talk, pause and say goodbye. Nothing crashes and nothing is left behind; what an end reads is what the other said, in
// order; and an end without all of it is never told as an end.
//
// The input is a script: a byte of order, a byte that says how much, and for some orders bytes.
#include <algorithm>
#include <memory>
#include <string>

#include "proxy/net/tls_connector.h"
#include "proxy/sim/sim_net.h"
#include "proxy/sim/sim_peer.h"
#include "tests/fuzz/fuzz_support.h"
#include "tests/support/certificates.h"

namespace weir {

namespace {

// Made once: what is fuzzed is the stream, not the making of keys.
struct Contexts {
  Contexts() {
    test::TestAuthority authority;
    const test::PemPair pair = authority.issue({.dns = {"server.local"}});
    TlsServerSettings serving;
    serving.identities = {TlsIdentity::parse(pair.certificate, pair.key).value()};
    serving.alpn = {"h2", "http/1.1"};
    serving.client_ca = TlsTrust::parse(authority.ca()).value();
    serving.require_client = false;
    server = TlsServerContext::make(serving, "fuzz").value();
    TlsClientSettings calling;
    calling.ca = serving.client_ca;
    calling.server_name = "server.local";
    calling.alpn = "http/1.1";
    calling.identity = serving.identities.front();
    client = TlsClientContext::make(calling).value();
  }
  std::shared_ptr<TlsServerContext> server;
  std::shared_ptr<const TlsClientContext> client;
};

struct End final : ByteStreamHandler {
  void on_connected(int error) override {
    require(!told, "the handshake ends once");
    told = true;
    connected = error == 0;
    require(connected == (stream->tls() != nullptr), "facts are there when the handshake is over");
    if (!connected) return require(!stream->failure().empty() || error != 0, "a failure has a reason");
    stream->want_read(true);
    flush();
  }
  void on_readable() override {
    require(connected, "nothing is read before the handshake is over");
    std::uint8_t room[20000];
    const IoResult result = stream->read({room, most});
    if (result.ok()) {
      require(result.bytes > 0 && result.bytes <= most, "ok means bytes");
      received.append(reinterpret_cast<const char*>(room), result.bytes);
    } else if (result.status != IoResult::Status::would_block) {
      ended = result.status == IoResult::Status::end;
      stream->want_read(false);
    }
  }
  void on_writable() override { flush(); }
  void say(std::string_view text) {
    if (finished || stream == nullptr) return;
    said += text;
    out += text;
    if (connected) flush();
  }
  void flush() {
    while (!out.empty()) {
      const std::size_t half = out.size() / 2;
      const iovec parts[] = {{out.data(), half}, {out.data() + half, out.size() - half}};
      const IoResult result = stream->write(parts);
      if (result.status == IoResult::Status::error) {
        out.clear();
        broken = true;
        break;
      }
      if (result.ok()) out.erase(0, result.bytes);
      if (!result.ok() || !out.empty()) return stream->want_write(true);
    }
    stream->want_write(false);
    if (wants_finish && !broken) stream->shutdown_write(), finished = true;
  }
  void finish() {
    if (stream == nullptr || wants_finish) return;
    wants_finish = true;
    if (connected) flush();
  }

  std::unique_ptr<ByteStream> stream;
  std::string said, out, received;
  std::size_t most = 20000;
  bool told = false, connected = false, ended = false, broken = false, wants_finish = false, finished = false;
};

struct World final : private AcceptHandler {
  explicit World(const Contexts& of) : contexts(of), connector(loop, buffers, net) {
    net.conditions().window = 6000;
    net.listen(back, *this);
    carrier_in = std::make_unique<SimServer>(net, loop, front);
    connector.use(contexts.client);
    client.stream = connector.connect(front, client);
    carrier_out = std::make_unique<SimPeer>(net, back);
    loop.run_ready();
  }
  void on_accept(std::unique_ptr<ByteStream> stream) override {
    auto secured = std::make_unique<TlsStream>(loop, buffers, contexts.server, std::move(stream));
    TlsStream& made = *secured;
    server.stream = std::move(secured);
    server.stream->set_handler(&server);
    made.handshake();
  }

  const Contexts& contexts;
  SimLoop loop;
  SimNet net{loop};
  Address front = Address::parse("127.0.0.1:1").value();
  Address back = Address::parse("127.0.0.1:2").value();
  BufferPool buffers;
  TlsConnector connector;
  std::unique_ptr<SimServer> carrier_in;
  std::unique_ptr<SimPeer> carrier_out;
  End client, server;
};

// What the carrier has taken from one end and not passed on.
struct Way {
  SimPeer& from;
  SimPeer& to;
  std::string held;
  bool tampered = false;

  void take() { held += from.take(); }
  void pass(std::size_t most) {
    take();
    const std::size_t size = std::min(most, held.size());
    to.send(std::string_view(held).substr(0, size));
    held.erase(0, size);
  }
};

void play(std::string_view script) {
  static const Contexts contexts;
  World w(contexts);
  Way up{w.carrier_in->last(), *w.carrier_out, {}}, down{*w.carrier_out, w.carrier_in->last(), {}};
  const auto carry_all = [&](int rounds) {
    for (int i = 0; i < rounds; ++i) {
      up.pass(SIZE_MAX);
      down.pass(SIZE_MAX);
      w.loop.run_ready();
    }
  };
  while (script.size() >= 2) {
    const auto order = static_cast<std::uint8_t>(script[0]);
    const auto much = static_cast<std::uint8_t>(script[1]);
    script.remove_prefix(2);
    Way& way = (order & 1) != 0 ? down : up;
    End& end = (order & 1) != 0 ? w.server : w.client;
    switch ((order >> 1) % 12) {
      case 0: carry_all(1 + much % 8); break;
      case 1: way.pass(much); break;
      case 2: way.pass(std::size_t{much} * 64); break;
      case 3:
        way.take();
        if (!way.held.empty()) way.held[much % way.held.size()] ^= static_cast<char>(1 << (order >> 5)), way.tampered = true;
        break;
      case 4: {
        const std::size_t size = std::min<std::size_t>(much, script.size());
        way.take();
        way.held.insert(0, script.substr(0, size));
        script.remove_prefix(size);
        way.tampered = way.tampered || size > 0;
        break;
      }
      case 5: end.say(std::string(std::size_t{much} * (order >> 5) * 16 + 1, static_cast<char>(much))); break;
      case 6: end.finish(); break;
      case 7:
        if (end.stream != nullptr && end.connected) end.stream->want_read((much & 1) != 0);
        break;
      case 8: end.most = std::size_t{much} * 70 + 1; break;
      case 9: (much & 1) != 0 ? way.to.finish() : way.to.reset(); break;
      case 10:
        if (much % 4 == 0) end.stream.reset(), end.told = true;
        break;
      default: w.loop.advance(std::chrono::milliseconds(much)); break;
    }
    if ((order & 0x80) == 0) w.loop.run_ready();
  }
  for (End* end : {&w.client, &w.server}) {
    if (end->stream != nullptr && end->connected && !end->ended) end->stream->want_read(true);
  }
  carry_all(20);
  require(w.server.received == w.client.said.substr(0, w.server.received.size()), "the server reads what the client said");
  require(w.client.received == w.server.said.substr(0, w.client.received.size()), "the client reads what the server said");
  // The client's end is also told when the test dropped the server's stream, which says goodbye: but never before all that was taken.
  if (w.server.ended)
    require(w.server.received.size() + w.client.out.size() >= w.client.said.size() || w.client.broken, "the server's end is whole");
  if (w.client.ended)
    require(w.client.received.size() + w.server.out.size() >= w.server.said.size() || w.server.broken, "the client's end is whole");
  w.client.stream.reset();
  w.server.stream.reset();
  w.loop.run_ready();
  require(w.buffers.bytes_held() == 0, "nothing is left behind");
}

}  // namespace

}  // namespace weir

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size <= 4096) weir::play(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
