// TlsGate: the handshakes of one listener on one worker: what passes is a secured stream for a codec, what does not is counted and closed.
// Its WorkerListener owns it; it outlives the handshakes, which it lists.
// It never lets a byte of clear text through, and bounds handshakes in time and, over all workers, in number.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "proxy/base/intrusive_list.h"
#include "proxy/base/log.h"
#include "proxy/metrics/metrics.h"
#include "proxy/net/tls_stream.h"
#include "proxy/runtime/worker_context.h"

namespace weir {

struct TlsGateRules {
  std::shared_ptr<const TlsServerContext> context;  // null: there is no gate
  Duration timeout = std::chrono::seconds(5);
  std::uint32_t at_once = 1000;  // of all workers
};

class TlsGate final {
 public:
  // A peer that is refused is read on for so much and so long: closed at once, the kernel would reset the connection, and the alert that says
  // why would be lost.
  static constexpr std::size_t kLingerBytes = std::size_t{64} * 1024;
  static constexpr Duration kLinger = std::chrono::seconds(1);

  class Owner {
   public:
    virtual void on_secured(std::unique_ptr<ByteStream> stream) = 0;  // the last act of the gate
    virtual void on_insecure() = 0;                                   // instead: it is closed

   protected:
    ~Owner() = default;
  };

  TlsGate(WorkerContext& worker, std::string_view listener, Log& log, Owner& owner);
  ~TlsGate();
  TlsGate(const TlsGate&) = delete;
  TlsGate& operator=(const TlsGate&) = delete;

  void configure(TlsGateRules rules) { rules_ = std::move(rules); }
  bool stands() const { return rules_.context != nullptr; }
  // `at_once` counts the handshakes of all workers. One of the owner's two is called, on a later turn; at the limit within.
  void admit(std::unique_ptr<ByteStream> stream, const std::shared_ptr<std::atomic<std::uint32_t>>& at_once);
  void close_all();  // the owner hears of each

 private:
  class Handshake;
  void succeeded(const TlsInfo& info, Duration took);
  void failed(TlsReason reason, std::string_view client, std::string_view text);

  WorkerContext& worker_;
  const std::string listener_;
  Log& log_;
  Owner& owner_;
  TlsGateRules rules_;
  IntrusiveList<Handshake> handshakes_;
  Gauge open_;
  Histogram duration_;
  std::map<std::pair<std::string_view, bool>, Counter> succeeded_;  // by version and resumption
  std::map<TlsReason, Counter> failed_;
};

}  // namespace weir
