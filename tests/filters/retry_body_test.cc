// Retries of requests with a body: what is kept of it for the next try, and when the client waits.
#include <catch2/catch.hpp>

#include "tests/filters/retry_setup.h"

using namespace weir;
using namespace weir::test;

namespace {

using Setup = RetrySetup;

}  // namespace

TEST_CASE("a request body is replayed whole to each try, whatever part the try before had") {
  Setup s;
  s.fake.then(reset()).then(after_body(FakeAnswer::with(200)));
  TestExchange exchange(s.world, "PUT");
  TestUpload& upload = exchange.add_upload();
  exchange.start(*s.link);
  upload.send("one ");
  s.world.loop.advance(10s);
  upload.send("two ");
  upload.send("three");
  upload.finish();
  s.world.loop.run_until_idle();
  CHECK(exchange.status == 200);
  REQUIRE(s.fake.seen.size() == 2);
  CHECK(s.fake.seen[1].body == "one two three");
  CHECK(s.fake.seen[1].body_ended);
}

TEST_CASE("a body that ended before the retry is replayed with its end and trailers") {
  Setup s;
  s.fake.then(after_body(reset())).then(after_body(FakeAnswer::with(502))).then(after_body(FakeAnswer::with(200)));
  TestExchange exchange(s.world, "PUT");
  TestUpload& upload = exchange.add_upload(3);
  exchange.start(*s.link);
  upload.send("abc");
  upload.finish();
  s.world.loop.run_until_idle();
  CHECK(exchange.status == 200);
  REQUIRE(s.fake.seen.size() == 3);
  for (const auto& seen : s.fake.seen) {
    CHECK(seen.body == "abc");
    CHECK(seen.body_ended);
  }
}

TEST_CASE("a body of the limit is replayed, one byte more is not, and says so") {
  for (const std::size_t size : {std::size_t{1000}, std::size_t{1001}}) {
    RetryConfig config = usual_retry();
    config.max_replay = 1000;
    Setup s(config);
    s.fake.then(after_body(reset())).then(after_body(FakeAnswer::with(200)));
    TestExchange exchange(s.world, "PUT");
    TestUpload& upload = exchange.add_upload();
    exchange.start(*s.link);
    const std::string body(size, 'x');
    upload.send(std::string_view(body).substr(0, 600));
    s.world.loop.advance(1ms);
    upload.send(std::string_view(body).substr(600));
    upload.finish();
    s.world.loop.run_until_idle();
    INFO(size);
    CHECK(s.fake.seen[0].body == body);
    if (size == 1000) {
      CHECK(exchange.status == 200);
      CHECK(s.fake.seen[1].body == body);
    } else {
      CHECK(exchange.failure);
      CHECK(exchange.decisions() == Words{"not_retried/body_too_large"});
    }
  }
}

TEST_CASE("a large body survives a failure to connect: the client waits until the upstream takes some") {
  RetryConfig config = usual_retry();
  config.max_replay = 1000;
  Setup s(config);
  auto connecting = FakeAnswer::fails(FailureKind::connect_failure).delayed(200ms);
  connecting.reads_body = false;
  s.fake.then(connecting).then(after_body(FakeAnswer::with(200)));
  TestExchange exchange(s.world, "POST");
  const std::string body(5000, 'x');
  TestUpload& upload = exchange.add_upload(static_cast<std::int64_t>(body.size()));
  exchange.start(*s.link);
  upload.send(body);
  upload.finish();
  s.world.loop.run_until_idle();
  CHECK(exchange.status == 200);
  REQUIRE(s.fake.seen.size() == 2);
  CHECK(s.fake.seen[1].body == body);
  CHECK(s.fake.seen[1].body_ended);
}

TEST_CASE("while nobody takes the body no more than the limit is kept, and the client is paused") {
  RetryConfig config = usual_retry();
  config.max_replay = 1000;
  config.backoff = {10s, 10s};
  Setup s(config);
  s.fake.then(reset()).then(after_body(FakeAnswer::with(200)));
  TestExchange exchange(s.world, "PUT");
  TestUpload& upload = exchange.add_upload();
  exchange.start(*s.link);
  s.world.loop.run_ready();
  REQUIRE(exchange.decisions() == Words{"retried/reset"});
  std::string body;
  while (!upload.paused()) {  // it waits for its second try
    const std::string part(16 * 1024, static_cast<char>('a' + body.size() / 16384 % 26));
    upload.send(part);
    body += part;
    REQUIRE(body.size() < 2 * BodyPipe::kHighMark);
  }
  upload.finish();
  s.world.loop.run_until_idle();
  CHECK(exchange.status == 200);
  CHECK(s.fake.seen[1].body == body);
}

TEST_CASE("an upstream that takes the body slowly slows the client, through the kept body") {
  Setup s;
  auto deaf = FakeAnswer::with(200).delayed(1h);
  deaf.reads_body = false;
  s.fake.then(deaf);
  TestExchange exchange(s.world, "PUT");
  TestUpload& upload = exchange.add_upload();
  exchange.start(*s.link);
  std::size_t sent = 0;
  const std::string part(16 * 1024, 'x');
  while (!upload.paused()) {
    upload.send(part);
    sent += part.size();
    s.world.loop.advance(1ms);
    REQUIRE(sent < std::size_t{1024} * 1024);
  }
  CHECK(s.world.buffers.bytes_held() < std::size_t{1024} * 1024);
}

TEST_CASE("after the answer has gone outward the body flows on, is not kept, and nothing is repeated") {
  Setup s;
  auto early = FakeAnswer::with(200, "early");
  early.body_after = 10s;
  early.breaks = FailureKind::reset;
  s.fake.then(early);
  TestExchange exchange(s.world, "PUT");
  TestUpload& upload = exchange.add_upload();
  exchange.start(*s.link);
  s.world.loop.run_ready();
  REQUIRE(exchange.status == 200);
  upload.send("late part");
  upload.finish();
  s.world.loop.run_until_idle();
  CHECK(s.fake.seen[0].body == "late part");
  CHECK(s.fake.seen[0].body_ended);
  CHECK(exchange.end_failure == FailureKind::reset);
  CHECK(s.fake.seen.size() == 1);
  CHECK(exchange.decisions().empty());
}

TEST_CASE("a client whose body breaks off is not retried, and the try hears of it") {
  Setup s;
  s.fake.then(reset().delayed(1s));
  TestExchange exchange(s.world, "PUT");
  TestUpload& upload = exchange.add_upload();
  exchange.start(*s.link);
  upload.send("half");
  upload.abort(BodyAbort::peer_gone);
  s.world.loop.run_until_idle();
  CHECK(s.fake.seen.size() == 1);
  CHECK(s.fake.seen[0].body_abort == BodyAbort::peer_gone);
  CHECK(exchange.failure);
  CHECK(exchange.decisions().empty());
}
