// SimClient and SimUpstream: HTTP/1.1 peers in the simulated network that speak raw bytes, so that they share no code with what they test.
// A test's World owns them and drops them after the Server and before the network.
// They check nothing by themselves: they note what came, for the test to look at.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/net/tls_stream.h"
#include "proxy/sim/sim_net.h"

namespace weir::test {

// A whole HTTP/1 message as it came over the wire.
struct Message {
  std::string start_line;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  bool complete = false;

  int status() const { return start_line.size() < 12 ? 0 : std::stoi(start_line.substr(9, 3)); }
  std::string header(std::string_view name) const;  // the first, by name in any case; empty when absent
  bool has(std::string_view name) const;
};

// Takes one message off the front of `bytes` when it is there whole. `closed`: nothing more will come, which ends an answer without a length.
bool take_message(std::string& bytes, bool is_response, bool to_head, bool closed, Message& out);

// One side of a connection: writes what it is given when there is room, collects what comes.
class RawPeer : public ByteStreamHandler {
 public:
  RawPeer() = default;
  virtual ~RawPeer();
  void adopt(std::unique_ptr<ByteStream> stream);
  void adopt_secured(std::unique_ptr<TlsStream> stream);  // its handshake begins
  void send(std::string_view text);
  void finish();  // FIN after what was sent
  void reset();
  void close();
  void cut();  // of a secured stream: a FIN without close_notify
  void stop_reading() { stream_->want_read(false); }
  void resume_reading() { stream_->want_read(true); }
  bool open() const { return stream_ != nullptr; }
  bool got_fin() const { return fin_; }
  bool got_reset() const { return reset_; }
  bool over() const { return fin_ || reset_ || stream_ == nullptr; }
  std::string received;

 protected:
  virtual void on_bytes() {}
  void on_readable() override;
  void on_writable() override;
  void on_connected(int error) override;
  std::unique_ptr<ByteStream> stream_;
  bool refused_ = false;

 private:
  void flush();
  std::string out_;
  bool finish_ = false;
  bool connected_ = false;
  bool fin_ = false;
  bool reset_ = false;
};

class SimClient : public RawPeer {
 public:
  SimClient(Connector& connector, const Address& to);  // the network, or a TlsConnector
  ByteStream* stream() { return stream_.get(); }

  void get(std::string_view path, std::string_view more_fields = "");  // host: test.local
  void request(std::string_view method, std::string_view path, std::string_view body, std::string_view more_fields = "");
  bool refused() const { return refused_; }
  // Answers that came whole so far, in order; 1xx are among them.
  const std::vector<Message>& answers();
  bool answered(std::size_t count = 1) { return answers().size() >= count; }

 private:
  std::vector<Message> answers_;
  std::vector<bool> head_;  // which requests were HEAD
};

class SimUpstream;

// A connection that the upstream accepted.
class UpstreamPeer : public RawPeer {
 public:
  UpstreamPeer(SimUpstream& upstream, SimLoop& loop) : upstream_(upstream), loop_(loop) {}
  // A whole answer with Content-Length, after a while.
  void answer(int status, std::string_view body, std::string_view more_fields = "", Duration after = Duration(0));
  SimLoop& loop() { return loop_; }
  int requests = 0;  // on this connection
  std::weak_ptr<UpstreamPeer> self;

 protected:
  void on_bytes() override;

 private:
  SimUpstream& upstream_;
  SimLoop& loop_;
};

// Listens on one address and answers each request by `script`: given the connection, the request and its number, from 1.
class SimUpstream final : public AcceptHandler {
 public:
  using Script = std::function<void(UpstreamPeer&, const Message&, int)>;
  SimUpstream(SimNet& net, SimLoop& loop, const Address& at);
  ~SimUpstream();

  Script script;                                // default: 200 "ok"
  std::shared_ptr<const TlsServerContext> tls;  // null: clear text
  BufferPool buffers;                           // of the secured streams
  std::vector<Message> seen;                    // all requests
  int accepted = 0;
  std::vector<std::shared_ptr<UpstreamPeer>> peers;
  bool whole_requests = true;  // false: the script runs at the request's head already
  void down();                 // connects are refused from now on
  void up();
  std::size_t open_connections() const;

 private:
  friend class UpstreamPeer;
  void on_accept(std::unique_ptr<ByteStream> stream) override;
  SimNet& net_;
  SimLoop& loop_;
  Address at_;
  bool listening_ = false;
};

}  // namespace weir::test
