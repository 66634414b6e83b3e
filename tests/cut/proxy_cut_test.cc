// The whole proxy, cut at every byte and at every event of every conversation; and again with long bodies that are spliced past it.
#include "tests/cut/expect.h"
#include "tests/cut/proxy_case.h"
#include "tests/cut/sample.h"
#include "tests/support/counted_pipe.h"

using namespace weir;
using namespace weir::test;

namespace {

void cut_at_bytes(const std::vector<Conversation>& all, SplicePipeMaker pipes, Sample& sample) {
  for (const Conversation& conversation : all) {
    ProxyCase uncut(conversation, {}, {}, pipes);
    expect_none(uncut.run(), conversation.name);
    for (const Side side : {Side::client, Side::upstream}) {
      const std::size_t bytes = side == Side::client ? conversation.client_bytes() : uncut.upstream_bytes();
      for (std::size_t at = 0; at <= bytes; at += conversation.stride) {
        for (const Act act : kActs) {
          if (!sample.take()) continue;
          const Cut cut{side, act, at};
          expect_none(ProxyCase(conversation, cut, {}, pipes).run(), described(conversation, cut));
        }
      }
    }
  }
  if (Sample::all()) WARN(sample.taken() << " cases");
}

void strike_at_events(const std::vector<Conversation>& all, SplicePipeMaker pipes, Sample& sample) {
  for (const Conversation& conversation : all) {
    ProxyCase uncut(conversation, {}, {}, pipes);
    expect_none(uncut.run(), conversation.name);
    for (std::uint64_t at = 0; at <= uncut.events(); ++at) {
      for (std::size_t i = 0; i < static_cast<std::size_t>(Blow::count_); ++i) {
        if (!sample.take()) continue;
        const EventCut blow{static_cast<Blow>(i), at};
        expect_none(ProxyCase(conversation, {}, blow, pipes).run(),
                    conversation.name + ": event " + std::to_string(at) + ", " + name_of(blow.blow));
      }
    }
  }
  if (Sample::all()) WARN(sample.taken() << " cases");
}

}  // namespace

TEST_CASE("uncut, every conversation passes the proxy whole, also byte by byte") {
  for (const Conversation& conversation : conversations()) {
    expect_none(ProxyCase(conversation).run(), conversation.name);
    if (conversation.stride > 1) continue;
    for (const Side side : {Side::client, Side::upstream}) {
      const Cut cut{side, Act::trickle, 0};
      expect_none(ProxyCase(conversation, cut).run(), described(conversation, cut));
    }
  }
}

TEST_CASE("uncut, long bodies are spliced and pass whole") {
  for (const Conversation& conversation : long_conversations()) {
    const std::size_t before = spliced_bytes();
    expect_none(ProxyCase(conversation, {}, {}, make_counted_pipe).run(), conversation.name);
    INFO(conversation.name);
    CHECK(spliced_bytes() - before > 30'000);
  }
}

TEST_CASE("cut at any byte of either side, the proxy ends everything once and takes no part for a whole") {
  Sample sample(53);
  cut_at_bytes(conversations(), make_kernel_pipe, sample);
  CHECK(sample.taken() > 400);
}

TEST_CASE("spliced and cut at bytes of either side, the proxy ends everything once and takes no part for a whole") {
  Sample sample(23);
  cut_at_bytes(long_conversations(), make_counted_pipe, sample);
  CHECK(sample.taken() > 50);
}

TEST_CASE("struck at any event, the proxy ends everything once and takes no part for a whole") {
  Sample sample(29);
  strike_at_events(conversations(), make_kernel_pipe, sample);
  CHECK(sample.taken() > 250);
}

TEST_CASE("spliced and struck at any event, the proxy ends everything once and takes no part for a whole") {
  Sample sample(29);
  strike_at_events(long_conversations(), make_counted_pipe, sample);
  CHECK(sample.taken() > 50);
}
