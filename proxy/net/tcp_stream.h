// TcpStream: a ByteStream over a connected TCP or unix socket; TcpConnector makes client ones, Listener (listener.h) server ones.
// It owns its descriptor and closes it on destruction. It never buffers, and makes no system call beyond those asked for:
// reading stays registered once wanted, writability is watched only while wanted (hotpath rule 1).
#pragma once

#include <memory>

#include "proxy/base/cache_line.h"
#include "proxy/runtime/byte_stream.h"
#include "proxy/runtime/event_loop.h"

namespace weir {

struct SocketOptions {
  // How long sent bytes may stay unacknowledged before the kernel gives the connection up (TCP_USER_TIMEOUT). 0: the kernel's way.
  Duration user_timeout = std::chrono::seconds(20);
};

class alignas(kCacheLine) TcpStream final : public ByteStream, private IoHandler {
 public:
  // Takes a non-blocking, connected descriptor over. Sets TCP_NODELAY and TCP_USER_TIMEOUT.
  TcpStream(EventLoop& loop, int descriptor, Address peer, const SocketOptions& options);
  ~TcpStream() override;

  void set_handler(ByteStreamHandler* handler) override { handler_ = handler; }
  void want_read(bool wanted) override;
  void want_write(bool wanted) override;
  IoResult read(std::span<std::uint8_t> into) override;
  IoResult write(std::span<const iovec> from) override;
  void shutdown_write() override;
  void reset() override;
  const Address& local_address() const override;
  const Address& peer_address() const override { return peer_; }
  int descriptor() const override { return descriptor_; }

 private:
  friend class TcpConnector;
  void await_connect() {
    connecting_ = true;
    update();
  }
  void on_readable() override;
  void on_writable() override;
  void update();

  EventLoop& loop_;
  int descriptor_;
  bool want_read_ = false;
  bool want_write_ = false;
  bool connecting_ = false;
  ByteStreamHandler* handler_ = nullptr;
  std::unique_ptr<IoWatch> watch_;
  Address peer_;
  mutable std::unique_ptr<const Address> local_;  // asked of the kernel only when somebody wants it
};

class TcpConnector final : public Connector {
 public:
  explicit TcpConnector(EventLoop& loop, SocketOptions options = {}) : loop_(loop), options_(options) {}
  std::unique_ptr<ByteStream> connect(const Address& to, ByteStreamHandler& handler) override;

 private:
  EventLoop& loop_;
  SocketOptions options_;
};

}  // namespace weir
