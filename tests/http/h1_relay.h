// H1Relay: the least proxy: one server codec whose requests go up one client codec, as an exchange without a
// chain would do it. Tests own it and give it two streams; its exchanges live in their arenas and are buried
// when both sides are done. It never retries, and answers 502 by itself only where nothing was begun.
#pragma once

#include <memory>
#include <utility>

#include "proxy/http/codec.h"

namespace weir {

class H1Relay final : public ServerConnectionHandler {
 public:
  H1Relay(WorkerContext& worker, std::unique_ptr<ByteStream> client, std::unique_ptr<ByteStream> upstream,
          const ServerConnectionOptions& options = {})
      : worker_(worker),
        upstream_(make_h1_client(worker, std::move(upstream), pool_, {})),
        client_(make_h1_server(worker, std::move(client), *this, options)) {
    client_->start();
  }

  // An exchange is over when the answer is out, or cannot be.
  class Exchange final : public Buried, public ListNode, public ServerStreamHandler, public ClientStreamHandler {
   public:
    Exchange(H1Relay& relay, ServerStream& stream, Arena& arena) : relay_(relay), stream_(&stream), arena_(arena) {
      stream.set_handler(this);
      relay.exchanges_.push_back(*this);
    }
    void start(RequestHead& head, BodyPipe::Reader body) {
      if (relay_.upstream_ == nullptr || !relay_.upstream_->available()) {
        body.drop();
        return answer(503);
      }
      call_ = relay_.upstream_->open(arena_, head, {}, std::move(body), *this);
    }
    void answer(int status) {
      ResponseHead head(arena_);
      head.status = status;
      head.has_body = false;
      begun_ = true;
      stream_->send_response(head, {});
    }

    void over() {
      if (std::exchange(over_, true)) return;
      stream_ = nullptr;
      call_.reset();
      unlink();
      relay_.worker_.loop.bury(*this);
    }

   private:
    void on_informational(const ResponseHead& head) override {
      if (stream_ != nullptr) stream_->send_informational(head);
    }
    void on_response(ResponseHead& head, BodyPipe::Reader body) override {
      begun_ = true;
      if (stream_ != nullptr) stream_->send_response(head, std::move(body));
    }
    void on_end(const Headers*) override { ++relay_.ends; }
    void on_failure(const ClientFailure&) override {
      ++relay_.failures;
      if (stream_ == nullptr) return;
      if (!begun_) return answer(502);
      ServerStream* stream = std::exchange(stream_, nullptr);
      over();
      stream->reset();
    }
    void on_stream_error(StreamError, int) override {
      ++relay_.errors;
      over();
    }
    void on_response_sent() override {
      ++relay_.sent;
      over();
    }
    void free_buried() noexcept override {
      Arena& arena = arena_;
      this->~Exchange();
      arena.release();
    }

    H1Relay& relay_;
    ServerStream* stream_;
    Arena& arena_;
    ClientStreamPtr call_;
    bool begun_ = false;
    bool over_ = false;
  };

  void on_request(ServerStream& stream, Arena& arena, RequestHead& head, BodyPipe::Reader body) override {
    ++requests;
    arena.make<Exchange>(*this, stream, arena)->start(head, std::move(body));
  }
  void on_bad_request(ServerStream& stream, Arena& arena, const BadMessage& bad) override {
    ++refused;
    arena.make<Exchange>(*this, stream, arena)->answer(bad.status);
  }
  void on_closed() override { closed = true; }

  ~H1Relay() {
    while (Exchange* exchange = exchanges_.first()) exchange->over();
    worker_.loop.settle();
  }
  bool busy() { return !exchanges_.empty(); }

  int requests = 0;
  int refused = 0;
  int ends = 0;
  int failures = 0;
  int errors = 0;
  int sent = 0;
  bool closed = false;  // the client's connection
  bool upstream_closed = false;
  ServerConnection& client() { return *client_; }
  ClientConnection& upstream() { return *upstream_; }
  void drop_upstream() { upstream_.reset(); }  // once it is closed

 private:
  struct Pool final : ClientConnectionHandler {
    explicit Pool(H1Relay& of) : relay(of) {}
    void on_available() override {}
    void on_closed() override { relay.upstream_closed = true; }
    H1Relay& relay;
  };

  WorkerContext& worker_;
  Pool pool_{*this};
  IntrusiveList<Exchange> exchanges_;
  std::unique_ptr<ClientConnection> upstream_;
  std::unique_ptr<ServerConnection> client_;
};

}  // namespace weir
