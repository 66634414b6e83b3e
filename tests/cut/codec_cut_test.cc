// The codecs alone and as a relay, cut at every byte and at every event of every conversation.
#include <catch2/catch.hpp>

#include "tests/cut/codec_case.h"
#include "tests/cut/sample.h"

using namespace weir;
using namespace weir::test;

namespace {

constexpr Act kActs[] = {Act::fin, Act::reset, Act::close, Act::close_unread, Act::stall, Act::split};
constexpr CodecKind kKinds[] = {CodecKind::server, CodecKind::client, CodecKind::relay};

bool plays(CodecKind kind, const Conversation& conversation) { return kind == CodecKind::server || !conversation.reconnects; }

bool has(CodecKind kind, Side side) { return kind == CodecKind::relay || (kind == CodecKind::server) == (side == Side::client); }

void expect_none(const Problems& problems, CodecKind kind, const std::string& what) {
  if (problems.empty()) return;
  INFO(name_of(kind) << ", " << what);
  FAIL_CHECK(joined(problems));
}

}  // namespace

TEST_CASE("uncut, every conversation passes the codecs whole, also byte by byte") {
  for (const CodecKind kind : kKinds) {
    for (const Conversation& conversation : conversations()) {
      if (!plays(kind, conversation)) continue;
      expect_none(make_codec_case(kind, conversation)->run(), kind, conversation.name);
      for (const Side side : {Side::client, Side::upstream}) {
        if (conversation.stride > 1 || !has(kind, side)) continue;
        const Cut cut{side, Act::trickle, 0};
        expect_none(make_codec_case(kind, conversation, cut)->run(), kind, described(conversation, cut));
      }
    }
  }
}

TEST_CASE("cut at any byte of either side, a codec ends everything once and takes no part for a whole") {
  Sample sample(7);
  for (const CodecKind kind : kKinds) {
    for (const Conversation& conversation : conversations()) {
      if (!plays(kind, conversation)) continue;
      const auto uncut = make_codec_case(kind, conversation);
      uncut->run();
      for (const Side side : {Side::client, Side::upstream}) {
        if (!has(kind, side)) continue;
        const std::size_t bytes = side == Side::client ? conversation.client_bytes() : uncut->upstream_bytes();
        for (std::size_t at = 0; at <= bytes; at += conversation.stride) {
          for (const Act act : kActs) {
            if (!sample.take()) continue;
            const Cut cut{side, act, at};
            expect_none(make_codec_case(kind, conversation, cut)->run(), kind, described(conversation, cut));
          }
        }
      }
    }
  }
  if (Sample::all()) WARN(sample.taken() << " cases");
  CHECK(sample.taken() > 3000);
}

TEST_CASE("struck at any event, a codec ends everything once and takes no part for a whole") {
  Sample sample(7);
  for (const CodecKind kind : kKinds) {
    for (const Conversation& conversation : conversations()) {
      if (!plays(kind, conversation)) continue;
      const auto uncut = make_codec_case(kind, conversation);
      uncut->run();
      for (std::uint64_t at = 0; at <= uncut->events(); ++at) {
        for (std::size_t i = 0; i < static_cast<std::size_t>(CodecBlow::count_); ++i) {
          const CodecEventCut blow{static_cast<CodecBlow>(i), at};
          if (!uncut->suits(blow.blow) || !sample.take()) continue;
          expect_none(make_codec_case(kind, conversation, {}, blow)->run(), kind,
                      conversation.name + ": event " + std::to_string(at) + ", " + name_of(blow.blow));
        }
      }
    }
  }
  if (Sample::all()) WARN(sample.taken() << " cases");
  CHECK(sample.taken() > 100);
}
