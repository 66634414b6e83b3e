// H1World: a simulated worker with a server codec whose exchanges a test scripts, or which relays to an
// upstream over the client codec. A test owns it; connections and exchanges live until it goes, so that a
// test can look at them after their end. It never runs the loop: the test does.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "proxy/http/codec.h"
#include "proxy/metrics/metrics.h"
#include "proxy/sim/sim_loop.h"
#include "proxy/sim/sim_net.h"
#include "proxy/sim/sim_peer.h"

namespace weir {

// Reads a pipe, all of it or as much as it may.
class TestSink final : public BodySink {
 public:
  void attach(BodyPipe::Reader from) {
    reader = std::move(from);
    if (reader) reader.set_sink(this);
  }
  std::size_t on_body(ByteView bytes) override {
    const std::size_t n = std::min(bytes.size(), allowance);
    allowance -= n;
    body.append(as_text(bytes.first(n)));
    return n;
  }
  void on_body_end(const Headers* with) override {
    ended = true;
    if (with != nullptr) {
      for (const HeaderField& field : *with) {
        trailers += std::string(field.name) + "=" + std::string(field.value) + " ";
      }
    }
    if (on_end) on_end();
  }
  void on_body_abort(BodyAbort reason) override { aborted = reason; }

  BodyPipe::Reader reader;
  std::string body;
  std::string trailers;
  std::size_t allowance = SIZE_MAX;
  std::function<void()> on_end;
  bool ended = false;
  BodyAbort aborted = BodyAbort::none;
};

// One exchange of a scripted server.
class TestExchange final : public ServerStreamHandler, public BodySource {
 public:
  TestExchange(WorkerContext& with, ServerStream& lent, Arena& in) : worker(with), stream(&lent), arena(in) { lent.set_handler(this); }
  ~TestExchange() {
    request.reader.drop();
    writer.drop();
    arena.release();
  }

  void answer(int status, std::string_view text) {
    ResponseHead response(arena);
    response.status = status;
    response.content_length = static_cast<std::int64_t>(text.size());
    send(response, text);
    writer.finish();
  }
  // Leaves the writer open.
  void begin(int status, std::int64_t length = -1) {
    ResponseHead response(arena);
    response.status = status;
    response.content_length = length;
    send(response, {});
  }
  void send(const ResponseHead& response, std::string_view text) {
    BodyPipe::Ends ends = BodyPipe::make(arena, worker.loop, worker.buffers);
    writer = std::move(ends.writer);
    writer.set_source(this);
    stream->send_response(response, std::move(ends.reader));
    if (!text.empty()) writer.write(as_bytes(text));
  }
  void on_stream_error(StreamError with, int status) override {
    error = static_cast<int>(with);
    told = status;
    stream = nullptr;
    request.reader.drop();
    writer.drop();
    if (on_over) on_over(*this);
  }
  void on_response_sent() override {
    sent = true;
    bytes = stream->response_bytes();
    stream = nullptr;
    if (on_over) on_over(*this);
  }
  void on_body_resume() override { resumed = true; }
  void on_body_dropped() override { dropped = true; }

  WorkerContext& worker;
  ServerStream* stream;
  Arena& arena;
  RequestHead* head = nullptr;
  BodyPipe::Reader body;  // until a test attaches the sink
  TestSink request;
  BodyPipe::Writer writer;
  std::string line;  // "GET /target authority"
  std::string bad;   // the rule
  int error = -1;    // a StreamError
  int told = 0;      // the status that the codec answered for it
  std::uint64_t bytes = 0;
  bool sent = false;
  bool resumed = false;
  bool dropped = false;
  std::function<void(TestExchange&)> on_over;
};

struct H1World {
  using Script = std::function<void(TestExchange&)>;

  explicit H1World(std::uint64_t seed = 1) : world(seed), loop(world.add_loop()), net(loop), at(Address::parse("127.0.0.1:8080").value()) {}
  ~H1World() {
    exchanges.clear();
    connections.clear();
    loop.settle();  // streams of HTTP/2 are buried
  }

  SimWorld world;
  SimLoop& loop;
  SimNet net;
  Address at;
  BufferPool buffers;
  ArenaPool arenas;
  Random random{5};
  MetricsRegistry registry;
  WorkerContext worker{loop, buffers, arenas, random, registry.shard(0), 0};
  ServerConnectionOptions server_options;

  class Connection final : public ServerConnectionHandler {
   public:
    Connection(H1World& of, std::unique_ptr<ByteStream> stream) : world_(of) {
      codec = make_h1_server(of.worker, std::move(stream), *this, of.server_options);
      codec->start();
    }
    void on_request(ServerStream& stream, Arena& arena, RequestHead& head, BodyPipe::Reader body) override {
      auto& exchange = *world_.exchanges.emplace_back(std::make_unique<TestExchange>(world_.worker, stream, arena));
      exchange.head = &head;
      exchange.body = std::move(body);
      exchange.line = std::string(head.method_text) + " " + std::string(head.target) + " " + std::string(head.authority);
      if (world_.script) world_.script(exchange);
    }
    void on_bad_request(ServerStream& stream, Arena& arena, const BadMessage& bad) override {
      auto& exchange = *world_.exchanges.emplace_back(std::make_unique<TestExchange>(world_.worker, stream, arena));
      exchange.bad = std::string(bad.rule);
      exchange.answer(bad.status, std::string(bad.rule) + "\n");
    }
    void on_refused(std::string_view rule) override { refused.emplace_back(rule); }
    void on_http2(std::unique_ptr<ByteStream> stream, Bytes received, const ServerConnectionOptions& options) override {
      retired = std::move(codec);
      codec = make_h2_server(world_.worker, std::move(stream), *this, options, std::move(received));
      codec->start();
    }
    void on_closed() override { ++closed; }
    std::unique_ptr<ServerConnection> codec, retired;
    std::vector<std::string> refused;  // HTTP/2: without an exchange
    int closed = 0;

   private:
    H1World& world_;
  };
  class Acceptor final : public AcceptHandler {
   public:
    explicit Acceptor(H1World& of) : world_(of) { of.net.listen(of.at, *this); }
    void on_accept(std::unique_ptr<ByteStream> stream) override {
      world_.connections.push_back(std::make_unique<Connection>(world_, std::move(stream)));
    }

   private:
    H1World& world_;
  };

  // A connection that is over is given up, so that its stream closes.
  void run() {
    loop.run_ready();
    sweep();
  }
  void advance(Duration by) {
    loop.advance(by);
    sweep();
  }
  void sweep() {
    bool any = false;
    for (auto& connection : connections) {
      if (connection->closed == 0 || connection->codec == nullptr) continue;
      connection->codec.reset();
      any = true;
    }
    if (any) loop.run_ready();
  }

  Script script;
  std::vector<std::unique_ptr<TestExchange>> exchanges;
  std::vector<std::unique_ptr<Connection>> connections;
  Acceptor acceptor{*this};
};

}  // namespace weir
