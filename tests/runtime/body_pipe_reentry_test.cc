#include "proxy/runtime/body_pipe.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <string>

#include "tests/runtime/pipe_world.h"

using namespace weir;
using namespace weir::test;

namespace {

const std::string kMuch(BodyPipe::kHighMark + 1, 'm');

}  // namespace

TEST_CASE("a source that writes from on_body_resume is taken in order") {
  PipeWorld w;
  w.sink.room = 0;
  w.reader.set_sink(&w.sink);
  w.write(kMuch);
  int left = 3;
  w.source.at_resume = [&] {
    if (left-- > 0) w.write("again");
    if (left == 0) w.writer.finish();
  };
  w.sink.room = SIZE_MAX;
  w.reader.resume();
  CHECK(w.source.log == "R");
  CHECK(w.sink.got == kMuch + "again");
  left = 0;
}

TEST_CASE("a source that overfills at each resume is resumed again, without recursion into the sink") {
  PipeWorld w;
  w.reader.set_sink(&w.sink);
  w.sink.room = 0;
  int inside = 0, deepest = 0, rounds = 0;
  w.sink.during = [&](ByteView) { deepest = std::max(deepest, inside); };
  w.source.at_resume = [&] {
    ++inside;
    if (++rounds < 20) {
      w.sink.room = 0;
      w.write(kMuch);
      w.sink.room = SIZE_MAX;
      w.reader.resume();
    }
    --inside;
  };
  w.write(kMuch);
  w.sink.room = SIZE_MAX;
  w.reader.resume();
  CHECK(deepest <= 1);
  CHECK(w.sink.got.size() % kMuch.size() == 0);
  CHECK(w.pipe().kept() == 0);
}

TEST_CASE("a sink may drop its reader inside on_body, and look at the bytes afterwards") {
  PipeWorld w;
  w.reader.set_sink(&w.sink);
  std::string seen;
  w.sink.during = [&](ByteView bytes) {
    w.reader.drop();
    CHECK(w.source.log.empty());  // the source is not told from inside the sink
    seen = as_text(bytes);
  };
  const bool kept_first = GENERATE(false, true);
  if (kept_first) {
    w.reader.pause(PauseReason::replay);
    w.write("waiting");
    w.reader.unpause(PauseReason::replay);
  } else {
    w.write("direct");
  }
  CHECK(seen == (kept_first ? "waiting" : "direct"));
  CHECK(w.source.log == "D");
  w.write("into the void");
  CHECK(w.sink.calls == 1);
}

TEST_CASE("both ends may go inside on_body, even the last hold of the arena") {
  SimLoop loop;
  BufferPool buffers;
  ArenaPool arenas;
  Arena& arena = arenas.open();
  auto ends = BodyPipe::make(arena, loop, buffers);
  arena.release();  // only the pipe holds it now
  Sink sink;
  Source source;
  ends.writer.set_source(&source);
  ends.reader.set_sink(&sink);
  SECTION("in on_body") {
    sink.during = [&](ByteView) {
      ends.reader.drop();
      ends.writer.drop();
      CHECK(arenas.in_use() == 1);
    };
    ends.writer.write(as_bytes("x"));
  }
  SECTION("in on_body, of bytes that were kept") {
    sink.room = 0;
    ends.writer.write(as_bytes("x"));
    sink.during = [&](ByteView) {
      ends.writer.drop();
      ends.reader.drop();
    };
    ends.reader.resume();
  }
  SECTION("in on_body_end") {
    sink.at_end = [&] {
      ends.writer.drop();
      ends.reader.drop();
    };
    ends.writer.finish();
  }
  SECTION("in on_body_abort") {
    sink.at_end = [&] { ends.reader.drop(); };
    ends.writer.drop();
  }
  SECTION("in on_body_dropped") {
    source.at_drop = [&] { ends.writer.drop(); };
    ends.reader.drop();
  }
  SECTION("in on_body_resume") {
    source.at_resume = [&] {
      ends.reader.drop();
      ends.writer.drop();
    };
    ends.reader.pause(PauseReason::sink);
    ends.reader.unpause(PauseReason::sink);
    CHECK(source.log == "R");
  }
  SECTION("with a first offer waiting") {
    ends.writer.write(as_bytes("x"));
    ends.reader.set_sink(nullptr);
    ends.reader.set_sink(&sink);
    ends.reader.drop();
    ends.writer.drop();
  }
  CHECK(arenas.in_use() == 0);
  CHECK(buffers.chunks_in_use() == 0);
  loop.run_ready();
}

TEST_CASE("a sink that resumes inside on_body is offered the rest in the same call") {
  PipeWorld w;
  w.reader.set_sink(&w.sink);
  w.sink.room = 2;
  w.sink.during = [&](ByteView) {
    if (w.sink.room == 0) {
      w.sink.room = 2;
      w.reader.resume();
    }
  };
  w.write("abcdefg");
  CHECK(w.sink.got == "abcdefg");
  CHECK(w.sink.calls == 4);
}
