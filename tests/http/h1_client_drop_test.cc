// The upstream connection when its caller wants no more, or takes no more.
#include <catch2/catch.hpp>

#include "tests/http/h1_client_world.h"

namespace weir {

TEST_CASE("a dropped request closes the connection while its answer is not begun") {
  Connected w;
  TestCall& call = w.get();
  w.run();
  call.stream.reset();
  w.run();
  CHECK(call.failed + call.ended == 0);
  CHECK(w.closed == 1);
  CHECK(w.upstream().error() == ECONNRESET);
}

TEST_CASE("a dropped answer is read away when its rest is short") {
  for (const std::string head :
       {"HTTP/1.1 503 No\r\nContent-Length: 1000\r\n\r\n", "HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n"}) {
    Connected w;
    TestCall& call = w.call();
    call.drop_at_head = true;
    w.open(call);
    w.run();
    w.upstream().send(head + std::string(400, 'x'));
    w.run();
    CHECK(call.status == 503);
    CHECK_FALSE(w.codec->available());
    CHECK(w.closed == 0);
    w.upstream().send(std::string(600, 'x'));
    if (head.find("chunked") != std::string::npos) w.upstream().send("\r\n0\r\n\r\n");
    w.run();
    CHECK(w.codec->available());
    CHECK(w.available == 1);
    CHECK(call.ended + call.failed == 0);
    w.loop.advance(10s);
    CHECK(w.closed == 0);
  }
}

TEST_CASE("a dropped answer is not read away when it is long, slow, or without end") {
  SECTION("long") {
    Connected w;
    TestCall& call = w.call();
    call.drop_at_head = true;
    w.open(call);
    w.run();
    w.upstream().send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    w.run();
    CHECK(w.closed == 1);
  }
  SECTION("long, as it turns out") {
    Connected w;
    TestCall& call = w.call();
    call.drop_at_head = true;
    w.open(call);
    w.run();
    w.upstream().send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n" + std::string(60'000, 'x'));
    w.run();
    CHECK(w.closed == 0);
    w.upstream().send(std::string(10'000, 'x'));
    w.run();
    CHECK(w.closed == 1);
  }
  SECTION("slow") {
    Connected w;
    TestCall& call = w.call();
    call.drop_at_head = true;
    w.open(call);
    w.run();
    w.upstream().send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
    w.run();
    w.loop.advance(900ms);
    CHECK(w.closed == 0);
    w.loop.advance(200ms);
    CHECK(w.closed == 1);
  }
  SECTION("until close") {
    Connected w;
    TestCall& call = w.call();
    call.drop_at_head = true;
    w.open(call);
    w.run();
    w.upstream().send("HTTP/1.1 200 OK\r\n\r\n");
    w.run();
    CHECK(w.closed == 1);
  }
}

TEST_CASE("a request dropped at a head without body leaves the connection usable") {
  Connected w;
  TestCall& call = w.call();
  call.drop_at_head = true;
  w.open(call);
  w.run();
  w.upstream().send("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
  w.run();
  CHECK(call.ended == 0);
  CHECK(w.codec->available());
}

TEST_CASE("a body that its reader lets go is read away, and its end still told") {
  Connected w;
  TestCall& call = w.call();
  call.keep_reader = true;
  w.open(call);
  w.run();
  w.upstream().send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
  w.run();
  call.reader.drop();
  w.upstream().send(std::string(100, 'x'));
  w.run();
  CHECK(call.ended == 1);
  CHECK(w.codec->available());
}

TEST_CASE("close_when_idle waits for what runs") {
  Connected w;
  TestCall& call = w.get();
  w.run();
  w.codec->close_when_idle();
  w.run();
  CHECK(w.closed == 0);
  w.upstream().send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  w.run();
  CHECK(call.ended == 1);
  CHECK(w.closed == 1);
  Connected idle;
  idle.codec->close_when_idle();
  CHECK_FALSE(idle.codec->available());
  idle.run();
  CHECK(idle.closed == 1);
}

TEST_CASE("an answer that is not read holds the upstream back") {
  Connected w;
  TestCall& call = w.call();
  call.sink.allowance = 0;
  w.open(call);
  w.run();
  const std::size_t kTotal = 5'000'000;
  w.upstream().send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(kTotal) + "\r\n\r\n" + std::string(kTotal, 'x'));
  w.run();
  CHECK(w.upstream().unsent() > 4'000'000);
  CHECK(w.buffers.bytes_held() < 1536 * 1024);
  while (!call.sink.ended) {
    call.sink.allowance = 100'000;
    call.sink.reader.resume();
    w.run();
  }
  CHECK(call.sink.body.size() == kTotal);
  CHECK(call.ended == 1);
}

TEST_CASE("an upstream that does not read holds the request body back") {
  Connected w;
  TestCall& call = w.call("POST");
  w.upstream().pause_reading(true);
  w.open(call, call.with_body(-1));
  std::size_t given = 0;
  while (!call.writer.paused()) {
    call.writer.write(as_bytes(std::string(10'000, 'x')));
    given += 10'000;
    w.run();
    REQUIRE(given < 2'000'000);
  }
  CHECK(w.buffers.bytes_held() < 1024 * 1024);
  w.upstream().pause_reading(false);
  w.run();
  CHECK_FALSE(call.writer.paused());
  call.writer.finish();
  w.run();
  CHECK(w.upstream().received().size() > given);
}

}  // namespace weir
