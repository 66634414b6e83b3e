// The codec interfaces: what the proxy above sees of HTTP, the same for HTTP/1.1 and HTTP/2.
// A server connection (one client) is owned by proxy/server/connection; a client connection (one upstream) by the pool. Streams are
// lent by the connection. Nothing above this file knows a protocol version's syntax, and nothing in it knows filters.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "proxy/message/head.h"
#include "proxy/runtime/body_pipe.h"
#include "proxy/runtime/byte_stream.h"
#include "proxy/runtime/worker_context.h"

namespace weir {

struct HttpLimits {                                     // each hit is counted by the connection's owner through on_bad_message
  std::size_t header_bytes = std::size_t{60} * 1024;    // the whole head; over it 431 (request), 502 (response)
  std::size_t headers = 100;                            // fields, and again for trailers
  std::size_t target_bytes = std::size_t{16} * 1024;    // 414
  std::size_t chunk_extension_bytes = 1024;             // of one body, added up
  std::uint32_t streams = 100;                          // HTTP/2: requests at once of one connection; over it REFUSED_STREAM
  std::uint32_t resets = 100;                           // HTTP/2: streams that a client may cancel a second; at once ten times that
  Duration request_headers = std::chrono::seconds(10);  // first byte to the end of the head; 408
  Duration idle = std::chrono::hours(1);                // of a keep-alive connection between exchanges
  // Without a byte moving while the client owes body bytes, or owes reading the answer: 408 where no answer was begun, else a reset.
  Duration body_progress = std::chrono::seconds(60);
};

// Why a message was refused; `rule` names the rule of framing_rules.h, with its RFC section.
struct BadMessage {
  int status = 400;  // what a client is to be told
  std::string_view rule;
};

// ---- server side ----

enum class StreamError : std::uint8_t {
  client_closed,
  client_reset,
  bad_body,
  timeout,
  write_failed,
  response_aborted,  // the answer's body broke off, so the connection or stream was reset; whose fault it was, on_end has told
};

class ServerStreamHandler {  // the exchange
 public:
  // The client is gone or its body is broken: no answer can be sent any more. `answered` is the status that the codec itself told the
  // client for it (400, 408), 0 where it told none. The stream is dead after this call.
  virtual void on_stream_error(StreamError error, int answered) = 0;
  // The whole answer was handed to the kernel. The stream is dead after this call.
  virtual void on_response_sent() = 0;

 protected:
  ~ServerStreamHandler() = default;
};

// One exchange on a client connection; lent to the exchange until one of the two calls above, or detach().
class ServerStream {
 public:
  virtual void set_handler(ServerStreamHandler* handler) = 0;
  virtual void send_informational(const ResponseHead& head) = 0;  // 1xx; ignored towards HTTP/1.0
  // Once. The body may be empty (no handle) when head.has_body is false or content_length is 0. A body that aborts ends in a
  // connection or stream reset, never in a clean end.
  virtual void send_response(const ResponseHead& head, BodyPipe::Reader body) = 0;
  virtual void close_after_response() = 0;           // HTTP/1: Connection: close on the answer; HTTP/2: GOAWAY later
  virtual void reset() = 0;                          // breaks the answer off; detaches
  virtual std::uint64_t response_bytes() const = 0;  // body bytes handed to the kernel or the out buffer so far
  // HTTP/1: all of the answer was taken, or as much as its length said. Nothing may follow, so that the client takes it for whole whatever
  // becomes of its source; the body's abort then ends it as its end would.
  virtual bool response_is_whole() const { return false; }

 protected:
  ~ServerStream() = default;
};

struct ServerConnectionOptions;

class ServerConnectionHandler {  // proxy/server/connection
 public:
  // A request. The arena is the exchange's: held once for the callee, who releases it. `head` lives in it. `body` is empty when
  // head.has_body is false. The callee calls stream.set_handler() before it returns.
  virtual void on_request(ServerStream& stream, Arena& arena, RequestHead& head, BodyPipe::Reader body) = 0;
  // A request that the framing rules refuse: answer it (send_response with close_after_response already set), head facts may be missing.
  virtual void on_bad_request(ServerStream& stream, Arena& arena, const BadMessage& bad) = 0;
  // HTTP/2 only: refused below any exchange, so that nobody is to answer: a malformed request, or a connection that broke the protocol.
  virtual void on_refused(std::string_view /*rule*/) {}
  // HTTP/1 only, and only where ServerConnectionOptions::http2 is set: the client began with the preface of HTTP/2. The codec lets go of
  // the stream and says nothing more; the callee goes on with make_h2_server, which is given what was read already. The codec lives
  // until the callback is over (bury).
  virtual void on_http2(std::unique_ptr<ByteStream> /*stream*/, Bytes /*received*/, const ServerConnectionOptions& /*options*/) {}
  // The connection is closed, or is over (idle timeout, drain, peer closed): the callee drops it after this call (bury).
  virtual void on_closed() = 0;

