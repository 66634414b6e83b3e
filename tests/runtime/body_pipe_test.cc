#include "proxy/runtime/body_pipe.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <string>

#include "proxy/base/random.h"
#include "tests/runtime/pipe_world.h"
#include "tests/support/allocation_count.h"

using namespace weir;
using namespace weir::test;

namespace {

const std::string kMuch(BodyPipe::kHighMark + 1, 'm');

}  // namespace

TEST_CASE("a willing sink gets every write at once, then the end") {
  PipeWorld w;
  w.reader.set_sink(&w.sink);
  w.write("one ");
  CHECK(w.sink.got == "one ");
  w.write("two");
  w.writer.write({});
  CHECK(w.pipe().kept() == 0);
  w.writer.finish();
  CHECK(w.sink.got == "one two");
  CHECK(w.sink.log == "E");
  CHECK(w.pipe().ended());
  CHECK(w.pipe().bytes_taken() == 7);
  CHECK(w.source.log.empty());
}

TEST_CASE("a late sink is told on the next turn what waited, trailers included") {
  PipeWorld w;
  w.write("early");
  {
    Arena& other = w.arenas.open();
    Headers trailers(other);
    trailers.add("checksum", "abc");
    w.writer.finish(&trailers);
    other.release();
  }
  CHECK(w.pipe().finished());
  CHECK_FALSE(w.pipe().ended());
  w.reader.set_sink(&w.sink);
  CHECK(w.sink.calls == 0);
  w.loop.run_ready();
  CHECK(w.sink.got == "early");
  CHECK(w.sink.log == "E");
  CHECK(w.sink.trailer == "abc");
}

TEST_CASE("trailers of a body already taken are passed on uncopied") {
  PipeWorld w;
  w.reader.set_sink(&w.sink);
  Headers trailers(w.arena);
  trailers.add("checksum", "xyz");
  w.write("body");
  const std::size_t before = w.arena.bytes();
  w.writer.finish(&trailers);
  CHECK(w.sink.trailer == "xyz");
  CHECK(w.arena.bytes() == before);
}

TEST_CASE("a write between set_sink and the first offer does not overtake") {
  PipeWorld w;
  w.write("a");
  w.reader.set_sink(&w.sink);
  w.write("b");
  CHECK(w.sink.got.empty());
  w.loop.run_ready();
  w.write("c");
  CHECK(w.sink.got == "abc");
}

TEST_CASE("what the sink does not take is kept until it resumes") {
  PipeWorld w;
  w.sink.room = 3;
  w.reader.set_sink(&w.sink);
  w.write("abcdef");
  CHECK(w.sink.got == "abc");
  CHECK(w.pipe().kept() == 3);
  CHECK(w.pipe().blocked_by() == BlockedBy::reader);
  w.write("ghi");
  CHECK(w.sink.calls == 1);  // a blocked sink is left alone
  w.writer.finish();
  CHECK(w.sink.log.empty());
  w.sink.room = 4;
  w.reader.resume();
  CHECK(w.sink.got == "abcdefg");
  w.sink.room = 100;
  w.reader.resume();
  CHECK(w.sink.got == "abcdefghi");
  CHECK(w.sink.log == "E");
  CHECK(w.pipe().blocked_by() == BlockedBy::nobody);
}

TEST_CASE("over the high mark the writer pauses, at the low mark it is resumed once") {
  PipeWorld w;
  w.sink.room = 0;
  w.reader.set_sink(&w.sink);
  w.write(std::string(BodyPipe::kHighMark, 'h'));
  CHECK_FALSE(w.writer.paused());
  w.write("x");
  CHECK(w.writer.paused());
  w.write("still taken");
  w.sink.room = w.pipe().kept() - BodyPipe::kLowMark - 1;
  w.reader.resume();
  CHECK(w.writer.paused());
  CHECK(w.source.log.empty());
  w.sink.room = 1;
  w.reader.resume();
  CHECK_FALSE(w.writer.paused());
  CHECK(w.source.log == "R");
  w.sink.room = SIZE_MAX;
  w.reader.resume();
  CHECK(w.source.log == "R");
}

TEST_CASE("pause reasons are apart: the flow goes on when none is left") {
  PipeWorld w;
  w.reader.set_sink(&w.sink);
  w.reader.pause(PauseReason::replay);
  w.reader.pause(PauseReason::fault);
  CHECK(w.writer.paused());
  CHECK(w.pipe().blocked_by() == BlockedBy::reader);
  w.write("held");
  w.writer.finish();
  w.reader.unpause(PauseReason::replay);
  CHECK(w.sink.got.empty());
  w.reader.unpause(PauseReason::exchange);  // never set: nothing
  CHECK(w.writer.paused());
  w.reader.unpause(PauseReason::fault);
  CHECK(w.sink.got == "held");
  CHECK(w.sink.log == "E");
  CHECK(w.source.log.empty());  // finished: nothing to resume
}

