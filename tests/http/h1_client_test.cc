#include <catch2/catch.hpp>

#include "tests/http/h1_client_world.h"

namespace weir {

TEST_CASE("a request is sent, its answer heard, and the connection reused") {
  Connected w;
  TestCall& first = w.get("/a?b");
  CHECK_FALSE(w.codec->available());
  CHECK(first.status == 0);
  w.run();
  CHECK(w.upstream().take() == "GET /a?b HTTP/1.1\r\nhost: up\r\n\r\n");
  w.upstream().send("HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 2\r\n\r\nhi");
  w.run();
  CHECK(first.status == 200);
  CHECK(first.fields == "server=x ");
  CHECK(first.length == 2);
  CHECK(first.sink.body == "hi");
  CHECK(first.sink.ended);
  CHECK(first.ended == 1);
  CHECK(w.available == 1);
  CHECK(w.codec->available());
  TestCall& second = w.get();
  w.run();
  w.upstream().send("HTTP/1.1 204 No Content\r\n\r\n");
  w.run();
  CHECK(second.status == 204);
  CHECK_FALSE(second.has_body);
  CHECK(second.ended == 1);
  CHECK(w.codec->streams_opened() == 2);
  CHECK(w.buffers.chunks_in_use() == 0);
  first.stream.reset();  // late, while nothing runs
  CHECK(w.codec->available());
}

TEST_CASE("a handle that is dropped after its exchange does not touch the next one") {
  Connected w;
  TestCall& first = w.get();
  w.run();
  w.upstream().send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  w.run();
  TestCall& second = w.get();
  first.stream.reset();
  w.run();
  w.upstream().send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  w.run();
  CHECK(second.ended == 1);
  CHECK(w.closed == 0);
}

TEST_CASE("requests are serialized anew") {
  Connected w;
  TestCall& call = w.call("OPTIONS", "*");
  call.head.headers.add("x-a", "1");
  call.head.headers.add("gone", "1");
  call.head.headers.add("te", "trailers");
  call.head.headers.remove("gone");
  const HeaderField extra[] = {{"x-extra", "2", HeaderId::other}};
  call.stream = w.codec->open(call.arena, call.head, extra, {}, call);
  w.run();
  CHECK(w.upstream().take() == "OPTIONS * HTTP/1.1\r\nhost: up\r\nx-a: 1\r\nte: trailers\r\nx-extra: 2\r\nconnection: te\r\n\r\n");
}

TEST_CASE("a missing authority is the endpoint's, and an empty body's length is told") {
  Connected w;
  TestCall& call = w.call("POST");
  call.head.authority = {};
  call.head.content_length = 0;
  w.open(call);
  w.run();
  CHECK(w.upstream().take() == "POST / HTTP/1.1\r\nhost: 127.0.0.1:9000\r\ncontent-length: 0\r\n\r\n");
}

TEST_CASE("a body goes up with its length or in chunks, with trailers") {
  Connected w;
  TestCall& sized = w.call("POST");
  w.open(sized, sized.with_body(5));
  sized.writer.write(as_bytes("he"));
  sized.writer.write(as_bytes("llo"));
  sized.writer.finish();
  w.run();
  CHECK(w.upstream().take() == "POST / HTTP/1.1\r\nhost: up\r\ncontent-length: 5\r\n\r\nhello");
  w.upstream().send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  w.run();
  CHECK(w.codec->available());
  TestCall& chunked = w.call("POST");
  w.open(chunked, chunked.with_body(-1));
  w.run();
  CHECK(w.upstream().take() == "POST / HTTP/1.1\r\nhost: up\r\ntransfer-encoding: chunked\r\n\r\n");
  chunked.writer.write(as_bytes("0123456789abcdef!"));
  w.run();
  CHECK(w.upstream().take() == "11\r\n0123456789abcdef!\r\n");
  Headers trailers(chunked.arena);
  trailers.add_view("x-sum", "1");
  chunked.writer.finish(&trailers);
  w.run();
  CHECK(w.upstream().take() == "0\r\nx-sum: 1\r\n\r\n");
  w.upstream().send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: u\r\n\r\n");
  w.run();
  CHECK(chunked.sink.body == "abc");
  CHECK(chunked.sink.trailers == "t=u ");
  CHECK(chunked.trailers_at_end == 1);
  CHECK(w.codec->available());
}

TEST_CASE("an answer cut at every byte is heard alike") {
  const std::string text =
      "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: "
      "chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    CAPTURE(cut);
    Connected w;
    TestCall& call = w.get();
    w.run();
    w.upstream().send(text.substr(0, cut));
    w.run();
    w.upstream().send(text.substr(cut));
    w.run();
    CHECK(call.informational == "103 ");
    CHECK(call.fields == "a=b ");
    CHECK(call.sink.body == "abc");
    CHECK(call.ended == 1);
    CHECK(w.codec->available());
  }
}