 protected:
  ~ServerConnectionHandler() = default;
};

class ServerConnection {
 public:
  virtual ~ServerConnection() = default;
  virtual void start() = 0;       // begins reading
  virtual void drain() = 0;       // finish what runs, take nothing new, then close; idle connections close at once
  virtual bool idle() const = 0;  // no exchange in progress
};

struct ServerConnectionOptions {
  HttpLimits limits;
  bool half_close = false;  // a FIN while an exchange runs means gone (false) or merely end of input (true)
  bool http2 = false;       // clear text: the preface of HTTP/2 is handed on (on_http2) instead of being refused
  std::string_view scheme = "http";
};
std::unique_ptr<ServerConnection> make_h1_server(WorkerContext& worker, std::unique_ptr<ByteStream> stream,
                                                 ServerConnectionHandler& handler, const ServerConnectionOptions& options);
// `received` is what was read of the stream already, the preface included.
std::unique_ptr<ServerConnection> make_h2_server(WorkerContext& worker, std::unique_ptr<ByteStream> stream,
                                                 ServerConnectionHandler& handler, const ServerConnectionOptions& options, Bytes received);

// What looks like a request of HTTP/1 and begins every connection of HTTP/2 (RFC 9113 3.4); "SM", CRLF, CRLF follow.
inline constexpr std::string_view kHttp2PrefaceLine = "PRI * HTTP/2.0\r\n\r\n";

// ---- client side ----

enum class ClientError : std::uint8_t {
  connect_failed,  // never connected (the pool's business, passed through the same type)
  reset,           // RST, RST_STREAM or a write error
  closed,          // FIN before a complete answer
  refused_stream,  // HTTP/2 REFUSED_STREAM, or GOAWAY below this stream
  protocol_error,  // an answer that the framing rules refuse
  head_too_large,
  request_aborted,  // the request body broke off on the client's side
};

struct ClientFailure {
  ClientError error = ClientError::reset;
  bool anything_sent = false;      // a byte of the request reached the kernel
  bool anything_received = false;  // a byte of the answer arrived
  bool reused = false;             // not the first exchange on its connection: a stale keep-alive is likely
  std::string_view rule;           // for protocol_error
  std::string_view detail;         // what the stream said of its end (ByteStream::failure); valid during the call
};

class ClientStreamHandler {  // the upstream link's call
 public:
  virtual void on_informational(const ResponseHead& head) = 0;              // 1xx but 101; 100 included
  virtual void on_response(ResponseHead& head, BodyPipe::Reader body) = 0;  // body empty when head.has_body is false
  virtual void on_end(const Headers* trailers) = 0;                         // the last byte of the answer was received
  virtual void on_failure(const ClientFailure& failure) = 0;                // instead of on_end, at any time; last call

 protected:
  ~ClientStreamHandler() = default;
};

// Owns one request in progress on a client connection; dropping it cancels: HTTP/1 closes the connection, or drains a short rest in the
// background so that it can be reused; HTTP/2 resets the stream.
class ClientStream {
 public:
  virtual void drop() noexcept = 0;
  virtual bool response_started() const = 0;

 protected:
  ~ClientStream() = default;
};
struct ClientStreamDrop {
  void operator()(ClientStream* stream) const noexcept { stream->drop(); }
};
using ClientStreamPtr = std::unique_ptr<ClientStream, ClientStreamDrop>;

class ClientConnectionHandler {  // the pool
 public:
  virtual void on_available() = 0;  // a stream ended, or there is room otherwise, and the connection can take another
  virtual void on_closed() = 0;     // it will take no more: drop it when its streams have ended (bury)

 protected:
  ~ClientConnectionHandler() = default;
};

class ClientConnection {
 public:
  virtual ~ClientConnection() = default;
  // Only when available(). What the head says lives in the arena, or for ever: HTTP/2 makes its frame when there is room for it. `extra`
  // fields are added to the head's own, but for one of HeaderId::host, which is told in the place of the head's authority; their values
  // need live only during the call, their names for ever. Answers come later, never inside. The arena is the exchange's; the body pipe of
  // the answer is made in it.
  virtual ClientStreamPtr open(Arena& arena, const RequestHead& head, std::span<const HeaderField> extra, BodyPipe::Reader body,
                               ClientStreamHandler& handler) = 0;
  // Whether the peer has shown that it speaks the protocol; if not yet, on_available tells. Requests may be opened before.
  virtual bool settled() const { return true; }
  virtual bool available() const = 0;
  virtual std::uint32_t room() const { return available() ? 1 : 0; }  // how many can be opened now
  virtual bool idle() const = 0;
  virtual std::uint64_t streams_opened() const = 0;
  virtual void close_when_idle() = 0;  // age or request cap reached, endpoint gone
};

// HTTP/2 towards an upstream.
struct Http2ClientOptions {
  std::uint32_t max_streams = 100;  // requests at once on one connection, if the upstream allows as many
  // While requests are open and nothing has come for so long, a PING asks whether the connection lives ...
  Duration ping_interval = std::chrono::seconds(30);
  Duration ping_timeout = std::chrono::seconds(10);  // ... and without any answer for so long it is lost
  std::uint32_t first_stream = 1;                    // of tests, which cannot wait for ids to run out
};

struct ClientConnectionOptions {
  HttpLimits limits;
  Http2ClientOptions http2;
  std::string_view scheme = "http";                // HTTP/2 tells it; static text
  std::size_t max_drain = std::size_t{64} * 1024;  // bytes of a dropped answer that are read away to save the connection
  Duration max_drain_time = std::chrono::seconds(1);
};
// The stream is connected already.
std::unique_ptr<ClientConnection> make_h1_client(WorkerContext& worker, std::unique_ptr<ByteStream> stream,
                                                 ClientConnectionHandler& handler, const ClientConnectionOptions& options);
std::unique_ptr<ClientConnection> make_h2_client(WorkerContext& worker, std::unique_ptr<ByteStream> stream,
                                                 ClientConnectionHandler& handler, const ClientConnectionOptions& options);

}  // namespace weir
