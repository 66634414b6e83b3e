#include "proxy/server/connection.h"

#include <utility>

namespace weir {

namespace {

// A codec that is on the stack when it is replaced.
class RetiredCodec final : private Buried {
 public:
  static void bury(EventLoop& loop, std::unique_ptr<ServerConnection> codec) {
    auto retired = std::make_unique<RetiredCodec>();
    retired->codec_ = std::move(codec);
    loop.bury(*retired.release());
  }

 private:
  void free_buried() noexcept override { delete this; }
  std::unique_ptr<ServerConnection> codec_;
};

}  // namespace

Connection::Connection(ExchangeHost& host, ConnectionOwner& owner, std::unique_ptr<ByteStream> stream,
                       const ServerConnectionOptions& options)
    : host_(host), owner_(owner), tls_(stream->tls()), client_(stream->peer_address()) {
  if (tls_ != nullptr && tls_->alpn == "h2") {
    codec_ = make_h2_server(host.worker, std::move(stream), *this, options, Bytes(host.worker.buffers));
  } else {
    codec_ = make_h1_server(host.worker, std::move(stream), *this, options);
  }
}

Connection::~Connection() { abandon_all(); }

void Connection::on_request(ServerStream& stream, Arena& arena, RequestHead& head, BodyPipe::Reader body) {
  Exchange& exchange = Exchange::make(host_, client_, tls_, stream, arena, head);
  exchanges_.push_back(exchange);
  exchange.start(std::move(body));
}

void Connection::on_bad_request(ServerStream& stream, Arena& arena, const BadMessage& bad) {
  owner_.on_bad_request(bad.rule);
  auto* head = arena.make<RequestHead>(arena);
  Exchange& exchange = Exchange::make(host_, client_, tls_, stream, arena, *head);
  exchanges_.push_back(exchange);
  exchange.refuse(bad);
}

void Connection::on_http2(std::unique_ptr<ByteStream> stream, Bytes received, const ServerConnectionOptions& options) {
  std::unique_ptr<ServerConnection> next = make_h2_server(host_.worker, std::move(stream), *this, options, std::move(received));
  RetiredCodec::bury(host_.worker.loop, std::exchange(codec_, std::move(next)));
  if (!closed_) codec_->start();
}

void Connection::abandon_all() {
  while (Exchange* exchange = exchanges_.first()) exchange->abandon();
}

void Connection::on_closed() { close(); }

void Connection::close() {
  if (closed_) return;
  closed_ = true;
  abandon_all();
  unlink();
  host_.worker.loop.bury(*this);
  owner_.on_connection_closed(*this);
}

}  // namespace weir
