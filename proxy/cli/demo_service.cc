#include "proxy/cli/demo_service.h"

#include "proxy/http/codec.h"

namespace weir::demo {

LoopThread::LoopThread(MetricsRegistry& metrics, std::size_t shard, std::uint64_t seed)
    : loop_(make_libevent_loop()),
      random_(seed),
      worker_{*loop_, buffers_, arenas_, random_, metrics.shard(shard), static_cast<std::uint32_t>(shard)} {}

void LoopThread::start() {
  thread_ = std::thread([this] { loop_->run(); });
}

void LoopThread::stop() {
  if (!thread_.joinable()) return;
  loop_->post([this] { loop_->stop(); });
  thread_.join();
}

// One client connection of the service (weir's pool is the client).
class Service::Connection final : public Buried, public ListNode, public ServerConnectionHandler {
 public:
  Connection(Service& service, std::unique_ptr<ByteStream> stream) : service_(service) {
    codec_ = make_h1_server(service.worker_, std::move(stream), *this, {});
    codec_->start();
  }
  void on_request(ServerStream& stream, Arena& arena, RequestHead& head, BodyPipe::Reader body) override;
  void on_bad_request(ServerStream& stream, Arena& arena, const BadMessage& bad) override;
  void on_closed() override {
    unlink();
    service_.worker_.loop.bury(*this);
  }

 private:
  friend class Service;
  void free_buried() noexcept override { delete this; }
  Service& service_;
  std::unique_ptr<ServerConnection> codec_;
};

// One answer: waits for a slot, works for a while, answers. It goes on working when the caller has left, as real services do.
class Service::Answer final : public Buried, public ListNode, public ServerStreamHandler {
 public:
  Answer(Service& service, ServerStream& stream, Arena& arena)
      : service_(service), arena_(arena), stream_(&stream), work_(service.worker_.loop, Callback::to<&Answer::on_worked>(this)) {
    stream.set_handler(this);
  }
  void wait() {
    waiting_ = true;
    service_.waiting_.push_back(*this);
  }
  void begin() {
    waiting_ = false;
    working_ = true;
    service_.busy_.push_back(*this);
    work_.arm(std::chrono::milliseconds(service_.manners_.work_ms.load(std::memory_order_relaxed)));
  }
  void answer(int status, std::string_view text) {
    if (stream_ == nullptr) return finish();
    if (!linked()) service_.busy_.push_back(*this);
    auto* head = arena_.make<ResponseHead>(arena_);
    head->status = status;
    head->content_length = static_cast<std::int64_t>(text.size());
    head->headers.add_view("content-type", "text/plain");
    auto pipe = BodyPipe::make(arena_, service_.worker_.loop, service_.worker_.buffers);
    pipe.writer.write(as_bytes(text));
    pipe.writer.finish();
    stream_->send_response(*head, std::move(pipe.reader));
  }
  void on_stream_error(StreamError, int) override {
    stream_ = nullptr;
    if (!waiting_ && !working_) finish();  // otherwise the work goes on to its end
  }
  void on_response_sent() override {
    stream_ = nullptr;
    finish();
  }

 private:
  void on_worked() {
    working_ = false;
    service_.on_work_done();
    answer(200, "hello from the demo's service\n");
  }
  void finish() {
    unlink();
    service_.worker_.loop.bury(*this);
  }
  void free_buried() noexcept override {
    Arena& arena = arena_;
    this->~Answer();
    arena.release();
  }
  Service& service_;
  Arena& arena_;
  ServerStream* stream_;
  Timer work_;
  bool waiting_ = false;
  bool working_ = false;
};

void Service::Connection::on_request(ServerStream& stream, Arena& arena, RequestHead&, BodyPipe::Reader) {
  auto* answer = arena.make<Answer>(service_, stream, arena);  // the arena is held once, for us
  if (service_.worker_.random.below(100) < service_.manners_.error_percent.load(std::memory_order_relaxed)) {
    answer->answer(503, "the demo's service is having a bad day\n");
    return;
  }
  answer->wait();
  service_.work_on_next();
}

void Service::Connection::on_bad_request(ServerStream& stream, Arena& arena, const BadMessage& bad) {
  arena.make<Answer>(service_, stream, arena)->answer(bad.status, "bad request\n");
}

Service::Service(LoopThread& thread, const ListenSocket& socket, const Manners& manners)
    : worker_(thread.worker()), manners_(manners), listener_(std::make_unique<Listener>(worker_.loop, socket, *this)) {}

Service::~Service() {
  listener_.reset();
  while (Connection* connection = connections_.pop_front()) delete connection;
  while (Answer* answer = waiting_.pop_front()) worker_.loop.bury(*answer);
  while (Answer* answer = busy_.pop_front()) worker_.loop.bury(*answer);
  worker_.loop.settle();
}

void Service::on_accept(std::unique_ptr<ByteStream> stream) { connections_.push_back(*new Connection(*this, std::move(stream))); }

void Service::work_on_next() {
  while (working_ < manners_.slots.load(std::memory_order_relaxed)) {
    Answer* next = waiting_.pop_front();
    if (next == nullptr) return;
    ++working_;
    next->begin();
  }
}

void Service::on_work_done() {
  --working_;
  work_on_next();
}

}  // namespace weir::demo
