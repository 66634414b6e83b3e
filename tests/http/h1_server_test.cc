#include <catch2/catch.hpp>

#include "tests/http/h1_world.h"

namespace weir {

namespace {

const std::string kGet = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
std::string ok(const std::string& body) { return "HTTP/1.1 200 OK\r\ncontent-length: " + std::to_string(body.size()) + "\r\n\r\n" + body; }
bool is(const TestExchange& exchange, StreamError error) { return exchange.error == static_cast<int>(error); }

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
    all += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: h\r\nX-Pad: 0123456789012345678901234567890123456789\r\n\r\n";
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

TEST_CASE("a refused request is answered, and the client can read why") {
  const auto refusal = [](const std::string& text) {
    H1World w;
    SimPeer client(w.net, w.at);
    client.send(text + std::string(100'000, 'x'));  // more than the network takes at once: the answer must survive it
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
  CHECK(refusal("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == "HTTP/1.1 505 HTTP Version Not Supported http2-preface");
  CHECK(refusal("\x16\x03\x01") == "HTTP/1.1 400 Bad Request not-http");
  CHECK(refusal("GET /" + std::string(20'000, 'y')) == "HTTP/1.1 414 URI Too Long target-too-long");
  CHECK(refusal("GET / HTTP/1.1\r\nX: " + std::string(70'000, 'y')) == "HTTP/1.1 431 Request Header Fields Too Large head-too-large");
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
  CHECK(w.exchanges[0]->told == 400);
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
  const std::string request = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
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
    CHECK(client.take() == "HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
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

}  // namespace weir
