// What an exchange costs in calls to the kernel and in memory: rules 1, 3 and 5 of the hot path.
#include <catch2/catch.hpp>

#include "proxy/metrics/metrics.h"
#include "proxy/sim/sim_loop.h"
#include "tests/http/fake_stream.h"
#include "tests/http/h1_relay.h"
#include "tests/support/allocation_count.h"

namespace weir {

namespace {

struct Fixture {
  Fixture() {
    auto client = std::make_unique<FakeStream>();
    auto upstream = std::make_unique<FakeStream>();
    down = client.get();
    up = upstream.get();
    relay = std::make_unique<H1Relay>(worker, std::move(client), std::move(upstream));
  }

  // Events come as the loop brings them: in a callback, with what it defers and buries done after it.
  void on_tick() { event->on_readable(); }
  void deliver(FakeStream& stream, std::string_view text) {
    stream.input = text;
    while (!stream.input.empty()) {
      event = stream.handler;
      tick.arm(Duration::zero());
      loop.run_ready();
    }
  }
  void exchange(std::string_view request, std::string_view answer) {
    deliver(*down, request);
    deliver(*up, answer);
    down->written = up->written = 0;
  }
  int calls() const { return down->reads + down->writes + up->reads + up->writes; }

  SimLoop loop;
  BufferPool buffers;
  ArenaPool arenas;
  Random random{1};
  MetricsRegistry registry;
  WorkerContext worker{loop, buffers, arenas, random, registry.shard(0), 0};
  FakeStream* down = nullptr;
  FakeStream* up = nullptr;
  ByteStreamHandler* event = nullptr;
  Timer tick{loop, Callback::to<&Fixture::on_tick>(this)};
  std::unique_ptr<H1Relay> relay;
};

const std::string kGet =
    "GET /hello HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: test\r\nAccept: */*\r\nX-Request-Id: "
    "0123456789\r\n\r\n";
const std::string kPost = "POST /hello HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 5\r\n\r\nhello";
const std::string kOk = "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";

}  // namespace

TEST_CASE("a small exchange makes four calls to the kernel and changes no interest") {
  Fixture f;
  f.exchange(kGet, kOk);
  const int before = f.calls();
  const int wants = f.down->wants + f.up->wants;
  for (const std::string& request : {kGet, kPost}) {
    f.deliver(*f.down, request);
    CHECK(f.up->text().size() >= request.size());
    f.deliver(*f.up, kOk);
    CHECK(f.down->text() == "HTTP/1.1 200 OK\r\nserver: x\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello");
    f.down->written = f.up->written = 0;
  }
  CHECK(f.calls() - before == 8);
  CHECK(f.down->wants + f.up->wants == wants);
  CHECK(f.relay->sent == 3);
}

TEST_CASE("head and chunked small body leave in one write") {
  Fixture f;
  f.exchange(kGet, kOk);
  const int before = f.calls();
  f.exchange(kGet, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
  CHECK(f.calls() - before == 4);
}

TEST_CASE("the upstream's side is over before the last bytes leave: a client that has its answer finds what it held free") {
  Fixture f;
  f.down->watched = &f.relay->ends;
  const std::string answers[] = {
      "HTTP/1.1 204 No Content\r\n\r\n",
      "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
      kOk,
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n" + std::string(65536, 'x'),
  };
  int ends = 0;
  for (const std::string& answer : answers) {
    CAPTURE(answer.substr(0, 80));
    f.exchange(kGet, answer);
    CHECK(f.down->seen_at_write == ++ends);
  }
}

TEST_CASE("a body of 64 KiB makes four calls too") {
  Fixture f;
  f.exchange(kGet, kOk);
  const int before = f.calls();
  f.exchange(kGet, "HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n" + std::string(65536, 'x'));
  CHECK(f.calls() - before == 4);
  CHECK(f.relay->sent == 2);
  CHECK(f.buffers.chunks_in_use() == 0);
}

TEST_CASE("no exchange allocates once a connection is warm") {
  Fixture f;
  const std::string chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
  const std::string large = "HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n" + std::string(65536, 'x');
  const auto round = [&] {
    f.exchange(kGet, kOk);
    f.exchange(kPost, chunked);
    f.exchange(kGet, large);
  };
  for (int i = 0; i < 3; ++i) round();
  const std::uint64_t before = test::allocation_count();
  for (int i = 0; i < 100; ++i) round();
  CHECK(test::allocation_count() - before == 0);
  CHECK(f.relay->sent == 309);
}

TEST_CASE("an idle connection owns no buffer, and is small") {
  Fixture f;
  f.exchange(kGet, kOk);
  CHECK(f.buffers.bytes_held() == 0);
  CHECK(f.arenas.in_use() == 0);
}

TEST_CASE("writability is asked for only after the kernel took less, and reading stops only when an event comes") {
  Fixture f;
  f.exchange(kGet, kOk);
  const int wants = f.down->wants;
  f.deliver(*f.down, kGet);
  f.down->room = 100;
  f.deliver(*f.up, "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + std::string(300'000, 'x'));
  CHECK(f.down->writing);
  CHECK(f.down->wants == wants + 1);
  CHECK(f.up->reading);
  f.down->room = SIZE_MAX;
  f.down->handler->on_writable();
  f.loop.settle();
  CHECK_FALSE(f.down->writing);
  CHECK(f.relay->sent == 2);
  CHECK(f.down->written > 300'000);
}

}  // namespace weir
