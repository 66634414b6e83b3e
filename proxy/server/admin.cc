#include "proxy/server/admin.h"

#include "proxy/base/intrusive_list.h"
#include "proxy/base/text.h"

namespace weir {

namespace {

constexpr unsigned kSocketMode = 0600;

class AdminConnection;

}  // namespace

// One address and its connections.
class AdminListener final : public AcceptHandler {
 public:
  AdminListener(WorkerContext& context, AdminPages& pages, std::unique_ptr<SharedListener> socket, bool changes);
  ~AdminListener();
  const Address& address() const { return address_; }

  void start() { acceptor_ = socket_->accept_on(context_.loop, *this); }
  void on_accept(std::unique_ptr<ByteStream> stream) override;
  void leave();  // closes the socket, and each connection once it is answered

  WorkerContext& context_;
  AdminPages& pages_;
  const bool changes_;
  std::uint32_t connections_ = 0;

 private:
  const Address address_;
  std::unique_ptr<SharedListener> socket_;
  std::unique_ptr<Acceptor> acceptor_;
  IntrusiveList<AdminConnection> list_;
};

namespace {

// One request and its answer at a time, which is all that HTTP/1 asks for.
class AdminConnection final : public ListNode, private Buried, private ServerConnectionHandler, private ServerStreamHandler {
 public:
  AdminConnection(AdminListener& listener, std::unique_ptr<ByteStream> stream, const ServerConnectionOptions& options)
      : listener_(listener), codec_(make_h1_server(listener.context_, std::move(stream), *this, options)) {
    ++listener_.connections_;
  }
  ~AdminConnection() override = default;

  void start() { codec_->start(); }
  void drain() { codec_->drain(); }
  void close() {
    if (closed_) return;
    closed_ = true;
    drop_pending();
    unlink();
    --listener_.connections_;
    listener_.context_.loop.bury(*this);
  }

 private:
  void free_buried() noexcept override { delete this; }
  void on_closed() override { close(); }
  void on_stream_error(StreamError, int) override { drop_pending(); }
  void on_response_sent() override {}

  void on_request(ServerStream& stream, Arena& arena, RequestHead& head, BodyPipe::Reader body) override {
    stream.set_handler(this);
    body.drop();  // no order has one
    AdminRequest request;
    request.method = head.method_text;
    request.target = head.target;
    request.authority = head.authority;
    request.accept = head.headers.value("accept");
    request.has_origin = head.headers.find("origin") != nullptr;
    request.changes = listener_.changes_;
    request.over_unix = listener_.address().family() == Address::Family::unix_path;
    pending_ = std::make_shared<Pending>(Pending{*this, stream, arena, head.method == Method::head});
    request.later = [pending = std::weak_ptr<Pending>(pending_)](const AdminAnswer& answer) {
      if (const auto waits = pending.lock()) waits->connection.give(answer);
    };
    const AdminAnswer answer = listener_.pages_.answer(request);
    if (!answer.comes_later) give(answer);
  }

  void on_bad_request(ServerStream& stream, Arena& arena, const BadMessage& bad) override {
    stream.set_handler(this);
    send(stream, arena, {bad.status, "text/plain; charset=utf-8", concat(bad.rule, "\n"), {}}, false);
  }

  void give(const AdminAnswer& answer) {
    const std::shared_ptr<Pending> pending = std::move(pending_);
    send(pending->stream, pending->arena, answer, pending->to_head);
  }
  void drop_pending() {
    if (pending_ != nullptr) std::exchange(pending_, nullptr)->arena.release();
  }

  // Gives the arena back: what is sent holds it as long as it needs it.
  void send(ServerStream& stream, Arena& arena, const AdminAnswer& answer, bool to_head) {
    ResponseHead head(arena);
    head.status = answer.status;
    head.has_body = !to_head && !answer.body.empty();
    head.content_length = static_cast<std::int64_t>(answer.body.size());
    head.headers.add_view("content-type", answer.content_type, HeaderId::content_type);
    head.headers.add_view("cache-control", "no-store");
    head.headers.add_view("x-content-type-options", "nosniff");
    if (!answer.allow.empty()) head.headers.add_view("allow", answer.allow);
    BodyPipe::Reader body;
    if (head.has_body) {
      BodyPipe::Ends ends = BodyPipe::make(arena, listener_.context_.loop, listener_.context_.buffers);
      ends.writer.write(as_bytes(answer.body));
      ends.writer.finish();
      body = std::move(ends.reader);
    }
    stream.send_response(head, std::move(body));
    arena.release();
  }

