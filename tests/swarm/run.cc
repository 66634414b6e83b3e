#include "tests/swarm/run.h"

#include <algorithm>

#include "proxy/base/text.h"
#include "proxy/net/tls_connector.h"
#include "proxy/sim/sim_pipe.h"
#include "tests/support/certificates.h"
#include "tests/swarm/actor.h"
#include "tests/swarm/checks.h"
#include "tests/swarm/swarm_upstream.h"

namespace weir::test {
namespace {

constexpr Duration kPatience = std::chrono::seconds(7);  // of clients, when all faults are over; a listener that is gone has closed by then
constexpr Duration kGoing = std::chrono::seconds(2);     // until what they leave behind has ended
constexpr Duration kRest = std::chrono::seconds(75);     // until idle connections, lingering ones and open breakers are past
constexpr Duration kQuiet = std::chrono::seconds(8);     // a drain without a request: longer than grace and lingering take
constexpr Duration kQuietHttp2 = std::chrono::seconds(18);  // ... and what is given to a head of which some has come
constexpr Duration kWatch = milliseconds(200);

Address address_of(const std::string& text) { return Address::parse(text).value(); }

// One for all runs: making keys takes long. The first run makes it, by a seed of its own.
struct Credentials {
  Credentials() {
    make_chance_predictable(1);
    authority = std::make_unique<TestAuthority>();
    server = authority->issue({.dns = {"web.local"}});
  }
  std::shared_ptr<const TlsClientContext> client(const std::string& protocol) const {
    TlsClientSettings settings;
    settings.ca = TlsTrust::parse(authority->ca()).value();
    settings.server_name = "web.local";
    settings.alpn = protocol;
    settings.alpn_required = true;
    return TlsClientContext::make(settings).value();
  }
  std::unique_ptr<TestAuthority> authority;
  PemPair server;
};
const Credentials& credentials() {
  static const Credentials one;
  return one;
}

WorldOptions options(const Plan& plan) {
  const PemPair& server = credentials().server;
  make_chance_predictable(plan.seed + 2);
  return {.workers = plan.workers,
          .seed = plan.seed + 1,
          .start = false,
          .files = {{"/tls/tls.crt", server.certificate}, {"/tls/tls.key", server.key}},
          .pipes = plan.seed % 2 == 1 ? make_sim_pipe : make_kernel_pipe};
}

// Whether a head of HTTP/2 may stand half on its way when the end comes: only where the network stands still.
bool may_cut_heads(const Plan& plan) {
  const bool http2 = std::any_of(plan.clients.begin(), plan.clients.end(), [](const ClientPlan& one) { return one.http2; });
  const bool stalls =
      std::any_of(plan.listener_net.begin(), plan.listener_net.end(), [](const auto& one) { return one.second.stall > 0; }) ||
      std::any_of(plan.faults.begin(), plan.faults.end(), [](const FaultPlan& one) { return one.kind == FaultPlan::Kind::stall; });
  return http2 && stalls;
}

class Run {
 public:
  Run(const Plan& plan, bool keep_trail)
      : plan_(plan),
        ledger_(keep_trail),
        world_(plan.config.yaml(), options(plan)),
        secured_http1_(main(), buffers_, net()),
        secured_http2_(main(), buffers_, net()) {
    secured_http1_.use(credentials().client("http/1.1"));
    secured_http2_.use(credentials().client("h2"));
  }

  Outcome play() {
    if (begin()) {
      advance_to(plan_.active, true);
      if (plan_.end == Plan::End::quiet) rest();
      if (plan_.end == Plan::End::drain) drain();
    }
    outcome_.events = world_.sim.events();
    outcome_.hash = world_.sim.hash();
    end_world();
    outcome_.problems = ledger_.problems;
    outcome_.trail = std::move(ledger_.lines);
    return std::move(outcome_);
  }

 private:
  bool begin();
  void act(const FaultPlan& fault);
  void reload(const ReloadPlan& plan);
  void calm();
  void send_home();
  void probe();
  void rest();
  void drain();
  void check(bool ended);
  void check_left();
  void end_world();
  Evidence evidence() { return {plan_, ledger_, world_, {}, {}, world_.sim.now() - began_, ledger_.problems}; }
  void advance_to(Duration at, bool watching);
  void at(Duration time, std::function<void()> task) { world_.sim.schedule_at(main(), began_ + time, std::move(task)); }
  SimLoop& main() { return world_.sim.loop(0); }
  SimNet& net() { return world_.platform.net; }
  Connector& connector(const ClientPlan& client) {
    if (client.listener != kTlsListener) return net();
    return client.http2 ? secured_http2_ : secured_http1_;
  }
  void trail(const std::string& what) { ledger_.trail(world_.sim.now(), what); }

