#include "proxy/cli/demo_load.h"

#include <cmath>

namespace weir::demo {
namespace {

std::size_t latency_slot(Duration d) {
  const double steps = std::log2(std::max(seconds(d) / 1e-4, 1.0)) * 2;
  return std::min<std::size_t>(static_cast<std::size_t>(steps), 39);
}

}  // namespace

// One connection to the proxy and the request on it.
class Load::Client final : public Buried,
                           public ListNode,
                           private ByteStreamHandler,
                           private ClientConnectionHandler,
                           private ClientStreamHandler,
                           private BodySink {
 public:
  explicit Client(Load& load) : load_(load) { stream_ = load.connector_.connect(load.target_, *this); }
  ~Client() override { let_go(); }

  void send() {
    started_ = load_.worker_.loop.now();
    status_ = 0;
    by_weir_ = false;
    if (codec_ == nullptr) return;  // on_connected sends
    Arena& arena = load_.worker_.arenas.open();
    hold_ = ArenaHold(arena);
    arena.release();
    auto* head = arena.make<RequestHead>(arena);
    head->method = Method::get;
    head->method_text = "GET";
    head->scheme = "http";
    head->authority = "demo.local";
    head->target = "/hello";
    request_ = codec_->open(arena, *head, {}, BodyPipe::Reader(), *this);
  }
  void bury_now() {
    unlink();
    load_.worker_.loop.bury(*this);
  }

 private:
  void on_readable() override {}
  void on_writable() override {}
  void on_connected(int error) override {
    if (error != 0) return finish(0, true);
    codec_ = make_h1_client(load_.worker_, std::move(stream_), *this, {});
    send();
  }
  void on_available() override {
    if (ended_) load_.done(*this);
    ended_ = false;
  }
  void on_closed() override {
    broken_ = true;
    if (!request_) bury_and_forget();
  }
  void on_informational(const ResponseHead&) override {}
  void on_response(ResponseHead& head, BodyPipe::Reader body) override {
    status_ = head.status;
    by_weir_ = head.headers.has(HeaderId::proxy_status);
    body_ = std::move(body);
    if (body_) body_.set_sink(this);
  }
  std::size_t on_body(ByteView bytes) override { return bytes.size(); }
  void on_body_end(const Headers*) override {}
  void on_body_abort(BodyAbort) override {}
  void on_end(const Headers*) override { finish(status_, false); }
  void on_failure(const ClientFailure&) override { finish(0, true); }

  void finish(int status, bool broken) {
    const Duration took = load_.worker_.loop.now() - started_;
    auto& counts = load_.counts_;
    if (status >= 200 && status < 400) {
      counts.ok.fetch_add(1, std::memory_order_relaxed);
    } else if (by_weir_ && (status == 429 || status == 503)) {
      counts.rejected.fetch_add(1, std::memory_order_relaxed);
    } else {
      counts.failed.fetch_add(1, std::memory_order_relaxed);
    }
    counts.latency[latency_slot(took)].fetch_add(1, std::memory_order_relaxed);
    let_go();
    if (broken || broken_) return bury_and_forget();
    if (codec_->available()) return load_.done(*this);
    ended_ = true;  // the codec will say when it can take another
  }
  void let_go() {
    request_.reset();
    body_ = BodyPipe::Reader();
    hold_.reset();
  }
  void bury_and_forget() {
    if (buried_) return;
    buried_ = true;
    --load_.clients_;
    bury_now();
  }
  void free_buried() noexcept override { delete this; }

  Load& load_;
  std::unique_ptr<ByteStream> stream_;
  std::unique_ptr<ClientConnection> codec_;
  ArenaHold hold_;
  ClientStreamPtr request_;
  BodyPipe::Reader body_;
  MonotonicTime started_{};
  int status_ = 0;
  bool by_weir_ = false;
  bool ended_ = false;
  bool broken_ = false;
  bool buried_ = false;
};

Load::Load(LoopThread& thread, const Address& target, LoadCounts& counts)
    : worker_(thread.worker()),
      connector_(worker_.loop),
      target_(target),
      counts_(counts),
      tick_(worker_.loop, Callback::to<&Load::on_tick>(this)) {}

Load::~Load() {
  tick_.disarm();
  while (Client* client = idle_.pop_front()) delete client;
  while (Client* client = busy_.pop_front()) delete client;
  worker_.loop.settle();
}

void Load::start(std::uint32_t per_second) {
  interval_ = Duration(std::chrono::seconds(1)) / per_second;
  tick_.arm(Duration::zero());
}

void Load::done(Client& client) {
  client.unlink();
  idle_.push_front(client);
}

void Load::on_tick() {
  const MonotonicTime now = worker_.loop.now();
  if (next_ == MonotonicTime{}) next_ = now;
  for (; next_ <= now; next_ += interval_) {
    Client* client = idle_.pop_front();
    if (client == nullptr && clients_ == kConnections) {
      counts_.missed.fetch_add(1, std::memory_order_relaxed);
      continue;
    }
    if (client == nullptr) {
      ++clients_;
      client = new Client(*this);
    }
    busy_.push_back(*client);
    counts_.sent.fetch_add(1, std::memory_order_relaxed);
    client->send();
  }
  tick_.arm(std::max<Duration>(next_ - now, 1ms));
}

void take_latency(LoadCounts& counts, double& p50_ms, double& p99_ms) {
  std::array<std::uint32_t, 40> taken{};
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < taken.size(); ++i) total += taken[i] = counts.latency[i].exchange(0, std::memory_order_relaxed);
  const auto quantile = [&](double share) {
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < taken.size(); ++i) {
      seen += taken[i];
      if (static_cast<double>(seen) >= share * static_cast<double>(total)) return 0.1 * std::exp2(static_cast<double>(i + 1) / 2);
    }
    return 0.0;
  };
  p50_ms = total == 0 ? 0 : quantile(0.50);
  p99_ms = total == 0 ? 0 : quantile(0.99);
}

}  // namespace weir::demo
