#include "proxy/server/tls_gate.h"

#include <utility>

namespace weir {
namespace {

const MetricFamily kHandshakes{
    "weir_tls_handshakes_total", "TLS handshakes with clients that succeeded.", MetricKind::counter, {"listener", "version", "resumed"}};
const MetricFamily kFailures{"weir_tls_handshake_failures_total",
                             "TLS handshakes with clients that failed, by reason.",
                             MetricKind::counter,
                             {"listener", "reason"}};
const MetricFamily kDuration{"weir_tls_handshake_duration_seconds",
                             "From a client's connection to the end of its TLS handshake.",
                             MetricKind::histogram,
                             {"listener"}};
const MetricFamily kOpen{"weir_tls_handshakes", "TLS handshakes with clients that are under way.", MetricKind::gauge, {"listener"}};

constexpr std::string_view kPlainAnswer =
    "HTTP/1.0 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n\r\nweir: this port speaks https\n";

}  // namespace

class TlsGate::Handshake final : public ListNode, private Buried, private ByteStreamHandler {
 public:
  Handshake(TlsGate& gate, std::unique_ptr<TlsStream> stream, std::shared_ptr<std::atomic<std::uint32_t>> at_once)
      : gate_(gate),
        stream_(std::move(stream)),
        at_once_(std::move(at_once)),
        began_(gate.worker_.loop.now()),
        timer_(gate.worker_.loop, Callback::to<&Handshake::on_timer>(this)) {
    gate_.open_.add(1);
  }

  void begin(Duration timeout) {
    stream_->set_handler(this);
    timer_.arm(timeout);
    stream_->handshake();
  }

  // Its owner is told last.
  void end() {
    if (over_) return;
    let_go();
    gate_.owner_.on_insecure();
  }

 private:
  void free_buried() noexcept override { delete this; }

  void let_go() {
    over_ = true;
    at_once_->fetch_sub(1, std::memory_order_relaxed);
    gate_.open_.add(-1);
    timer_.disarm();
    unlink();
    if (stream_ != nullptr) stream_->set_handler(nullptr);
    if (refused_ != nullptr) refused_->set_handler(nullptr);
    gate_.worker_.loop.bury(*this);
  }

  void on_connected(int error) override {
    if (over_) return;
    if (error != 0) return refuse();
    TlsGate& gate = gate_;
    gate.succeeded(*stream_->tls(), gate.worker_.loop.now() - began_);
    let_go();
    gate.owner_.on_secured(std::move(stream_));
  }

  void refuse() {
    const TlsReason reason = stream_->reason();
    gate_.failed(reason, stream_->peer_address().text(), stream_->failure());
    if (reason == TlsReason::closed) return end();
    refused_ = stream_->release_inner();
    refused_->set_handler(this);
    if (reason == TlsReason::plain_http) {
      const iovec answer{const_cast<char*>(kPlainAnswer.data()), kPlainAnswer.size()};
      static_cast<void>(refused_->write({&answer, 1}));  // as much as there is room for: a courtesy
    }
    refused_->shutdown_write();
    refused_->want_read(true);
    timer_.arm(kLinger);
  }

  void on_readable() override {
    if (over_ || refused_ == nullptr) return;
    const IoResult result = refused_->read(gate_.worker_.buffers.read_buffer());
    if (result.status == IoResult::Status::would_block) return;
    if (result.ok() && (read_away_ += result.bytes) <= kLingerBytes) return;
    end();
  }
  void on_writable() override {}

  void on_timer() {
    if (refused_ == nullptr) gate_.failed(TlsReason::timeout, stream_->peer_address().text(), "the handshake took too long");
    end();
  }

  TlsGate& gate_;
  std::unique_ptr<TlsStream> stream_;
  std::unique_ptr<ByteStream> refused_;  // what is below, once the handshake has failed
  std::shared_ptr<std::atomic<std::uint32_t>> at_once_;
  const MonotonicTime began_;
  std::size_t read_away_ = 0;
  bool over_ = false;
  Timer timer_;
};

TlsGate::TlsGate(WorkerContext& worker, std::string_view listener, Log& log, Owner& owner)
    : worker_(worker),
      listener_(listener),
      log_(log),
      owner_(owner),
      open_(worker.metrics.gauge(kOpen, {listener_})),
      duration_(worker.metrics.histogram(kDuration, {listener_})) {}

TlsGate::~TlsGate() { close_all(); }

void TlsGate::admit(std::unique_ptr<ByteStream> stream, const std::shared_ptr<std::atomic<std::uint32_t>>& at_once) {
  if (at_once->fetch_add(1, std::memory_order_relaxed) >= rules_.at_once) {
    at_once->fetch_sub(1, std::memory_order_relaxed);
    failed(TlsReason::limit, stream->peer_address().text(), "too many handshakes at once");
    return owner_.on_insecure();
  }
  auto secured = std::make_unique<TlsStream>(worker_.loop, worker_.buffers, rules_.context, std::move(stream));
  auto made = std::make_unique<Handshake>(*this, std::move(secured), at_once);
  handshakes_.push_back(*made);
  made.release()->begin(rules_.timeout);  // it buries itself
}

void TlsGate::close_all() {
  while (Handshake* one = handshakes_.first()) one->end();
}

void TlsGate::succeeded(const TlsInfo& info, Duration took) {
  auto found = succeeded_.find({info.version, info.resumed});
  if (found == succeeded_.end()) {
    const Counter counter = worker_.metrics.counter(kHandshakes, {listener_, info.version, info.resumed ? "true" : "false"});
    found = succeeded_.emplace(std::pair(info.version, info.resumed), counter).first;
  }
  found->second.add();
  duration_.observe(took);
}

void TlsGate::failed(TlsReason reason, std::string_view client, std::string_view text) {
  auto found = failed_.find(reason);
  if (found == failed_.end()) found = failed_.emplace(reason, worker_.metrics.counter(kFailures, {listener_, to_word(reason)})).first;
  found->second.add();
  // Who only looks whether the port is open says nothing.
  const LogLevel level = reason == TlsReason::closed ? LogLevel::debug : LogLevel::warning;
  log_.write(level, "a client's TLS handshake failed",
             {{"listener", listener_}, {"client", client}, {"reason", to_word(reason)}, {"error", text}});
}

}  // namespace weir
