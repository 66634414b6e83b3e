// The HTTP/2 server codec told to end: GOAWAY, what crosses it, and clients that do not answer or do not read.
#include "tests/http/h2_world.h"

namespace weir {

using test::H2Client;

TEST_CASE("h2: a drain says GOAWAY, takes what crosses it, finishes, and closes") {
  H2World w;
  H2Client client(w.net, w.at);
  const auto id = client.get("/1");
  w.run();
  w.connection().codec->drain();
  const auto crossing = client.get("/2");
  w.run();
  REQUIRE(w.exchanges.size() == 2);
  CHECK(client.goaways() >= 1);
  CHECK(client.goaway_code() == 0);
  CHECK(w.connection().closed == 0);
  w.advance(std::chrono::seconds(2));
  CHECK(client.goaways() == 2);
  CHECK(client.goaway_last() == crossing);
  w.exchange(0).answer(200, "one");
  w.run();
  CHECK(client.answer(id).body == "one");
  CHECK_FALSE(client.peer().ended());
  w.exchange(1).answer(200, "two");
  w.run();
  CHECK(client.answer(crossing).body == "two");
  CHECK(w.exchange(1).sent);
  CHECK(client.peer().ended());
  client.peer().close();
  w.run();
  CHECK(w.connection().closed == 1);
}

TEST_CASE("h2: a drain waits a second for a client that answers no PING, and then names its last stream") {
  using namespace frames;
  H2World w;
  SimPeer client(w.net, w.at);
  client.send(preface() + head(1, request()));
  w.run();
  w.connection().codec->drain();
  w.run();
  client.send(head(3, request()));
  w.run();
  w.advance(std::chrono::milliseconds(900));
  const auto last_streams = [&] {
    std::vector<std::uint32_t> list;
    for (const Frame& one : parse(client.received())) {
      if (one.type == goaway) list.push_back(one.word());
    }
    return list;
  };
  CHECK(last_streams() == std::vector<std::uint32_t>{0x7fffffff});
  w.advance(std::chrono::milliseconds(200));
  CHECK(last_streams() == std::vector<std::uint32_t>{0x7fffffff, 3});
  client.send(head(5, request()));  // too late: ignored, so that the client can send it elsewhere
  w.run();
  CHECK(w.exchanges.size() == 2);
}

TEST_CASE("h2: a drain leaves out nothing that had come: half a head, or more requests than a turn takes") {
  using namespace frames;
  H2World w;
  w.server_options.limits.streams = 300;
  std::size_t answered = 0;
  w.script = [&](TestExchange& e) {
    if (++answered == 10) w.connection().codec->drain();
    e.answer(200, "");
  };
  SimPeer client(w.net, w.at);
  client.send(preface());
  w.run();
  std::string all;
  for (std::uint32_t i = 0; i < 200; ++i) all += head(2 * i + 1, request());
  client.send(all + frame(headers, kEndStream, 401, block(request())));
  w.run();
  CHECK(w.exchanges.size() == 200);
  client.send(frame(continuation, kEndHeaders, 401));
  w.run();
  CHECK(w.exchanges.size() == 201);
  for (const auto& e : w.exchanges) CHECK(e->sent);
  w.advance(std::chrono::seconds(2));
  CHECK(code_of(parse(client.received()), goaway) == 0);
  CHECK(client.ended());
  client.close();
  w.run();
  CHECK(w.connection().closed == 1);
}

TEST_CASE("h2: an idle connection that is drained closes at once; one that is told by an answer, after it") {
  H2World w;
  {
    H2Client client(w.net, w.at);
    w.run();
    w.connection().codec->drain();
    w.run();
    CHECK(client.goaways() == 1);
    CHECK(client.peer().ended());
    CHECK(w.connections[0]->closed == 1);
  }
  w.script = [](TestExchange& e) {
    e.stream->close_after_response();
    e.answer(200, "last");
  };
  H2Client client(w.net, w.at);
  const auto id = client.get("/");
  w.run();
  CHECK(client.answer(id).body == "last");
  CHECK(client.answer(id).ended);
  w.advance(std::chrono::seconds(6));  // this client does not close
  CHECK(client.peer().ended());
  CHECK(w.connections[1]->closed == 1);
}

TEST_CASE("h2: a drain does not wait for a client that does not take its goodbye") {
  using namespace frames;
  H2World w;
  w.net.conditions().window = 30;  // less than our SETTINGS
  SimPeer client(w.net, w.at);
  client.pause_reading(true);
  client.send(preface());
  w.run();
  w.connection().codec->drain();
  w.advance(std::chrono::seconds(4));
  CHECK(w.connections[0]->closed == 0);
  w.advance(std::chrono::seconds(2));
  CHECK(w.connections[0]->closed == 1);
}

}  // namespace weir
