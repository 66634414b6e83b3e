// Several real worker threads on one service while main reloads it: for ThreadSanitizer, and for limits that hold across threads.
// Connections are played without sockets: each connects, and answers, on a later turn of its loop.
#include <catch2/catch.hpp>

#include <atomic>
#include <thread>

#include "proxy/metrics/metrics.h"
#include "proxy/runtime/libevent_loop.h"
#include "proxy/upstream/worker_services.h"

using namespace weir;

namespace {

struct Count {
  void up() {
    const int mine = now.fetch_add(1) + 1;
    int seen = most.load();
    while (mine > seen && !most.compare_exchange_weak(seen, mine)) {
    }
  }
  void down() { now.fetch_sub(1); }
  std::atomic<int> now{0};
  std::atomic<int> most{0};
};
Count connections;

class LocalStream final : public ByteStream {
 public:
  LocalStream(EventLoop& loop, const Address& to, ByteStreamHandler& handler)
      : to_(to), handler_(handler), connected_(loop, Callback::to<&LocalStream::connected>(this)) {
    connections.up();
    connected_.arm(Duration(0));
  }
  ~LocalStream() override { connections.down(); }
  void set_handler(ByteStreamHandler*) override {}
  void want_read(bool) override {}
  void want_write(bool) override {}
  IoResult read(std::span<std::uint8_t>) override { return {}; }
  IoResult write(std::span<const iovec>) override { return {}; }
  void shutdown_write() override {}
  void reset() override {}
  const Address& local_address() const override { return to_; }
  const Address& peer_address() const override { return to_; }

 private:
  void connected() { handler_.on_connected(0); }
  Address to_;
  ByteStreamHandler& handler_;
  Timer connected_;
};

class LocalConnector final : public Connector {
 public:
  explicit LocalConnector(EventLoop& loop) : loop_(loop) {}
  std::unique_ptr<ByteStream> connect(const Address& to, ByteStreamHandler& handler) override {
    return std::make_unique<LocalStream>(loop_, to, handler);
  }

 private:
  EventLoop& loop_;
};

class AutoClient final : public ClientConnection, private ClientStream {
 public:
  AutoClient(WorkerContext& worker, std::unique_ptr<ByteStream> stream, ClientConnectionHandler& owner)
      : worker_(worker), stream_(std::move(stream)), owner_(owner), answer_(worker.loop, Callback::to<&AutoClient::answer>(this)) {}
  ClientStreamPtr open(Arena& arena, const RequestHead&, std::span<const HeaderField>, BodyPipe::Reader,
                       ClientStreamHandler& handler) override {
    ++opened_;
    arena_ = &arena;
    handler_ = &handler;
    fails_ = worker_.random.chance(0.1);
    answer_.arm(Duration(0));
    return ClientStreamPtr(this);
  }
  bool available() const override { return handler_ == nullptr && !closed_; }
  bool idle() const override { return handler_ == nullptr; }
  std::uint64_t streams_opened() const override { return opened_; }
  void close_when_idle() override {}

 private:
  void drop() noexcept override { handler_ = nullptr; }
  bool response_started() const override { return false; }
  void answer() {
    if (handler_ != nullptr && fails_) {
      closed_ = true;
      ClientFailure failure;
      failure.anything_sent = true;
      handler_->on_failure(failure);
      return owner_.on_closed();
    }
    if (handler_ != nullptr) {
      ResponseHead head(*arena_);
      head.status = 200;
      handler_->on_response(head, {});
    }
    if (handler_ != nullptr) handler_->on_end(nullptr);
    handler_ = nullptr;
    owner_.on_available();
  }

  WorkerContext& worker_;
  std::unique_ptr<ByteStream> stream_;
  ClientConnectionHandler& owner_;
  ClientStreamHandler* handler_ = nullptr;
  Arena* arena_ = nullptr;
  std::uint64_t opened_ = 0;
  bool fails_ = false;
  bool closed_ = false;
  Timer answer_;
};

std::unique_ptr<ClientConnection> make_auto(WorkerContext& worker, std::unique_ptr<ByteStream> stream, ClientConnectionHandler& owner,
                                            const ClientConnectionOptions&) {
  return std::make_unique<AutoClient>(worker, std::move(stream), owner);
}

class NoNames final : public NameResolver {
 public:
  std::unique_ptr<NameLookup> lookup(const std::string&, std::uint16_t, AddressFamilies, NameHandler&) override { return nullptr; }
  std::unique_ptr<NameLookup> lookup_srv(const std::string&, SrvHandler&) override { return nullptr; }
};

// Keeps one request in progress until so many are done, and drops some halfway.
class Client final : private Caller {
 public:
  Client(WorkerContext& worker, Link& link, int count, std::atomic<int>& left)
      : worker_(worker), link_(link), count_(count), left_(left), next_(worker.loop, Callback::to<&Client::next>(this)) {
    next_.arm(Duration(0));
  }
  int odd = 0;  // neither answered nor failed as the script says

