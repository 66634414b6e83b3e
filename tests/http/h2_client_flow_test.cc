// Flow control of the HTTP/2 client codec: slow readers, closed windows, large bodies, with bounded memory.
#include "tests/http/h2_client_world.h"

namespace weir {

using test::H2Peer;
using namespace frames;

namespace {

constexpr std::size_t kWindow = std::size_t{256} * 1024;
constexpr std::size_t kMegabyte = std::size_t{1024} * 1024;

std::string pattern(std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + i % 23 + i / 4096 % 3);
  return text;
}

}  // namespace

TEST_CASE("h2 client: who does not read his answer stops his stream at its window, and nobody else") {
  H2ClientWorld w;
  H2Peer& peer = w.serve();
  TestCall& slow = w.call();
  slow.sink.allowance = 1000;
  w.open(slow);
  TestCall& fast = w.get();
  w.run();
  const std::string body = pattern(10 * kMegabyte);
  peer.answer(1, 200, body);
  peer.answer(3, 200, body);
  w.run();
  CHECK(fast.sink.body == body);
  CHECK(told(fast) == "ended");
  CHECK(slow.sink.body.size() == 1000);
  const std::size_t arrived = body.size() - peer.unsent(1);
  CHECK(arrived >= kWindow);
  CHECK(arrived <= kWindow + 128 * 1024);  // the window, and what the pipe took before it stood full
  CHECK(w.buffers.bytes_held() <= kMegabyte);
  while (slow.sink.body.size() < body.size()) {
    slow.sink.allowance = 300'000;
    slow.sink.reader.resume();
    w.run();
    REQUIRE(w.buffers.bytes_held() <= kMegabyte);
  }
  slow.sink.allowance = 1;
  slow.sink.reader.resume();
  w.run();
  CHECK(slow.sink.body == body);
  CHECK(slow.sink.ended);
  CHECK(told(slow) == "ended");
}

TEST_CASE("h2 client: an upstream that reads slowly stops the request's writer") {
  H2ClientWorld w;
  H2Peer& peer = w.serve({.window = 10'000, .by_hand = true});
  TestCall& slow = w.call("POST", "/slow");
  BodyPipe::Reader reader = slow.with_body(-1);
  w.open(slow, std::move(reader));
  TestCall& fast = w.call("POST", "/fast");
  reader = fast.with_body(5);
  w.open(fast, std::move(reader));
  const std::string body = pattern(kMegabyte);
  std::size_t written = 0;
  const auto write = [&] {
    while (written < body.size() && !slow.writer.paused()) {
      const std::size_t n = std::min<std::size_t>(16384, body.size() - written);
      slow.writer.write(as_bytes(std::string_view(body).substr(written, n)));
      written += n;
    }
  };
  write();
  fast.writer.write(as_bytes("hello"));
  fast.writer.finish();
  w.run();
  CHECK(peer.request(1).body.size() == 10'000);
  CHECK(peer.request(3).body == "hello");
  CHECK(written <= 300'000);
  CHECK(slow.writer.paused());
  std::size_t given = 0;
  while (peer.request(1).body.size() < body.size()) {
    const std::size_t came = peer.request(1).body.size();
    REQUIRE(came > given);
    peer.consume(1, came - given);
    given = came;
    w.run();
    write();
    w.run();
  }
  slow.writer.finish();
  w.run();
  CHECK(peer.request(1).body == body);
  CHECK(peer.request(1).ended);
  CHECK(slow.body_resumed);
  CHECK(w.buffers.bytes_held() <= kMegabyte);
}

TEST_CASE("h2 client: a network that takes little at a time") {
  H2ClientWorld w;
  H2Peer& peer = w.serve({.window = 1024 * 1024});
  const std::string body = pattern(3 * kMegabyte);
  TestCall& call = w.call("POST", "/");
  BodyPipe::Reader reader = call.with_body(static_cast<std::int64_t>(body.size()));
  w.open(call, std::move(reader));
  w.upstream().pause_reading(true);
  std::size_t written = 0;
  for (int i = 0; i < 10000 && written < body.size(); ++i) {
    while (written < body.size() && !call.writer.paused()) {
      const std::size_t n = std::min<std::size_t>(100'000, body.size() - written);
      call.writer.write(as_bytes(std::string_view(body).substr(written, n)));
      written += n;
    }
    w.run();
    w.upstream().pause_reading(false);
    w.run();
    w.upstream().pause_reading(true);
    REQUIRE(w.buffers.bytes_held() <= 2 * kMegabyte);
  }
  call.writer.finish();
  w.upstream().pause_reading(false);
  w.run();
  CHECK(peer.request(1).body == body);
  CHECK(peer.request(1).ended);
  CHECK_FALSE(peer.broken());
}

TEST_CASE("h2 client: an answer that nobody reads any more is cancelled, a short rest is read away") {
  for (const std::size_t rest : {std::size_t{10'000}, std::size_t{1'000'000}}) {
    H2ClientWorld w;
    H2Peer& peer = w.serve();
    TestCall& call = w.call();
    call.keep_reader = true;
    w.open(call);
    w.run();
    peer.begin(1, 200);
    peer.write(1, "abc");
    w.run();
    call.reader.drop();
    peer.write(1, std::string(rest, 'x'));
    peer.finish(1);
    w.run();
    CHECK(told(call) == (rest < 64 * 1024 ? "ended" : "request_aborted"));
    CHECK(peer.request(1).reset == (rest < 64 * 1024 ? -1 : 8));
    CHECK(w.codec->room() == 100);
  }
}

TEST_CASE("h2 client: both directions full at once come to an end") {
  H2ClientWorld w;
  H2Peer& peer = w.serve({.window = 65535});
  const std::string body = pattern(2 * kMegabyte);
  TestCall& call = w.call("POST", "/");
  BodyPipe::Reader reader = call.with_body(-1);
  w.open(call, std::move(reader));
  w.run();
  peer.answer(1, 200, body);
  std::size_t written = 0;
  for (int i = 0; i < 1000 && written < body.size(); ++i) {
    while (written < body.size() && !call.writer.paused()) {
      const std::size_t n = std::min<std::size_t>(65536, body.size() - written);
      call.writer.write(as_bytes(std::string_view(body).substr(written, n)));
      written += n;
      if (told(call) != "open") break;
    }
    w.run();
    if (told(call) != "open") break;
  }
  CHECK(call.sink.body == body);
  CHECK(told(call) == "ended");
}

}  // namespace weir
