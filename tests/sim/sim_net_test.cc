#include "proxy/sim/sim_net.h"

#include <catch2/catch.hpp>
#include <cerrno>
#include <string>

#include "proxy/sim/sim_peer.h"

using namespace weir;

namespace {

Address address(std::string_view text) { return Address::parse(text).value(); }

struct World {
  World() : net(loop), at(address("127.0.0.1:9001")) {}
  SimLoop loop;
  SimNet net;
  Address at;
};

std::string pattern(std::size_t size) {
  std::string text(size, 0);
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + i % 23);
  return text;
}

}  // namespace

TEST_CASE("two ends talk, and know each other's address") {
  World w;
  SimServer server(w.net, w.loop, w.at);
  SimPeer client(w.net, w.at);
  client.send("hello");
  CHECK_FALSE(client.connected());
  w.loop.run_ready();
  REQUIRE(client.connected());
  REQUIRE(server.accepted() == 1);
  CHECK(server.last().received() == "hello");
  server.last().send("world");
  w.loop.run_ready();
  CHECK(client.received() == "world");
  CHECK(client.stream()->peer_address() == w.at);
  CHECK(server.last().stream()->local_address() == w.at);
  CHECK(server.last().stream()->peer_address() == client.stream()->local_address());
  CHECK(client.stream()->descriptor() == -1);
}

TEST_CASE("bytes and the connect take the delay, each way") {
  World w;
  w.net.conditions().delay = 10ms;
  SimServer server(w.net, w.loop, w.at);
  SimPeer client(w.net, w.at);
  w.loop.advance(10ms);
  CHECK(server.accepted() == 1);
  CHECK_FALSE(client.connected());
  w.loop.advance(10ms);
  CHECK(client.connected());
  client.send("x");
  w.loop.advance(9999us);
  CHECK(server.last().received().empty());
  w.loop.advance(1us);
  CHECK(server.last().received() == "x");
}

TEST_CASE("half-close: the other direction goes on") {
  World w;
  SimServer server(w.net, w.loop, w.at);
  SimPeer client(w.net, w.at);
  client.send("request");
  client.finish();
  w.loop.run_ready();
  CHECK(server.last().received() == "request");
  CHECK(server.last().ended());
  server.last().send("late answer");
  server.last().finish();
  w.loop.run_ready();
  CHECK(client.received() == "late answer");
  CHECK(client.ended());
  CHECK(client.error() == 0);
}

TEST_CASE("a closed end sends FIN; with unread bytes, or when written to, RST") {
  World w;
  SimServer server(w.net, w.loop, w.at);
  SECTION("clean close, then a write meets nobody") {
    SimPeer client(w.net, w.at);
    w.loop.run_ready();
    server.last().close();
    w.loop.run_ready();
    CHECK(client.ended());
    client.send("anyone?");
    w.loop.run_ready();
    client.send("hello?");
    w.loop.run_ready();
    CHECK(client.error() == EPIPE);
  }
  SECTION("close with unread bytes") {
    SimPeer client(w.net, w.at);
    w.loop.run_ready();
    server.last().pause_reading(true);
    client.send("unread");
    w.loop.run_ready();
    server.last().close();
    w.loop.run_ready();
    CHECK_FALSE(client.ended());
    CHECK(client.error() == ECONNRESET);
  }
}

TEST_CASE("a reset reaches the peer after the bytes that came before") {
  World w;
  w.net.conditions().delay = 5ms;
  SimServer server(w.net, w.loop, w.at);
  SimPeer client(w.net, w.at);
  w.loop.run_until_idle();
  server.last().send("partial");
  server.last().reset();
  w.loop.run_until_idle();
  CHECK(client.received() == "partial");
  CHECK(client.error() == ECONNRESET);
  CHECK_FALSE(client.ended());
}

TEST_CASE("a peer that does not read hears of a write that failed when it reads again") {
  World w;
  SimServer server(w.net, w.loop, w.at);
  SimPeer client(w.net, w.at);
  w.loop.run_until_idle();
  client.pause_reading(true);
  server.last().reset();
  w.loop.run_until_idle();
  client.send("into nothing");
  w.loop.run_until_idle();
  int told = 0;
  client.on_change = [&](SimPeer&) { ++told; };
  client.pause_reading(false);
  w.loop.run_until_idle();
  CHECK(told == 1);
  CHECK(client.error() != 0);
}

