// The world of a body pipe's tests: a recording sink and source, and a pipe between them.
// Each test owns one; at its end nothing may be held any more.
// It never runs the loop itself.
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>
#include <string>

#include "proxy/message/headers.h"
#include "proxy/runtime/body_pipe.h"
#include "proxy/sim/sim_loop.h"

namespace weir::test {

struct Sink : BodySink {
  std::size_t on_body(ByteView bytes) override {
    ++calls;
    const std::size_t n = std::min(bytes.size(), room);
    room -= n;
    got.append(as_text(bytes.subspan(0, n)));
    if (during) during(bytes);
    return n;
  }
  void on_body_end(const Headers* trailers) override {
    log += 'E';
    if (trailers != nullptr) trailer = trailers->value("checksum");
    if (at_end) at_end();
  }
  void on_body_abort(BodyAbort reason) override {
    log += 'A';
    aborted = reason;
    if (at_end) at_end();
  }
  std::size_t room = SIZE_MAX;
  int calls = 0;
  std::string got, log, trailer;
  BodyAbort aborted = BodyAbort::none;
  std::function<void(ByteView)> during;
  std::function<void()> at_end;
};

struct Source : BodySource {
  void on_body_resume() override {
    log += 'R';
    if (at_resume) at_resume();
  }
  void on_body_dropped() override {
    log += 'D';
    if (at_drop) at_drop();
  }
  std::string log;
  std::function<void()> at_resume, at_drop;
};

struct PipeWorld {
  PipeWorld() : arena(arenas.open()) {
    BodyPipe::Ends ends = BodyPipe::make(arena, loop, buffers);
    writer = std::move(ends.writer);
    reader = std::move(ends.reader);
    writer.set_source(&source);
  }
  ~PipeWorld() {
    writer.drop();
    reader.drop();
    arena.release();
    REQUIRE(arenas.in_use() == 0);
    REQUIRE(buffers.chunks_in_use() == 0);
  }
  void write(std::string_view text) { writer.write(as_bytes(text)); }
  BodyPipe& pipe() { return *(writer ? writer.pipe() : reader.pipe()); }

  SimLoop loop;
  BufferPool buffers;
  ArenaPool arenas;
  Arena& arena;
  Sink sink;
  Source source;
  BodyPipe::Writer writer;
  BodyPipe::Reader reader;
};

}  // namespace weir::test
