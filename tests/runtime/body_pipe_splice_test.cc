// BodyPipe: bytes that its sink takes out of the stream by itself.
#include <catch2/catch.hpp>

#include "tests/runtime/pipe_world.h"
#include "tests/support/stub_stream.h"

using namespace weir;
using namespace weir::test;

namespace {

// Splices what it is told to; the stream is never looked at.
struct SplicingSink : Sink {
  SpliceResult on_body_splice(ByteStream&, std::size_t most) override {
    ++splices;
    SpliceResult now = next;
    now.bytes = std::min(now.bytes, most);
    return now;
  }
  SpliceResult next;
  int splices = 0;
};

ByteStream& no_stream() {
  static StubStream stream;
  return stream;
}

}  // namespace

TEST_CASE("spliced bytes count as written and taken, and as progress") {
  PipeWorld w;
  SplicingSink sink;
  w.reader.set_sink(&sink);
  sink.next.error = ECONNRESET;
  CHECK(w.writer.splice(no_stream(), 5000).error == ECONNRESET);  // passed on
  CHECK(w.pipe().bytes_written() == 0);
  sink.next = {1000};
  w.loop.advance(std::chrono::seconds(3));
  CHECK(w.writer.splice(no_stream(), 5000).bytes == 1000);
  CHECK(w.writer.splice(no_stream(), 300).bytes == 300);
  CHECK(w.pipe().bytes_written() == 1300);
  CHECK(w.pipe().bytes_taken() == 1300);
  CHECK(w.pipe().last_progress() == w.loop.now());
  CHECK_FALSE(w.writer.paused());
  w.write("tail");
  w.writer.finish();
  CHECK(sink.got == "tail");
  CHECK(sink.log == "E");
  CHECK(w.pipe().ended());
  w.reader.drop();
}

TEST_CASE("a sink that waits for the kernel pauses the writer until it resumes") {
  PipeWorld w;
  SplicingSink sink;
  w.reader.set_sink(&sink);
  sink.next = {700, true};
  CHECK(w.writer.splice(no_stream(), 5000).bytes == 700);
  CHECK(w.writer.paused());
  CHECK(w.pipe().blocked_by() == BlockedBy::reader);
  CHECK(w.writer.splice(no_stream(), 5000).bytes == 0);  // not asked again
  CHECK(sink.splices == 1);
  w.write("behind");  // pausing is lazy: it is kept, in order
  CHECK(sink.got.empty());
  CHECK(w.source.log.empty());
  w.loop.advance(std::chrono::minutes(1));
  w.reader.resume();
  CHECK(w.pipe().last_progress() == w.loop.now());  // the kernel's pipe has emptied
  CHECK(sink.got == "behind");
  CHECK(w.source.log == "R");
  CHECK_FALSE(w.writer.paused());
  CHECK(w.pipe().blocked_by() == BlockedBy::writer);
  w.reader.drop();
}

TEST_CASE("nothing is spliced past bytes that wait, a pause, or the lack of a reader") {
  PipeWorld w;
  SplicingSink sink;
  sink.next.bytes = 10;
  CHECK(w.writer.splice(no_stream(), 100).bytes == 0);  // nobody reads yet
  w.write("first");
  w.reader.set_sink(&sink);
  CHECK(w.writer.splice(no_stream(), 100).bytes == 0);  // "first" is told on the next turn
  w.loop.run_ready();
  CHECK(w.writer.splice(no_stream(), 100).bytes == 10);
  w.reader.pause(PauseReason::fault);
  CHECK(w.writer.splice(no_stream(), 100).bytes == 0);
  w.reader.unpause(PauseReason::fault);
  sink.room = 0;
  w.write("kept");
  CHECK(w.writer.splice(no_stream(), 100).bytes == 0);
  w.reader.drop();
  CHECK(w.writer.splice(no_stream(), 100).bytes == 0);
  CHECK(sink.splices == 1);
}

TEST_CASE("a plain sink is given no stream: its bytes are read") {
  PipeWorld w;
  w.reader.set_sink(&w.sink);
  CHECK(w.writer.splice(no_stream(), 100).bytes == 0);
  CHECK(w.pipe().bytes_written() == 0);
}

TEST_CASE("a new sink does not wait for what the last one had") {
  PipeWorld w;
  SplicingSink first;
  first.next = {10, true};
  w.reader.set_sink(&first);
  CHECK(w.writer.splice(no_stream(), 100).bytes == 10);
  CHECK(w.writer.paused());
  w.reader.set_sink(&w.sink);
  CHECK_FALSE(w.writer.paused());
  w.write("more");
  CHECK(w.sink.got == "more");
}
