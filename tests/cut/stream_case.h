// StreamCase: requests of one HTTP/2 client through the whole proxy to an HTTP/2 upstream, over two wires of which one is cut at one byte;
// and everything that must hold after. The wire in front may be secured: then its bytes are a handshake and records of TLS. A test makes one for each case; it owns the world and both peers.
// It reports by sentences and never fails a test by itself.
#pragma once

#include <memory>
#include <optional>

#include "proxy/net/tls_connector.h"
#include "tests/cut/cut_relay.h"
#include "tests/cut/judge.h"
#include "tests/support/h2_client.h"
#include "tests/support/h2_upstream.h"
#include "tests/support/world.h"

namespace weir::test {

struct WireCut {
  bool front = true;  // between client and proxy; else between proxy and upstream
  Cut cut;
};
std::string described(const WireCut& cut);

class StreamCase {
 public:
  explicit StreamCase(std::optional<WireCut> cut = {}, bool secured = false);
  ~StreamCase();
  Problems run();
  std::size_t passed(bool front, Side side) const { return (front ? front_ : back_).passed(side); }

 private:
  void ask();
  void answer(H2Peer& peer, H2Request& request);
  bool settled();
  void judge(Problems& problems);
  void judge_requests(Problems& problems);
  void judge_lines(Problems& problems);
  bool harmless_cut() const { return !cut_ || harmless(cut_->cut.act); }

  const std::optional<WireCut> cut_;
  const bool secured_;
  World world_;
  H2Upstream upstream_;
  CutRelay back_;
  CutRelay front_;
  BufferPool buffers_;
  TlsConnector tls_;
  std::unique_ptr<H2Client> client_;
  std::vector<std::int32_t> ids_;
  std::size_t quiet_ = 0;
};

}  // namespace weir::test
