#include <catch2/catch.hpp>

#include "tests/http/h1_world.h"

namespace weir {

namespace {

const std::string kGet = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
std::string ok(const std::string& body) { return "HTTP/1.1 200 OK\r\ncontent-length: " + std::to_string(body.size()) + "\r\n\r\n" + body; }
bool is(const TestExchange& exchange, StreamError error) { return exchange.error == static_cast<int>(error); }

}  // namespace

TEST_CASE("a lingering connection is not waited for without end") {
  H1World w;
  w.script = [](TestExchange& e) { e.answer(200, "bye"); };
  SimPeer client(w.net, w.at);
  client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  w.run();
  w.advance(4s);
  CHECK(w.connections[0]->closed == 0);
  w.advance(2s);
  CHECK(w.connections[0]->closed == 1);
}

TEST_CASE("an early answer is finished, then the rest of a short body is read away") {
  H1World w;
  SimPeer client(w.net, w.at);
  client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nabc");
  w.run();
  w.exchanges[0]->body.drop();
  w.exchanges[0]->answer(403, "no");
  w.run();
  CHECK(client.take() == "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno");
  CHECK(w.exchanges[0]->sent);
  CHECK(w.connections[0]->codec->idle());
  client.send(std::string(99'997, 'x') + kGet);
  w.run();
  REQUIRE(w.exchanges.size() == 2);
  w.exchanges[1]->answer(200, "");
  w.run();
  CHECK(client.take() == ok(""));
}

TEST_CASE("an early answer to a long body closes, and the client can read it") {
  H1World w;
  SimPeer client(w.net, w.at);
  client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000\r\n\r\n" + std::string(200'000, 'x'));
  w.run();
  w.exchanges[0]->answer(413, "no");
  w.run();
  CHECK(client.take() == "HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno");
  CHECK(client.ended());
  client.send(std::string(1'000'000, 'x'));
  w.run();
  CHECK(client.error() == 0);
  client.send(std::string(9'000'000, 'x'));  // lingering is bounded
  w.run();
  CHECK(w.connections[0]->closed == 1);
}

TEST_CASE("a short body that does not come is not waited for without end") {
  H1World w;
  SimPeer client(w.net, w.at);
  client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n");
  w.run();
  w.exchanges[0]->answer(403, "");
  w.run();
  CHECK_FALSE(client.ended());
  w.advance(6s);
  CHECK(client.ended());
  w.advance(6s);
  CHECK(w.connections[0]->closed == 1);
}

TEST_CASE("a chunked body that nobody wants is read away within a bound while its answer is due") {
  H1World w;
  SimPeer client(w.net, w.at);
  client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n" + std::string(0x100000, 'x'));
  w.run();
  w.exchanges[0]->body.drop();
  w.run();
  CHECK(client.unsent() > 300'000);  // reading stopped
  w.exchanges[0]->answer(500, "");
  w.run();
  CHECK(client.received().substr(0, 12) == "HTTP/1.1 500");
}

TEST_CASE("an idle connection is closed silently after the idle time") {
  H1World w;
  w.server_options.limits.idle = 60s;
  w.script = [](TestExchange& e) { e.answer(200, ""); };
  SimPeer client(w.net, w.at);
  w.run();
  w.advance(50s);
  client.send(kGet);
  w.run();
  client.take();
  w.advance(59s);
  CHECK_FALSE(client.ended());
  w.advance(2s);
  CHECK(client.ended());
  CHECK(client.take().empty());
}

TEST_CASE("a head that comes too slowly is answered 408") {
  H1World w;
  SimPeer client(w.net, w.at);
  w.run();
  w.advance(60s);
  client.send("GET / HT");
  w.run();
  w.advance(5s);
  client.send("TP/1.1\r\n");
  w.advance(4900ms);
  CHECK(client.received().empty());
  w.advance(200ms);
  CHECK(client.take().substr(0, 28) == "HTTP/1.1 408 Request Timeout");
  CHECK(client.ended());
  CHECK(w.exchanges[0]->bad == "request-headers-timeout");
}

TEST_CASE("a refused HEAD has no content in its answer, however little of it came and however it was cut") {
  struct Refused {
    const char* text;
    bool is_head;
  };
  for (const Refused& one :
       {Refused{"HEAD / HTTP/1.1\r\nHost: h\r\nBad Name: x\r\n\r\n", true}, Refused{"\r\nHEAD / HTTP/3\r\n\r\n", true},
        Refused{"HEAD / HT", true}, Refused{"HE", true}, Refused{"\r\nHEA", true}, Refused{"HEAD / HTTP/1.1\nHost: h\n\n", true},
        Refused{"GET / HTTP/1.1\r\nHost: h\r\nBad Name: x\r\n\r\n", false}, Refused{"HEADS / HT", false}, Refused{"\r\nGET / HT", false},
        Refused{"GET / HTTP/1.1\nHost: h\n\n", false}}) {
    for (const bool in_pieces : {false, true}) {
      H1World w;
      SimPeer client(w.net, w.at);
      w.run();
      const std::string_view text = one.text;
      for (std::size_t i = 0; i < text.size(); ++i) {
        if (!in_pieces) {
          client.send(text);
          break;
        }
        client.send(text.substr(i, 1));
        w.run();
      }
      w.advance(11s);
      const std::string said = client.take();
      INFO(text << '|' << said);
      const std::size_t end = said.find("\r\n\r\n");
      REQUIRE(end != std::string::npos);
      CHECK(said[9] == '4' + (said.substr(9, 3) == "505" ? 1 : 0));
      CHECK((end + 4 == said.size()) == one.is_head);
      CHECK(said.find("connection: close") != std::string::npos);
    }
  }
}

TEST_CASE("an empty line alone begins no request") {
  H1World w;
  SimPeer client(w.net, w.at);
  client.send("\r\n");
  w.run();
  w.advance(11s);
  CHECK_FALSE(client.ended());
  client.send(kGet);
  w.run();
  CHECK(w.exchanges.size() == 1);
}

TEST_CASE("a head that begins after an empty line is to be over in time like any other") {
  H1World w;
  SimPeer client(w.net, w.at);
  client.send("\r\n");
  w.run();
  w.advance(60s);
  client.send("GET / HT");
  w.run();
  w.advance(9s);
  CHECK(w.exchanges.empty());
  client.send("T");
  w.run();
  w.advance(2s);
  REQUIRE(w.exchanges.size() == 1);
  CHECK(w.exchanges[0]->bad == "request-headers-timeout");
}

TEST_CASE("pipelined requests that are answered at once leave others their turn, and are all answered") {
  H1World w;
  std::vector<std::string> order;
  w.script = [&](TestExchange& e) {
    order.push_back(e.line);
    e.answer(200, "");
  };
  SimPeer flood(w.net, w.at), other(w.net, w.at);
  w.run();
  std::string all;
  for (int i = 0; i < 1000; ++i) all += "GET /flood HTTP/1.1\r\nHost: h\r\n\r\n";
  flood.send(all);
  other.send("GET /other HTTP/1.1\r\nHost: h\r\n\r\n");
  w.run();
  REQUIRE(order.size() == 1001);
  CHECK(std::find_if(order.begin(), order.end(), [](const std::string& line) { return line.find("/other") != std::string::npos; }) -
            order.begin() <=
        64);
  const std::string& got = flood.received();
  std::size_t answers = 0;
  for (std::size_t at = got.find("HTTP/1.1 200"); at != std::string::npos; at = got.find("HTTP/1.1 200", at + 1)) ++answers;
  CHECK(answers == 1000);
}

TEST_CASE("a client that half-closes behind pipelined requests gets all its answers") {
  H1World w;
  w.server_options.half_close = true;
  w.script = [](TestExchange& e) { e.answer(200, ""); };
  SimPeer client(w.net, w.at);
  std::string all;
  for (int i = 0; i < 300; ++i) all += "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
  client.send(all);
  client.finish();
  w.run();
  CHECK(w.exchanges.size() == 300);
  CHECK(client.ended());
}

TEST_CASE("a request body that stalls is answered 408 after the progress time") {
  H1World w;
  w.script = [](TestExchange& e) { e.request.attach(std::move(e.body)); };
  SimPeer client(w.net, w.at);
  client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n");
  w.run();
  for (int i = 0; i < 5; ++i) {
    w.advance(50s);
    client.send("x");
    w.run();
  }
  CHECK(w.exchanges[0]->error == -1);
  w.advance(61s);
  CHECK(is(*w.exchanges[0], StreamError::timeout));
  CHECK(w.exchanges[0]->told == 408);
  CHECK(client.take().substr(0, 12) == "HTTP/1.1 408");
}

TEST_CASE("a body that we hold back ourselves does not time out") {
  H1World w;
  w.script = [](TestExchange& e) {
    e.request.allowance = 0;
    e.request.attach(std::move(e.body));
  };
  SimPeer client(w.net, w.at);
  client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n" + std::string(1'000'000, 'x'));
  w.run();
  w.advance(10min);
  CHECK(w.exchanges[0]->error == -1);
  w.exchanges[0]->request.allowance = SIZE_MAX;
  w.exchanges[0]->request.reader.resume();
  w.run();
  CHECK(w.exchanges[0]->request.ended);
  CHECK(w.exchanges[0]->request.body.size() == 1'000'000);
}

TEST_CASE("a client that does not read its answer is given up") {
  H1World w;
  w.script = [](TestExchange& e) { e.answer(200, std::string(300'000, 'x')); };
  SimPeer client(w.net, w.at);
  client.pause_reading(true);
  client.send(kGet);
  w.run();
  w.advance(59s);
  CHECK(w.exchanges[0]->error == -1);
  w.advance(2s);
  CHECK(is(*w.exchanges[0], StreamError::timeout));
}

TEST_CASE("a client that stands still later has all of the time again") {
  H1World w;
  w.script = [](TestExchange& e) { e.begin(200); };
  SimPeer client(w.net, w.at);
  client.send(kGet);
  w.run();
  TestExchange& e = *w.exchanges.at(0);
  const std::string much(300'000, 'x');
  client.pause_reading(true);
  e.writer.write(as_bytes(much));
  w.advance(500ms);
  client.pause_reading(false);
  w.advance(57s);
  CHECK(client.received().size() > much.size());
  client.pause_reading(true);
  e.writer.write(as_bytes(much));
  w.advance(59s);
  CHECK(e.error == -1);
  w.advance(2s);
  CHECK(is(e, StreamError::timeout));
}

TEST_CASE("drain closes an idle connection at once and a busy one after its answer") {
  H1World w;
  SimPeer idle(w.net, w.at);
  w.run();
  SimPeer busy(w.net, w.at);
  busy.send(kGet);
  w.run();
  for (auto& connection : w.connections) connection->codec->drain();
  w.run();
  CHECK(idle.ended());
  CHECK_FALSE(busy.ended());
  w.exchanges[0]->answer(200, "x");
  w.run();
  CHECK(busy.take() == "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx");
  CHECK(busy.ended());
}

TEST_CASE("close_after_response announces it") {
  H1World w;
  w.script = [](TestExchange& e) {
    e.stream->close_after_response();
    e.answer(200, "");
  };
  SimPeer client(w.net, w.at);
  client.send(kGet);
  w.run();
  CHECK(client.take() == "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
  CHECK(client.ended());
}

TEST_CASE("10 MiB go to a client that reads slowly, in bounded memory") {
  H1World w;
  w.net.conditions().window = 8 * 1024;
  w.net.conditions().delay = 1ms;
  std::string expected;
  SimPeer client(w.net, w.at);
  client.send(kGet);
  w.script = [](TestExchange& e) { e.begin(200); };
  w.advance(10ms);
  TestExchange& e = *w.exchanges.at(0);
  const std::size_t kTotal = 10 * 1024 * 1024;
  std::size_t given = 0;
  std::size_t most = 0;
  while (!e.sent && w.world.now() < MonotonicTime() + 24h) {
    while (given < kTotal && !e.writer.paused()) {
      const std::size_t n = std::min<std::size_t>(50'000, kTotal - given);
      e.writer.write(as_bytes(std::string(n, static_cast<char>('a' + given % 23))));
      given += n;
      if (given == kTotal) {
        e.writer.finish();
        break;
      }
    }
    most = std::max(most, w.buffers.bytes_held());
    w.advance(100ms);
  }
  CHECK(e.sent);
  CHECK(e.bytes == kTotal);
  CHECK(client.received().size() > kTotal);
  CHECK(most < 1024 * 1024);
  CHECK(w.buffers.bytes_held() == 0);
}

TEST_CASE("10 MiB come from a client to a reader that takes little at a time, in bounded memory") {
  H1World w;
  w.script = [](TestExchange& e) {
    e.request.allowance = 1;
    e.request.attach(std::move(e.body));
  };
  const std::size_t kTotal = 10 * 1024 * 1024;
  SimPeer client(w.net, w.at);
  client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(kTotal) + "\r\n\r\n" + std::string(kTotal, 'z'));
  w.run();
  TestSink& sink = w.exchanges.at(0)->request;
  CHECK(sink.body.size() == 1);
  std::size_t most = 0;
  for (std::size_t step = 1; !sink.ended && step < 100'000; ++step) {
    sink.allowance = step < 1000 ? 1 : 10'000;
    sink.reader.resume();
    w.run();
    most = std::max(most, w.buffers.bytes_held());
  }
  CHECK(sink.ended);
  CHECK(sink.body.size() == kTotal);
  CHECK(most < 1536 * 1024);
}

TEST_CASE("over a bad network the same bytes arrive") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    H1World w(seed);
    w.net.conditions().delay = 1ms;
    w.net.conditions().jitter = 3ms;
    w.net.conditions().fragment = 0.5;
    w.net.conditions().short_read = 0.7;
    w.net.conditions().short_write = 0.7;
    w.net.conditions().window = 3000;
    w.script = [](TestExchange& e) {
      e.request.attach(std::move(e.body));
      e.begin(200);
      for (int i = 0; i < 20; ++i) e.writer.write(as_bytes(std::string(static_cast<std::size_t>(i) * 700, static_cast<char>('a' + i))));
      e.writer.finish();
    };
    SimPeer client(w.net, w.at);
    client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nc350\r\n" + std::string(50'000, 'q') + "\r\n0\r\n\r\n");
    w.advance(60s);
    CAPTURE(seed);
    CHECK(w.exchanges.at(0)->request.body == std::string(50'000, 'q'));
    CHECK(w.exchanges.at(0)->request.ended);
    CHECK(w.exchanges.at(0)->sent);
    CHECK(client.received().substr(client.received().size() - 5) == "0\r\n\r\n");
    CHECK(client.received().size() > 133'000);
  }
}

}  // namespace weir
