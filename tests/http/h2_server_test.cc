// The HTTP/2 server codec over the simulated network: requests, answers, bodies, trailers, and how streams and connections end.
#include "tests/http/h2_world.h"

namespace weir {

using test::H2Client;
using test::H2Fields;
using test::H2Reply;

namespace {

void read_body(TestExchange& e) {
  if (e.body) e.request.attach(std::move(e.body));
}

}  // namespace

TEST_CASE("h2: a request is answered, and the connection is kept") {
  H2World w;
  w.script = [](TestExchange& e) { e.answer(200, "hi"); };
  H2Client client(w.net, w.at);
  const auto id = client.get("/a?b", {{"x-one", "1"}});
  w.run();
  TestExchange& e = w.exchange();
  CHECK(e.line == "GET /a?b test.local");
  CHECK(e.head->version == HttpVersion::http2);
  CHECK(e.head->scheme == "http");
  CHECK(e.head->headers.value("x-one") == "1");
  CHECK_FALSE(e.head->has_body);
  CHECK(e.head->content_length == -1);
  CHECK(e.sent);
  CHECK(e.bytes == 2);
  const H2Reply& reply = client.answer(id);
  CHECK(reply.status == 200);
  CHECK(reply.field("content-length") == "2");
  CHECK(reply.body == "hi");
  CHECK(reply.ended);
  CHECK(reply.reset == -1);
  CHECK(client.max_streams() == 100);
  const auto second = client.request("HEAD", "/b");
  w.run();
  CHECK(client.answer(second).status == 200);
  CHECK(client.answer(second).field("content-length") == "2");
  CHECK(client.answer(second).body.empty());
  CHECK(client.answer(second).ended);
  CHECK(w.connection().codec->idle());
  CHECK(w.connection().closed == 0);
  CHECK_FALSE(client.broken());
  CHECK(w.buffers.chunks_in_use() == 0);
}

TEST_CASE("h2: many streams of one connection are answered in any order") {
  H2World w;
  H2Client client(w.net, w.at);
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 100; ++i) ids.push_back(client.get("/" + std::to_string(i)));
  w.run();
  REQUIRE(w.exchanges.size() == 100);
  CHECK_FALSE(w.connection().codec->idle());
  for (std::size_t i = 0; i < 100; ++i) w.exchange((i * 37) % 100).answer(200, w.exchange((i * 37) % 100).line);
  w.run();
  for (std::size_t i = 0; i < 100; ++i) {
    CHECK(client.answer(ids[i]).body == "GET /" + std::to_string(i) + " test.local");
    CHECK(w.exchange(i).sent);
  }
  CHECK(w.connection().codec->idle());
  CHECK(w.buffers.chunks_in_use() == 0);
}

TEST_CASE("h2: bodies and trailers flow both ways") {
  H2World w;
  w.script = read_body;
  H2Client client(w.net, w.at);
  const auto id = client.open("POST", "/up", {{"te", "trailers"}});
  client.write(id, "hello ");
  w.run();
  TestExchange& e = w.exchange();
  CHECK(e.head->has_body);
  CHECK(e.head->content_length == -1);
  CHECK(e.head->headers.value("te") == "trailers");
  CHECK(e.request.body == "hello ");
  e.begin(200);
  e.writer.write(as_bytes("one "));
  w.run();
  CHECK(client.answer(id).body == "one ");
  CHECK_FALSE(client.answer(id).ended);
  client.write(id, "world");
  client.finish(id, {{"x-sum", "7"}, {"authorization", "me"}});
  w.run();
  e.writer.write(as_bytes("two"));
  Headers trailers(e.arena);
  trailers.add_view("grpc-status", "0");
  trailers.add_view("connection", "close");
  e.writer.finish(&trailers);
  w.run();
  CHECK(e.request.body == "hello world");
  CHECK(e.request.ended);
  CHECK(e.request.trailers == "x-sum=7 ");
  const H2Reply& reply = client.answer(id);
  CHECK(reply.body == "one two");
  CHECK(reply.trailers == H2Fields{{"grpc-status", "0"}});
  CHECK(reply.field("content-length").empty());
  CHECK(reply.ended);
  CHECK(e.sent);
  CHECK(e.bytes == 7);
  CHECK_FALSE(client.broken());
}

TEST_CASE("h2: a request's length is kept, and one that its DATA does not keep ends the stream") {
  H2World w;
  w.script = read_body;
  H2Client client(w.net, w.at);
  const auto good = client.open("PUT", "/", {{"content-length", "3"}});
  client.write(good, "abc");
  client.finish(good);
  const auto shorter = client.open("PUT", "/", {{"content-length", "4"}});
  client.write(shorter, "abc");
  client.finish(shorter);
  const auto longer = client.open("PUT", "/", {{"content-length", "2"}});
  client.write(longer, "abc");
  w.run();
  REQUIRE(w.exchanges.size() == 3);
  CHECK(w.exchange(0).head->content_length == 3);
  CHECK(w.exchange(0).request.ended);
  for (const std::size_t bad : {std::size_t{1}, std::size_t{2}}) {
    CHECK(is(w.exchange(bad), StreamError::bad_body));
    CHECK_FALSE(w.exchange(bad).request.ended);
  }
  CHECK(client.answer(shorter).reset == 1);
  CHECK(client.answer(longer).reset == 1);
  w.exchange(0).answer(200, "");
  w.run();
  CHECK(client.answer(good).status == 200);
  CHECK(w.connection().closed == 0);
}