TEST_CASE("an abort is told after the bytes that came before it") {
  PipeWorld w;
  w.sink.room = 1;
  w.reader.set_sink(&w.sink);
  w.write("abc");
  w.writer.abort(BodyAbort::peer_gone);
  CHECK(w.sink.log.empty());
  w.writer.abort(BodyAbort::reset);  // the first counts
  w.writer.drop();
  w.sink.room = 5;
  w.reader.resume();
  CHECK(w.sink.got == "abc");
  CHECK(w.sink.log == "A");
  CHECK(w.sink.aborted == BodyAbort::peer_gone);
  CHECK(w.pipe().aborted() == BodyAbort::peer_gone);
}

TEST_CASE("an abort passes a pause when nothing is kept") {
  PipeWorld w;
  w.reader.set_sink(&w.sink);
  w.reader.pause(PauseReason::sink);
  w.writer.abort(BodyAbort::timeout);
  CHECK(w.sink.log == "A");
}

TEST_CASE("a dropped writer aborts the reader, unless it finished") {
  PipeWorld w;
  w.reader.set_sink(&w.sink);
  w.write("part");
  w.writer.drop();
  CHECK(w.sink.log == "A");
  CHECK(w.sink.aborted == BodyAbort::cancelled);
  PipeWorld v;
  v.reader.set_sink(&v.sink);
  v.writer.finish();
  v.writer.drop();
  CHECK(v.sink.log == "E");
  CHECK(v.pipe().aborted() == BodyAbort::none);
}

TEST_CASE("an abort before the sink came is told on the next turn") {
  PipeWorld w;
  w.writer.drop();
  w.reader.set_sink(&w.sink);
  CHECK(w.sink.log.empty());
  w.loop.run_ready();
  CHECK(w.sink.log == "A");
}

TEST_CASE("a dropped reader tells the source, later writes are discarded") {
  PipeWorld w;
  w.sink.room = 0;
  w.reader.set_sink(&w.sink);
  w.write(kMuch);
  w.reader.drop();
  CHECK(w.source.log == "D");
  CHECK(w.writer.reader_gone());
  CHECK_FALSE(w.writer.paused());
  CHECK(w.pipe().kept() == 0);
  CHECK(w.pipe().aborted() == BodyAbort::cancelled);
  w.write("more");
  CHECK(w.pipe().kept() == 0);
  CHECK(w.pipe().bytes_written() == kMuch.size() + 4);
  w.writer.finish();
  CHECK(w.source.log == "D");
  CHECK_FALSE(w.pipe().ended());
}

TEST_CASE("a reader dropped after the writer finished tells nobody") {
  PipeWorld w;
  w.write("kept");
  w.writer.finish();
  w.reader.drop();
  CHECK(w.source.log.empty());
  PipeWorld v;
  v.reader.set_sink(&v.sink);
  v.writer.finish();
  v.reader.drop();
  CHECK(v.pipe().aborted() == BodyAbort::none);
}

TEST_CASE("a source that comes after the reader went is told on the next turn") {
  PipeWorld w;
  w.writer.set_source(nullptr);
  w.reader.drop();
  w.writer.set_source(&w.source);
  CHECK(w.source.log.empty());
  w.loop.run_ready();
  CHECK(w.source.log == "D");
}

TEST_CASE("the writer may end inside the sink's on_body: the sink hears it afterwards") {
  PipeWorld w;
  w.reader.set_sink(&w.sink);
  w.sink.room = 2;
  SECTION("finish") {
    w.sink.during = [&](ByteView) {
      if (!w.pipe().finished()) w.writer.finish();
      CHECK(w.sink.log.empty());
    };
    w.write("abc");
    CHECK(w.sink.log.empty());
    w.sink.room = 2;
    w.reader.resume();
    CHECK(w.sink.log == "E");
  }
  SECTION("drop") {
    w.sink.during = [&](ByteView) {
      w.writer.drop();
      CHECK(w.sink.log.empty());
    };
    w.write("ab");
    CHECK(w.sink.log == "A");
  }
  CHECK(w.sink.got.substr(0, 2) == "ab");
}

TEST_CASE("a new sink goes on where the old one stopped") {
  PipeWorld w;
  Sink second;
  w.sink.room = 2;
  w.reader.set_sink(&w.sink);
  w.write("abcd");
  w.reader.set_sink(&second);
  CHECK(second.got.empty());
  w.loop.run_ready();
  CHECK(second.got == "cd");
  w.reader.set_sink(nullptr);
  w.write("ef");
  w.reader.set_sink(&second);
  w.loop.run_ready();
  CHECK(second.got == "cdef");
  w.writer.finish();
  CHECK(second.log == "E");
  CHECK(w.sink.log.empty());
}

