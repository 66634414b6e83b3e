// ByteStream: a connected, ordered, two-way stream of bytes; TCP, unix sockets, TLS and the simulated network implement it.
// The codec's connection owns it; destroying it closes it (at once, unsent bytes of ours are the kernel's business).
// It never buffers on our side, never calls back inside a call, and has no idea of HTTP.
#pragma once

#include <sys/uio.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "proxy/runtime/address.h"
#include "proxy/runtime/tls_info.h"

namespace weir {

struct IoResult {
  enum class Status : std::uint8_t { ok, would_block, end, error };  // end: the peer sent FIN (read only)
  Status status = Status::ok;
  std::size_t bytes = 0;  // moved; with ok at least 1
  int error = 0;          // errno with status error, or one of the two below
  bool ok() const { return status == Status::ok; }
};

// What stands for an errno where it was TLS that failed; ByteStream::failure() says more.
inline constexpr int kTlsProtocolError = EPROTO;
inline constexpr int kTlsCertificateError = EKEYREJECTED;  // the peer's certificate was not accepted

class ByteStreamHandler {
 public:
  virtual void on_readable() = 0;  // bytes, FIN or an error wait: read() tells which. Level-triggered
  virtual void on_writable() = 0;  // only after want_write(true)
  // The connect, and the handshake of TLS where there is one, finished (error = 0) or failed. Only for streams made by a Connector, and
  // for a server's TLS streams; before anything else.
  virtual void on_connected(int /*error*/) {}

 protected:
  ~ByteStreamHandler() = default;
};

class ByteStream {
 public:
  virtual ~ByteStream() = default;
  virtual void set_handler(ByteStreamHandler* handler) = 0;  // null: silent
  virtual void want_read(bool wanted) = 0;                   // starts false
  virtual void want_write(bool wanted) = 0;
  virtual IoResult read(std::span<std::uint8_t> into) = 0;
  virtual IoResult write(std::span<const iovec> from) = 0;
  virtual void shutdown_write() = 0;  // FIN after what was written
  virtual void reset() = 0;           // RST: the peer must not take what it got for whole
  virtual const Address& local_address() const = 0;
  virtual const Address& peer_address() const = 0;
  virtual int descriptor() const { return -1; }           // for splice; -1 where there is none (TLS, simulated)
  virtual const TlsInfo* tls() const { return nullptr; }  // null: clear text, or the handshake is not over
  // Of the error that was told, where errno does not say it: in words, and as one of a bounded set of names, for metrics.
  virtual std::string_view failure() const { return {}; }
  virtual std::string_view failure_name() const { return {}; }
};

// Makes client streams: TCP and unix sockets (proxy/net), or the simulated network. Outlives what it made.
class Connector {
 public:
  virtual ~Connector() = default;
  // Never fails at once: on_connected tells, on a later turn. The caller bounds the time and cancels by dropping.
  virtual std::unique_ptr<ByteStream> connect(const Address& to, ByteStreamHandler& handler) = 0;
};

// Who is told of new client connections.
class AcceptHandler {
 public:
  virtual void on_accept(std::unique_ptr<ByteStream> stream) = 0;

 protected:
  ~AcceptHandler() = default;
};

}  // namespace weir
