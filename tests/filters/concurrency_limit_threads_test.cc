// The limit under real threads and real loops: what the thread sanitizer watches.
#include <catch2/catch.hpp>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "filters/concurrency_limit/concurrency_limit_filter.h"
#include "proxy/metrics/metrics.h"
#include "proxy/runtime/libevent_loop.h"

namespace weir {
namespace {

constexpr int kLimit = 10;
constexpr int kThreads = 4;
constexpr int kClients = 8;  // each thread
constexpr int kCallsEach = 50;

// The upstream that all workers share: counts who is inside.
struct Upstream {
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  std::atomic<int> calls{0};

  void enter() {
    const int now_inside = inside.fetch_add(1) + 1;
    int seen = most.load();
    while (now_inside > seen && !most.compare_exchange_weak(seen, now_inside)) {
    }
    calls.fetch_add(1);
  }
  void leave() { inside.fetch_sub(1); }
};

class UpstreamCall final : public Call {
 public:
  UpstreamCall(ExchangeContext& exchange, Caller& caller, Upstream& upstream)
      : Call(exchange, caller), upstream_(upstream), timer_(exchange.loop(), Callback::to<&UpstreamCall::on_timer>(this)) {
    upstream_.enter();
    timer_.arm(Duration{static_cast<std::int64_t>(exchange.worker.random.below(1'000'000))});
  }

 private:
  void silence() noexcept override {
    timer_.disarm();
    leave();
  }
  void leave() {
    if (inside_) upstream_.leave();
    inside_ = false;
  }
  void on_timer() {
    if (!answered_) {
      answered_ = true;
      timer_.arm(Duration{0});
      tell_response(Response{});
      return;
    }
    leave();
    tell_end(End{});
  }

  Upstream& upstream_;
  Timer timer_;
  bool inside_ = true;
  bool answered_ = false;
};

class UpstreamLink final : public Link {
 public:
  explicit UpstreamLink(Upstream& upstream) : upstream_(upstream) {}
  CallPtr start(Request&& request, Caller& caller) override {
    return CallPtr(make_call<UpstreamCall>(*request.exchange, caller, upstream_));
  }

 private:
  Upstream& upstream_;
};

class Worker;

// Calls again and again; now and then it gives up first.
class Client final : private Caller {
 public:
  explicit Client(Worker& worker);
  ~Client() { end_call(); }
  void begin();

 private:
  void on_informational(const ResponseHead&) override {}
  void on_response(Response&&) override {}
  void on_end(const End&) override { again_.schedule(); }
  void on_failure(const Failure&) override { again_.schedule(); }
  void on_impatient() { next(); }
  void next();
  void end_call();

  Worker& worker_;
  Deferred again_;
  Timer impatience_;
  Arena* arena_ = nullptr;
  RequestHead* head_ = nullptr;
  ExchangeContext* exchange_ = nullptr;
  CallPtr call_;
  int left_ = kCallsEach;
};

class Worker {
 public:
  Worker(const ConcurrencyLimitConfig& config, std::shared_ptr<FilterState> state, Upstream& upstream, std::uint32_t index)
      : loop(make_libevent_loop()),
        random(index + 1),
        context{*loop, buffers, arenas, random, registry.shard(0), index},
        identity{"service", "policy", "limit", "concurrency_limit", "", {}, false},
        decisions(identity, &context.metrics),
        state_(std::move(state)),
        innermost_(upstream) {
    const LinkContext build{context, identity, spec_, decisions, false, state_.get(), nullptr, nullptr};
    link = concurrency_limit_filter().build(&config, build, innermost_);
  }

  void run() {
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < kClients; ++i) clients.push_back(std::make_unique<Client>(*this));
    for (const auto& client : clients) client->begin();
    running = kClients;
    loop->run();
    clients.clear();
  }
  void finished() {
    if (--running == 0) loop->stop();
  }

  std::unique_ptr<RealLoop> loop;
  BufferPool buffers;
  ArenaPool arenas;
  Random random;
  MetricsRegistry registry;
  WorkerContext context;
  LinkIdentity identity;
  Decisions decisions;
  std::unique_ptr<Link> link;
  int running = 0;

 private:
  FilterSpec spec_;
  std::shared_ptr<FilterState> state_;
  UpstreamLink innermost_;
};

Client::Client(Worker& worker)
    : worker_(worker),
      again_(*worker.loop, Callback::to<&Client::next>(this)),
      impatience_(*worker.loop, Callback::to<&Client::on_impatient>(this)) {}

void Client::end_call() {
  if (arena_ == nullptr) return;
  impatience_.disarm();
  call_.reset();
  std::exchange(arena_, nullptr)->release();
}

void Client::next() {
  end_call();
  if (--left_ == 0) {
    worker_.finished();
    return;
  }
  begin();
}

void Client::begin() {
  arena_ = &worker_.arenas.open();
  head_ = arena_->make<RequestHead>(*arena_);
  exchange_ = arena_->make<ExchangeContext>(worker_.context, *arena_, *head_);
  Request request;
  request.exchange = exchange_;
  request.head = head_;
  if (worker_.random.chance(0.2)) impatience_.arm(Duration{static_cast<std::int64_t>(worker_.random.below(2'000'000))});
  call_ = worker_.link->start(std::move(request), *this);
}

}  // namespace

TEST_CASE("a limit of ten never lets an eleventh through, on four threads") {
  ConcurrencyLimitConfig config;
  config.limit = kLimit;
  config.queue = QueueConfig{24, 50ms, QueueConfig::Order::fifo};
  const std::shared_ptr<FilterState> state = concurrency_limit_filter().make_state(&config, nullptr, 1);
  Upstream upstream;
  std::vector<std::unique_ptr<Worker>> workers;
  for (std::uint32_t i = 0; i < kThreads; ++i) workers.push_back(std::make_unique<Worker>(config, state, upstream, i));
  std::vector<std::thread> threads;
  for (const auto& worker : workers) threads.emplace_back([&worker] { worker->run(); });
  for (std::thread& thread : threads) thread.join();

  CHECK(upstream.most.load() == kLimit);
  CHECK(upstream.inside.load() == 0);
  CHECK(upstream.calls.load() > kThreads * kClients * kCallsEach / 2);
  std::vector<StateFact> facts;
  state->describe(MonotonicTime{}, facts);
  for (const StateFact& fact : facts) {
    if (fact.name == "in_flight" || fact.name == "queue_length") CHECK(fact.value == 0);
    if (fact.name == "queue_grants_total") CHECK(fact.value > 0);
  }
}

}  // namespace weir