 private:
  void next() {
    call_.reset();
    if (count_-- == 0) {
      if (--left_ == 0) worker_.loop.stop();
      return;
    }
    Arena& arena = worker_.arenas.open();
    auto* head = arena.make<RequestHead>(arena);
    auto* exchange = arena.make<ExchangeContext>(worker_, arena, *head);
    Request request;
    request.exchange = exchange;
    request.head = head;
    call_ = link_.start(std::move(request), *this);
    arena.release();
    if (worker_.random.chance(0.1)) next_.arm(Duration(0));
  }
  void on_informational(const ResponseHead&) override {}
  void on_response(Response&&) override {}
  void on_end(const End& end) override {
    if (!end.clean()) ++odd;
    next_.arm(Duration(0));
  }
  void on_failure(const Failure& failure) override {
    if (failure.kind != FailureKind::reset) ++odd;
    next_.arm(Duration(0));
  }

  WorkerContext& worker_;
  Link& link_;
  int count_;
  std::atomic<int>& left_;
  CallPtr call_;
  Timer next_;
};

}  // namespace

TEST_CASE("worker threads share a service's limits exactly while it is reloaded") {
  constexpr std::uint32_t kWorkers = 3;
  constexpr int kLimit = 5;
  connections.most = 0;
  const auto main_loop = make_libevent_loop();
  MetricsRegistry registry;
  NoNames names;
  ServiceDirectory directory(*main_loop, names, 5);
  ServiceConfig config;
  config.outlier_detection.causes = *Causes::parse_word("reset");
  config.outlier_detection.failure_ratio = Ratio::percent(8);  // what the clients' failures come near
  config.outlier_detection.min_calls = 5;
  config.outlier_detection.latency.emplace();
  config.limits.connections = kLimit;
  config.pending_timeout = 60s;
  for (const char* address : {"127.0.0.1:9001", "127.0.0.1:9002"}) {
    EndpointConfig endpoint;
    endpoint.address = *Address::parse(address);
    config.endpoints.push_back(endpoint);
  }
  directory.apply({{"s", config}}, {});

  std::atomic<int> running{kWorkers};
  std::atomic<int> odd{0};
  std::vector<std::thread> threads;
  for (std::uint32_t index = 0; index < kWorkers; ++index) {
    threads.emplace_back([&, index] {
      const auto loop = make_libevent_loop();
      BufferPool buffers;
      ArenaPool arenas;
      Random random(index + 1);
      WorkerContext worker{*loop, buffers, arenas, random, registry.shard(index), index};
      LocalConnector connector(*loop);
      {
        WorkerServices services(worker, connector, directory, &make_auto);
        std::atomic<int> left{8};
        std::vector<std::unique_ptr<Client>> clients;
        for (int i = 0; i < 8; ++i) clients.push_back(std::make_unique<Client>(worker, services.link("s"), 12, left));
        loop->run();
        for (const auto& client : clients) odd += client->odd;
      }
      --running;
    });
  }
  for (int round = 0; running > 0 && round < 300; ++round) {
    config.limits.connections = round % 2 == 0 ? kLimit : 3;
    config.connect_timeout = std::chrono::seconds(1 + round % 5);
    config.outlier_detection.mode = round % 3 == 0 ? FilterMode::shadow : FilterMode::enforce;
    directory.apply({{"s", config}}, {});
    static_cast<void>(directory.status());
    static_cast<void>(directory.find("s")->sweep(main_loop->now()));
    std::this_thread::yield();
  }
  for (std::thread& thread : threads) thread.join();

  CHECK(odd == 0);
  CHECK(connections.most <= kLimit);
  CHECK(connections.now == 0);
  const ServiceStatus status = directory.status()[0];
  CHECK(status.connections.used == 0);
  CHECK(status.pending.used == 0);
  CHECK(status.requests.used == 0);
  for (const EndpointStatus& endpoint : status.endpoints) CHECK(endpoint.active == 0);
}