TEST_CASE("h2: a POST that ends with its head is of length 0, and a length of 0 means no body") {
  H2World w;
  H2Client client(w.net, w.at);
  client.request("POST", "/");
  client.request("DELETE", "/");
  client.post("/", "", {{"content-length", "0"}});
  w.run();
  REQUIRE(w.exchanges.size() == 3);
  CHECK(w.exchange(0).head->content_length == 0);
  CHECK(w.exchange(1).head->content_length == -1);
  CHECK(w.exchange(2).head->content_length == 0);
  for (auto& e : w.exchanges) {
    CHECK_FALSE(e->head->has_body);
    e->answer(200, "");
  }
  w.run();
  CHECK(w.exchange(2).sent);
}

TEST_CASE("h2: answers without a body, and fields of one connection, are framed as HTTP/2") {
  H2World w;
  H2Client client(w.net, w.at);
  const auto none = client.get("/");
  const auto not_modified = client.get("/");
  const auto empty = client.get("/");
  w.run();
  ResponseHead head(w.exchange(0).arena);
  head.status = 204;
  head.has_body = false;
  for (const char* name : {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"})
    head.headers.add_view(name, "x");
  head.headers.add_view("x-kept", "y");
  w.exchange(0).stream->send_response(head, {});
  ResponseHead second(w.exchange(1).arena);
  second.status = 304;
  second.has_body = false;
  second.content_length = 77;
  w.exchange(1).stream->send_response(second, {});
  ResponseHead third(w.exchange(2).arena);
  third.status = 200;
  w.exchange(2).stream->send_response(third, {});
  w.run();
  CHECK(client.answer(none).fields == H2Fields{{"x-kept", "y"}});
  CHECK(client.answer(not_modified).fields == H2Fields{{"content-length", "77"}});
  CHECK(client.answer(empty).fields == H2Fields{{"content-length", "0"}});
  for (const auto id : {none, not_modified, empty}) CHECK(client.answer(id).ended);
  CHECK_FALSE(client.broken());
}

TEST_CASE("h2: informational answers go out, 100 once and only where it is waited for") {
  H2World w;
  H2Client client(w.net, w.at);
  const auto id = client.open("POST", "/", {{"expect", "100-continue"}});
  const auto plain = client.get("/");
  w.run();
  TestExchange& e = w.exchange(0);
  CHECK(e.head->expects_continue);
  CHECK_FALSE(e.head->headers.has(HeaderId::expect));
  e.request.attach(std::move(e.body));
  ResponseHead hints(e.arena);
  hints.status = 103;
  hints.headers.add_view("link", "</a>");
  e.stream->send_informational(hints);
  hints.status = 100;
  e.stream->send_informational(hints);
  w.exchange(1).stream->send_informational(hints);
  hints.status = 101;
  e.stream->send_informational(hints);
  w.run();
  CHECK(client.answer(id).informational == std::vector<int>{100, 103});
  CHECK(client.answer(plain).informational.empty());
  client.write(id, "x");
  client.finish(id);
  w.run();
  e.answer(200, "y");
  w.run();
  CHECK(e.request.body == "x");
  CHECK(client.answer(id).status == 200);
  CHECK(client.answer(id).body == "y");
}

TEST_CASE("h2: an answer that comes before the request's end is whole, and the rest is refused without an error") {
  H2World w;
  H2Client client(w.net, w.at);
  const auto id = client.open("POST", "/");
  client.write(id, std::string(10000, 'a'));
  w.run();
  w.exchange().answer(413, "too much");
  w.run();
  CHECK(w.exchange().sent);
  const H2Reply& reply = client.answer(id);
  CHECK(reply.status == 413);
  CHECK(reply.body == "too much");
  CHECK(reply.ended);
  CHECK(reply.reset == 0);
  CHECK(w.connection().codec->idle());
  w.exchange().body.drop();
  CHECK(w.buffers.chunks_in_use() == 0);
}

TEST_CASE("h2: an answer that breaks off, or is not as long as it said, is reset and never ends cleanly") {
  for (const int how : {0, 1, 2, 3}) {
    CAPTURE(how);
    H2World w;
    H2Client client(w.net, w.at);
    const auto id = client.get("/");
    const auto other = client.get("/");
    w.run();
    TestExchange& e = w.exchange();
    e.begin(200, how == 0 ? -1 : 10);
    e.writer.write(as_bytes("hello"));
    w.run();
    if (how == 0) e.writer.abort(BodyAbort::peer_gone);
    if (how == 1) e.writer.finish();                         // too short
    if (how == 2) e.writer.write(as_bytes("far too much"));  // too long
    if (how == 3) e.stream->reset();
    w.run();
    const H2Reply& reply = client.answer(id);
    CHECK(reply.status == 200);
    CHECK_FALSE(reply.ended);
    CHECK(reply.reset == 2);
    if (how < 3) CHECK(is(e, StreamError::response_aborted));
    if (how == 3) CHECK(e.error == -1);
    CHECK(w.connection().closed == 0);
    w.exchange(1).answer(200, "fine");
    w.run();
    CHECK(client.answer(other).body == "fine");
    CHECK(w.connection().codec->idle());
  }
}

TEST_CASE("h2: a reset by the client ends its exchange in every phase, and no other") {
  for (int phase = 0; phase < 5; ++phase) {
    CAPTURE(phase);
    H2World w;
    H2Client client(w.net, w.at);
    const auto other = client.get("/other");
    const auto id = client.open("POST", "/");
    if (phase == 0) client.reset(id);  // with the request itself
    w.run();
    REQUIRE(w.exchanges.size() == 2);
    TestExchange& e = w.exchange(1);
    if (phase >= 2) e.request.attach(std::move(e.body));
    if (phase >= 3) e.begin(200);
    if (phase >= 4) e.writer.write(ByteView(std::vector<std::uint8_t>(100000, 'x')));  // more than a window
    w.run();
    client.write(id, "some");
    w.run();
    if (phase > 0) client.reset(id);
    w.run();
    CHECK(is(e, StreamError::client_reset));
    CHECK_FALSE(e.sent);
    w.exchange(0).answer(200, "fine");
    w.run();
    CHECK(client.answer(other).body == "fine");
    CHECK(w.exchange(0).sent);
    CHECK(w.connection().codec->idle());
    CHECK(w.connection().closed == 0);
    e.body.drop();
    CHECK(w.buffers.chunks_in_use() == 0);
  }
}

TEST_CASE("h2: a stream beyond the limit is refused, and may be tried again") {
  H2World w;
  w.server_options.limits.streams = 3;
  SimPeer client(w.net, w.at);
  client.send(frames::preface() + frames::frame(frames::settings, frames::kAck, 0));
  w.run();
  client.take();
  for (std::uint32_t id = 1; id <= 7; id += 2) client.send(frames::head(id, frames::request()));
  w.run();
  CHECK(w.exchanges.size() == 3);
  const auto got = frames::parse(client.take());
  CHECK_FALSE(w.connection().refused.empty());
  // After its SETTINGS were acknowledged, nghttp2 takes more streams for an error of the connection.
  CHECK((frames::code_of(got, frames::rst_stream, 7) == 7 || frames::code_of(got, frames::goaway) >= 0));
}

TEST_CASE("h2: requests beyond the limit that were sent before it was known are refused one by one") {
  H2World w;
  w.server_options.limits.streams = 3;
  SimPeer client(w.net, w.at);
  std::string all = frames::preface();
  for (std::uint32_t id = 1; id <= 9; id += 2) all += frames::head(id, frames::request());
  client.send(all);
  w.run();
  CHECK(w.exchanges.size() == 3);
  const auto got = frames::parse(client.received());
  CHECK(frames::code_of(got, frames::rst_stream, 7) == 7);
  CHECK(frames::code_of(got, frames::rst_stream, 9) == 7);
  CHECK(frames::code_of(got, frames::goaway) == -1);
  CHECK(w.connection().refused == std::vector<std::string>{"http2-streams", "http2-streams"});
  w.exchange(0).answer(200, "");
  w.run();
  client.send(frames::frame(frames::settings, frames::kAck, 0) + frames::head(11, frames::request()));
  w.run();
  CHECK(w.exchanges.size() == 4);
}

TEST_CASE("h2: a client that goes ends all its exchanges; where half-close is allowed, those with whole requests go on") {
  for (const bool half_close : {false, true}) {
    CAPTURE(half_close);
    H2World w;
    w.server_options.half_close = half_close;
    H2Client client(w.net, w.at);
    const auto whole = client.get("/");
    const auto part = client.open("POST", "/");
    w.run();
    REQUIRE(w.exchanges.size() == 2);
    client.peer().finish();
    w.run();
    CHECK(is(w.exchange(1), StreamError::client_closed));
    if (!half_close) {
      CHECK(is(w.exchange(0), StreamError::client_closed));
      CHECK(w.connection().closed == 1);
      continue;
    }
    CHECK(client.answer(part).reset == 8);
    w.exchange(0).answer(200, "late");
    w.run();
    CHECK(client.answer(whole).body == "late");
    CHECK(w.exchange(0).sent);
    CHECK(w.connection().closed == 1);
  }
}

TEST_CASE("h2: a refused request is answered on its stream, and the connection goes on") {
  H2World w;
  w.script = [](TestExchange& e) { e.answer(200, "fine"); };
  H2Client client(w.net, w.at);
  const auto bad = client.get("/#fragment");
  const auto good = client.get("/");
  w.run();
  CHECK(client.answer(bad).status == 400);
  CHECK(client.answer(bad).body == "target-characters\n");
  CHECK(client.answer(good).status == 200);
  CHECK(w.connection().refused.empty());
  CHECK(w.connection().closed == 0);
}

}  // namespace weir
