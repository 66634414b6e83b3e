// Both codecs back to back over a simulated network that cuts, delays, stalls and resets.
#include <catch2/catch.hpp>
#include <map>

#include "proxy/metrics/metrics.h"
#include "tests/http/h1_harness.h"
#include "tests/http/h1_relay.h"
#include "tests/http/h1_world.h"
#include "tests/support/counted_pipe.h"

namespace weir {

namespace {

// Accepts one client and relays it to the upstream at `to`.
struct RelayWorld final : private AcceptHandler, private ByteStreamHandler {
  explicit RelayWorld(std::uint64_t seed, bool splices = false)
      : world(seed),
        loop(world.add_loop()),
        net(loop),
        front(Address::parse("127.0.0.1:1").value()),
        back(Address::parse("127.0.0.1:2").value()),
        worker{loop, buffers, arenas, random, registry.shard(0), 0, {}, SplicePipes(splices ? test::make_counted_pipe : make_kernel_pipe)} {
    net.listen(front, *this);
  }
  ~RelayWorld() { relay.reset(); }
  void on_accept(std::unique_ptr<ByteStream> stream) override {
    accepted = std::move(stream);
    connecting = net.connect(back, *this);
  }
  void on_readable() override {}
  void on_writable() override {}
  void on_connected(int error) override {
    if (error != 0) {
      accepted.reset();
      return;
    }
    relay = std::make_unique<H1Relay>(worker, std::move(accepted), std::move(connecting));
  }

