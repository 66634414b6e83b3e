#include "proxy/net/tls_stream.h"

#include <openssl/ssl.h>

#include <catch2/catch.hpp>
#include <cerrno>

#include "tests/net/tls_world.h"

using namespace weir;
using namespace weir::test;

TEST_CASE("two ends shake hands, talk both ways and know of each other what the certificates say") {
  TlsWorld w;
  w.serving.alpn = {"h2", "http/1.1"};
  w.calling.alpn = "http/1.1";
  w.connect();
  REQUIRE(w.client->connected);
  REQUIRE(w.server->connected);
  w.client->send("hello");
  w.settle();
  CHECK(w.server->received == "hello");
  w.server->send("world");
  w.settle();
  CHECK(w.client->received == "world");
  CHECK(w.client->info().version == "TLSv1.3");
  CHECK(w.client->info().cipher == "TLS_AES_128_GCM_SHA256");
  CHECK(w.server->info().alpn == "http/1.1");
  CHECK(w.server->info().server_name == "server.local");
  CHECK_FALSE(w.server->info().peer_verified);
  CHECK(w.server->info().peer_identity().empty());
  CHECK(w.server->info().local_uri.empty());  // said to nobody
  CHECK(w.client->info().peer_verified);
  CHECK(w.client->info().peer_identity() == "spiffe://cluster.local/ns/shop/sa/web");
  CHECK(w.client->stream().descriptor() == -1);
}

TEST_CASE("a server that offers TLS 1.2 only to those who know no better still has forward secrecy") {
  TlsWorld w;
  SECTION("both versions: the newer one") {}
  SECTION("the server wants 1.3") { w.serving.min_version = TlsVersion::v1_3; }
  SECTION("the client wants 1.3") { w.calling.min_version = TlsVersion::v1_3; }
  w.connect();
  REQUIRE(w.client->connected);
  CHECK(w.client->info().version == "TLSv1.3");
}

TEST_CASE("large bodies go both ways at once, whatever the network does to the pieces") {
  TlsWorld w;
  SimConditions& conditions = w.net.conditions();
  conditions.window = 20000;
  conditions.fragment = 0.5;
  conditions.short_read = 0.5;
  conditions.short_write = 0.5;
  conditions.jitter = 2ms;
  w.connect();
  REQUIRE(w.loop.run_until([&] { return w.client->told && w.server != nullptr && w.server->told; }));
  REQUIRE(w.client->connected);
  const std::size_t size = GENERATE(1U, 16383U, 16384U, 16385U, 300000U);
  const std::string up = pattern(size), down = pattern(size + 5, 'A');
  w.client->send(up);
  w.server->send(down);
  w.loop.run_until_idle();
  CHECK(w.server->received == up);
  CHECK(w.client->received == down);
  CHECK(w.client->unsent() == 0);
}

TEST_CASE("a reader with little room gets all that OpenSSL has buffered, without an event of the network") {
  TlsWorld w;
  w.connect();
  w.server->read_at_once(7);
  w.client->send(pattern(5000));
  w.settle();
  CHECK(w.server->received == pattern(5000));
  CHECK(w.server->readable_calls >= 5000 / 7);
}

TEST_CASE("a reader that pauses gets nothing, and everything when it reads on") {
  TlsWorld w;
  w.connect();
  w.server->read_at_once(100);
  w.client->send(pattern(150));
  w.server->pause(true);
  w.settle();
  CHECK(w.server->received.empty());
  w.server->pause(false);
  w.settle();
  CHECK(w.server->received == pattern(150));
}

TEST_CASE("a clean end is close_notify: the other way stays open") {
  TlsWorld w;
  w.connect();
  w.client->send("last words");
  w.client->finish();
  w.settle();
  CHECK(w.server->received == "last words");
  CHECK(w.server->ended);
  w.server->send("answer");
  w.settle();
  CHECK(w.client->received == "answer");
  CHECK_FALSE(w.client->ended);
  w.server->finish();
  w.settle();
  CHECK(w.client->ended);
}

