// Windows, watermarks and time of HTTP/2: who is slow is slowed down, and nobody else; who stands still is let go.
#include "tests/http/h2_world.h"

namespace weir {

using test::H2Client;
using test::H2ClientOptions;
using namespace std::chrono_literals;

namespace {

std::string pattern(std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + (i * 7 + i / 251) % 26);
  return text;
}

}  // namespace

TEST_CASE("h2: a client that does not read one stream gets the others, and that one later") {
  H2World w;
  const std::string large = pattern(1'000'000);
  H2ClientOptions options;
  options.by_hand = true;
  H2Client client(w.net, w.at, options);
  const auto slow = client.get("/slow");
  const auto next = client.get("/next");
  w.run();
  w.exchange(0).begin(200, 1'000'000);
  w.exchange(0).writer.write(as_bytes(large));
  w.exchange(0).writer.finish();
  w.exchange(1).answer(200, std::string(50'000, 'n'));
  w.run();
  CHECK(client.answer(slow).body.size() == 65535);
  CHECK_FALSE(client.answer(slow).ended);
  CHECK(client.answer(next).body.size() == 50'000);
  CHECK(client.answer(next).ended);
  CHECK(w.exchange(1).sent);
  CHECK_FALSE(w.exchange(0).sent);
  for (int i = 0; i < 100 && !client.answer(slow).ended; ++i) {
    client.consume(slow, 40'000);
    w.run();
  }
  CHECK(client.answer(slow).body == large);
  CHECK(w.exchange(0).sent);
  CHECK(w.exchange(0).bytes == 1'000'000);
  CHECK(w.buffers.chunks_in_use() == 0);
}

TEST_CASE("h2: an answer is sent when the kernel has all of it, not when its frames are made") {
  H2World w;
  H2Client client(w.net, w.at);
  client.get("/");
  const auto id = client.get("/");
  w.run();
  client.peer().pause_reading(true);
  w.exchange(0).answer(200, std::string(40'000, 'x'));  // of the 64 KiB that the network holds
  w.run();
  CHECK(w.exchange(0).sent);
  w.exchange(1).answer(200, std::string(40'000, 'x'));
  w.run();
  CHECK_FALSE(w.exchange(1).sent);
  client.peer().pause_reading(false);
  w.run();
  CHECK(w.exchange(1).sent);
  CHECK(w.exchange(1).bytes == 40'000);
  CHECK(client.answer(id).body.size() == 40'000);
}

TEST_CASE("h2: an answer that the client does not read pauses its writer, and no other") {
  H2World w;
  H2ClientOptions options;
  options.by_hand = true;
  H2Client client(w.net, w.at, options);
  const auto slow = client.get("/slow");
  client.get("/next");
  w.run();
  TestExchange& e = w.exchange(0);
  e.begin(200);
  int chunks = 0;
  const std::string chunk = pattern(10'000);
  while (!e.writer.paused() && chunks < 1000) {
    e.writer.write(as_bytes(chunk));
    w.run();
    ++chunks;
  }
  CHECK(chunks < 40);  // the pipe's mark and one window
  CHECK(chunks > 30);
  CHECK_FALSE(e.resumed);
  w.exchange(1).begin(200);
  CHECK_FALSE(w.exchange(1).writer.paused());
  for (int i = 0; i < 10; ++i) {
    client.consume(slow, 60'000);
    w.run();
  }
  CHECK(e.resumed);
  CHECK(client.answer(slow).body.size() == static_cast<std::size_t>(chunks) * 10'000);
}

TEST_CASE("h2: a request body that nobody takes stops at its window, while its neighbours' flow") {
  H2World w;
  H2Client client(w.net, w.at);
  const std::string large = pattern(2'000'000);
  const auto stalled = client.post("/stalled", large);
  const auto flowing = client.post("/flowing", large);
  w.run();
  REQUIRE(w.exchanges.size() == 2);
  w.exchange(1).request.attach(std::move(w.exchange(1).body));
  w.run();
  CHECK(w.exchange(1).request.ended);
  CHECK(w.exchange(1).request.body == large);
  CHECK(client.unsent(flowing) == 0);
  CHECK(client.unsent(stalled) > 1'700'000);
  CHECK(w.buffers.bytes_held() < 512 * 1024);  // mark and window, in chunks or in read buffers taken over
  w.exchange(1).answer(200, "");
  w.exchange(0).request.allowance = 300'000;
  w.exchange(0).request.attach(std::move(w.exchange(0).body));
  w.run();
  CHECK(w.exchange(0).request.body.size() == 300'000);
  CHECK(client.unsent(stalled) > 1'400'000);
  w.exchange(0).request.allowance = SIZE_MAX;
  w.exchange(0).request.reader.resume();
  w.run();
  CHECK(w.exchange(0).request.body == large);
  CHECK(w.exchange(0).request.ended);
  w.exchange(0).answer(200, "");
  w.run();
  CHECK(w.connection().codec->idle());
}

TEST_CASE("h2: a body that the exchange drops is thrown away up to a bound, and the answer still goes out") {
  H2World w;
  w.script = [](TestExchange& e) { e.body.drop(); };
  H2Client client(w.net, w.at);
  const auto id = client.post("/", pattern(2'000'000));
  w.run();
  CHECK(client.unsent(id) > 1'400'000);
  CHECK(client.unsent(id) < 1'800'000);
  w.exchange().answer(200, "done");
  w.run();
  CHECK(client.answer(id).body == "done");
  CHECK(client.answer(id).reset == 0);
  CHECK(w.connection().codec->idle());
}

TEST_CASE("h2: a client that reads nothing is not listened to, holds little memory, and is let go") {
  H2World w;
  w.script = [](TestExchange& e) { e.answer(200, std::string(30'000, 'x')); };
  H2Client client(w.net, w.at);
  w.run();
  client.peer().pause_reading(true);
  for (int i = 0; i < 90; ++i) client.get("/");
  w.run();
  const std::size_t begun = w.exchanges.size();
  for (int i = 0; i < 100000; ++i) client.ping();
  w.run();
  CHECK(client.peer().unsent() > 0);  // the network holds them back, not we
  CHECK(w.exchanges.size() == begun);
  CHECK(w.buffers.bytes_held() < 4 * 1024 * 1024);
  CHECK(w.connection().closed == 0);
  w.advance(61s);
  CHECK(w.connection().closed == 1);
  for (const auto& e : w.exchanges) CHECK((e->sent || is(*e, StreamError::timeout)));
  w.exchanges.clear();
  CHECK(w.buffers.chunks_in_use() == 0);
}

TEST_CASE("h2: a body that stands still is answered 408, and one that moves is not") {
  H2World w;
  w.script = [](TestExchange& e) { e.request.attach(std::move(e.body)); };
  H2Client client(w.net, w.at);
  const auto stuck = client.open("POST", "/stuck");
  const auto moving = client.open("POST", "/moving");
  w.run();
  for (int i = 0; i < 7; ++i) {
    client.write(moving, "x");
    w.advance(10s);
  }
  CHECK(is(w.exchange(0), StreamError::timeout));
  CHECK(w.exchange(0).told == 408);
  CHECK(client.answer(stuck).status == 408);
  CHECK(client.answer(stuck).ended);
  CHECK(client.answer(stuck).reset == 0);
  CHECK(w.exchange(1).error == -1);
  client.finish(moving);
  w.run();
  w.exchange(1).answer(200, "");
  w.run();
  CHECK(client.answer(moving).status == 200);
  CHECK(w.connection().codec->idle());
}

TEST_CASE("h2: a paused body is not the client's fault, and an answer whose window stays shut is") {
  H2World w;
  H2ClientOptions options;
  options.by_hand = true;
  H2Client client(w.net, w.at, options);
  const auto paused = client.post("/paused", pattern(500'000));
  const auto shut = client.get("/shut");
  w.run();
  w.exchange(1).begin(200);
  w.exchange(1).writer.write(as_bytes(pattern(100'000)));
  w.advance(59s);
  CHECK(w.exchange(1).error == -1);
  w.advance(2s);
  CHECK(is(w.exchange(1), StreamError::timeout));
  CHECK(client.answer(shut).reset == 8);
  w.advance(10min);
  CHECK(w.exchange(0).error == -1);
  w.exchange(0).answer(200, "");
  w.run();
  CHECK(client.answer(paused).status == 200);
}

TEST_CASE("h2: a head that is never complete, and a preface, end the connection in time") {
  const std::string whole = frames::preface() + frames::head(1, frames::request());
  for (const std::size_t cut : {whole.size() - 1, std::size_t{25}, std::size_t{18}, std::size_t{10}}) {
    CAPTURE(cut);
    H2World w;
    SimPeer client(w.net, w.at);
    client.send(whole.substr(0, cut));
    w.run();
    w.advance(9s);
    CHECK(w.connection().closed == 0);
    w.advance(2s);
    CHECK(client.ended());
    if (cut >= 18) {
      CHECK(frames::code_of(frames::parse(client.received()), frames::goaway) == 11);
      CHECK(w.connection().refused == std::vector<std::string>{"request-headers-timeout"});
    } else {
      CHECK(client.received().substr(0, 12) == "HTTP/1.1 408");
    }
    client.close();
    w.run();
    CHECK(w.connection().closed == 1);
  }
}

TEST_CASE("h2: an idle connection ends in time, counted from its last stream") {
  H2World w;
  w.server_options.limits.idle = 100s;
  w.script = [](TestExchange& e) { e.answer(200, ""); };
  H2Client client(w.net, w.at);
  w.run();
  w.advance(90s);
  client.get("/");
  w.run();
  w.advance(99s);
  CHECK(w.connection().closed == 0);
  w.advance(2s);
  CHECK(client.goaway_code() == 0);
  CHECK(client.peer().ended());
  CHECK(w.connection().closed == 1);
}

}  // namespace weir