TEST_CASE("the window fills: writes block, and go on when the reader reads") {
  World w;
  w.net.conditions().window = 1000;
  SimServer server(w.net, w.loop, w.at);
  SimPeer client(w.net, w.at);
  w.loop.run_ready();
  server.last().pause_reading(true);
  const std::string text = pattern(3500);
  client.send(text);
  w.loop.run_ready();
  CHECK(client.unsent() == 2500);
  server.last().pause_reading(false);
  w.loop.run_ready();
  CHECK(client.unsent() == 0);
  CHECK(server.last().received() == text);
}

TEST_CASE("nobody listens: refused, on a later turn") {
  World w;
  SimPeer client(w.net, w.at);
  CHECK(client.error() == 0);
  w.loop.run_ready();
  CHECK(client.error() == ECONNREFUSED);
  CHECK_FALSE(client.connected());
}

TEST_CASE("refusals and black holes are conditions of an address") {
  World w;
  const Address other = address("127.0.0.1:9002");
  SimServer server(w.net, w.loop, w.at), good(w.net, w.loop, other);
  SimPeer fine(w.net, other);
  SECTION("refuse") {
    w.net.conditions(w.at).refuse = 1;
    SimPeer client(w.net, w.at);
    w.loop.advance(1h);
    CHECK(client.error() == ECONNREFUSED);
  }
  SECTION("black hole") {
    w.net.conditions(w.at).black_hole = 1;
    SimPeer client(w.net, w.at);
    w.loop.advance(1h);
    CHECK(client.error() == 0);
    CHECK_FALSE(client.connected());
  }
  CHECK(fine.connected());
  CHECK(server.accepted() == 0);
  CHECK(w.net.connects() == 2);
}

TEST_CASE("a client that goes before the answer leaves a reset behind, or nothing") {
  World w;
  w.net.conditions().delay = 10ms;
  SimServer server(w.net, w.loop, w.at);
  {
    SimPeer client(w.net, w.at);
    w.loop.advance(5ms);
  }
  w.loop.run_until_idle();
  CHECK(server.accepted() == 0);
  {
    SimPeer client(w.net, w.at);
    w.loop.advance(15ms);
  }
  w.loop.run_until_idle();
  REQUIRE(server.accepted() == 1);
  CHECK(server.last().error() == ECONNRESET);
  server.last().close();
  CHECK(w.net.open_streams() == 0);
}

TEST_CASE("a listener that goes resets who waits to be accepted, and refuses the next") {
  World w;
  SimPeer waiting(w.net, w.at);
  {
    SimServer server(w.net, w.loop, w.at);
    w.loop.world().run_until([&] { return w.loop.world().events() == 1; });  // the SYN only
  }
  w.loop.run_ready();
  CHECK(waiting.connected());
  CHECK(waiting.error() == ECONNRESET);
  SimPeer next(w.net, w.at);
  w.loop.run_ready();
  CHECK(next.error() == ECONNREFUSED);
}

TEST_CASE("stall holds everything back until unstall") {
  World w;
  SimServer server(w.net, w.loop, w.at);
  SimPeer client(w.net, w.at);
  w.loop.run_ready();
  w.net.stall(w.at);
  client.send("one");
  client.finish();
  server.last().send("two");
  w.loop.advance(1h);
  CHECK(server.last().received().empty());
  CHECK(client.received().empty());
  w.net.unstall(w.at);
  w.loop.run_ready();
  CHECK(server.last().received() == "one");
  CHECK(server.last().ended());
  CHECK(client.received() == "two");
}

TEST_CASE("the network may reset all connections to an address") {
  World w;
  SimServer server(w.net, w.loop, w.at);
  SimPeer one(w.net, w.at), two(w.net, w.at);
  w.loop.run_ready();
  w.net.reset(w.at);
  w.loop.run_ready();
  CHECK(one.error() == ECONNRESET);
  CHECK(two.error() == ECONNRESET);
  CHECK(server.peer(0).error() == ECONNRESET);
}

TEST_CASE("random faults break or stall a connection within the given bytes") {
  SimLoop loop;
  SimNet net(loop);
  const Address at = address("127.0.0.1:9001");
  net.conditions().within = 1000;
  SECTION("reset") {
    net.conditions().reset = 1;
    SimServer server(net, loop, at);
    SimPeer client(net, at);
    client.send(pattern(5000));
    loop.run_ready();
    CHECK(client.error() != 0);
    CHECK(server.last().error() == ECONNRESET);
  }
  SECTION("stall") {
    net.conditions().stall = 1;
    net.conditions().window = 700;
    SimServer server(net, loop, at);
    SimPeer client(net, at);
    client.send(pattern(5000));
    loop.run_ready();
    CHECK(client.error() == 0);
    CHECK(server.last().received().size() <= 1700);
    CHECK(client.unsent() > 0);
  }
}

