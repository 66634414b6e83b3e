// Peers that mean no good, or do not speak TLS at all: the end is told, with a reason, and costs little.
#include <openssl/bio.h>
#include <openssl/ssl.h>

#include <catch2/catch.hpp>

#include "tests/net/tls_world.h"

using namespace weir;
using namespace weir::test;

namespace {

// A client whose OpenSSL the test commands itself: its bytes go through memory, and the test carries them.
class HandMadeClient {
 public:
  HandMadeClient(TlsWorld& world, int version) : world_(world), context_(SSL_CTX_new(TLS_client_method())) {
    SSL_CTX_set_min_proto_version(context_, version);
    SSL_CTX_set_max_proto_version(context_, version);
    ssl_ = SSL_new(context_);
    SSL_set_bio(ssl_, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(ssl_);
    world.connect_raw();
    for (int i = 0; i < 10 && SSL_do_handshake(ssl_) != 1; ++i) exchange();
    exchange();
  }
  ~HandMadeClient() {
    SSL_free(ssl_);
    SSL_CTX_free(context_);
  }
  // What it has to say goes out; what has come is taken in.
  void exchange() {
    char bytes[65536];
    int size = 0;
    while ((size = BIO_read(SSL_get_wbio(ssl_), bytes, sizeof bytes)) > 0) world_.client->send({bytes, static_cast<std::size_t>(size)});
    world_.settle();
    const std::string came = std::move(world_.client->received);
    world_.client->received.clear();
    BIO_write(SSL_get_rbio(ssl_), came.data(), static_cast<int>(came.size()));
  }
  SSL* ssl() { return ssl_; }

 private:
  TlsWorld& world_;
  SSL_CTX* context_;
  SSL* ssl_ = nullptr;
};

}  // namespace

TEST_CASE("who does not speak TLS is told apart by what it says") {
  struct {
    const char* what;
    std::string bytes;
    TlsReason reason;
  } const cases[] = {
      {"a request of HTTP", "GET / HTTP/1.1\r\nhost: a\r\n\r\n", TlsReason::plain_http},
      {"another", "POST /x HTTP/1.1\r\nhost: a\r\n\r\n", TlsReason::plain_http},
      {"the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", TlsReason::not_tls},
      {"garbage", std::string(1000, 'x'), TlsReason::not_tls},
      {"zeros", std::string(1000, '\0'), TlsReason::not_tls},
      {"a record that is no message", std::string("\x16\x03\x01\x00\x04\xff\x00\x00\x00", 9), TlsReason::protocol_error},
  };
  for (const auto& one : cases) {
    TlsWorld w;
    w.connect_raw();
    w.client->send(one.bytes);
    w.settle();
    INFO(one.what);
    REQUIRE(w.server->told);
    CHECK_FALSE(w.server->connected);
    CHECK(to_word(w.server->reason) == to_word(one.reason));
    CHECK_FALSE(w.server->failure.empty());
  }
}

TEST_CASE("versions before TLS 1.2 are refused") {
  TlsWorld w;
  HandMadeClient client(w, TLS1_1_VERSION);
  // OpenSSL may refuse to say so old a version at all; what arrives is refused.
  if (w.server == nullptr || !w.server->told) return;
  CHECK_FALSE(w.server->connected);
  CHECK(w.server->reason == TlsReason::no_common_version);
}

TEST_CASE("TLS 1.2 works, resumes nothing that it should not, and is refused where 1.3 is the least") {
  TlsWorld w;
  SECTION("works") {
    HandMadeClient client(w, TLS1_2_VERSION);
    REQUIRE(w.server->connected);
    CHECK(w.server->info().version == "TLSv1.2");
    CHECK(w.server->info().cipher == "ECDHE-ECDSA-AES128-GCM-SHA256");
    SSL_write(client.ssl(), "hello", 5);
    client.exchange();
    CHECK(w.server->received == "hello");
    w.server->send("world");
    client.exchange();
    char bytes[16];
    CHECK(SSL_read(client.ssl(), bytes, sizeof bytes) == 5);
  }
  SECTION("refused") {
    w.serving.min_version = TlsVersion::v1_3;
    HandMadeClient client(w, TLS1_2_VERSION);
    CHECK(w.server->reason == TlsReason::no_common_version);
  }
}

TEST_CASE("a key update that has no room holds back what is written behind it, and changes nothing of it") {
  constexpr std::size_t kWindow = 8000;
  constexpr std::size_t kOfRecord = 22;  // what a record takes beside its data
  TlsWorld w;
  w.net.conditions().window = kWindow;
  HandMadeClient client(w, TLS1_3_VERSION);
  REQUIRE(w.server->connected);
  w.client->pause(true);
  const std::string first = pattern(kWindow - kOfRecord), second = pattern(3000, 'A');
  w.server->send(first);
  w.settle();
  REQUIRE(w.server->unsent() == 0);  // the network is full to the last byte, and no record is on its way
  REQUIRE(SSL_key_update(client.ssl(), SSL_KEY_UPDATE_REQUESTED) == 1);
  REQUIRE(SSL_do_handshake(client.ssl()) == 1);
  client.exchange();
  w.server->send(second);
  w.settle();
  REQUIRE(w.server->unsent() == second.size());
  const std::span<std::uint8_t> scratch = w.buffers.write_scratch();
  std::fill(scratch.begin(), scratch.end(), static_cast<std::uint8_t>('!'));
  w.client->pause(false);
  std::string got;
  for (int i = 0; i < 10; ++i) {
    client.exchange();
    char bytes[4096];
    int size = 0;
    while ((size = SSL_read(client.ssl(), bytes, sizeof bytes)) > 0) got.append(bytes, static_cast<std::size_t>(size));
  }
  CHECK(got == first + second);
}

TEST_CASE("a client may change its keys now and then, but not for ever") {
  TlsWorld w;
  HandMadeClient client(w, TLS1_3_VERSION);
  REQUIRE(w.server->connected);
  SECTION("now and then: the limit itself is still good") {
    for (std::uint32_t i = 0; i < TlsStream::kIdleMessages; ++i) {
      REQUIRE(SSL_key_update(client.ssl(), SSL_KEY_UPDATE_REQUESTED) == 1);
      SSL_do_handshake(client.ssl());
      client.exchange();
    }
    SSL_write(client.ssl(), "still here", 10);
    client.exchange();
    CHECK(w.server->received == "still here");
  }
  SECTION("one more is too much") {
    for (std::uint32_t i = 0; i <= TlsStream::kIdleMessages; ++i) {
      REQUIRE(SSL_key_update(client.ssl(), SSL_KEY_UPDATE_NOT_REQUESTED) == 1);
      SSL_do_handshake(client.ssl());
    }
    client.exchange();
    CHECK(w.server->reason == TlsReason::flood);
    CHECK(w.server->error == kTlsProtocolError);
  }
  SECTION("who sends data may do it again") {
    const std::string mib(std::size_t{1024} * 1024, 'x');
    w.server->keep_bytes = false;
    for (std::uint32_t i = 0; i <= TlsStream::kIdleMessages; ++i) {
      SSL_key_update(client.ssl(), SSL_KEY_UPDATE_NOT_REQUESTED);
      if (i % 16 == 0) SSL_write(client.ssl(), mib.data(), static_cast<int>(mib.size()));
      SSL_do_handshake(client.ssl());
      client.exchange();
    }
    CHECK(w.server->error == 0);
    CHECK(w.server->total == 3 * mib.size());
  }
}

TEST_CASE("nobody renegotiates") {
  TlsWorld w;
  HandMadeClient client(w, TLS1_2_VERSION);
  REQUIRE(w.server->connected);
  SSL_renegotiate(client.ssl());
  SSL_do_handshake(client.ssl());
  client.exchange();
  SSL_do_handshake(client.ssl());
  char bytes[16];
  const int result = SSL_read(client.ssl(), bytes, sizeof bytes);
  CHECK(result <= 0);  // the server has refused, by an alert
  CHECK(w.server->received.empty());
}

TEST_CASE("a client that goes away in the middle of the handshake is gone, and that is all") {
  TlsWorld w;
  w.connect_raw();
  SECTION("after a part of a hello") { w.client->send(std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11)); }
  SECTION("without a word") {}
  w.settle();
  CHECK_FALSE(w.server->told);
  w.client->close();
  w.settle();
  CHECK(w.server->reason == TlsReason::closed);
  CHECK(w.server->failure == "the peer closed the connection during the handshake");
}

TEST_CASE("a stream of TLS may be dropped in the middle of anything") {
  for (const int events : {0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20}) {
    TlsWorld w;
    w.net.conditions().delay = 1ms;
    w.make_server();
    w.make_client();
    w.client = std::make_unique<TlsEnd>();
    w.client->adopt(w.connector.connect(w.at, *w.client));
    int left = events;
    static_cast<void>(w.loop.run_until([&] { return left-- <= 0; }));
    w.client->close();
    w.loop.run_until_idle();
    if (w.server != nullptr) {
      CHECK(w.server->told);
      w.server->close();
    }
    w.loop.run_until_idle();
    CHECK(w.net.open_streams() == 0);
  }
}
