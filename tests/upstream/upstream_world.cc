#include "tests/upstream/upstream_world.h"

#include <catch2/catch.hpp>

#include <algorithm>

#include "tests/support/allocation_count.h"

namespace weir::test {
namespace {

UpstreamWorld* the_world = nullptr;  // make_fake is a plain function: the one world of the running test

std::unique_ptr<ClientConnection> make_fake(WorkerContext& worker, std::unique_ptr<ByteStream> stream, ClientConnectionHandler& handler,
                                            const ClientConnectionOptions&) {
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
  Lookup(FakeResolver& owner_, std::string host_, NameHandler* handler_, SrvHandler* srv_)
      : owner(owner_), host(std::move(host_)), handler(handler_), srv(srv_) {
    owner.waiting_.push_back(this);
  }
  ~Lookup() override {
    auto& all = owner.waiting_;
    all.erase(std::remove(all.begin(), all.end(), this), all.end());
  }
  FakeResolver& owner;
  std::string host;
  NameHandler* handler;
  SrvHandler* srv;
};

std::unique_ptr<NameLookup> FakeResolver::lookup(const std::string& host, std::uint16_t port, AddressFamilies wanted,
                                                 NameHandler& handler) {
  ++asked;
  last = host + ":" + std::to_string(port);
  families = wanted;
  return std::make_unique<Lookup>(*this, host, &handler, nullptr);
}

std::unique_ptr<NameLookup> FakeResolver::lookup_srv(const std::string& name, SrvHandler& handler) {
  ++asked;
  last = name;
  return std::make_unique<Lookup>(*this, name, nullptr, &handler);
}

void FakeResolver::run(std::function<void()> task) {
  loop_.post(std::move(task));
  static_cast<SimLoop&>(loop_).run_ready();
}

std::vector<FakeResolver::Lookup*> FakeResolver::take(const std::string& host) {
  std::vector<Lookup*> taken;
  const auto wanted = [&](const Lookup* one) { return host.empty() ? one->handler != nullptr : one->host == host; };
  std::copy_if(waiting_.begin(), waiting_.end(), std::back_inserter(taken), wanted);
  waiting_.erase(std::remove_if(waiting_.begin(), waiting_.end(), wanted), waiting_.end());
  return taken;
}

void FakeResolver::tell(const std::vector<Lookup*>& lookups, const std::vector<NameAnswer>& answers) {
  for (const NameAnswer& answer : answers) {
    for (Lookup* lookup : lookups) {
      run([lookup, answer] { lookup->handler->on_name(answer); });
    }
  }
}

void FakeResolver::answer(const std::vector<std::string>& addresses, Duration ttl, const std::string& host) {
  std::vector<NameAnswer> answers(2);
  answers[1].family = Address::Family::ipv6;
  for (const std::string& text : addresses) {
    const Address address = *Address::parse(text);
    answers[address.family() == Address::Family::ipv6 ? 1 : 0].addresses.push_back(address);
  }
  for (NameAnswer& answer : answers) {
    answer.outcome = answer.addresses.empty() ? LookupOutcome::absent : LookupOutcome::found;
    answer.ttl = ttl;
  }
  tell(take(host), answers);
}

void FakeResolver::answer_family(NameAnswer answer) { tell(waiting_, {std::move(answer)}); }

void FakeResolver::fail(const std::string& error) {
  for (Lookup* lookup : std::exchange(waiting_, {})) {
    if (lookup->srv != nullptr) {
      SrvAnswer answer;
      answer.error = error;
      run([lookup, answer] { lookup->srv->on_srv(answer); });
    } else {
      std::vector<NameAnswer> answers(2);
      answers[1].family = Address::Family::ipv6;
      for (NameAnswer& answer : answers) answer.error = error;
      tell({lookup}, answers);
    }
  }
}

void FakeResolver::answer_srv(const std::vector<SrvTarget>& targets, Duration ttl) {
  SrvAnswer answer;
  answer.outcome = targets.empty() ? LookupOutcome::absent : LookupOutcome::found;
  answer.targets = targets;
  answer.ttl = ttl;
  const auto is_srv = [](const Lookup* one) { return one->srv != nullptr; };
  const auto found = std::find_if(waiting_.begin(), waiting_.end(), is_srv);
  REQUIRE(found != waiting_.end());
  Lookup* lookup = *found;
  waiting_.erase(found);
  run([lookup, answer] { lookup->srv->on_srv(answer); });
}

std::size_t FakeResolver::waiting(const std::string& host) const {
  return static_cast<std::size_t>(
      std::count_if(waiting_.begin(), waiting_.end(), [&](const Lookup* one) { return host.empty() || one->host == host; }));
}

// ---- worlds ----

Worker::Worker(SimLoop& loop_, MetricsRegistry& registry, std::uint32_t index, SimNet& net, ServiceDirectory& directory,
               const ClientMakers& makers)
    : loop(loop_),
      random(100 + index),
      context{loop, buffers, arenas, random, registry.shard(index), index},
      services(std::make_unique<WorkerServices>(context, net.connector(loop), directory, makers)) {}

UpstreamWorld::UpstreamWorld(std::size_t count, Codecs codecs)
    : main(world.add_loop()), net(main), resolver(main), directory(main, resolver, 11, {&net, &registry.shard(count), nullptr}) {
  the_world = this;
  for (std::size_t i = 0; i < count; ++i) {
    workers.push_back(std::make_unique<Worker>(world.add_loop(), registry, static_cast<std::uint32_t>(i), net, directory,
                                               codecs == Codecs::real ? ClientMakers() : ClientMakers(&make_fake)));
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
    } else if (text.rfind("srv:", 0) == 0) {
      endpoint.kind = EndpointConfig::Kind::srv;
      endpoint.dns_host = text.substr(4);
    } else if (text.rfind("file:", 0) == 0) {
      endpoint.kind = EndpointConfig::Kind::file;
      endpoint.path = text.substr(5);
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
    if (!options.tried.empty()) {
      auto* tried = arena_.make<TriedEndpoints>();
      for (const std::uint32_t id : options.tried) tried->add(id);
      request.pick.tried = tried;
    }
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
