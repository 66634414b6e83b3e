// HTTP/2 in, HTTP/2 out, cut at the bytes of either wire, in either direction.
#include "tests/cut/expect.h"
#include "tests/cut/sample.h"
#include "tests/cut/stream_case.h"

using namespace weir;
using namespace weir::test;

TEST_CASE("streams pass the proxy whole, also byte by byte") {
  expect_none(StreamCase().run(), "uncut");
  for (const bool front : {true, false}) {
    for (const Side side : {Side::client, Side::upstream}) {
      const WireCut cut{front, {side, Act::trickle, 0}};
      expect_none(StreamCase(cut).run(), described(cut));
    }
  }
}

TEST_CASE("streams cut at any byte of either wire end once, and no part of one is taken for a whole") {
  StreamCase uncut;
  expect_none(uncut.run(), "uncut");
  Sample sample(97);
  for (const bool front : {true, false}) {
    for (const Side side : {Side::client, Side::upstream}) {
      const std::size_t bytes = uncut.passed(front, side);
      for (std::size_t at = 0; at <= bytes; at += at < 2000 ? 1 : 499) {
        for (const Act act : kActs) {
          if (!sample.take()) continue;
          const WireCut cut{front, {side, act, at}};
          expect_none(StreamCase(cut).run(), described(cut));
        }
      }
    }
  }
  if (Sample::all()) WARN(sample.taken() << " cases");
  CHECK(sample.taken() > 200);
}

TEST_CASE("secured streams cut at any byte of handshake or records end once, and no part of one is taken for a whole") {
  StreamCase uncut({}, true);
  expect_none(uncut.run(), "uncut");
  for (const Side side : {Side::client, Side::upstream}) {
    const WireCut cut{true, {side, Act::trickle, 0}};
    expect_none(StreamCase(cut, true).run(), described(cut));
  }
  Sample sample(97);
  for (const Side side : {Side::client, Side::upstream}) {
    const std::size_t bytes = uncut.passed(true, side);
    for (std::size_t at = 0; at <= bytes; at += at < 4000 ? 1 : 499) {
      for (const Act act : kActs) {
        if (!sample.take()) continue;
        const WireCut cut{true, {side, act, at}};
        expect_none(StreamCase(cut, true).run(), described(cut));
      }
    }
  }
  if (Sample::all()) WARN(sample.taken() << " cases");
  CHECK(sample.taken() > 200);
}