TEST_CASE("an answer without length ends at the close, and only that one") {
  Connected w;
  TestCall& call = w.get();
  w.run();
  w.upstream().send("HTTP/1.1 200 OK\r\n\r\nall of it");
  w.run();
  CHECK(call.ended == 0);
  w.upstream().finish();
  w.run();
  CHECK(call.sink.body == "all of it");
  CHECK(call.sink.ended);
  CHECK(call.ended == 1);
  CHECK(w.closed == 1);
  CHECK(w.available == 0);
}

TEST_CASE("an answer cut short is no clean end") {
  for (const std::string head :
       {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n"}) {
    for (const bool reset : {false, true}) {
      Connected w;
      TestCall& call = w.get();
      w.run();
      w.upstream().send(head + "part");
      w.run();
      if (reset) {
        w.upstream().reset();
      } else {
        w.upstream().finish();
      }
      w.run();
      CHECK(call.sink.body == "part");
      CHECK_FALSE(call.sink.ended);
      CHECK(call.sink.aborted == (reset ? BodyAbort::reset : BodyAbort::peer_gone));
      CHECK(call.failed == 1);
      CHECK(call.ended == 0);
      CHECK(call.failure.error == (reset ? ClientError::reset : ClientError::closed));
      CHECK(call.failure.anything_sent);
      CHECK(call.failure.anything_received);
      CHECK(w.closed == 1);
    }
  }
}

TEST_CASE("a stale keep-alive connection says that it is one") {
  Connected w;
  w.get();
  w.run();
  w.upstream().send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  w.run();
  TestCall& call = w.get();
  w.upstream().finish();  // crosses the request
  w.run();
  CHECK(call.failed == 1);
  CHECK(call.failure.error == ClientError::closed);
  CHECK(call.failure.reused);
  CHECK(call.failure.anything_sent);
  CHECK_FALSE(call.failure.anything_received);
}

TEST_CASE("a reset before any byte of answer") {
  Connected w;
  TestCall& call = w.get();
  w.run();
  w.upstream().reset();
  w.run();
  CHECK(call.failure.error == ClientError::reset);
  CHECK_FALSE(call.failure.reused);
  CHECK_FALSE(call.failure.anything_received);
}

TEST_CASE("a connection that is dead when the request is written fails later, not inside open") {
  Connected w;
  w.net.reset(w.at);  // the reset waits to be read
  TestCall& call = w.get();
  CHECK(call.failed == 0);
  w.run();
  CHECK(call.failed == 1);
  CHECK_FALSE(call.failure.anything_sent);
  CHECK(w.closed == 1);
}

TEST_CASE("an idle connection closes at a FIN, a reset or an unasked byte") {
  for (const int how : {0, 1, 2}) {
    Connected w;
    w.get();
    w.run();
    w.upstream().send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    w.run();
    CHECK(w.codec->available());
    if (how == 0) w.upstream().finish();
    if (how == 1) w.upstream().reset();
    if (how == 2) w.upstream().send("HTTP/1.1 408 Request Timeout\r\n\r\n");
    w.run();
    CHECK_FALSE(w.codec->available());
    CHECK(w.closed == 1);
  }
}

TEST_CASE("bytes behind an answer cost the connection, not the answer") {
  for (const std::string answer : {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", "HTTP/1.1 204 No Content\r\n\r\n"}) {
    Connected w;
    TestCall& call = w.get();
    w.run();
    w.upstream().send(answer + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
    w.run();
    CHECK(call.ended == 1);
    CHECK(w.available == 0);
    CHECK(w.closed == 1);
  }
}

TEST_CASE("answers that break a rule are protocol errors, by name") {
  const auto rule = [](const std::string& text) {
    Connected w;
    TestCall& call = w.get();
    w.run();
    w.upstream().send(text);
    w.run();
    CHECK(call.failed == 1);
    CHECK(w.closed == 1);
    CHECK(call.failure.anything_received);
    return std::string(call.failure.error == ClientError::protocol_error ? "" : "other ") + std::string(call.failure.rule);
  };
  CHECK(rule("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n") == "length-with-encoding");
  CHECK(rule("SSH-2.0-OpenSSH\r\n") == "status-line");
  CHECK(rule("HTTP/1.1 101 Switching Protocols\r\n\r\n") == "unasked-switch");
  CHECK(rule("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n") == "chunk-size");
  CHECK(rule("HTTP/1.1 200 OK\r\nX: " + std::string(70'000, 'x')) == "other head-too-large");
  std::string many;
  for (int i = 0; i < 40; ++i) many += "HTTP/1.1 100 Continue\r\n\r\n";
  CHECK(rule(many) == "too-many-informational");
}

TEST_CASE("Connection: close and HTTP/1.0 answers end the connection") {
  for (const std::string head : {"HTTP/1.1 200 OK\r\nConnection: close\r\n", "HTTP/1.0 200 OK\r\n"}) {
    Connected w;
    TestCall& call = w.get();
    w.run();
    w.upstream().send(head + "Content-Length: 1\r\n\r\nx");
    w.run();
    CHECK(call.ended == 1);
    CHECK(w.available == 0);
    CHECK(w.closed == 1);
  }
}

TEST_CASE("an answer that comes before the request is sent ends the connection after it") {
  Connected w;
  TestCall& call = w.call("POST");
  w.open(call, call.with_body(100));
  call.writer.write(as_bytes("some"));
  w.run();
  w.upstream().send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
  w.run();
  CHECK(call.status == 413);
  CHECK(call.sink.body == "no");
  CHECK(call.ended == 1);
  CHECK(call.body_dropped);
  CHECK(w.closed == 1);
  CHECK(w.available == 0);
}

TEST_CASE("an answer of an upstream that does not read the body is heard") {
  Connected w;
  TestCall& call = w.call("POST");
  w.upstream().pause_reading(true);
  w.open(call, call.with_body(10'000'000));
  for (int i = 0; i < 10; ++i) call.writer.write(as_bytes(std::string(50'000, 'x')));
  w.run();
  w.upstream().send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
  w.upstream().close();  // unread bytes: RST
  w.run();
  CHECK(call.status == 413);
  CHECK(call.ended + call.failed == 1);
}

TEST_CASE("a request body that breaks off resets the upstream connection") {
  Connected w;
  TestCall& call = w.call("POST");
  w.open(call, call.with_body(-1));
  call.writer.write(as_bytes("part"));
  w.run();
  CHECK(w.upstream().received().find("part") != std::string::npos);
  call.writer.abort(BodyAbort::peer_gone);
  w.run();
  CHECK(call.failure.error == ClientError::request_aborted);
  CHECK(w.upstream().error() == ECONNRESET);
  CHECK(w.upstream().received().find("0\r\n\r\n") == std::string::npos);
  CHECK(w.closed == 1);
}

TEST_CASE("a request body of another length than announced is broken off") {
  Connected w;
  TestCall& call = w.call("POST");
  w.open(call, call.with_body(10));
  call.writer.write(as_bytes("short"));
  call.writer.finish();
  w.run();
  CHECK(call.failure.error == ClientError::request_aborted);
  CHECK(w.upstream().error() == ECONNRESET);
}

}  // namespace weir