TEST_CASE("dropping a stream closes it cleanly; resetting it does not") {
  TlsWorld w;
  w.connect();
  SECTION("dropped") {
    w.client->close();
    w.settle();
    CHECK(w.server->ended);
  }
  SECTION("reset") {
    w.client->reset();
    w.settle();
    CHECK_FALSE(w.server->ended);
    CHECK(w.server->error == ECONNRESET);
  }
}

// The bytes between the ends: a man in the middle that counts, cuts and changes.
namespace {

class Relay final : public AcceptHandler {
 public:
  Relay(TlsWorld& world, Address at) : world_(world), at_(std::move(at)) { world.net.listen(at_, *this); }
  ~Relay() { world_.net.stop_listening(at_); }

  std::size_t cut_after = SIZE_MAX;  // bytes towards the client; then a FIN
  std::size_t flip = SIZE_MAX;       // this byte towards the client has a bit changed
  std::size_t passed = 0;
  std::size_t lost = 0;

 private:
  struct Half final : ByteStreamHandler {
    Relay* relay = nullptr;
    Half* other = nullptr;
    bool to_client = false;
    bool connected = false;
    bool fin_after = false;
    std::unique_ptr<ByteStream> stream;
    std::string out;
    void on_connected(int) override {
      connected = true;
      flush();
    }
    void on_readable() override {
      std::uint8_t room[4096];
      const IoResult result = stream->read(room);
      if (result.status == IoResult::Status::would_block) return;
      if (!result.ok()) {
        stream->want_read(false);
        other->fin_after = true;
        return other->flush();
      }
      other->out.append(reinterpret_cast<const char*>(room), result.bytes);
      other->flush();
    }
    void on_writable() override { flush(); }
    void flush() {
      if (!connected || stream == nullptr) return;
      if (to_client) {
        for (std::size_t i = 0; i < out.size(); ++i) {
          if (relay->passed + i == relay->flip) out[i] = static_cast<char>(out[i] ^ 4);
        }
        if (relay->passed + out.size() >= relay->cut_after) {
          relay->lost += relay->passed + out.size() - relay->cut_after;
          out.resize(relay->cut_after - relay->passed);
          fin_after = true;
        }
      }
      const iovec part{out.data(), out.size()};
      if (!out.empty()) {
        const IoResult result = stream->write({&part, 1});
        if (to_client && result.ok()) relay->passed += result.bytes;
        if (result.ok()) out.erase(0, result.bytes);
      }
      if (fin_after && out.empty()) stream->shutdown_write();
    }
  };
  void on_accept(std::unique_ptr<ByteStream> stream) override {
    client_.relay = server_.relay = this;
    client_.other = &server_;
    server_.other = &client_;
    client_.to_client = client_.connected = true;
    client_.stream = std::move(stream);
    server_.stream = world_.net.connect(world_.at, server_);
    for (Half* half : {&client_, &server_}) {
      half->stream->set_handler(half);
      half->stream->want_read(true);
    }
  }
  TlsWorld& world_;
  Address at_;
  Half client_, server_;
};

struct RelayedWorld : TlsWorld {
  Address front = Address::parse("127.0.0.1:7443").value();
  void connect_through(Relay&) {
    make_server();
    make_client();
    client = std::make_unique<TlsEnd>();
    client->adopt(connector.connect(front, *client));
    settle();
    if (client->connected && server != nullptr && server->connected) {
      server->send(pattern(3000));
      server->finish();
    }
    settle();
  }
};

}  // namespace

TEST_CASE("an answer that is cut at any byte, without close_notify, is an error and never an end") {
  std::size_t whole = 0;
  {
    RelayedWorld w;
    Relay relay(w, w.front);
    w.connect_through(relay);
    REQUIRE(w.client->received == pattern(3000));
    REQUIRE(w.client->ended);
    whole = relay.passed;
  }
  REQUIRE(whole > 3000);
  for (std::size_t cut = 0; cut < whole; ++cut) {
    RelayedWorld w;
    Relay relay(w, w.front);
    relay.cut_after = cut;
    w.connect_through(relay);
    INFO("cut after " << cut << " of " << whole);
    if (relay.lost == 0) continue;  // signatures differ in length: it was the whole, this time
    CHECK_FALSE(w.client->ended);
    CHECK(w.client->error != 0);
    if (w.client->connected) {
      CHECK(w.client->error == ECONNRESET);
      CHECK(w.client->failure == "the peer closed the connection without close_notify: it may be cut off");
    } else {
      CHECK(w.client->reason == TlsReason::closed);
    }
  }
}

