#include <catch2/catch.hpp>

#include "tests/http/h1_world.h"

namespace weir {

namespace {

const std::string kGet = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
std::string ok(const std::string& body) {
  return "HTTP/1.1 200 OK\r\ncontent-length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}
bool is(const TestExchange& exchange, StreamError error) {
  return exchange.error == static_cast<int>(error);
}

}  // namespace

TEST_CASE("a request is answered, and the connection is kept") {
  H1World w;
  w.script = [](TestExchange& e) { e.answer(200, "hi"); };
  SimPeer client(w.net, w.at);
  client.send(kGet);
  w.run();
  REQUIRE(w.exchanges.size() == 1);
  CHECK(w.exchanges[0]->line == "GET /a h");
  CHECK(w.exchanges[0]->sent);
  CHECK(w.exchanges[0]->bytes == 2);
  CHECK(w.exchanges[0]->head->scheme == "http");
  CHECK(client.take() == ok("hi"));
  client.send("HEAD /b HTTP/1.1\r\nHost: h\r\n\r\n");
  w.run();
  REQUIRE(w.exchanges.size() == 2);
  CHECK(client.take() == "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n");
  CHECK_FALSE(client.ended());
  CHECK(w.connections[0]->codec->idle());
  CHECK(w.buffers.chunks_in_use() == 0);
}

TEST_CASE("pipelined requests are answered in order, each read after the answer before it") {
  H1World w;
  SimPeer client(w.net, w.at);
  client.send(
      "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET /3 "
      "HTTP/1.1\r\nHost: h\r\n\r\n");
  w.run();
  REQUIRE(w.exchanges.size() == 1);
  w.exchanges[0]->answer(200, "one");
  w.run();
  REQUIRE(w.exchanges.size() == 2);
  w.exchanges[1]->request.attach(std::move(w.exchanges[1]->body));
  w.run();
  CHECK(w.exchanges[1]->request.body == "abc");
  CHECK(w.exchanges[1]->request.ended);
  w.exchanges[1]->answer(200, "two");
  w.run();
  REQUIRE(w.exchanges.size() == 3);
  CHECK(w.exchanges[2]->line == "GET /3 h");
  w.exchanges[2]->answer(200, "three");
  w.run();
  CHECK(client.take() == ok("one") + ok("two") + ok("three"));
  CHECK(w.buffers.chunks_in_use() == 0);
}

TEST_CASE("a thousand pipelined requests are held back by the network, not by us") {
  H1World w;
  SimPeer client(w.net, w.at);
  std::string all;
  for (int i = 0; i < 4000; ++i)
    all += "GET /" + std::to_string(i) +
           " HTTP/1.1\r\nHost: h\r\nX-Pad: 0123456789012345678901234567890123456789\r\n\r\n";
  client.send(all);
  w.run();
  CHECK(w.buffers.bytes_held() <= 128 * 1024);
  CHECK(client.unsent() > all.size() / 2);
  w.script = [](TestExchange& e) { e.answer(200, ""); };
  w.exchanges[0]->answer(200, "");
  w.run();
  CHECK(w.exchanges.size() == 4000);
  CHECK(w.exchanges.back()->line == "GET /3999 h");
  CHECK(client.unsent() == 0);
}

TEST_CASE("every cut of two pipelined requests gives the same answers") {
  const std::string text =
      "\r\nPOST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: u\r\n\r\nGET "
      "/2 HTTP/1.1\r\nHost: h\r\n\r\n";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    CAPTURE(cut);
    H1World w;
    w.script = [](TestExchange& e) {
      if (!e.body) return e.answer(200, e.line);
      e.request.on_end = [&e] { e.answer(200, e.line); };
      e.request.attach(std::move(e.body));
    };
    SimPeer client(w.net, w.at);
    client.send(text.substr(0, cut));
    w.run();
    client.send(text.substr(cut));
    w.run();
    REQUIRE(w.exchanges.size() == 2);
    CHECK(w.exchanges[0]->request.body == "abc");
    CHECK(w.exchanges[0]->request.trailers == "t=u ");
    CHECK(client.take() == ok("POST /1 h") + ok("GET /2 h"));
  }
}

TEST_CASE("a request body flows on, with its trailers") {
  H1World w;
  w.script = [](TestExchange& e) { e.request.attach(std::move(e.body)); };
  SimPeer client(w.net, w.at);
  client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
  w.run();
  REQUIRE(w.exchanges.size() == 1);
  CHECK(w.exchanges[0]->head->content_length == -1);
  CHECK(w.exchanges[0]->head->has_body);
  client.send("3\r\nabc\r\n");
  w.run();
  CHECK(w.exchanges[0]->request.body == "abc");
  CHECK_FALSE(w.exchanges[0]->request.ended);
  client.send("0\r\nX-Sum: 1\r\nContent-Length: 4\r\n\r\n");
  w.run();
  CHECK(w.exchanges[0]->request.ended);
  CHECK(w.exchanges[0]->request.trailers == "x-sum=1 ");
}

TEST_CASE("an answer of unknown length is chunked, and HTTP/1.0 reads it to the close") {
  H1World w;
  w.script = [](TestExchange& e) {
    e.begin(200);
    e.writer.write(as_bytes("hello"));
    e.writer.write(as_bytes(" world"));
    Headers trailers(e.arena);
    trailers.add_view("x-sum", "1");
    e.writer.finish(&trailers);
  };
  SimPeer client(w.net, w.at);
  client.send(kGet);
  w.run();
  CHECK(client.take() ==
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nx-sum: "
        "1\r\n\r\n");
  CHECK_FALSE(client.ended());
  SimPeer old(w.net, w.at);
  old.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  w.run();
  CHECK(old.take() == "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello world");
  CHECK(old.ended());
}

TEST_CASE("an HTTP/1.0 connection is kept when it asks and the length is known") {
  H1World w;
  w.script = [](TestExchange& e) { e.answer(200, "x"); };
  SimPeer keep(w.net, w.at);
  keep.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  SimPeer leave(w.net, w.at);
  leave.send("GET / HTTP/1.0\r\n\r\n");
  w.run();
  CHECK(keep.take() == "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\nx");
  CHECK_FALSE(keep.ended());
  CHECK(leave.take() == "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx");
  CHECK(leave.ended());
}

TEST_CASE("HEAD, 204 and 304 have no body, whatever the exchange gives") {
  const auto answer = [](const std::string& request, int status, std::int64_t length) {
    H1World w;
    w.script = [&](TestExchange& e) {
      ResponseHead head(e.arena);
      head.status = status;
      head.content_length = length;
      e.send(head, "body");
    };
    SimPeer client(w.net, w.at);
    client.send(request);
    w.run();
    CHECK(w.exchanges[0]->dropped);
    CHECK(w.exchanges[0]->sent);
    CHECK_FALSE(client.ended());
    return client.take();
  };
  const std::string head = "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n";
  CHECK(answer(head, 200, 4) == "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n");
  CHECK(answer(head, 200, -1) == "HTTP/1.1 200 OK\r\n\r\n");
  CHECK(answer(kGet, 204, 4) == "HTTP/1.1 204 No Content\r\n\r\n");
  CHECK(answer(kGet, 304, 4) == "HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\n");
}

TEST_CASE("Connection: close closes after the answer, and the client can read it all") {
  H1World w;
  w.script = [](TestExchange& e) { e.answer(200, "bye"); };
  SimPeer client(w.net, w.at);
  client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /never HTTP/1.1\r\n");
  w.run();
  CHECK(client.take() == "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbye");
  CHECK(client.ended());
  CHECK(client.error() == 0);
  CHECK(w.connections[0]->closed == 0);  // lingers for the client's FIN
  client.finish();
  w.run();
  CHECK(w.connections[0]->closed == 1);
  CHECK(w.exchanges.size() == 1);
}

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

TEST_CASE("a refused request is answered, and the client can read why") {
  const auto refusal = [](const std::string& text) {
    H1World w;
    SimPeer client(w.net, w.at);
    client.send(
        text + std::string(100'000, 'x'));  // more than the network takes at once: the answer must survive it
    w.run();
    REQUIRE(w.exchanges.size() == 1);
    CHECK(client.ended());
    CHECK(client.error() == 0);
    CHECK(w.exchanges[0]->sent);
    std::string start = client.take();
    CHECK(start.find("\r\nconnection: close\r\n") != std::string::npos);
    return start.substr(0, start.find("\r\n")) + " " + w.exchanges[0]->bad;
  };
  CHECK(refusal("GET / HTTP/1.1\r\n\r\n") == "HTTP/1.1 400 Bad Request host-missing");
  CHECK(refusal("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n") ==
        "HTTP/1.1 400 Bad Request length-with-encoding");
  CHECK(refusal("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") ==
        "HTTP/1.1 505 HTTP Version Not Supported http2-preface");
  CHECK(refusal("\x16\x03\x01") == "HTTP/1.1 400 Bad Request not-http");
  CHECK(refusal("GET /" + std::string(20'000, 'y')) == "HTTP/1.1 414 URI Too Long target-too-long");
  CHECK(refusal("GET / HTTP/1.1\r\nX: " + std::string(70'000, 'y')) ==
        "HTTP/1.1 431 Request Header Fields Too Large head-too-large");
}

TEST_CASE("a refused request is answered to a client that has sent its FIN") {
  H1World w;
  SimPeer client(w.net, w.at);
  client.send("GET / HTTP/1.1\r\n\r\n");
  client.finish();
  w.run();
  CHECK(client.take().substr(0, 12) == "HTTP/1.1 400");
  CHECK(client.ended());
  CHECK(w.connections[0]->closed == 1);
}

TEST_CASE("nothing behind a refused request is read") {
  H1World w;
  w.script = [](TestExchange& e) { e.answer(200, ""); };
  SimPeer client(w.net, w.at);
  client.send("GET / HTTP/1.1\r\nHost : h\r\n\r\n" + kGet);
  w.run();
  CHECK(w.exchanges.size() == 1);
  CHECK(w.exchanges[0]->bad == "space-around-name");
}

TEST_CASE("a broken body fails the exchange, and is answered where no answer was begun") {
  H1World w;
  w.script = [](TestExchange& e) { e.request.attach(std::move(e.body)); };
  SimPeer client(w.net, w.at);
  client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX");
  w.run();
  CHECK(is(*w.exchanges[0], StreamError::bad_body));
  CHECK_FALSE(w.exchanges[0]->request.ended);
  CHECK(client.take() == "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
  CHECK(client.ended());
}

TEST_CASE("a broken body under a begun answer resets the connection") {
  H1World w;
  w.script = [](TestExchange& e) {
    e.request.attach(std::move(e.body));
    e.begin(200);
    e.writer.write(as_bytes("part"));
  };
  SimPeer client(w.net, w.at);
  client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
  w.run();
  client.send("x");
  w.run();
  CHECK(is(*w.exchanges[0], StreamError::bad_body));
  CHECK(client.error() == ECONNRESET);
  CHECK_FALSE(client.ended());
}

TEST_CASE("a reader of the request that outlives its exchange learns that the body is not whole") {
  H1World w;
  TestSink sink;
  w.script = [&](TestExchange& e) { sink.attach(std::move(e.body)); };
  SimPeer client(w.net, w.at);
  client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
  client.finish();
  w.run();
  CHECK(is(*w.exchanges[0], StreamError::client_closed));
  CHECK(sink.body == "abc");
  CHECK_FALSE(sink.ended);
  CHECK(sink.aborted == BodyAbort::peer_gone);
  sink.reader.drop();
}

TEST_CASE("a FIN while an exchange runs means that the client is gone") {
  H1World w;
  SimPeer client(w.net, w.at);
  client.send(kGet);
  client.finish();
  w.run();
  CHECK(is(*w.exchanges[0], StreamError::client_closed));
  CHECK(w.connections[0]->closed == 1);
}

TEST_CASE("with half_close a FIN only ends the input") {
  H1World w;
  w.server_options.half_close = true;
  SimPeer client(w.net, w.at);
  client.send(kGet + kGet);
  client.finish();
  w.run();
  REQUIRE(w.exchanges.size() == 1);
  w.exchanges[0]->answer(200, "1");
  w.run();
  REQUIRE(w.exchanges.size() == 2);
  w.exchanges[1]->answer(200, "2");
  w.run();
  CHECK(client.take() == ok("1") + ok("2"));
  CHECK(client.ended());
  CHECK(w.connections[0]->closed == 1);
}

TEST_CASE("a reset by the client ends the exchange") {
  H1World w;
  SimPeer client(w.net, w.at);
  client.send(kGet);
  w.run();
  client.reset();
  w.run();
  CHECK(is(*w.exchanges[0], StreamError::client_reset));
  CHECK(w.connections[0]->closed == 1);
}

TEST_CASE("an answer that breaks off is reset, so that nobody takes it for whole") {
  for (const bool old : {false, true}) {
    H1World w;
    w.script = [](TestExchange& e) { e.begin(200); };
    SimPeer client(w.net, w.at);
    client.send(old ? "GET / HTTP/1.0\r\n\r\n" : kGet);
    w.run();
    w.exchanges[0]->writer.write(as_bytes("part"));
    w.run();
    w.exchanges[0]->writer.abort(BodyAbort::peer_gone);
    w.run();
    CHECK(is(*w.exchanges[0], StreamError::response_aborted));
    CHECK(client.received().find("part") != std::string::npos);
    CHECK(client.received().find("0\r\n\r\n") == std::string::npos);
    CHECK(client.error() == ECONNRESET);
    CHECK_FALSE(client.ended());
    CHECK(w.connections[0]->closed == 1);
  }
}

TEST_CASE("an answer shorter or longer than its Content-Length is broken off") {
  for (const std::string body : {"abc", "abcde"}) {
    H1World w;
    w.script = [&](TestExchange& e) {
      e.begin(200, 4);
      e.writer.write(as_bytes(body));
      e.writer.finish();
    };
    SimPeer client(w.net, w.at);
    client.send(kGet);
    w.run();
    CHECK(is(*w.exchanges[0], StreamError::response_aborted));
    CHECK(client.error() == ECONNRESET);
  }
}

TEST_CASE("reset() breaks the answer off and tells the exchange nothing more") {
  H1World w;
  SimPeer client(w.net, w.at);
  client.send(kGet);
  w.run();
  w.exchanges[0]->stream->reset();
  w.run();
  CHECK(w.exchanges[0]->error == -1);
  CHECK(client.error() == ECONNRESET);
  CHECK(w.connections[0]->closed == 1);
}

TEST_CASE("100 Continue is sent once, when the body is wanted") {
  const std::string request =
      "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
  H1World w;
  SimPeer client(w.net, w.at);
  client.send(request);
  w.run();
  TestExchange& e = *w.exchanges.at(0);
  CHECK(e.head->expects_continue);
  CHECK_FALSE(e.head->headers.has(HeaderId::expect));
  CHECK(client.take().empty());
  SECTION("by us") {
    e.request.attach(std::move(e.body));
    w.run();
    CHECK(client.take() == "HTTP/1.1 100 Continue\r\n\r\n");
    ResponseHead head(e.arena);
    head.status = 100;
    e.stream->send_informational(head);
    w.run();
    CHECK(client.take().empty());
    client.send("abc");
    w.run();
    CHECK(e.request.ended);
    e.answer(200, "");
    w.run();
    CHECK(client.take() == ok(""));
    CHECK_FALSE(client.ended());
  }
  SECTION("by the upstream") {
    ResponseHead head(e.arena);
    head.status = 100;
    e.stream->send_informational(head);
    w.run();
    CHECK(client.take() == "HTTP/1.1 100 Continue\r\n\r\n");
    e.request.attach(std::move(e.body));
    w.run();
    CHECK(client.take().empty());
  }
  SECTION("not when the body came by itself") {
    client.send("a");
    w.run();
    e.request.attach(std::move(e.body));
    w.run();
    CHECK(client.take().empty());
  }
  SECTION("not when the answer came first; then the connection closes") {
    e.answer(413, "");
    w.run();
    CHECK(client.take() ==
          "HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    CHECK(client.ended());
  }
}

TEST_CASE("informational answers go to HTTP/1.1 clients only, before the answer only") {
  for (const bool old : {false, true}) {
    H1World w;
    w.script = [](TestExchange& e) {
      ResponseHead hints(e.arena);
      hints.status = 103;
      hints.headers.add_view("link", "</a>");
      e.stream->send_informational(hints);
      hints.status = 100;
      e.stream->send_informational(hints);  // nobody waits for it
      e.begin(200, 1);
      hints.status = 103;
      e.stream->send_informational(hints);
      e.writer.write(as_bytes("x"));
      e.writer.finish();
    };
    SimPeer client(w.net, w.at);
    client.send(old ? "GET / HTTP/1.0\r\n\r\n" : kGet);
    w.run();
    if (old) {
      CHECK(client.take() == "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx");
    } else {
      CHECK(client.take() == "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + ok("x"));
    }
  }
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
  client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n" +
              std::string(0x100000, 'x'));
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
  client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(kTotal) + "\r\n\r\n" +
              std::string(kTotal, 'z'));
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
      for (int i = 0; i < 20; ++i)
        e.writer.write(as_bytes(std::string(static_cast<std::size_t>(i) * 700, static_cast<char>('a' + i))));
      e.writer.finish();
    };
    SimPeer client(w.net, w.at);
    client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nc350\r\n" +
                std::string(50'000, 'q') + "\r\n0\r\n\r\n");
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
