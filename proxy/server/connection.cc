#include "proxy/server/connection.h"

namespace weir {

Connection::Connection(ExchangeHost& host, ConnectionOwner& owner, std::unique_ptr<ByteStream> stream,
                       const ServerConnectionOptions& options)
    : host_(host), owner_(owner), client_(stream->peer_address()) {
  codec_ = make_h1_server(host.worker, std::move(stream), *this, options);
}

Connection::~Connection() { abandon_all(); }

void Connection::on_request(ServerStream& stream, Arena& arena, RequestHead& head, BodyPipe::Reader body) {
  Exchange& exchange = Exchange::make(host_, client_, stream, arena, head);
  exchanges_.push_back(exchange);
  exchange.start(std::move(body));
}

void Connection::on_bad_request(ServerStream& stream, Arena& arena, const BadMessage& bad) {
  owner_.on_bad_request(bad.rule);
  auto* head = arena.make<RequestHead>(arena);
  Exchange& exchange = Exchange::make(host_, client_, stream, arena, *head);
  exchanges_.push_back(exchange);
  exchange.refuse(bad);
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
