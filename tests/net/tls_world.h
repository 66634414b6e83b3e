// TlsWorld: two ends of a TLS connection in the simulated network, made of contexts that a test can change before it connects.
// A test owns one. Each end notes what it hears; nothing is sent but by the test.
// It checks nothing by itself.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/net/tls_connector.h"
#include "proxy/sim/sim_net.h"
#include "tests/support/certificates.h"

namespace weir::test {

// One end: writes what it is given when there is room, collects what comes.
class TlsEnd final : public ByteStreamHandler {
 public:
  void adopt(std::unique_ptr<ByteStream> stream) {
    stream_ = std::move(stream);
    stream_->set_handler(this);
  }
  void send(std::string_view text) {
    out_ += text;
    if (connected) flush();
  }
  void finish() { stream_->shutdown_write(); }
  void reset() {
    stream_->reset();
    stream_.reset();
  }
  void close() { stream_.reset(); }
  void read_at_once(std::size_t most) { most_ = most; }
  void pause(bool paused) { stream_->want_read(!paused); }
  bool open() const { return stream_ != nullptr; }
  std::size_t unsent() const { return out_.size(); }
  ByteStream& stream() { return *stream_; }
  TlsStream& tls() { return static_cast<TlsStream&>(*stream_); }
  const TlsInfo& info() { return *stream_->tls(); }

  bool told = false;  // on_connected came
  bool connected = false;
  bool ended = false;
  int error = 0;
  std::string failure;
  TlsReason reason = TlsReason::none;
  std::string received;
  std::size_t total = 0;  // received, kept or not
  bool keep_bytes = true;
  int readable_calls = 0;

 private:
  void on_connected(int code) override {
    told = true;
    error = code;
    connected = code == 0;
    failure = stream_->failure();
    if (const auto* secured = dynamic_cast<const TlsStream*>(stream_.get())) reason = secured->reason();
    if (!connected) return;
    stream_->want_read(true);
    flush();
  }
  void on_readable() override {
    ++readable_calls;
    std::vector<std::uint8_t> room(most_);
    const IoResult result = stream_->read(room);
    if (result.ok()) {
      total += result.bytes;
      if (keep_bytes) received.append(reinterpret_cast<const char*>(room.data()), result.bytes);
      return;
    }
    if (result.status == IoResult::Status::would_block) return;
    ended = result.status == IoResult::Status::end;
    if (!ended) {
      error = result.error;
      failure = stream_->failure();
      reason = tls().reason();
    }
    stream_->want_read(false);
  }
  void on_writable() override { flush(); }
  void flush() {
    while (!out_.empty()) {
      // In three parts, as a head and a body and its end come.
      const std::size_t first = std::min<std::size_t>(out_.size(), 10);
      const std::size_t second = std::min<std::size_t>(out_.size() - first, 20000);
      const iovec parts[] = {
          {out_.data(), first}, {out_.data() + first, second}, {out_.data() + first + second, out_.size() - first - second}};
      const IoResult result = stream_->write(parts);
      if (result.status == IoResult::Status::error) {
        error = result.error;
        failure = stream_->failure();
        return stream_->want_write(false);
      }
      if (result.ok()) out_.erase(0, result.bytes);
      if (!result.ok() || !out_.empty()) return stream_->want_write(true);
    }
    stream_->want_write(false);
  }

  std::unique_ptr<ByteStream> stream_;
  std::string out_;
  std::size_t most_ = std::size_t{64} * 1024;
};

struct TlsWorld : AcceptHandler {
  TlsWorld() : net(loop), connector(loop, buffers, net) {
    const PemPair pair = authority.issue(
        {.subject = "server", .dns = {"server.local"}, .uris = {"spiffe://cluster.local/ns/shop/sa/web"}, .ips = {"127.0.0.1"}});
    serving.identities = {TlsIdentity::parse(pair.certificate, pair.key).value()};
    calling.ca = trust(authority);
    calling.server_name = "server.local";
    net.listen(at, *this);
  }
  ~TlsWorld() { net.stop_listening(at); }

  static std::shared_ptr<const TlsTrust> trust(const TestAuthority& in) { return TlsTrust::parse(in.ca()).value(); }
  static std::shared_ptr<const TlsIdentity> identity(const PemPair& pair) { return TlsIdentity::parse(pair.certificate, pair.key).value(); }
  void ask_clients(std::vector<std::string> allow_names = {}, bool require = true) {
    serving.client_ca = trust(authority);
    serving.allow_names = std::move(allow_names);
    serving.require_client = require;
  }

  // Of the present settings, at the next connect.
  void make_server() {
    server_context = TlsServerContext::make(serving, "test").value();
    server_context->use_tickets(tickets);
  }
  void make_client() { connector.use(TlsClientContext::make(calling).value()); }

  // A new connection; both ends have heard how it went, or nothing happens any more.
  void connect() {
    if (server_context == nullptr) make_server();
    if (connector.context() == nullptr) make_client();
    client = std::make_unique<TlsEnd>();
    server = nullptr;
    client->adopt(connector.connect(at, *client));
    settle();
  }
  void connect_raw() {  // a client that speaks what the test sends
    if (server_context == nullptr) make_server();
    client = std::make_unique<TlsEnd>();
    client->adopt(net.connect(at, *client));
    settle();
  }
  void settle() { loop.run_ready(); }

  void on_accept(std::unique_ptr<ByteStream> stream) override {
    ends.push_back(std::make_unique<TlsEnd>());
    server = ends.back().get();
    auto secured = std::make_unique<TlsStream>(loop, buffers, server_context, std::move(stream));
    TlsStream& made = *secured;
    server->adopt(std::move(secured));
    made.handshake();
  }

  SimLoop loop;
  BufferPool buffers;
  SimNet net;
  Address at = Address::parse("127.0.0.1:8443").value();
  TestAuthority authority;
  TlsServerSettings serving;
  TlsClientSettings calling;
  std::shared_ptr<TlsTicketKeys> tickets = std::make_shared<TlsTicketKeys>();
  std::shared_ptr<TlsServerContext> server_context;
  TlsConnector connector;
  std::unique_ptr<TlsEnd> client;
  std::vector<std::unique_ptr<TlsEnd>> ends;
  TlsEnd* server = nullptr;  // of the last connection; null: none was accepted
};

inline std::string pattern(std::size_t size, char first = 'a') {
  std::string text(size, 0);
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(first + static_cast<int>(i % 23));
  return text;
}

}  // namespace weir::test
