// The ends of requests on an HTTP/2 connection to an upstream: resets both ways, GOAWAY, lost connections, PING, and who is to try again.
#include "tests/http/h2_client_world.h"

namespace weir {

using test::H2Peer;
using namespace frames;

TEST_CASE("h2 client: REFUSED_STREAM was not looked at, other resets may have been") {
  H2ClientWorld w;
  H2Peer& peer = w.serve();
  TestCall& refused = w.get();
  TestCall& internal = w.get();
  TestCall& http11 = w.get();
  TestCall& nothing = w.get();
  TestCall& late = w.get();
  TestCall& good = w.get();
  w.run();
  peer.reset(1, 7);
  peer.reset(3, 2);
  peer.reset(5, 13);  // HTTP_1_1_REQUIRED
  peer.reset(7, 0);
  peer.begin(9, 200);
  peer.write(9, "hel");
  w.run();
  peer.reset(9, 7);
  peer.answer(11, 200, "fine");
  w.run();
  CHECK(told(refused) == "refused_stream");
  CHECK_FALSE(refused.failure.anything_sent);
  CHECK_FALSE(refused.failure.anything_received);
  CHECK(told(internal) == "reset");
  CHECK(internal.failure.anything_sent);
  CHECK(told(http11) == "reset");
  CHECK(told(nothing) == "reset");
  CHECK(told(late) == "reset");  // after its head nothing is as if it had not been
  CHECK(late.failure.anything_received);
  CHECK(late.sink.aborted == BodyAbort::reset);
  CHECK_FALSE(late.sink.ended);
  CHECK(told(good) == "ended");
  CHECK(w.closed == 0);
  CHECK(w.codec->room() == 100);
  for (const TestCall* call : {&refused, &internal, &late}) CHECK_FALSE(call->failure.reused);
}

TEST_CASE("h2 client: an answer that is whole before its request is whole counts, and the rest is not sent") {
  for (const bool with_reset : {true, false}) {
    H2ClientWorld w;
    TestCall& call = w.call("POST", "/");
    BodyPipe::Reader body = call.with_body(-1);
    w.open(call, std::move(body));
    call.writer.write(as_bytes("some"));
    w.run();
    w.heard();
    w.say(server_preface() + head(1, answer("413"), false) + frame(data, kEndStream, 1, "too much") +
          (with_reset ? frame(rst_stream, 0, 1, number(0, 4)) : ""));
    CHECK(call.status == 413);
    CHECK(call.sink.body == "too much");
    CHECK(call.sink.ended);
    CHECK(told(call) == "ended");
    CHECK(call.body_dropped);
    CHECK((with_reset || code_of(w.heard(), rst_stream, 1) == 8));
    CHECK(w.codec->room() == 100);
    CHECK(w.closed == 0);
    w.check_nothing_left();
  }
}

TEST_CASE("h2 client: a dropped request is reset, and the connection goes on") {
  H2ClientWorld w;
  H2Peer& peer = w.serve();
  TestCall& unsent = w.get("/unsent");
  unsent.stream.reset();  // in the same turn
  TestCall& waiting = w.get("/waiting");
  TestCall& reading = w.get("/reading");
  TestCall& at_head = w.call("GET", "/at-head");
  at_head.drop_at_head = true;
  w.open(at_head);
  TestCall& good = w.get("/good");
  w.run();
  CHECK(peer.requests().count(1) == 0);  // it was never said
  peer.begin(5, 200);
  peer.write(5, "abc");
  peer.answer(7, 200, "gone");
  w.run();
  waiting.stream.reset();
  reading.stream.reset();
  w.run();
  CHECK(peer.request(3).reset == 8);
  CHECK(peer.request(5).reset == 8);
  CHECK(reading.sink.aborted == BodyAbort::cancelled);
  peer.answer(9, 200, "fine");
  w.run();
  CHECK(good.sink.body == "fine");
  for (const TestCall* call : {&unsent, &waiting, &reading, &at_head}) CHECK(call->ended + call->failed == 0);
  CHECK(w.codec->room() == 100);
  CHECK(w.codec->idle());
  CHECK(w.closed == 0);
  w.check_nothing_left();
}

TEST_CASE("h2 client: what comes on a dropped stream is counted back into the connection's window") {
  H2ClientWorld w;
  w.serve();
  TestCall& dropped = w.get();
  w.run();
  w.peer->begin(1, 200);
  for (int round = 0; round < 200; ++round) {  // in all more than the connection's window of 16 MiB
    TestCall& call = w.get();
    w.run();
    const auto id = static_cast<std::int32_t>(2 * round + 3);
    w.peer->begin(id, 200);
    w.run();
    w.peer->write(id, std::string(200 * 1024, 'x'));  // on its way when the stream is dropped
    call.stream.reset();
    w.run();
    w.calls.pop_back();
  }
  w.peer->write(1, std::string(200 * 1024, 'y'));
  w.peer->finish(1);
  w.run();
  CHECK(dropped.sink.body.size() == 200 * 1024);
  CHECK(told(dropped) == "ended");
}

TEST_CASE("h2 client: a request whose body breaks off is reset, and fails as the client's fault") {
  for (const std::string how : {"aborted", "dropped", "short", "long"}) {
    INFO(how);
    H2ClientWorld w;
    H2Peer& peer = w.serve();
    TestCall& call = w.call("POST", "/");
    BodyPipe::Reader body = call.with_body(5);
    w.open(call, std::move(body));
    call.writer.write(as_bytes("abc"));
    w.run();
    if (how == "aborted") call.writer.abort(BodyAbort::peer_gone);
    if (how == "dropped") call.writer.drop();
    if (how == "short") call.writer.finish();
    if (how == "long") call.writer.write(as_bytes("defg"));
    w.run();
    CHECK(told(call) == "request_aborted");
    CHECK(peer.request(1).reset == 8);
    CHECK_FALSE(peer.request(1).ended);
    CHECK(w.codec->room() == 100);
    CHECK_FALSE(peer.broken());
    w.check_nothing_left();
  }
}

TEST_CASE("h2 client: a GOAWAY lets finish what is below its last stream and refuses the others") {
  H2ClientWorld w;
  H2Peer& peer = w.serve();
  TestCall& first = w.get();
  TestCall& second = w.get();
  w.run();
  TestCall& third = w.get();  // not begun when it comes
  peer.goaway(1);
  w.run();
  CHECK_FALSE(w.codec->available());
  CHECK(w.closed == 1);  // told at once, while one still runs
  CHECK(told(first) == "open");
  for (const TestCall* call : {&second, &third}) {
    CHECK(told(*call) == "refused_stream");
    CHECK_FALSE(call->failure.anything_sent);
  }
  peer.answer(1, 200, "whole");
  w.run();
  CHECK(first.sink.body == "whole");
  CHECK(told(first) == "ended");
  CHECK(w.closed == 1);
  w.check_nothing_left();
}

TEST_CASE("h2 client: a GOAWAY in two steps, and one with an error") {
  H2ClientWorld w;
  H2Peer& peer = w.serve();
  TestCall& first = w.get();
  w.run();
  peer.goaway(0x7fffffff);
  w.run();
  CHECK(told(first) == "open");
  CHECK_FALSE(w.codec->available());
  peer.goaway(1);
  peer.answer(1, 200);
  w.run();
  CHECK(told(first) == "ended");
  H2ClientWorld calm;
  H2Peer& other = calm.serve();
  TestCall& call = calm.get();
  calm.run();
  other.goaway(0, 11);
  calm.run();
  CHECK(told(call) == "refused_stream");
  CHECK(calm.closed == 1);
}

TEST_CASE("h2 client: an idle connection that is told to go, or closed, is over") {
  for (const bool goaway_first : {true, false}) {
    H2ClientWorld w;
    H2Peer& peer = w.serve();
    if (goaway_first) {
      peer.goaway(0);
    } else {
      w.upstream().finish();
    }
    w.run();
    CHECK(w.closed == 1);
    CHECK_FALSE(w.codec->available());
  }
}

TEST_CASE("h2 client: a lost connection fails all its streams, each with what is true of it") {
  for (const bool by_reset : {true, false}) {
    H2ClientWorld w;
    H2Peer& peer = w.serve();
    TestCall& done = w.get();
    w.run();
    peer.answer(1, 200, "x");
    w.run();
    TestCall& begun = w.get();
    TestCall& waiting = w.get();
    TestCall& upload = w.call("POST", "/");
    BodyPipe::Reader body = upload.with_body(-1);
    w.open(upload, std::move(body));
    w.run();
    peer.begin(3, 200);
    peer.write(3, "hel");
    w.run();
    w.upstream().on_change = nullptr;
    by_reset ? w.upstream().reset() : w.upstream().finish();
    w.run();
    CHECK(told(done) == "ended");
    const std::string how = by_reset ? "reset" : "closed";
    for (const TestCall* call : {&begun, &waiting, &upload}) {
      CHECK(told(*call) == how);
      CHECK(call->failure.anything_sent);
      CHECK_FALSE(call->failure.reused);  // it lived when they were sent: bytes came since
    }
    CHECK(begun.failure.anything_received);
    CHECK_FALSE(waiting.failure.anything_received);
    CHECK(begun.sink.body == "hel");
    CHECK(begun.sink.aborted == (by_reset ? BodyAbort::reset : BodyAbort::peer_gone));
    CHECK(upload.body_dropped);
    CHECK(w.closed == 1);
    w.check_nothing_left();
  }
}

TEST_CASE("h2 client: a connection that was gone before the request was sent is a stale one") {
  H2ClientWorld w;
  H2Peer& peer = w.serve();
  w.get();
  w.run();
  peer.answer(1, 200, "x");
  w.run();
  TestCall& one = w.get();
  TestCall& two = w.get();
  w.upstream().reset();
  w.run();
  for (const TestCall* call : {&one, &two}) {
    CHECK(told(*call) == "reset");
    CHECK(call->failure.reused);
    CHECK_FALSE(call->failure.anything_received);
  }
  H2ClientWorld fresh;  // nothing was ever answered: the upstream's doing, not that of an old connection
  TestCall& first = fresh.get();
  TestCall& second = fresh.get();
  fresh.upstream().reset();
  fresh.run();
  CHECK_FALSE(first.failure.reused);
  CHECK_FALSE(second.failure.reused);
}

TEST_CASE("h2 client: an upstream that answers and closes without reading all is heard") {
  H2ClientWorld w;
  TestCall& call = w.call("POST", "/");
  BodyPipe::Reader body = call.with_body(-1);
  w.open(call, std::move(body));
  w.run();
  w.upstream().send(server_preface() + head(1, answer("413"), false) + frame(data, kEndStream, 1, "no"));
  w.upstream().finish();
  call.writer.write(as_bytes(std::string(1000, 'x')));
  w.run();
  CHECK(call.status == 413);
  CHECK(call.sink.body == "no");
  CHECK(told(call) == "ended");
  CHECK(w.closed == 1);
}

TEST_CASE("h2 client: a codec that is destroyed lets go of streams that somebody still holds") {
  H2ClientWorld w;
  TestCall& call = w.call("POST", "/");
  BodyPipe::Reader body = call.with_body(-1);
  w.open(call, std::move(body));
  w.get();
  w.run();
  w.say(server_preface() + head(1, answer(), false) + frame(data, 0, 1, "abc"));
  w.codec.reset();
  w.run();
  CHECK(call.ended + call.failed == 0);
  CHECK(call.body_dropped);
  CHECK(call.sink.aborted == BodyAbort::cancelled);
  w.check_nothing_left();
}

// ---- whether it lives ----

TEST_CASE("h2 client: while requests are open and nothing comes, a PING asks, and without an answer the connection is lost") {
  H2ClientWorld w;
  w.serve();
  TestCall& call = w.get();
  w.run();
  w.loop.advance(29s);
  CHECK(w.peer->pings() == 0);
  w.loop.advance(2s);
  CHECK(w.peer->pings() == 1);
  CHECK(told(call) == "open");
  w.loop.advance(60s);
  CHECK(told(call) == "open");  // it was answered
  CHECK(w.peer->pings() == 1);  // not again: servers of gRPC would say GOAWAY
  w.loop.advance(std::chrono::minutes(5));
  CHECK(w.peer->pings() == 2);
  w.peer->inform(1, 103);
  w.run();
  w.loop.advance(29s);
  CHECK(w.peer->pings() == 2);
  w.loop.advance(2s);
  CHECK(w.peer->pings() == 3);       // it said something else in between
  w.upstream().on_change = nullptr;  // and now it is silent
  w.peer->inform(1, 103);
  w.run();
  w.loop.advance(39s);
  CHECK(told(call) == "open");
  w.loop.advance(2s);
  CHECK(told(call) == "reset");
  CHECK(w.closed == 1);
}

TEST_CASE("h2 client: bytes of any kind are a sign of life, and an idle connection is not asked") {
  H2ClientWorld w;
  w.serve();
  w.loop.advance(std::chrono::hours(1));
  CHECK(w.peer->pings() == 0);
  TestCall& call = w.get();
  w.run();
  w.peer->begin(1, 200);
  for (int i = 0; i < 20; ++i) {
    w.loop.advance(20s);
    w.peer->write(1, "x");
  }
  CHECK(w.peer->pings() == 0);
  w.peer->finish(1);
  w.run();
  CHECK(told(call) == "ended");
  w.loop.advance(std::chrono::hours(1));
  CHECK(w.peer->pings() == 0);
  CHECK(w.closed == 0);
}

TEST_CASE("h2 client: a dead connection is found out though every request on it is given up soon") {
  H2ClientWorld w;
  w.serve();
  w.upstream().on_change = nullptr;
  for (int i = 0; i < 39; ++i) {
    TestCall& call = w.get();
    w.run();
    w.loop.advance(1s);
    call.stream.reset();
    w.run();
    CHECK(w.closed == 0);
  }
  w.loop.advance(2s);
  CHECK(w.closed == 1);
}

TEST_CASE("h2 client: interval and timeout of PING are as configured, and may be none") {
  ClientConnectionOptions options;
  options.http2.ping_interval = 2s;
  options.http2.ping_timeout = 500ms;
  H2ClientWorld w(options);
  TestCall& call = w.get();
  w.run();
  w.loop.advance(2499ms);
  CHECK(told(call) == "open");
  w.loop.advance(2ms);
  CHECK(told(call) == "reset");
  options.http2.ping_interval = 0s;
  H2ClientWorld never(options);
  never.get();
  never.run();
  never.loop.advance(std::chrono::hours(10));
  CHECK(never.closed == 0);
}

}  // namespace weir
