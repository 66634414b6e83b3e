// ClientWorld: a simulated worker with one client codec connected to a scripted upstream, and the requests
// that a test opens on it. A test owns it, and looks at what each request heard. It never parses: the test
// compares bytes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "proxy/http/codec.h"
#include "tests/http/h1_world.h"

namespace weir {

class TestCall final : public ClientStreamHandler, public BodySource {
 public:
  TestCall(WorkerContext& with, std::string_view method, std::string_view target) : worker(with), arena(with.arenas.open()), head(arena) {
    head.method_text = arena.copy(method);
    head.method = method_of(method);
    head.target = arena.copy(target);
    head.authority = "up";
  }
  ~TestCall() {
    stream.reset();
    sink.reader.drop();
    writer.drop();
    arena.release();
  }
  // -1: chunked
  BodyPipe::Reader with_body(std::int64_t size) {
    head.has_body = true;
    head.content_length = size;
    BodyPipe::Ends ends = BodyPipe::make(arena, worker.loop, worker.buffers);
    writer = std::move(ends.writer);
    writer.set_source(this);
    return std::move(ends.reader);
  }
  void on_informational(const ResponseHead& response) override { informational += std::to_string(response.status) + " "; }
  void on_response(ResponseHead& response, BodyPipe::Reader body) override {
    status = response.status;
    has_body = response.has_body;
    length = response.content_length;
    for (const HeaderField& field : response.headers) {
      if (field.id == HeaderId::removed) continue;
      fields += std::string(field.name) + "=" + std::string(field.value) + " ";
    }
    if (drop_at_head) {
      stream.reset();
      return;
    }
    if (keep_reader) {
      reader = std::move(body);
    } else {
      sink.attach(std::move(body));
    }
  }
  void on_end(const Headers* trailers) override {
    ++ended;
    body_at_end = sink.body.size();
    if (trailers != nullptr) trailers_at_end = trailers->size();
  }
  void on_failure(const ClientFailure& with) override {
    ++failed;
    failure = with;
  }
  void on_body_resume() override { body_resumed = true; }
  void on_body_dropped() override { body_dropped = true; }

  WorkerContext& worker;
  Arena& arena;
  RequestHead head;
  BodyPipe::Writer writer;
  ClientStreamPtr stream;
  TestSink sink;
  BodyPipe::Reader reader;
  std::string informational;
  std::string fields;
  std::int64_t length = 0;
  std::size_t trailers_at_end = 0;
  std::size_t body_at_end = 0;
  ClientFailure failure;
  int status = 0;
  int ended = 0;
  int failed = 0;
  bool has_body = false;
  bool drop_at_head = false;
  bool keep_reader = false;
  bool body_dropped = false;
  bool body_resumed = false;
};

struct ClientWorld : public ClientConnectionHandler, private ByteStreamHandler {
  explicit ClientWorld(std::uint64_t seed = 1)
      : world(seed), loop(world.add_loop()), net(loop), at(Address::parse("127.0.0.1:9000").value()), server(net, loop, at) {}

  void connect() {
    pending = net.connect(at, *this);
    loop.run_until([this] { return codec != nullptr; });
    loop.run_ready();
  }
  TestCall& call(std::string_view method = "GET", std::string_view target = "/") {
    return *calls.emplace_back(std::make_unique<TestCall>(worker, method, target));
  }
  TestCall& open(TestCall& call, BodyPipe::Reader body = {}) {
    call.stream = codec->open(call.arena, call.head, {}, std::move(body), call);
    return call;
  }
  TestCall& get(std::string_view target = "/") { return open(call("GET", target)); }
  SimPeer& upstream() { return server.last(); }
  void run() { loop.run_ready(); }

  void on_available() override { ++available; }
  void on_closed() override { ++closed; }
  void on_readable() override {}
  void on_writable() override {}
  void on_connected(int) override { codec = make(worker, std::move(pending), *this, options); }

  SimWorld world;
  SimLoop& loop;
  SimNet net;
  Address at;
  SimServer server;
  BufferPool buffers;
  ArenaPool arenas;
  Random random{5};
  MetricsRegistry registry;
  WorkerContext worker{loop, buffers, arenas, random, registry.shard(0), 0};
  ClientConnectionOptions options;
  decltype(&make_h1_client) make = &make_h1_client;
  std::unique_ptr<ByteStream> pending;
  std::unique_ptr<ClientConnection> codec;
  std::vector<std::unique_ptr<TestCall>> calls;
  int available = 0;
  int closed = 0;
};

struct Connected : ClientWorld {
  explicit Connected(std::uint64_t seed = 1) : ClientWorld(seed) { connect(); }
};

}  // namespace weir