  const Plan& plan_;
  Ledger ledger_;
  Outcome outcome_;
  World world_;
  std::map<std::string, std::unique_ptr<SwarmUpstream>> upstreams_;
  BufferPool buffers_;
  TlsConnector secured_http1_, secured_http2_;  // theirs, who call the secured listener
  std::vector<std::shared_ptr<SwarmActor>> clients_;
  std::vector<std::unique_ptr<ClientPlan>> probes_;
  MonotonicTime began_{};
};

bool Run::begin() {
  began_ = world_.sim.now();
  world_.platform.names.table = plan_.names;
  world_.platform.names.ttl = plan_.names_ttl;
  for (const auto& [address, conditions] : plan_.listener_net) net().conditions(address_of(address)) = conditions;
  for (const EndpointPlan& one : plan_.endpoints) {
    upstreams_[one.address] = std::make_unique<SwarmUpstream>(net(), main(), one, plan_.seed, ledger_);
  }
  auto config = world_.load();
  const Result<void> started = config ? world_.server->start(std::move(config).value()) : Result<void>(config.error());
  if (!started) {
    ledger_.broken("the configuration is not taken: " + started.error().message);
    return false;
  }
  world_.settle();
  ledger_.clients.resize(plan_.clients.size());
  for (std::size_t i = 0; i < plan_.clients.size(); ++i) {
    const ClientPlan& plan = plan_.clients[i];
    for (const RequestPlan& request : plan.requests) {
      if (!request.raw.empty()) continue;
      RequestFacts& facts = ledger_.request(request.id);
      facts.plan = &request;
      facts.client = &plan;
    }
    clients_.push_back(make_swarm_client(connector(plan), main(), plan, i, ledger_));
    at(plan.at, [this, i] {
      const auto listening = world_.server->listening();
      const auto found = listening.find(plan_.clients[i].listener);
      if (found != listening.end()) clients_[i]->start(found->second);
    });
  }
  for (const FaultPlan& fault : plan_.faults) at(fault.at, [this, &fault] { act(fault); });
  for (const ReloadPlan& one : plan_.reloads) at(one.at, [this, &one] { reload(one); });
  return true;
}

void Run::act(const FaultPlan& fault) {
  using Kind = FaultPlan::Kind;
  if (world_.sim.now() > began_ + plan_.active) return;  // the end has begun, and with it fair weather
  const auto found = upstreams_.find(fault.target);
  switch (fault.kind) {
    case Kind::stall: net().stall(address_of(fault.target)); break;
    case Kind::unstall: net().unstall(address_of(fault.target)); break;
    case Kind::reset: net().reset(address_of(fault.target)); break;
    case Kind::down: found->second->down(); break;
    case Kind::up: found->second->up(); break;
    case Kind::refuse: net().conditions(address_of(fault.target)).refuse = 1; break;
    case Kind::black_hole: net().conditions(address_of(fault.target)).black_hole = 1; break;
    case Kind::clear: found->second->restore(); break;
    case Kind::names: world_.platform.names.table[fault.target] = fault.addresses; break;
    case Kind::pressure:
      world_.platform.reading.cpu = fault.cpu;
      world_.platform.reading.memory = fault.memory;
      break;
  }
  if (ledger_.keeps_trail()) trail(concat("fault ", static_cast<int>(fault.kind), " ", fault.target));
}

void Run::reload(const ReloadPlan& plan) {
  world_.set_yaml(plan.config.yaml());
  const std::uint64_t before = world_.server->generation();
  const Result<void> done = world_.server->reload();
  trail(done ? "reload" : "reload refused");
  if (!done && plan.config.spoilt.empty()) ledger_.broken("a good configuration is not taken: " + done.error().message);
  if (!plan.config.spoilt.empty() && world_.server->generation() != before) ledger_.broken("a bad configuration is taken");
}

void Run::advance_to(Duration time, bool watching) {
  const MonotonicTime end = began_ + time;
  int looks = 0;
  while (world_.sim.now() < end && ledger_.problems.empty()) {
    world_.sim.advance_to(std::min(end, world_.sim.now() + kWatch));
    if (!watching) continue;
    Evidence now = evidence();
    if (++looks % 5 == 0) now.metrics = world_.metrics.collect();
    watch(now);
  }
}

// --- Ends ----------------------------------------------------------------------------------------------------------------------------

// All faults are over.
void Run::calm() {
  trail("all faults end");
  for (auto& [address, upstream] : upstreams_) upstream->calm();
  for (const auto& [address, conditions] : plan_.listener_net) {
    SimConditions gentle;
    gentle.delay = conditions.delay;
    net().conditions(address_of(address)) = gentle;
    net().unstall(address_of(address));
  }
  world_.platform.reading = {};
}

void Run::send_home() {
  for (const auto& client : clients_) client->leave();
}

// A request to each listener, one after the other, while nothing else is there: whatever limits, breakers and budgets went through,
// by now none of them has a reason to refuse it.
void Run::probe() {
  for (const auto& [name, address] : world_.server->listening()) {
    auto plan = std::make_unique<ClientPlan>();
    plan->listener = name;
    RequestPlan request;
    request.id = 900'000 + static_cast<std::uint32_t>(probes_.size());
    plan->http2 = probes_.size() % 2 == 1;
    plan->requests.push_back(request);
    ledger_.clients.emplace_back();
    probes_.push_back(std::move(plan));
    RequestFacts& facts = ledger_.request(request.id);
    facts.plan = probes_.back()->requests.data();
    facts.client = probes_.back().get();
    auto client = make_swarm_client(connector(*probes_.back()), main(), *probes_.back(), ledger_.clients.size() - 1, ledger_);
    client->start(address);
    world_.sim.run_until([&] { return client->done(); }, std::chrono::seconds(70));
    if (facts.status == 0) ledger_.broken("at rest, a request to " + name + " gets no answer");
    world_.sim.advance(std::chrono::seconds(1));
    client->leave();
    clients_.push_back(std::move(client));
  }
}

// A listener that is gone closes its connections as they become idle.
void Run::check_left() {
  const auto listening = world_.server->listening();
  for (const auto& client : clients_) {
    if (client->idle() && listening.count(client->listener()) == 0) {
      ledger_.broken("an idle connection stays open to listener " + client->listener() + ", which is gone");
    }
  }
}

void Run::rest() {
  calm();
  advance_to(plan_.active + kPatience, true);
  check_left();
  send_home();
  advance_to(plan_.active + kPatience + kGoing, false);
  for (auto& [address, upstream] : upstreams_) upstream->heal();
  if (!ledger_.problems.empty()) return;
  world_.sim.advance(kRest);
  check(false);
}

void Run::drain() {
  const MonotonicTime began = world_.sim.now();
  trail("told to end");
  world_.server->terminate();
  if (plan_.stopped_twice) {
    at(plan_.active + milliseconds(300), [this] { world_.server->terminate(); });
  }
  int drain_seconds = 0;
  for (const ConfigPlan* one : plan_.configs()) drain_seconds = std::max(drain_seconds, one->drain_seconds);
  const Duration most = std::chrono::seconds(drain_seconds) + Server::kStopWithin + milliseconds(100);
  const Duration quiet = may_cut_heads(plan_) ? kQuietHttp2 : kQuiet;
  MonotonicTime quiet_since = began;
  std::uint64_t exchanges = 0;
  while (!world_.finished && world_.sim.now() - began < most && ledger_.problems.empty()) {
    world_.sim.advance(milliseconds(50));
    watch(evidence());
    std::uint64_t begun = 0;
    std::uint32_t in_flight = 0;
    for (const auto& worker : world_.server->workers()) {
      const WorkerStatus status = worker->status();
      begun += status.exchanges;
      in_flight += status.inbound_in_flight + status.outbound_in_flight;
    }
    if (in_flight > 0 || begun != std::exchange(exchanges, begun)) quiet_since = world_.sim.now();
    if (world_.sim.now() - quiet_since > quiet && !world_.finished) ledger_.broken("it is told to end, and idle, and does not end");
  }
  if (!ledger_.problems.empty()) return;
  if (!world_.finished) return ledger_.broken("the drain does not end");
  if (!world_.finished_clean) ledger_.broken("the end was not clean: a worker does not answer");
  calm();
  world_.sim.advance(std::chrono::seconds(1));
  send_home();
  world_.sim.advance(std::chrono::seconds(10));
  check(true);
}

void Run::check(bool ended) {
  if (!ledger_.problems.empty()) return;
  if (!ended) {
    probe();
    world_.sim.advance(std::chrono::seconds(12));
  }
  for (auto& [address, upstream] : upstreams_) upstream->close_all();
  world_.sim.advance(std::chrono::seconds(1));
  Evidence all = evidence();
  for (const auto& [path, text] : world_.platform.logs) {
    const auto lines = world_.access_log(path);
    all.lines.insert(all.lines.end(), lines.begin(), lines.end());
  }
  all.metrics = world_.metrics.collect();
  outcome_.exchanges = all.lines.size();
  outcome_.attempts = static_cast<std::uint64_t>(all.sum("weir_attempts_total"));
  check_rest(all);
  check_sums(all);
  check_stories(all);
  check_bounds(all);
  check_filters(all);
}

// The server goes first, in whatever state it is: its loops have ended, its peers still stand.
void Run::end_world() {
  for (std::size_t i = 0; i < world_.sim.loop_count(); ++i) world_.sim.loop(i).stop();
  world_.server.reset();
  clients_.clear();
  upstreams_.clear();
}

}  // namespace

Outcome run(const Plan& plan, bool keep_trail) { return Run(plan, keep_trail).play(); }

}  // namespace weir::test