  struct Pending {  // a request that is not answered yet
    AdminConnection& connection;
    ServerStream& stream;
    Arena& arena;
    bool to_head;
  };

  AdminListener& listener_;
  std::unique_ptr<ServerConnection> codec_;
  std::shared_ptr<Pending> pending_;
  bool closed_ = false;
};

}  // namespace

AdminListener::AdminListener(WorkerContext& context, AdminPages& pages, std::unique_ptr<SharedListener> socket, bool changes)
    : context_(context), pages_(pages), changes_(changes), address_(socket->address()), socket_(std::move(socket)) {}

AdminListener::~AdminListener() {
  while (AdminConnection* one = list_.first()) one->close();
}

void AdminListener::leave() {
  acceptor_.reset();
  socket_.reset();
  AdminConnection* next = nullptr;
  for (AdminConnection* one = list_.first(); one != nullptr; one = next) {
    next = list_.next(*one);  // an idle one closes at once, and leaves the list
    one->drain();
  }
}

void AdminListener::on_accept(std::unique_ptr<ByteStream> stream) {
  if (connections_ >= AdminServer::kMaxConnections) return;
  ServerConnectionOptions options;
  options.limits.idle = std::chrono::minutes(2);
  auto connection = std::make_unique<AdminConnection>(*this, std::move(stream), options);
  list_.push_back(*connection);
  connection.release()->start();  // it buries itself when it is closed
}

AdminServer::AdminServer(Platform& platform, MetricsRegistry& metrics, Server& server)
    : platform_(platform),
      pages_(server),
      random_(platform.seed()),
      context_{platform.main_loop(), buffers_, arenas_, random_, metrics.shard(0), 0},
      sweep_(platform.main_loop(), Callback::to<&AdminServer::sweep>(this)) {}

AdminServer::~AdminServer() {
  for (Slot& slot : slots_) slot.listener.reset();
  leaving_.clear();
  for (std::optional<Slot>& slot : next_) slot.reset();
  platform_.main_loop().settle();
}

Result<AdminServer::Slot> AdminServer::open(const std::optional<Address>& at, bool changes, Slot& present) {
  Slot slot;
  if (!at) return slot;
  slot.wanted = std::string(at->text());
  if (slot.wanted == present.wanted) return slot;  // commit() moves the listener over
  const bool is_unix = at->family() == Address::Family::unix_path;
  if (changes && !is_unix && !at->is_loopback()) {
    return Error{concat("admin.listen: ", at->text(), " is neither a unix socket nor a loopback address"), 0};
  }
  const ListenRequest request{changes ? "admin" : "admin-read-only", *at, changes && is_unix ? kSocketMode : 0};
  Result<std::unique_ptr<SharedListener>> socket = platform_.listen(request);
  if (!socket) {
    return Error{concat(changes ? "admin.listen: " : "admin.read_only_listen: ", socket.error().message), socket.error().code};
  }
  slot.listener = std::make_unique<AdminListener>(context_, pages_, std::move(socket).value(), changes);
  return slot;
}

Result<void> AdminServer::prepare(const AdminConfig& config) {
  for (std::optional<Slot>& slot : next_) slot.reset();
  const std::optional<Address>* wanted[2] = {&config.read_only_listen, &config.listen};
  for (int i = 0; i < 2; ++i) {
    Result<Slot> slot = open(*wanted[i], i == 1, slots_[i]);
    if (!slot) return slot.error();
    next_[i] = std::move(slot).value();
  }
  return {};
}

void AdminServer::commit() {
  for (int i = 0; i < 2; ++i) {
    CHECK(next_[i].has_value());
    const bool stays = !next_[i]->wanted.empty() && next_[i]->wanted == slots_[i].wanted;
    if (!stays) {
      Slot old = std::exchange(slots_[i], std::move(*next_[i]));
      if (old.listener != nullptr) {
        old.listener->leave();
        leaving_.push_back(std::move(old.listener));
        sweep_.arm(kSweep);
      }
      if (slots_[i].listener != nullptr) slots_[i].listener->start();
    }
    next_[i].reset();
  }
}

void AdminServer::sweep() {
  std::erase_if(leaving_, [](const auto& one) { return one->connections_ == 0; });
  if (!leaving_.empty()) sweep_.arm(kSweep);
}

std::optional<Address> AdminServer::address(bool changes) const {
  const Slot& slot = slots_[changes ? 1 : 0];
  if (slot.listener == nullptr) return std::nullopt;
  return slot.listener->address();
}

}  // namespace weir
