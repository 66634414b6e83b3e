// H2Client: an HTTP/2 client with prior knowledge on the simulated network: nghttp2's client session over a raw peer, which judges our
// frames and messages while it reads them. A test owns it; the network outlives it.
// It never answers by itself but as the protocol demands (SETTINGS, PING, windows), and it never retries.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proxy/sim/sim_peer.h"

struct nghttp2_session;

namespace weir::test {

using H2Fields = std::vector<std::pair<std::string, std::string>>;

struct H2Reply {
  int status = 0;
  std::vector<int> informational;
  H2Fields fields, trailers;
  std::string body;
  bool head = false;    // the final head came
  bool ended = false;   // END_STREAM came
  bool closed = false;  // the session has forgotten the stream
  int reset = -1;       // the error code of a RST_STREAM that came; 0: NO_ERROR
  std::string field(std::string_view name) const;
};

struct H2ClientOptions {
  std::uint32_t window = 65535;                       // of each stream
  std::int32_t connection_window = 16 * 1024 * 1024;  // of all
  bool by_hand = false;                               // windows are given back by consume() alone
};

class H2Client {
 public:
  H2Client(Connector& connector, const Address& to, H2ClientOptions options = {});
  ~H2Client();
  H2Client(const H2Client&) = delete;

  // Streams; the answer is answer(id). Fields follow the pseudo-header fields.
  std::int32_t get(std::string_view path, const H2Fields& more = {}) { return request("GET", path, more); }
  std::int32_t request(std::string_view method, std::string_view path, const H2Fields& more = {});
  std::int32_t post(std::string_view path, std::string_view body, const H2Fields& more = {});    // no length is told
  std::int32_t open(std::string_view method, std::string_view path, const H2Fields& more = {});  // write() and finish() go on
  std::int32_t open(const H2Fields& all, bool has_body);                                         // as they are
  void write(std::int32_t id, std::string_view bytes);
  void finish(std::int32_t id, const H2Fields& trailers = {});
  void reset(std::int32_t id, std::uint32_t code = 8);
  void consume(std::int32_t id, std::size_t bytes);
  void ping();

  H2Reply& answer(std::int32_t id) { return replies_[id]; }
  std::size_t unsent(std::int32_t id) const { return bodies_.at(id).out.size(); }  // which windows hold back
  int goaways() const { return goaways_; }
  int goaway_code() const { return goaway_code_; }
  std::int32_t goaway_last() const { return goaway_last_; }
  std::uint32_t max_streams() const { return max_streams_; }
  int pongs() const { return pongs_; }
  bool broken() const { return broken_; }  // what came was not HTTP/2, or not a well-formed message
  SimPeer& peer() { return peer_; }

  std::function<void()> on_update;  // the connect, or anything that came, was taken; may close the peer, not destroy the client

 private:
  struct Body {
    std::string out;
    H2Fields trailers;
    bool finished = false;
  };
  struct Callbacks;
  std::int32_t submit(const H2Fields& fields, bool has_body);
  void on_change();
  void flush();

  SimPeer peer_;
  nghttp2_session* session_ = nullptr;
  std::map<std::int32_t, H2Reply> replies_;
  std::map<std::int32_t, Body> bodies_;
  std::int32_t goaway_last_ = -1;
  int goaway_code_ = -1;
  std::uint32_t max_streams_ = 0;
  int goaways_ = 0;
  int pongs_ = 0;
  const bool by_hand_;
  bool broken_ = false;
  bool busy_ = false;
};

}  // namespace weir::test