TEST_CASE("progress is the last write or take") {
  PipeWorld w;
  const MonotonicTime start = w.loop.now();
  CHECK(w.pipe().last_progress() == start);
  w.sink.room = 0;
  w.reader.set_sink(&w.sink);
  w.loop.advance(1s);
  w.write("x");
  CHECK(w.pipe().last_progress() == start + 1s);
  w.loop.advance(1s);
  w.reader.resume();  // takes nothing
  CHECK(w.pipe().last_progress() == start + 1s);
  w.sink.room = 1;
  w.reader.resume();
  CHECK(w.pipe().last_progress() == start + 2s);
  CHECK(w.pipe().blocked_by() == BlockedBy::writer);
}

TEST_CASE("large short writes take the read buffer over") {
  PipeWorld w;
  w.sink.room = 1000;
  w.reader.set_sink(&w.sink);
  const auto buffer = w.buffers.read_buffer();
  std::memset(buffer.data(), 'q', buffer.size());
  w.writer.write(buffer);
  CHECK(w.buffers.read_buffer().data() != buffer.data());
  w.sink.room = SIZE_MAX;
  w.reader.resume();
  CHECK(w.sink.got == std::string(buffer.size(), 'q'));
}

TEST_CASE("facts stay readable while the arena is held") {
  PipeWorld w;
  w.reader.set_sink(&w.sink);
  w.write("abc");
  w.writer.finish();
  const BodyPipe* pipe = w.writer.pipe();
  w.writer.drop();
  w.reader.drop();
  CHECK(pipe->ended());
  CHECK(pipe->bytes_taken() == 3);
  CHECK(pipe->kept() == 0);
}

TEST_CASE("a body that flows allocates nothing") {
  PipeWorld w;
  struct Taker : BodySink {
    std::size_t on_body(ByteView bytes) override { return blocked ? 0 : bytes.size(); }
    void on_body_end(const Headers*) override {}
    void on_body_abort(BodyAbort) override {}
    bool blocked = false;
  } taker;
  const auto exchange = [&] {
    Arena& arena = w.arenas.open();
    {
      auto ends = BodyPipe::make(arena, w.loop, w.buffers);
      ends.reader.set_sink(&taker);
      const auto buffer = w.buffers.read_buffer();
      ends.writer.write(buffer);
      taker.blocked = true;
      ends.writer.write(ByteView(buffer).subspan(0, 5000));
      taker.blocked = false;
      ends.reader.resume();
      ends.writer.finish();
    }
    arena.release();
  };
  exchange();
  const auto before = test::allocation_count();
  for (int i = 0; i < 100; ++i) exchange();
  CHECK(test::allocation_count() == before);
}

TEST_CASE("random flows deliver every byte in order, and never hold much") {
  Random random(GENERATE(range<std::uint64_t>(1, 40)));
  PipeWorld w;
  std::string sent;
  std::string reasons;
  bool ended = false;
  w.reader.set_sink(&w.sink);
  w.sink.room = 0;
  for (int i = 0; i < 300; ++i) {
    switch (random.below(6)) {
      case 0:
      case 1:
        if (!ended && !w.writer.paused()) {
          const auto buffer = w.buffers.read_buffer();
          const std::size_t size = random.below(random.chance(0.2) ? buffer.size() : 5000);
          for (std::size_t k = 0; k < size; ++k) buffer[k] = static_cast<std::uint8_t>('a' + (sent.size() + k) % 26);
          sent.append(as_text(buffer.subspan(0, size)));
          w.writer.write(buffer.subspan(0, size));
        }
        break;
      case 2:
      case 3:
        w.sink.room = random.below(200000);
        w.reader.resume();
        break;
      case 4: {
        const auto reason = random.chance(0.5) ? PauseReason::fault : PauseReason::replay;
        random.chance(0.3) ? w.reader.pause(reason) : w.reader.unpause(reason);
        break;
      }
      default:
        w.loop.run_ready();
        if (i > 280 && !ended) {
          ended = true;
          w.writer.finish();
        }
    }
    REQUIRE(w.pipe().kept() <= BodyPipe::kHighMark + BufferPool::kReadBufferSize);
    REQUIRE(w.pipe().kept() == sent.size() - w.sink.got.size());
  }
  if (!ended) w.writer.finish();
  w.sink.room = SIZE_MAX;
  w.reader.unpause(PauseReason::fault);
  w.reader.unpause(PauseReason::replay);
  w.reader.resume();
  CHECK(w.sink.got == sent);
  CHECK(w.sink.log == "E");
  CHECK(w.pipe().ended());
}
