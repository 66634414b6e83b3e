// Connection: one client's connection on one worker: it owns the codec's connection and lists the exchanges that run on it. It begins with
// HTTP/1's codec (unless TLS has agreed on HTTP/2), which hands the stream on when the client's first bytes are the preface of HTTP/2: so
// HTTP/1 pays nothing for that.
// The worker's listener list owns it; it leaves when the codec says that the connection is closed.
// It never reads or writes: the codec does; and it never outlives its host.
#pragma once

#include <memory>

#include "proxy/base/intrusive_list.h"
#include "proxy/http/codec.h"
#include "proxy/server/exchange.h"

namespace weir {

class Connection;

class ConnectionOwner {
 public:
  virtual void on_connection_closed(Connection& connection) = 0;  // it has left the owner's list, and is buried
  virtual void on_bad_request(std::string_view rule) = 0;         // counted

 protected:
  ~ConnectionOwner() = default;
};

class Connection final : public ListNode, private Buried, private ServerConnectionHandler {
 public:
  Connection(ExchangeHost& host, ConnectionOwner& owner, std::unique_ptr<ByteStream> stream, const ServerConnectionOptions& options);
  ~Connection() override;

  void start() { codec_->start(); }
  void drain() { codec_->drain(); }  // idle: closes at once
  bool idle() const { return codec_->idle(); }
  void close();  // at once: drops what runs. Leaves the list and is buried

 private:
  void free_buried() noexcept override { delete this; }
  void on_request(ServerStream& stream, Arena& arena, RequestHead& head, BodyPipe::Reader body) override;
  void on_bad_request(ServerStream& stream, Arena& arena, const BadMessage& bad) override;
  void on_refused(std::string_view rule) override { owner_.on_bad_request(rule); }
  void on_http2(std::unique_ptr<ByteStream> stream, Bytes received, const ServerConnectionOptions& options) override;
  void on_closed() override;
  void abandon_all();

  ExchangeHost& host_;
  ConnectionOwner& owner_;
  const TlsInfo* tls_;  // the stream's, which the codec owns; null: clear text
  IntrusiveList<Exchange> exchanges_;
  std::unique_ptr<ServerConnection> codec_;
  bool closed_ = false;
  Address client_;
};

}  // namespace weir
