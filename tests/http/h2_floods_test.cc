// What costs more than it carries: each kind is borne with up to its limit, ends in GOAWAY (ENHANCE_YOUR_CALM) beyond it, and comes back
// with time or by useful work; memory stays bounded meanwhile, and other connections have their turn.
#include "tests/http/h2_world.h"

namespace weir {

using namespace frames;
using namespace std::chrono_literals;

namespace {

std::string times(std::size_t count, const std::string& text) {
  std::string all;
  all.reserve(count * text.size());
  for (std::size_t i = 0; i < count; ++i) all += text;
  return all;
}

struct FloodWorld : H2World {
  FloodWorld() {
    script = [](TestExchange& e) {
      if (!e.body) return e.answer(200, "x");
      e.request.attach(std::move(e.body));
    };
    client = std::make_unique<SimPeer>(net, at);
    client->send(preface() + frame(settings, kAck, 0));
    run();
  }
  ~FloodWorld() { exchanges.clear(); }
  // "" while the connection stands, else the rule; the code was ENHANCE_YOUR_CALM, and all exchanges are over.
  std::string ended() {
    if (!client->ended()) {
      CHECK(connection().closed == 0);
      CHECK(code_of(parse(client->received()), goaway) == -1);
      return "";
    }
    CHECK(code_of(parse(client->received()), goaway) == 11);
    CHECK(connection().codec->idle());
    for (const auto& e : exchanges) CHECK((e->sent || e->error >= 0));
    REQUIRE(connection().refused.size() >= 1);
    return connection().refused.back();
  }
  std::string send(const std::string& bytes) {
    client->send(bytes);
    run();
    return ended();
  }
  std::unique_ptr<SimPeer> client;
};

// Frames of a kind; `first` opens what they need.
struct Kind {
  const char* rule;
  std::string first, one;
  std::size_t burst;
  std::size_t per_second;
};

std::vector<Kind> kinds() {
  const std::string post = head(1, request("POST"), false);
  return {
      {"http2-flood-pings", "", frame(ping, 0, 0, "12345678"), 1000, 100},
      {"http2-flood-settings", "", frame(settings, 0, 0), 99, 10},  // one came with the preface
      {"http2-flood-priorities", "", frame(priority, 0, 3, number(1, 4) + "\x10"), 1000, 100},
      {"http2-flood-priorities", "", frame(0x10, 0, 0, number(1, 4) + "u=1"), 1000, 100},
      {"http2-flood-window-updates", "", frame(window_update, 0, 0, number(1, 4)), 1000, 100},
      {"http2-flood-empty-data", post, frame(data, 0, 1), 100, 10},
      {"http2-flood-empty-data", post, frame(data, kPadded, 1, std::string("\x03\0\0\0", 4)), 100, 10},
      {"http2-flood-unknown-frames", "", frame(0xfa, 0, 0, "anything"), 100, 10},
      {"http2-flood-unknown-frames", post, frame(goaway, 0, 0, std::string(8, '\0')), 102, 10},
  };
}

}  // namespace

TEST_CASE("h2 floods: each kind is borne with up to its limit, and not beyond") {
  for (const Kind& kind : kinds()) {
    CAPTURE(kind.rule, kind.one.size());
    FloodWorld w;
    CHECK(w.send(kind.first) == "");
    CHECK(w.send(times(kind.burst, kind.one)) == "");
    CHECK(w.send(kind.one) == kind.rule);
  }
}

TEST_CASE("h2 floods: time forgives, so that no connection ends for being old") {
  for (const Kind& kind : kinds()) {
    CAPTURE(kind.rule, kind.one.size());
    FloodWorld w;
    CHECK(w.send(kind.first) == "");
    CHECK(w.send(times(kind.burst, kind.one)) == "");
    for (int i = 0; i < 20; ++i) {
      w.advance(1s);
      CHECK(w.send(times(kind.per_second, kind.one)) == "");
    }
    w.advance(1s);
    CHECK(w.send(times(kind.per_second + 2, kind.one)) == kind.rule);
  }
}

TEST_CASE("h2 floods: requests that are canceled at once") {
  FloodWorld w;
  w.script = [](TestExchange&) {};
  std::uint32_t id = 1;
  const auto canceled = [&](std::size_t count) {
    std::string all;
    for (std::size_t i = 0; i < count; ++i, id += 2) all += head(id, request()) + reset(id);
    return all;
  };
  CHECK(w.send(canceled(1000)) == "");
  CHECK(w.exchanges.size() == 1000);
  w.advance(1s);
  CHECK(w.send(canceled(100)) == "");
  CHECK(w.send(canceled(1)) == "http2-flood-resets");
  CHECK(w.arenas.in_use() <= 1101);
}

TEST_CASE("h2 floods: what a client may cancel is configured, and comes back with requests that are answered") {
  FloodWorld w;
  w.script = [](TestExchange& e) {
    if (e.line == "GET /answered h") e.answer(200, "x");
  };
  // The limits were taken when the connection came: another one.
  w.server_options.limits.resets = 5;
  w.client = std::make_unique<SimPeer>(w.net, w.at);
  w.client->send(preface() + frame(settings, kAck, 0));
  w.run();
  std::uint32_t id = 1;
  const auto next = [&](const char* path, bool cancel) {
    std::string text = head(id, request("GET", path)) + (cancel ? reset(id) : "");
    id += 2;
    return text;
  };
  const auto ended = [&] { return w.client->ended(); };
  for (int i = 0; i < 50; ++i) w.client->send(next("/", true));
  w.run();
  CHECK_FALSE(ended());
  for (int i = 0; i < 200; ++i) {
    w.client->send(next("/answered", false));
    w.run();
    w.client->send(next("/", true));
    w.run();
  }
  CHECK_FALSE(ended());
  w.client->send(next("/", true));
  w.run();
  CHECK(ended());
  CHECK(w.connections[1]->refused == std::vector<std::string>{"http2-flood-resets"});
}

TEST_CASE("h2 floods: a client whose requests take long may give them all up") {
  FloodWorld w;
  w.script = [](TestExchange&) {};
  std::uint32_t id = 1;
  for (int round = 0; round < 30; ++round) {
    std::string all, ends;
    for (int i = 0; i < 100; ++i, id += 2) {
      all += head(id, request());
      ends += reset(id);
    }
    CHECK(w.send(all) == "");
    w.advance(1s);
    CHECK(w.send(ends) == "");
  }
}

TEST_CASE("h2 floods: malformed messages, in heads, bodies and windows, which make us reset") {
  const std::function<std::string(std::uint32_t)> ways[] = {
      [](std::uint32_t id) {
        return head(id, request("GET", "/", {{"connection", "x"}}));
      },
      [](std::uint32_t id) {
        return head(id, request("POST", "/", {{"content-length", "1"}}), false) + frame(data, kEndStream, id, "ab");
      },
      [](std::uint32_t id) {
        return head(id, request("POST"), false) + head(id, {{"x", "y"}}, false);
      },
      [](std::uint32_t id) { return head(id, request("POST"), false) + frame(window_update, 0, id, number(0x7fffffff, 4)); },
  };
  for (const auto& way : ways) {
    FloodWorld w;
    std::uint32_t id = 1;
    for (int i = 0; i < 100; ++i, id += 2) REQUIRE(w.send(way(id)) == "");
    w.advance(1s);
    for (int i = 0; i < 10; ++i, id += 2) REQUIRE(w.send(way(id)) == "");
    CHECK(w.send(way(id)) == "http2-flood-malformed");
  }
}

TEST_CASE("h2 floods: a header block in crumbs") {
  const auto crumbs = [](std::size_t count) {
    return frame(headers, kEndStream, 1, block(request())) + times(count - 1, frame(continuation, 0, 1)) +
           frame(continuation, kEndHeaders, 1, block({{"x", "y"}}));
  };
  FloodWorld fine;
  CHECK(fine.send(crumbs(23)) == "");
  CHECK(fine.exchange().sent);
  FloodWorld w;
  CHECK(w.send(crumbs(24)) == "http2-flood-continuations");
  CHECK(w.exchanges.empty());
}

TEST_CASE("h2 floods: fields that go on beyond what is worth an answer") {
  FloodWorld large;
  CHECK(large.send(head(1, request("GET", "/", test::H2Fields(15, {"x", std::string(15000, 'a')})))) == "");  // not four times as much
  CHECK(large.exchange().bad == "head-too-large");
  FloodWorld literal;
  CHECK(literal.send(head(1, request("GET", "/", test::H2Fields(17, {"x", std::string(15000, 'a')})))) == "http2-flood-headers");
  // One field of 4,000 bytes goes into the table; each further byte names it again.
  const std::string first = '\x40' + integer(1) + "x" + integer(4000) + std::string(4000, 'b');
  const auto bomb = [&](std::size_t count) {
    return frame(headers, kEndHeaders | kEndStream, 1, block(request()) + first + std::string(count, '\xbe'));
  };
  FloodWorld small;
  CHECK(small.send(bomb(59)) == "");
  CHECK(small.exchange().bad == "head-too-large");
  FloodWorld w;
  CHECK(w.send(bomb(12'000)) == "http2-flood-headers");  // 48 MB, decoded
  CHECK(w.exchanges.empty());
  FloodWorld trailers;
  CHECK(trailers.send(head(1, request("POST"), false)) == "");
  CHECK(trailers.send(frame(headers, kEndHeaders | kEndStream, 1, first + std::string(60, '\xbe'))) == "http2-flood-headers");
  CHECK(is(trailers.exchange(), StreamError::client_closed));
  // Fields without names or values count, too; and crumbs of cookies.
  FloodWorld crumbs;
  const std::string crumb = '\x40' + integer(6) + "cookie" + integer(1) + "a";
  CHECK(crumbs.send(frame(headers, kEndHeaders | kEndStream, 1, block(request()) + crumb + std::string(6400, '\xbe'))) ==
        "http2-flood-headers");
}

TEST_CASE("h2 floods: the heads of a connection's requests have a limit together") {
  FloodWorld w;
  w.script = [](TestExchange&) {};
  w.server_options.limits.streams = 100;
  std::string all;
  for (std::uint32_t i = 0; i < 40; ++i) {
    all += head(2 * i + 1, request("GET", "/", test::H2Fields(4, {"x", std::string(14000, 'a')})));
    if (i % 4 == 3) CHECK(w.send(std::exchange(all, "")) == "");
  }
  CHECK(w.exchanges.size() == 26);  // of 56 KiB; 1 MiB and 4 KiB for each of a hundred streams are 1.4 MiB
  CHECK(code_of(parse(w.client->received()), rst_stream, 53) == 7);
  CHECK(w.connection().refused == std::vector<std::string>(14, "http2-heads"));
  CHECK(w.exchange().bad.empty());
  w.advance(11s);  // longer than a head may take: those that were refused are complete
  for (const auto& e : w.exchanges) CHECK(e->error == -1);
  w.exchange(0).answer(200, "");
  w.exchange(1).answer(200, "");
  w.run();
  CHECK(w.send(head(81, request())) == "");
  CHECK(w.exchanges.size() == 27);
}

TEST_CASE("h2 floods: bodies that nobody takes are bounded for the connection, not for each stream alone") {
  H2World w;
  test::H2Client client(w.net, w.at);
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 60; ++i) ids.push_back(client.post("/", std::string(400'000, 'b')));
  w.run();
  CHECK(w.exchanges.size() == 60);
  CHECK(w.buffers.bytes_held() < 8 * 1024 * 1024);
  // They come in all the same, once they are wanted.
  for (auto& e : w.exchanges) {
    e->request.attach(std::move(e->body));
    w.run();
  }
  w.run();
  for (auto& e : w.exchanges) {
    CHECK(e->request.ended);
    CHECK(e->request.body.size() == 400'000);
    e->answer(200, "");
  }
  w.run();
  CHECK(w.connection().codec->idle());
  CHECK(w.buffers.chunks_in_use() == 0);
}

TEST_CASE("h2 floods: bodies that were taken hold nothing back, though their answers are still owed") {
  H2World w;
  test::H2Client client(w.net, w.at);
  for (int i = 0; i < 40; ++i) {  // one after another, so that most are whole
    client.post("/", std::string(200'000, 'b'));
    w.run();
  }
  REQUIRE(w.exchanges.size() == 40);
  CHECK(w.buffers.bytes_held() > 4 * 1024 * 1024);  // more than the connection lets its bodies hold at once
  CHECK(w.buffers.bytes_held() < 8 * 1024 * 1024);
  for (auto& e : w.exchanges) e->request.attach(std::move(e->body));
  w.run();
  for (auto& e : w.exchanges) {
    CHECK(e->request.ended);
    CHECK(e->request.body.size() == 200'000);
  }
  w.advance(70s);
  for (auto& e : w.exchanges) CHECK(e->error == -1);  // none is told that it owes a body
  for (auto& e : w.exchanges) e->answer(200, "");
  w.run();
  CHECK(w.connection().codec->idle());
  CHECK(w.buffers.chunks_in_use() == 0);
}

TEST_CASE("h2 floods: ten bodies that nobody takes stop no other") {
  H2World w;
  test::H2Client client(w.net, w.at);
  for (int i = 0; i < 11; ++i) client.post("/", std::string(2'000'000, 'b'));
  w.run();
  w.exchange(10).request.attach(std::move(w.exchange(10).body));
  w.run();
  CHECK(w.exchange(10).request.body.size() == 2'000'000);
  CHECK(w.exchange(10).request.ended);
}

TEST_CASE("h2 floods: answers that a client holds open with shut windows are bounded for the connection, and let go in time") {
  H2World w;
  std::vector<TestExchange*> writers;
  w.script = [&](TestExchange& e) { e.begin(200); };
  test::H2ClientOptions options;
  options.window = 0;
  test::H2Client client(w.net, w.at, options);
  for (int i = 0; i < 100; ++i) client.get("/");
  w.run();
  CHECK(w.exchanges.size() == 100);
  const std::string piece(8000, 'p');
  for (auto& e : w.exchanges) {
    for (int i = 0; i < 100 && !e->writer.paused(); ++i) e->writer.write(as_bytes(piece));
    CHECK(e->writer.paused());
  }
  w.run();
  CHECK(w.buffers.bytes_held() < 6 * 1024 * 1024);
  w.advance(63s);
  for (auto& e : w.exchanges) CHECK(is(*e, StreamError::timeout));
  CHECK(w.connection().codec->idle());
  CHECK(w.buffers.chunks_in_use() == 0);
}

TEST_CASE("h2 floods: one connection's requests do not keep another waiting") {
  H2World w;
  w.server_options.limits.streams = 1000;
  std::vector<std::string> order;
  w.script = [&](TestExchange& e) {
    order.push_back(e.line);
    e.answer(200, "");
  };
  SimPeer flood(w.net, w.at);
  SimPeer other(w.net, w.at);
  flood.send(preface());
  other.send(preface());
  w.run();
  std::string all;
  for (std::uint32_t i = 0; i < 300; ++i) all += head(2 * i + 1, request("GET", "/flood"));
  flood.send(all);
  other.send(head(1, request("GET", "/other")));
  w.run();
  REQUIRE(order.size() == 301);
  const auto at = std::find(order.begin(), order.end(), "GET /other h") - order.begin();
  CHECK(at <= 64);  // a turn's share
}

TEST_CASE("h2 floods: ten times as many resets cost ten times as much, not a hundred") {
  const auto events = [](std::uint32_t count) {
    H2World w;
    w.server_options.limits.resets = 10'000;
    w.script = [](TestExchange&) {};
    SimPeer client(w.net, w.at);
    client.send(preface());
    w.run();
    std::string all;
    for (std::uint32_t i = 0; i < count; ++i) all += head(2 * i + 1, request()) + reset(2 * i + 1);
    const std::uint64_t before = w.world.events();
    client.send(all);
    w.run();
    CHECK(w.exchanges.size() == count);
    CHECK_FALSE(client.ended());
    return w.world.events() - before;
  };
  const std::uint64_t some = events(500);
  CHECK(some > 10);
  CHECK(events(5000) < 12 * some);
}

TEST_CASE("h2 floods: streams that wait are looked at together, not each whenever one is due") {
  H2World w;
  w.server_options.limits.streams = 1000;
  w.script = [](TestExchange& e) { e.request.attach(std::move(e.body)); };
  SimPeer client(w.net, w.at);
  client.send(preface() + frame(settings, kAck, 0));
  w.run();
  for (std::uint32_t i = 0; i < 1000; ++i) {  // due one after the other
    client.send(head(2 * i + 1, request("POST"), false));
    w.advance(50ms);
  }
  CHECK(w.exchanges.size() == 1000);
  const std::uint64_t before = w.world.events();
  w.advance(62s);
  CHECK(w.world.events() - before < 500);
  for (const auto& e : w.exchanges) CHECK(is(*e, StreamError::timeout));
}

TEST_CASE("h2 floods: small frames are taken apart in shares, and none is lost") {
  H2World w;
  std::string taken;
  w.script = [&](TestExchange& e) { e.request.attach(std::move(e.body)); };
  SimPeer flood(w.net, w.at);
  SimPeer other(w.net, w.at);
  flood.send(preface() + head(1, request("POST"), false));
  other.send(preface() + head(1, request("POST"), false));
  w.run();
  flood.send(times(20'000, frame(data, 0, 1, "a")) + frame(data, kEndStream, 1, "z"));
  other.send(frame(data, kEndStream, 1, "b"));
  std::size_t most = 0;
  w.exchange(1).request.on_end = [&] { most = w.exchange(0).request.body.size(); };
  w.run();
  CHECK(w.exchange(0).request.body.size() == 20'001);
  CHECK(w.exchange(0).request.ended);
  CHECK(w.exchange(1).request.ended);
  CHECK(most <= 1024);
}

}  // namespace weir
