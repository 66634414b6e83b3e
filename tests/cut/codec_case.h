// CodecCase: one conversation over the codecs alone, cut at one byte or at one event: a server codec whose exchanges answer by themselves, a
// client codec whose requests are made here, or both as the least proxy (tests/http/h1_relay.h).
// A test makes one for each case; it owns the simulated worker and the peers.
// It reports by sentences and never fails a test by itself.
#pragma once

#include <memory>
#include <optional>

#include "proxy/metrics/metrics.h"
#include "proxy/runtime/bytes.h"
#include "proxy/runtime/worker_context.h"
#include "tests/cut/judge.h"

namespace weir::test {

// What happens at an event. `local_` ones are what the proxy above a codec may do at any time.
enum class CodecBlow : unsigned char {
  client_fin,
  client_reset,
  client_close,
  client_stall,
  upstream_fin,
  upstream_reset,
  upstream_close,
  upstream_stall,
  front_stall,
  back_stall,
  local_drain,         // of the server codec
  local_reset,         // the exchange breaks its answer off
  local_drop,          // the request in progress at the upstream is dropped
  local_abort,         // its body breaks off
  local_stop_reading,  // nobody takes the answer's body any more
  local_retire,        // the client codec is to close when it is idle
  count_,
};
const char* name_of(CodecBlow blow);

struct CodecEventCut {
  CodecBlow blow = CodecBlow::client_fin;
  std::uint64_t at = 0;
};

class CodecCase {
 public:
  explicit CodecCase(const Conversation& conversation, std::optional<Cut> cut = {}, std::optional<CodecEventCut> blow = {});
  virtual ~CodecCase();
  Problems run();
  std::uint64_t events() const { return events_; }
  std::size_t upstream_bytes() const { return upstream_point_.said; }
  virtual bool suits(CodecBlow blow) const = 0;  // this codec has that side

 protected:
  virtual void begin() = 0;
  virtual bool answered() = 0;
  virtual void sweep() {}  // between events: what is over is dropped
  virtual void strike_inside(CodecBlow) {}
  virtual void judge(const Allowed& allowed, Problems& problems) = 0;
  virtual void drop_all() = 0;

  void pass(Duration by);
  bool stalls() const;
  Allowed allowed() const;

  const Conversation& conversation_;
  const std::optional<Cut> cut_;
  const std::optional<CodecEventCut> blow_;
  CutPoint client_point_;
  CutPoint upstream_point_;
  SimWorld world_;
  SimLoop& loop_;
  SimNet net_;
  const Address front_;
  const Address back_;
  BufferPool buffers_;
  ArenaPool arenas_;
  Random random_{5};
  MetricsRegistry registry_;
  WorkerContext worker_{loop_, buffers_, arenas_, random_, registry_.shard(0), 0};
  std::unique_ptr<CutUpstream> upstream_;
  std::shared_ptr<CutClient> client_;
  std::uint64_t events_ = 0;

 private:
  void strike();
};

enum class CodecKind : unsigned char { server, client, relay };
const char* name_of(CodecKind kind);
std::unique_ptr<CodecCase> make_codec_case(CodecKind kind, const Conversation& conversation, std::optional<Cut> cut = {},
                                           std::optional<CodecEventCut> blow = {});

}  // namespace weir::test
