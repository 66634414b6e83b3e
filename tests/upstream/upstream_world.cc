#include "tests/upstream/upstream_world.h"

#include <catch2/catch.hpp>

#include <algorithm>

#include "tests/support/allocation_count.h"

namespace weir::test {
namespace {

UpstreamWorld* the_world = nullptr;  // make_fake is a plain function: the one world of the running test

std::unique_ptr<ClientConnection> make_fake(WorkerContext& worker, std::unique_ptr<ByteStream> stream,
                                            ClientConnectionHandler& handler, const ClientConnectionOptions&) {
  auto made = std::make_unique<FakeClient>(worker, std::move(stream), handler);
  the_world->workers[worker.index]->clients.push_back(made.get());
  return made;
}

}  // namespace

// ---- FakeClient ----

FakeClient::FakeClient(WorkerContext& worker, std::unique_ptr<ByteStream> stream, ClientConnectionHandler& handler)
    : worker_(worker), stream_(std::move(stream)), connection_(handler), port_(stream_->peer_address().port()) {
  stream_->set_handler(nullptr);
}

FakeClient::~FakeClient() {
  auto& all = the_world->workers[worker_.index]->clients;
  all.erase(std::find(all.begin(), all.end(), this));
}

ClientStreamPtr FakeClient::open(Arena& arena, const RequestHead&, std::span<const HeaderField> extra, BodyPipe::Reader,
                                 ClientStreamHandler& handler) {
  REQUIRE(available());
  ++opened_;
  busy_ = true;
  responded_ = false;
  handler_ = &handler;
  arena_ = &arena;
  extra_.clear();
  for (const HeaderField& field : extra) extra_ += std::string(field.name) + ": " + std::string(field.value) + "\n";
  return ClientStreamPtr(this);
}

void FakeClient::drop() noexcept { handler_ = nullptr; }

void FakeClient::respond(int status) {
  auto& loop = static_cast<SimLoop&>(worker_.loop);
  loop.post([this, status] {
    responded_ = true;
    if (handler_ == nullptr) return;
    ResponseHead head(*arena_);
    head.status = status;
    head.has_body = false;
    handler_->on_response(head, {});
  });
  loop.run_ready();
}

void FakeClient::finished() {
  busy_ = false;
  handler_ = nullptr;
  if (closing_) {
    closed_ = true;
    connection_.on_closed();
  } else {
    connection_.on_available();
  }
}

void FakeClient::end() {
  auto& loop = static_cast<SimLoop&>(worker_.loop);
  loop.post([this] {
    const std::uint64_t before = allocation_count();
    if (handler_ != nullptr) handler_->on_end(nullptr);
    finished();
    allocations = allocation_count() - before;
  });
  loop.run_ready();
}

void FakeClient::fail(ClientError error, bool anything_received) {
  auto& loop = static_cast<SimLoop&>(worker_.loop);
  loop.post([this, error, anything_received] {
    closed_ = true;
    ClientFailure failure;
    failure.error = error;
    failure.anything_sent = true;
    failure.anything_received = anything_received || responded_;
    failure.reused = opened_ > 1;
    if (handler_ != nullptr) handler_->on_failure(failure);
    busy_ = false;
    connection_.on_closed();
  });
  loop.run_ready();
}

void FakeClient::close() {
  auto& loop = static_cast<SimLoop&>(worker_.loop);
  loop.post([this] {
    closed_ = true;
    connection_.on_closed();
  });
  loop.run_ready();
}

// ---- FakeResolver ----

struct FakeResolver::Lookup final : NameLookup {
  Lookup(FakeResolver& owner_, NameHandler& handler_) : owner(owner_), handler(handler_) { owner.waiting_.push_back(this); }
  ~Lookup() override {
    auto& all = owner.waiting_;
    all.erase(std::remove(all.begin(), all.end(), this), all.end());
  }
  FakeResolver& owner;
  NameHandler& handler;
};

std::unique_ptr<NameLookup> FakeResolver::lookup(const std::string& host, std::uint16_t port, NameHandler& handler) {
  ++asked;
  last = host + ":" + std::to_string(port);
  return std::make_unique<Lookup>(*this, handler);
}

void FakeResolver::tell(const NameAnswer& answer) {
  loop_.post([this, answer] {
    const std::vector<Lookup*> all = std::move(waiting_);
    waiting_.clear();
    for (Lookup* lookup : all) lookup->handler.on_name(answer);
  });
  static_cast<SimLoop&>(loop_).run_ready();
}

void FakeResolver::answer(const std::vector<std::string>& addresses, Duration ttl) {
  NameAnswer answer;
  answer.ok = true;
  for (const std::string& address : addresses) answer.addresses.push_back(*Address::parse(address));
  answer.ttl = ttl;
  tell(answer);
}

void FakeResolver::fail(const std::string& error) {
  NameAnswer answer;
  answer.error = error;
  tell(answer);
}

// ---- worlds ----

Worker::Worker(SimLoop& loop_, MetricsRegistry& registry, std::uint32_t index, SimNet& net, ServiceDirectory& directory)
    : loop(loop_),
      random(100 + index),
      context{loop, buffers, arenas, random, registry.shard(index), index},
      services(std::make_unique<WorkerServices>(context, net.connector(loop), directory, &make_fake)) {}

UpstreamWorld::UpstreamWorld(std::size_t count)
    : main(world.add_loop()), net(main), resolver(main), directory(main, resolver, 11) {
  the_world = this;
  for (std::size_t i = 0; i < count; ++i) {
    workers.push_back(
        std::make_unique<Worker>(world.add_loop(), registry, static_cast<std::uint32_t>(i), net, directory));
  }
}

UpstreamWorld::~UpstreamWorld() {
  world.run_ready();  // the graveyards
  for (const auto& worker : workers) worker->services.reset();
  for (const auto& worker : workers) CHECK(worker->arenas.in_use() == 0);
  for (const ServiceStatus& service : directory.status()) {  // whatever happened, everything was given back
    CHECK(service.connections.used == 0);
    CHECK(service.pending.used == 0);
    CHECK(service.requests.used == 0);
    for (const EndpointStatus& endpoint : service.endpoints) CHECK(endpoint.active == 0);
  }
  CHECK(metric("weir_attempts_in_flight", {"s"}) == 0);
  CHECK(metric("weir_upstream_pending", {"s"}) == 0);
  CHECK(metric("weir_upstream_connections", {"s", "active"}) == 0);
  the_world = nullptr;
}

ServiceConfig UpstreamWorld::config(const std::vector<std::string>& endpoints) {
  ServiceConfig config;
  config.name = "s";
  config.balance = Balance::round_robin;
  config.outlier_detection.causes = *Causes::parse_word("connect_failure");
  for (const std::string& text : endpoints) {
    EndpointConfig endpoint;
    endpoint.text = text;
    if (text.rfind("dns:", 0) == 0) {
      const std::size_t colon = text.rfind(':');
      endpoint.kind = EndpointConfig::Kind::dns;
      endpoint.dns_host = text.substr(4, colon - 4);
      endpoint.dns_port = static_cast<std::uint16_t>(std::stoi(text.substr(colon + 1)));
    } else {
      endpoint.address = *Address::parse(text);
    }
    config.endpoints.push_back(endpoint);
  }
  return config;
}

void UpstreamWorld::apply(const ServiceConfig& config, const std::string& name) {
  directory.apply({{name, config}}, {});
  run();
}

void UpstreamWorld::listen(std::uint16_t port) {
  const Address address = *Address::parse("127.0.0.1:" + std::to_string(port));
  servers[port] = std::make_unique<SimServer>(net, main, address);
}

double UpstreamWorld::metric(const std::string& name, const std::vector<std::string>& labels) const {
  for (const auto& family : registry.collect()) {
    if (family.name != name) continue;
    for (const auto& sample : family.samples) {
      if (sample.labels == labels) return sample.value;
    }
  }
  return 0;
}

std::vector<FakeClient*> UpstreamWorld::busy(std::size_t worker) const {
  std::vector<FakeClient*> found;
  for (FakeClient* client : workers[worker]->clients) {
    if (client->busy()) found.push_back(client);
  }
  return found;
}

FakeClient& UpstreamWorld::only_busy(std::size_t worker) const {
  const auto found = busy(worker);
  REQUIRE(found.size() == 1);
  return *found[0];
}

std::size_t UpstreamWorld::open() const {
  std::size_t count = 0;
  for (const auto& [port, server] : servers) {
    for (std::size_t i = 0; i < server->accepted(); ++i) {
      SimPeer& peer = server->peer(i);
      count += peer.open() && !peer.ended() && peer.error() == 0 ? 1 : 0;
    }
  }
  return count;
}

// ---- requests ----

TestRequest::TestRequest(UpstreamWorld& world, std::size_t worker, const Options& options, const std::string& service)
    : arena_(world.workers[worker]->arenas.open()), head_(arena_.make<RequestHead>(arena_)) {
  WorkerContext& context = world.workers[worker]->context;
  head_->method = Method::get;
  head_->method_text = "GET";
  head_->target = "/";
  exchange_ = arena_.make<ExchangeContext>(context, arena_, *head_);
  // Inside a callback of the worker's loop, as in life.
  world.workers[worker]->loop.post([&, this] {
    Request request;
    request.exchange = exchange_;
    request.head = head_;
    request.attempt = options.attempt;
    request.deadline = options.deadline;
    for (const std::uint32_t id : options.tried) request.pick.tried[request.pick.tried_count++] = id;
    exchange_->started = exchange_->now();
    Link& link = world.workers[worker]->services->link(service);
    const std::uint64_t before = allocation_count();
    call_ = link.start(std::move(request), *this);
    allocations += allocation_count() - before;
    in_start_ = false;
  });
  world.run();
}

TestRequest::~TestRequest() {
  call_.reset();
  body_.drop();
  arena_.release();
}

void TestRequest::drop_for_timeout() {
  static const LinkIdentity identity;
  exchange_->add_decision(identity, "timed_out", facts(FailureKind::response_timeout).name);
  call_.reset();
}

void TestRequest::on_response(Response&& response) {
  CHECK_FALSE(in_start_);
  CHECK(status == 0);
  status = response.head->status;
  endpoint = response.endpoint;
  body_ = std::move(response.body);
}

void TestRequest::on_end(const End& end) {
  CHECK(status != 0);
  CHECK_FALSE(told());
  ended = true;
  if (end.failure != nullptr) failure = *end.failure;
}

void TestRequest::on_failure(const Failure& why) {
  CHECK_FALSE(in_start_);
  CHECK(status == 0);
  CHECK_FALSE(told());
  failed = true;
  failure = why;
}

}  // namespace weir::test