TEST_CASE("a byte that was changed on the way is an error, or one that means nothing: what is read is what was sent") {
  for (std::size_t at = 0; at < 4000; at += 7) {
    RelayedWorld w;
    Relay relay(w, w.front);
    relay.flip = at;
    w.connect_through(relay);
    INFO("byte " << at);
    if (relay.passed <= at) continue;
    CHECK(w.client->received == pattern(3000).substr(0, w.client->received.size()));
    // Where it was a length, both may wait for ever: but nothing that is not whole ends as if it were.
    CHECK((!w.client->ended || w.client->received == pattern(3000)));
  }
}

TEST_CASE("a handshake that stands still stays silent: whoever waits bounds the time") {
  TlsWorld w;
  w.make_server();
  w.make_client();
  w.net.conditions().stall = 1;
  w.net.conditions().within = 200;
  w.connect();
  w.loop.run_until_idle();
  CHECK_FALSE(w.client->told);
  w.client->close();
  w.loop.run_until_idle();
}

TEST_CASE("what a write left in OpenSSL is not told as sent, and goes with the next one") {
  TlsWorld w;
  w.net.conditions().window = 3000;
  w.connect();
  REQUIRE(w.server->connected);
  w.client->pause(true);
  w.server->send(pattern(10000));
  w.settle();
  CHECK(w.server->unsent() == 10000);  // one record, of which the network took a part
  w.client->pause(false);
  w.settle();
  CHECK(w.client->received == pattern(10000));
  CHECK(w.server->unsent() == 0);
}

TEST_CASE("whoever gives fewer bytes at the second try has those told as sent that are") {
  TlsWorld w;
  w.net.conditions().window = 3000;
  w.connect();
  w.client->pause(true);
  w.server->pause(true);
  const std::string text = pattern(10000);
  const auto write = [&](std::size_t from, std::size_t size) {
    const iovec part{const_cast<char*>(text.data()) + from, size};
    return w.server->stream().write({&part, 1});
  };
  CHECK(write(0, 10000).status == IoResult::Status::would_block);
  w.client->pause(false);
  std::size_t sent = 0;
  for (int i = 0; i < 50 && sent < text.size(); ++i) {
    w.settle();
    const IoResult result = write(sent, std::min<std::size_t>(700, text.size() - sent));
    if (result.ok()) sent += result.bytes;
  }
  w.settle();
  CHECK(sent == text.size());
  CHECK(w.client->received == text);
}

TEST_CASE("a client that asks for short records gets its own bytes, whatever others write while it does not read") {
  for (const int limit : {TLSEXT_max_fragment_length_512, TLSEXT_max_fragment_length_4096}) {
    TlsWorld w;
    w.net.conditions().window = 4096;
    w.make_client();
    REQUIRE(SSL_CTX_set_tlsext_max_fragment_length(w.connector.context()->native(), static_cast<std::uint8_t>(limit)) == 1);
    w.connect();
    REQUIRE(w.server->connected);
    w.client->pause(true);
    w.server->send(pattern(100000));
    w.settle();
    CHECK(w.server->unsent() > 0);
    const std::span<std::uint8_t> scratch = w.buffers.write_scratch();
    std::fill(scratch.begin(), scratch.end(), static_cast<std::uint8_t>('!'));  // as every other stream of the worker does
    w.client->pause(false);
    w.settle();
    INFO("limit " << limit);
    CHECK(w.client->received == pattern(100000));
    CHECK(w.server->unsent() == 0);
  }
}

TEST_CASE("what the peer said before it went is read, though nothing can be written to it any more") {
  TlsWorld w;
  w.connect();
  w.client->pause(true);
  w.server->send("early answer");
  w.settle();
  w.server->close();
  w.client->send("a request that nobody takes");
  w.settle();
  w.client->pause(false);
  w.settle();
  CHECK(w.client->received == "early answer");
}