TEST_CASE("reading is level-triggered, and silent without a handler or a wish") {
  World w;
  SimServer server(w.net, w.loop, w.at);
  SimPeer client(w.net, w.at);
  w.loop.run_ready();
  struct OneByte : ByteStreamHandler {
    void on_readable() override {
      std::uint8_t byte = 0;
      const IoResult result = stream->read({&byte, 1});
      if (result.ok()) got += static_cast<char>(byte);
      if (result.status == IoResult::Status::end) stream->want_read(false);
      ++calls;
    }
    void on_writable() override { ++writable; }
    ByteStream* stream = nullptr;
    std::string got;
    int calls = 0, writable = 0;
  } handler;
  ByteStream& stream = *server.last().stream();
  handler.stream = &stream;
  stream.set_handler(&handler);
  stream.want_read(false);
  client.send("abc");
  w.loop.run_ready();
  CHECK(handler.calls == 0);
  stream.want_read(true);
  CHECK(handler.calls == 0);  // never inside
  w.loop.run_ready();
  CHECK(handler.got == "abc");
  CHECK(handler.calls == 3);
  client.finish();
  w.loop.run_ready();
  CHECK(handler.calls == 4);
  stream.set_handler(nullptr);
  stream.want_write(true);
  w.loop.run_ready();
  CHECK(handler.writable == 0);
}

TEST_CASE("a handler may drop its stream in the callback") {
  World w;
  SimServer server(w.net, w.loop, w.at, [](SimPeer& peer) {
    if (!peer.received().empty()) peer.close();
  });
  SimPeer client(w.net, w.at);
  client.send("go");
  w.loop.run_ready();
  CHECK(server.open() == 0);
  CHECK(client.ended());
}

TEST_CASE("workers share an address: each connection goes to one of them") {
  SimWorld world(3);
  SimLoop& one = world.add_loop();
  SimLoop& two = world.add_loop();
  SimNet net(one);
  const Address at = address("127.0.0.1:9001");
  SimServer first(net, one, at), second(net, two, at);
  std::vector<std::unique_ptr<SimPeer>> clients;
  for (int i = 0; i < 100; ++i) {
    clients.push_back(std::make_unique<SimPeer>(net.connector(two), at));
    clients.back()->send("x");
  }
  world.run_ready();
  CHECK(first.accepted() + second.accepted() == 100);
  CHECK(first.accepted() > 25);
  CHECK(second.accepted() > 25);
  CHECK(second.peer(0).received() == "x");
}

TEST_CASE("unix addresses work as others do") {
  World w;
  const Address at = address("unix:/run/app.sock");
  SimServer server(w.net, w.loop, at);
  SimPeer client(w.net, at);
  client.send("x");
  w.loop.run_ready();
  CHECK(server.last().received() == "x");
}

TEST_CASE("whatever the network does to segments, bytes arrive whole and in order, and runs repeat") {
  const auto run = [](std::uint64_t seed) {
    SimWorld world(seed);
    SimLoop& loop = world.add_loop();
    SimNet net(loop);
    const Address at = address("[::1]:9001");
    auto& conditions = net.conditions();
    conditions.delay = 200us;
    conditions.jitter = 3ms;
    conditions.fragment = 0.7;
    conditions.short_read = 0.5;
    conditions.short_write = 0.5;
    conditions.window = 1 + world.random().below(20000);
    std::string echoed;
    SimServer server(net, loop, at, [](SimPeer& peer) {
      peer.send(peer.take());
      if (peer.ended()) peer.finish();
    });
    SimPeer client(net, at);
    std::string sent;
    for (int i = 0; i < 20; ++i) {
      const std::string part = pattern(world.random().below(5000));
      sent += part;
      client.send(part);
      world.advance(std::chrono::microseconds(world.random().below(4000)));
    }
    client.finish();
    REQUIRE(world.run_until_idle());
    REQUIRE(client.received() == sent);
    REQUIRE(client.ended());
    REQUIRE(client.error() == 0);
    return world.hash();
  };
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    const auto hash = run(seed);
    REQUIRE(hash == run(seed));
    REQUIRE(hash != run(seed + 1000));
  }
}

TEST_CASE("a network may go before its world") {
  SimLoop loop;
  {
    SimNet net(loop);
    net.conditions().delay = 1s;
    SimPeer client(net, address("127.0.0.1:9001"));
  }
  CHECK(loop.run_until_idle());
}
