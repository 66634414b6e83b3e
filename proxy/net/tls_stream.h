// TlsStream: a ByteStream that TLS secures, over any other: TCP, or the simulated network. OpenSSL reads and writes the inner stream itself,
// through a BIO without a buffer, so that bytes are copied only by being encrypted.
// Its owner is who would own the inner stream: a codec, a pool, or the gate of a listener. It keeps the stream's contract: it never calls
// back inside a call, and dropping it closes the connection (with close_notify, where nothing stands in the way).
//
// Life: handshaking, then on_connected(0) or on_connected(error), then bytes. What OpenSSL has buffered is as readable as what the kernel
// has: on_readable comes again, by a deferred call, as long as there is some. A FIN without close_notify is an error and not an end: whoever
// cuts the connection must not be able to make a part look like the whole.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proxy/net/tls_context.h"
#include "proxy/net/tls_error.h"
#include "proxy/runtime/byte_stream.h"
#include "proxy/runtime/bytes.h"
#include "proxy/runtime/event_loop.h"

struct bio_st;
struct ssl_session_st;

namespace weir {

class TlsSessionCache;  // tls_connector.h

class TlsStream final : public ByteStream, private ByteStreamHandler {
 public:
  static constexpr std::size_t kRecord = std::size_t{16} * 1024;  // of plain text, at most (RFC 8446 5.1)
  // Messages that carry no data (key updates, requests to renegotiate) of one connection, beside one for each MiB of data received.
  static constexpr std::uint32_t kIdleMessages = 32;

  // A server's: `inner` is connected; handshake() begins.
  TlsStream(EventLoop& loop, BufferPool& buffers, std::shared_ptr<const TlsServerContext> context, std::unique_ptr<ByteStream> inner);
  // A client's: connect() begins. `sessions`, which outlives the stream, may be null: then none is resumed.
  TlsStream(EventLoop& loop, BufferPool& buffers, std::shared_ptr<const TlsClientContext> context, TlsSessionCache* sessions);
  ~TlsStream() override;

  void handshake();  // the handler hears on_connected, on a later turn
  void connect(Connector& connector, const Address& to);

  void set_handler(ByteStreamHandler* handler) override { handler_ = handler; }
  void want_read(bool wanted) override;
  void want_write(bool wanted) override;
  IoResult read(std::span<std::uint8_t> into) override;
  IoResult write(std::span<const iovec> from) override;
  void shutdown_write() override;
  void reset() override;
  const Address& local_address() const override { return inner_->local_address(); }
  const Address& peer_address() const override { return inner_->peer_address(); }
  const TlsInfo* tls() const override { return info_.get(); }
  std::string_view failure() const override { return failure_; }
  std::string_view failure_name() const override { return reason_ == TlsReason::none ? std::string_view() : to_word(reason_); }

  // After a failure: the stream below, for whoever lets the peer read the alert before the connection is closed.
  std::unique_ptr<ByteStream> release_inner() {
    inner_->set_handler(nullptr);
    return std::move(inner_);
  }
  TlsReason reason() const { return reason_; }  // of the failure
  WallTime wall_now() const { return loop_.wall_now(); }

  static int keep_session(ssl_st* ssl, ssl_session_st* session);  // OpenSSL's callback: whether it was taken

 private:
  friend struct TlsBio;
  enum class State : std::uint8_t { idle, handshaking, open, failed };

  void begin(const TlsContext& context);
  void on_readable() override;
  void on_writable() override;
  void on_connected(int error) override;
  void step_handshake();
  void finish_handshake();
  void read_peer(TlsInfo& info) const;
  void note_trouble();
  void fail_with(TlsReason reason, std::string text);
  int error_code() const;
  void fail_connect(int error);
  void on_again();
  IoResult read_failed(int result, std::size_t got);
  IoResult write_failed(int result, std::size_t done);
  bool flooded() const;
  void say_goodbye();
  static void count_message(int writing, int version, int type, const void* bytes, std::size_t size, ssl_st* ssl, void* stream);

  EventLoop& loop_;
  BufferPool& buffers_;
  ByteStreamHandler* handler_ = nullptr;
  std::shared_ptr<const TlsServerContext> server_;  // one of the two
  std::shared_ptr<const TlsClientContext> client_;
  TlsSessionCache* sessions_ = nullptr;
  std::unique_ptr<ByteStream> inner_;
  ssl_st* ssl_ = nullptr;
  std::shared_ptr<TlsInfo> info_;
  std::string failure_;
  Deferred again_;  // OpenSSL has bytes, or an end, that no event of the inner stream will tell of
  std::uint64_t received_ = 0;
  // What the inner stream did not take whole. OpenSSL may have made one record of it, or of its beginning (the peer may have asked for
  // short ones), or none (it has a key update to send first), and wants the same bytes again; the caller was not told of them.
  std::vector<std::uint8_t> blocked_;
  std::size_t ahead_ = 0;       // of those, once they are out: what the caller will give again, and is told as sent
  std::uint32_t messages_ = 0;  // without data, since the handshake
  int inner_error_ = 0;         // errno
  State state_ = State::idle;
  TlsReason reason_ = TlsReason::none;
  IoResult end_{};  // how reading ended; ok: it has not
  bool want_read_ = false;
  bool want_write_ = false;
  bool inner_ended_ = false;
  bool inner_full_ = false;     // it took less than it was given, in this call
  bool may_read_inner_ = true;  // in this call: one read of it is enough, and none where only what is buffered is wanted
  bool only_buffered_ = false;  // the next read() is that of on_again()
  bool buffered_ = false;       // OpenSSL has more
  bool read_waits_to_write_ = false;
  bool write_broken_ = false;  // reading goes on
  bool closing_ = false;       // close_notify is on its way
};

}  // namespace weir
