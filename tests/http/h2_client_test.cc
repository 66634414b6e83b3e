// The HTTP/2 client codec towards a server that keeps to the protocol: requests, answers, bodies, trailers, many streams.
#include "tests/http/fake_stream.h"
#include "tests/http/h2_client_world.h"

namespace weir {

using test::H2Peer;
using test::H2Request;

namespace {

HeaderField field(std::string_view name, std::string_view value) { return {name, value, header_id(name)}; }

}  // namespace

TEST_CASE("h2 client: a request and its answer") {
  H2ClientWorld w;
  H2Peer& peer = w.serve();
  TestCall& call = w.get("/a?b");
  w.run();
  H2Request& request = peer.request(1);
  CHECK(request.field(":method") == "GET");
  CHECK(request.field(":scheme") == "http");
  CHECK(request.field(":path") == "/a?b");
  CHECK(request.field(":authority") == "up");
  CHECK(request.fields.size() == 4);
  CHECK(request.ended);
  CHECK_FALSE(call.stream->response_started());
  peer.answer(1, 200, "hello", {{"content-type", "text/plain"}});
  w.run();
  CHECK(call.stream->response_started());
  CHECK(call.status == 200);
  CHECK(call.fields == "content-type=text/plain ");
  CHECK(call.length == -1);
  CHECK(call.sink.body == "hello");
  CHECK(call.sink.ended);
  CHECK(told(call) == "ended");
  CHECK(w.available >= 1);
  CHECK(w.codec->idle());
  CHECK(w.codec->streams_opened() == 1);
  CHECK_FALSE(peer.broken());
  w.check_nothing_left();
}

TEST_CASE("h2 client: the end is told before the last bytes can reach anyone") {
  for (const std::string& length : {std::string(), std::string("5")}) {
    H2ClientWorld w;
    TestCall& call = w.get();
    w.run();
    using namespace frames;
    test::H2Fields fields = answer();
    if (!length.empty()) fields.emplace_back("content-length", length);
    w.say(server_preface() + head(1, fields, false) + frame(data, kEndStream, 1, "hello"));
    CHECK(call.sink.body == "hello");
    CHECK(call.body_at_end == 0);
    CHECK(told(call) == "ended");
  }
}

TEST_CASE("h2 client: the preface, the settings and the requests of a turn leave in one write") {
  ClientWorld w;
  auto made = std::make_unique<FakeStream>();
  FakeStream& stream = *made;
  w.codec = make_h2_client(w.worker, std::move(made), w, {});
  w.get("/1");
  w.get("/2");
  TestCall& post = w.call("POST", "/3");
  BodyPipe::Reader body = post.with_body(5);
  w.open(post, std::move(body));
  post.writer.write(as_bytes("hello"));
  post.writer.finish();
  w.run();
  CHECK(stream.writes == 1);
  const auto list = frames::parse(stream.text().substr(24));
  REQUIRE(list.size() == 6);  // SETTINGS, WINDOW_UPDATE, three HEADERS, DATA
  CHECK(list[5].payload == "hello");
  CHECK(list[5].flags == frames::kEndStream);
  w.get("/4");
  w.run();
  CHECK(stream.writes == 2);
  w.codec.reset();
  w.calls.clear();
  w.loop.settle();
  CHECK(w.arenas.in_use() == 0);
}

TEST_CASE("h2 client: what goes into a request, and what does not") {
  H2ClientWorld w;
  H2Peer& peer = w.serve();
  TestCall& call = w.call("GET", "/");
  call.head.headers.add("te", "trailers");
  call.head.headers.add("x-a", "1");
  call.head.headers.add("connection", "x-a");
  call.head.headers.add("keep-alive", "1");
  call.head.headers.add("upgrade", "h2c");
  call.head.headers.add("http2-settings", "AAA");
  call.head.headers.add("cookie", "a=1; b=2");
  const HeaderField extra[] = {field("x-weir-attempt", "2"), field("host", "other.local:81")};
  call.stream = w.codec->open(call.arena, call.head, extra, {}, call);
  w.run();
  const H2Request& request = peer.request(1);
  CHECK(request.field("te") == "trailers");
  CHECK(request.field("x-a") == "1");
  CHECK(request.field("cookie") == "a=1; b=2");
  CHECK(request.field("x-weir-attempt") == "2");
  CHECK(request.field(":authority") == "other.local:81");
  CHECK(request.fields.size() == 8);
  CHECK_FALSE(peer.broken());
  TestCall& nameless = w.call("OPTIONS", "*");
  nameless.head.authority = {};
  w.open(nameless);
  w.run();
  CHECK(peer.request(3).field(":authority") == "127.0.0.1:9000");
  CHECK(peer.request(3).field(":path") == "*");
}

TEST_CASE("h2 client: bodies of requests, of known and unknown length, with trailers") {
  H2ClientWorld w;
  H2Peer& peer = w.serve();
  TestCall& known = w.call("POST", "/");
  BodyPipe::Reader body = known.with_body(5);
  w.open(known, std::move(body));
  known.writer.write(as_bytes("hel"));
  w.run();
  CHECK(peer.request(1).body == "hel");
  CHECK_FALSE(peer.request(1).ended);
  known.writer.write(as_bytes("lo"));
  known.writer.finish();
  TestCall& unknown = w.call("POST", "/");
  body = unknown.with_body(-1);
  w.open(unknown, std::move(body));
  unknown.writer.write(as_bytes("hello"));
  Headers trailers(unknown.arena);
  trailers.add("x-sum", "42");
  trailers.add("content-length", "5");  // has no place there
  unknown.writer.finish(&trailers);
  TestCall& empty = w.call("POST", "/");
  empty.head.content_length = 0;
  w.open(empty);
  TestCall& ended = w.call("POST", "/");
  body = ended.with_body(-1);
  ended.writer.finish();
  w.open(ended, std::move(body));
  w.run();
  CHECK(peer.request(1).body == "hello");
  CHECK(peer.request(1).ended);
  CHECK(peer.request(1).field("content-length") == "5");
  CHECK(peer.request(3).body == "hello");
  CHECK(peer.request(3).ended);
  CHECK(peer.request(3).field("content-length").empty());
  REQUIRE(peer.request(3).trailers.size() == 1);
  CHECK(peer.request(3).trailers[0] == std::pair<std::string, std::string>("x-sum", "42"));
  CHECK(peer.request(5).ended);
  CHECK(peer.request(5).field("content-length") == "0");
  CHECK(peer.request(7).ended);
  CHECK(peer.request(7).body.empty());
  CHECK_FALSE(peer.broken());
}

TEST_CASE("h2 client: informational answers, trailers, and heads without a body") {
  H2ClientWorld w;
  H2Peer& peer = w.serve();
  TestCall& call = w.get();
  TestCall& head = w.open(w.call("HEAD", "/"));
  TestCall& none = w.get();
  TestCall& same = w.get();
  w.run();
  peer.inform(1, 103, {{"link", "<a>"}});
  peer.inform(1, 100);
  peer.answer(1, 200, "x", {}, {{"grpc-status", "0"}});
  peer.answer(3, 200, {}, {{"content-length", "77"}});
  peer.answer(5, 204);
  peer.answer(7, 304, {}, {{"content-length", "9"}});
  w.run();
  CHECK(call.informational == "103 100 ");
  CHECK(call.status == 200);
  CHECK(call.sink.trailers == "grpc-status=0 ");
  CHECK(call.trailers_at_end == 1);
  CHECK(head.length == 77);
  CHECK_FALSE(head.has_body);
  CHECK_FALSE(none.has_body);
  CHECK(none.length == -1);
  CHECK(same.length == 9);
  for (const TestCall* one : {&call, &head, &none, &same}) CHECK(told(*one) == "ended");
  TestCall& short_reply = w.get();  // of gRPC: trailers only, which is a head that ends the stream
  w.run();
  peer.answer(9, 200, {}, {{"grpc-status", "5"}});
  w.run();
  CHECK(short_reply.fields == "grpc-status=5 ");
  CHECK_FALSE(short_reply.has_body);
  CHECK(short_reply.length == 0);
}

TEST_CASE("h2 client: a hundred streams at once, answered in any order") {
  H2ClientWorld w;
  H2Peer& peer = w.serve();
  CHECK(w.codec->room() == 100);
  for (int i = 0; i < 100; ++i) w.get("/" + std::to_string(i));
  CHECK(w.codec->room() == 0);
  CHECK_FALSE(w.codec->available());
  w.run();
  CHECK(peer.open().size() == 100);
  for (int i = 99; i >= 0; --i) peer.answer(2 * i + 1, 200, "body " + std::to_string(i));
  w.run();
  for (int i = 0; i < 100; ++i) {
    CHECK(w.calls[static_cast<std::size_t>(i)]->sink.body == "body " + std::to_string(i));
    CHECK(told(*w.calls[static_cast<std::size_t>(i)]) == "ended");
  }
  CHECK(w.codec->room() == 100);
  CHECK(w.available < 10);  // once a turn
  w.check_nothing_left();
}

TEST_CASE("h2 client: the upstream's SETTINGS_MAX_CONCURRENT_STREAMS is kept to, and so is the cap of ours") {
  SECTION("a hundred are assumed before the first SETTINGS, whatever our cap") {
    ClientConnectionOptions options;
    options.http2.max_streams = 1000;
    H2ClientWorld w(options);
    CHECK(w.codec->room() == 100);
    w.serve({.max_streams = 250});
    CHECK(w.codec->room() == 250);
    CHECK(w.available == 1);
  }
  SECTION("our cap") {
    ClientConnectionOptions options;
    options.http2.max_streams = 2;
    H2ClientWorld w(options);
    w.serve();
    CHECK(w.codec->room() == 2);
  }
  SECTION("lowered, zero, and raised again") {
    H2ClientWorld w;
    H2Peer& peer = w.serve({.max_streams = 3});
    w.get();
    w.get();
    w.run();
    CHECK(w.codec->room() == 1);
    peer.allow(1);
    w.run();
    CHECK(w.codec->room() == 0);
    peer.answer(1, 200);
    w.run();
    CHECK(w.codec->room() == 0);
    peer.allow(0);
    peer.answer(3, 200);
    w.run();
    CHECK(w.codec->room() == 0);
    CHECK(w.codec->idle());
    CHECK(w.closed == 0);
    const int before = w.available;
    peer.allow(7);
    w.run();
    CHECK(w.codec->room() == 7);
    CHECK(w.available == before + 1);
  }
  SECTION("requests that were begun before are held back by the session") {
    H2ClientWorld w;
    for (int i = 0; i < 3; ++i) w.get();
    w.upstream().send(frames::frame(frames::settings, 0, 0, frames::number(3, 2) + frames::number(1, 4)));
    w.run();
    int heads = 0;
    for (const auto& one : w.heard()) heads += one.type == frames::headers ? 1 : 0;
    CHECK(heads == 3);  // they had left when it came
    CHECK(w.codec->room() == 0);
  }
}

TEST_CASE("h2 client: a connection that is to end finishes what runs, takes no more, and ends") {
  H2ClientWorld w;
  H2Peer& peer = w.serve();
  TestCall& call = w.get();
  w.run();
  w.codec->close_when_idle();
  w.run();
  CHECK_FALSE(w.codec->available());
  CHECK(w.closed == 0);
  peer.answer(1, 200, "ok");
  w.run();
  CHECK(told(call) == "ended");
  CHECK(call.sink.body == "ok");
  CHECK(w.closed == 1);
  H2ClientWorld idle;
  idle.codec->close_when_idle();
  idle.run();
  CHECK(idle.closed == 1);
}

TEST_CASE("h2 client: when stream ids have run out the connection takes no more") {
  ClientConnectionOptions options;
  options.http2.first_stream = 0x7fffffff - 2;
  H2ClientWorld w(options);
  H2Peer& peer = w.serve();
  TestCall& last_but_one = w.get();
  CHECK(w.codec->available());
  TestCall& last = w.get();
  CHECK_FALSE(w.codec->available());
  w.run();
  CHECK(w.closed == 1);  // told at once, so that the pool looks elsewhere
  peer.answer(0x7ffffffd, 200, "a");
  peer.answer(0x7fffffff, 200, "b");
  w.run();
  CHECK(last_but_one.sink.body == "a");
  CHECK(last.sink.body == "b");
  CHECK(w.closed == 1);
  CHECK_FALSE(peer.broken());
}

TEST_CASE("h2 client: CONNECT is refused, and nothing is sent") {
  H2ClientWorld w;
  H2Peer& peer = w.serve();
  TestCall& call = w.open(w.call("CONNECT", ""));
  CHECK(told(call) == "open");  // never inside
  w.run();
  CHECK(told(call) == "protocol_error connect-unsupported");
  CHECK_FALSE(call.failure.anything_sent);
  CHECK(peer.requests().empty());
  CHECK(w.codec->room() == 100);
  w.check_nothing_left();
}

}  // namespace weir