  SimWorld world;
  SimLoop& loop;
  SimNet net;
  Address front;
  Address back;
  BufferPool buffers;
  ArenaPool arenas;
  Random random{5};
  MetricsRegistry registry;
  WorkerContext worker;
  std::unique_ptr<ByteStream> accepted;
  std::unique_ptr<ByteStream> connecting;
  std::unique_ptr<H1Relay> relay;
};

std::string pattern(std::uint64_t key, std::size_t size) {
  std::string text(size, 0);
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + (i * 7 + key) % 23);
  return text;
}

std::string in_chunks(const std::string& body, std::size_t each) {
  std::string text;
  char line[32];
  for (std::size_t at = 0; at < body.size(); at += each) {
    const std::string part = body.substr(at, each);
    snprintf(line, sizeof line, "%zx\r\n", part.size());
    text += line + part + "\r\n";
  }
  return text + "0\r\n\r\n";
}

// An upstream that reads requests one by one and answers each with a body that repeats what it got.
struct Upstream {
  explicit Upstream(Random& with) : random(with) {}
  void operator()(SimPeer& peer) {
    for (;;) {
      if (!reading) reading = std::make_shared<H1Harness>(SectionKind::request);
      const std::string got = peer.take();
      if (got.empty()) return;
      reading->feed(got);
      REQUIRE(reading->broken() == nullptr);
      if (!reading->complete()) return;
      REQUIRE(reading->left_over().empty());
      const std::string body = std::string(reading->request().target) + " " + reading->body();
      reading.reset();
      if (random.chance(0.3)) peer.send("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
      if (random.chance(0.5)) {
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
      } else {
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + in_chunks(body, 1 + random.below(20'000)));
      }
    }
  }
  Random& random;
  std::shared_ptr<H1Harness> reading;
};

struct Answers {  // as the client understood them
  std::vector<std::string> bodies;
  bool broken = false;
};

Answers read_answers(std::string text) {
  Answers answers;
  while (!text.empty()) {
    H1Harness harness(SectionKind::response);
    harness.feed(text);
    if (harness.broken() != nullptr) answers.broken = true;
    if (harness.broken() != nullptr || !harness.complete()) break;
    if (harness.response().status >= 200) {
      answers.bodies.push_back(std::to_string(harness.response().status) + " " + harness.body());
    }
    text = harness.left_over();
  }
  return answers;
}

void treat_badly(SimConditions& conditions, Random& random) {
  conditions.delay = std::chrono::microseconds(random.below(3000));
  conditions.jitter = std::chrono::microseconds(random.below(3000));
  conditions.window = 500 + random.below(80'000);
  conditions.fragment = random.unit();
  conditions.short_read = random.unit();
  conditions.short_write = random.unit();
}

// The client goes. What it had was right, as far as it came, and nothing stays behind. Where the upstream stands still that is for the timeout
// filter to end: it holds the client back, whose end is then not seen.
Answers go_and_judge(RelayWorld& w, SimPeer& client, const std::vector<std::string>& expected, bool upstream_stands) {
  client.close();
  w.loop.advance(2h);
  Answers answers = read_answers(client.received());
  CHECK_FALSE(answers.broken);
  for (std::size_t i = 0; i < answers.bodies.size(); ++i) {
    const std::string& body = answers.bodies[i];
    CHECK((body == expected.at(i) || body == "502 " || body == "503 "));
  }
  if (w.relay == nullptr) return answers;
  if (!upstream_stands) {
    CHECK_FALSE(w.relay->busy());
    CHECK(w.relay->closed);
  }
  w.relay.reset();
  CHECK(w.worker.splice_pipes.lent() == 0);
  CHECK(w.buffers.bytes_held() == 0);
  CHECK(w.arenas.in_use() == 0);
  return answers;
}

}  // namespace

TEST_CASE("whole messages pass both codecs whole, over any network") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    RelayWorld w(seed, seed % 2 == 0);
    Random random(seed);
    treat_badly(w.net.conditions(w.front), random);
    treat_badly(w.net.conditions(w.back), random);
    SimServer server(w.net, w.loop, w.back, Upstream(random));
    SimPeer client(w.net, w.front);
    std::vector<std::string> expected;
    for (int i = 0; i < 8; ++i) {
      const std::string target = "/" + std::to_string(i);
      const std::string body =
          pattern(seed + static_cast<std::uint64_t>(i), random.below(3) == 0 ? random.below(200'000) : random.below(3000));
      if (body.empty() || random.chance(0.3)) {
        client.send("GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n");
        expected.push_back("200 " + target + " ");
      } else if (random.chance(0.5)) {
        client.send("PUT " + target + " HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
        expected.push_back("200 " + target + " " + body);
      } else {
        client.send("POST " + target + " HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" +
                    in_chunks(body, 1 + random.below(9000)));
        expected.push_back("200 " + target + " " + body);
      }
    }
    w.loop.advance(600s);
    const Answers answers = read_answers(client.received());
    CHECK_FALSE(answers.broken);
    CHECK(answers.bodies == expected);
    CHECK(w.relay->sent == 8);
    CHECK(w.relay->ends == 8);
    CHECK_FALSE(w.relay->busy());
    CHECK(w.buffers.bytes_held() == 0);
    CHECK(w.arenas.in_use() == 0);
  }
}

TEST_CASE("under resets and stalls, what arrives is right and nothing is left behind") {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    CAPTURE(seed);
    RelayWorld w(seed);
    Random random(seed);
    treat_badly(w.net.conditions(w.front), random);
    treat_badly(w.net.conditions(w.back), random);
    const bool in_front = random.chance(0.5);
    const bool stalls = random.chance(0.3);
    SimConditions& bad = w.net.conditions(in_front ? w.front : w.back);
    (stalls ? bad.stall : bad.reset) = 1;
    bad.within = 1 + random.below(120'000);
    SimServer server(w.net, w.loop, w.back, Upstream(random));
    SimPeer client(w.net, w.front);
    std::vector<std::string> expected;
    for (int i = 0; i < 4; ++i) {
      const std::string body = pattern(seed, 1 + random.below(60'000));
      const std::string target = "/" + std::to_string(i);
      client.send("POST " + target + " HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + in_chunks(body, 5000));
      expected.push_back("200 " + target + " " + body);
    }
    w.loop.advance(30s);
    go_and_judge(w, client, expected, stalls && !in_front);
  }
}

TEST_CASE("long bodies go through pipes: whole over any network, and never taken for whole when they were cut") {
  int whole = 0;
  int cut = 0;
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    CAPTURE(seed);
    RelayWorld w(seed, true);
    Random random(seed);
    treat_badly(w.net.conditions(w.front), random);
    treat_badly(w.net.conditions(w.back), random);
    const bool in_front = random.chance(0.5);
    const bool stalls = random.chance(0.2);
    SimConditions& bad = w.net.conditions(in_front ? w.front : w.back);
    if (random.chance(0.6)) (stalls ? bad.stall : bad.reset) = 1;
    bad.within = 1 + random.below(1'500'000);
    SimServer server(w.net, w.loop, w.back, Upstream(random));
    SimPeer client(w.net, w.front);
    std::vector<std::string> expected;
    for (int i = 0; i < 3; ++i) {
      const std::string body = pattern(seed, 60'000 + random.below(500'000));
      const std::string target = "/" + std::to_string(i);
      client.send("PUT " + target + " HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
      expected.push_back("200 " + target + " " + body);
    }
    w.loop.advance(600s);
    const Answers answers = go_and_judge(w, client, expected, bad.stall > 0 && !in_front);
    ++(answers.bodies == expected ? whole : cut);
  }
  CHECK(whole > 30);
  CHECK(cut > 30);
  CHECK(test::spliced_bytes() > 10'000'000);
}

TEST_CASE("a close-delimited answer is chunked for HTTP/1.1, and broken off when the upstream resets") {
  for (const bool reset : {false, true}) {
    RelayWorld w(1);
    SimServer server(w.net, w.loop, w.back);
    SimPeer client(w.net, w.front);
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    w.loop.run_ready();
    server.last().send("HTTP/1.0 200 OK\r\n\r\nabc");
    w.loop.run_ready();
    if (reset) {
      server.last().reset();
    } else {
      server.last().finish();
    }
    w.loop.run_ready();
    const std::string begun = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
    CHECK(client.received() == begun + (reset ? "" : "0\r\n\r\n"));
    CHECK(client.error() == (reset ? ECONNRESET : 0));
  }
}

TEST_CASE("a client that goes in the middle of its body takes the upstream request with it") {
  RelayWorld w(1);
  SimServer server(w.net, w.loop, w.back);
  SimPeer client(w.net, w.front);
  client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
  w.loop.run_ready();
  client.finish();
  w.loop.run_ready();
  CHECK(server.last().error() == ECONNRESET);
  CHECK(server.last().received().find("0\r\n\r\n") == std::string::npos);
  CHECK(w.relay->errors == 1);
}

TEST_CASE("a dead upstream is 502 where nothing was begun") {
  RelayWorld w(1);
  SimServer server(w.net, w.loop, w.back);
  SimPeer client(w.net, w.front);
  client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
  w.loop.run_ready();
  server.last().reset();
  w.loop.run_ready();
  CHECK(client.take() ==
        "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\nHTTP/1.1 503 Service "
        "Unavailable\r\ncontent-length: 0\r\n\r\n");
}

}  // namespace weir
