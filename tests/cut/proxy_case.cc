#include "tests/cut/proxy_case.h"

#include <algorithm>
#include <set>

namespace weir::test {
namespace {

const char* const kYaml = R"(version: 1
access_log: { path: /access.log }
drain: { timeout: 10s }
listeners:
  - { name: out, direction: outbound, listen: 127.0.0.1:15001, timeouts: { request_headers: 5s, idle: 20s }, routes: [ { name: all, service: app, policy: p } ] }
  - { name: in, direction: inbound, listen: 127.0.0.1:15006, timeouts: { request_headers: 5s, idle: 20s }, routes: [ { name: all, service: app, policy: p } ] }
services:
  app: { endpoints: [10.0.0.1:80], retry_budget: { ratio: 100%, min_rate: 100/s } }
policies:
  p:
    filters:
      - load_shed: { memory: 95% }
      - timeout: { total: 3s }
      - rate_limit: { rate: 1000/s, burst: 1000 }
      - retry: { max_attempts: 3, causes: [connect_failure, refused_stream, reset, gateway_error, timeout], backoff: { base: 10ms, max: 20ms } }
      - circuit_breaker: { causes: [5xx, reset, timeout], min_calls: 50, failure_ratio: 90% }
      - concurrency_limit: { limit: 1, queue: { size: 4, timeout: 1s } }
      - timeout: { name: per-try, response_headers: 500ms, idle: 700ms }
)";
constexpr std::size_t kTries = 4;  // of the retry, and one resent for a stale connection
constexpr Duration kBodyProgress = 60s;
constexpr Duration kPause = 100ms;
constexpr const char* kFront = "127.0.0.1:15001";
constexpr const char* kBack = "10.0.0.1:80";
constexpr Duration kQuiet = 6s;  // over what idle and lingering connections are given

Address address(const char* text) { return Address::parse(text).value(); }

bool is_zero_at_the_end(const std::string& name) {
  static const std::set<std::string> kNames = {"weir_in_flight",           "weir_attempts_in_flight",   "weir_limit_in_flight",
                                               "weir_queue_length",        "weir_upstream_connections", "weir_upstream_pending",
                                               "weir_upstream_limit_used", "weir_listener_connections"};
  return kNames.count(name) != 0;
}

}  // namespace

const char* name_of(Blow blow) {
  static constexpr const char* kNames[] = {"the client's FIN",
                                           "the client's RST",
                                           "the client closes",
                                           "the client stalls",
                                           "the upstream's FIN",
                                           "the upstream's RST",
                                           "the upstream closes",
                                           "the upstream stalls",
                                           "the upstream is gone",
                                           "the network stalls in front",
                                           "the network stalls behind",
                                           "a reload",
                                           "a drain",
                                           "a stop",
                                           "a pause in front",
                                           "a pause behind"};
  return kNames[static_cast<std::size_t>(blow)];
}

ProxyCase::ProxyCase(const Conversation& conversation, std::optional<Cut> cut, std::optional<EventCut> blow, SplicePipeMaker pipes)
    : conversation_(conversation),
      cut_(cut),
      blow_(blow),
      world_(kYaml, {.pipes = pipes}),
      upstream_(conversation, upstream_point_, world_.platform.net, world_.sim.loop(0), address(kBack)) {
  if (cut_) {
    CutPoint& point = cut_->side == Side::client ? client_point_ : upstream_point_;
    point.cut = *cut_;
    point.armed = true;
  }
  if (pipes != make_kernel_pipe) {  // the sender's side is the slower one, mostly: what cannot leave at once is copied
    SimNet& net = world_.platform.net;
    net.conditions(address(conversation.uploads ? kFront : kBack)).window = 20'000;
    net.conditions(address(conversation.uploads ? kBack : kFront)).short_write = 0.2;
  }
  world_.advance(10ms);
  quiet_ = world_.sim.pending();
}

bool ProxyCase::stalls() const {
  if (cut_) return cut_->act == Act::stall;
  if (!blow_) return false;
  const Blow blow = blow_->blow;
  return blow == Blow::client_stall || blow == Blow::upstream_stall || blow == Blow::front_stall || blow == Blow::back_stall;
}

std::size_t ProxyCase::in_flight() {
  const WorkerStatus status = world_.server->workers()[0]->status();
  return status.inbound_in_flight + status.outbound_in_flight;
}

std::size_t ProxyCase::connections() {
  const WorkerStatus status = world_.server->workers()[0]->status();
  return status.inbound_connections + status.outbound_connections;
}

void ProxyCase::strike() {
  SimNet& net = world_.platform.net;
  switch (blow_->blow) {
    case Blow::client_fin: return client_->act(Act::fin);
    case Blow::client_reset: return client_->act(Act::reset);
    case Blow::client_close: return client_->act(Act::close);
    case Blow::client_stall: return client_->act(Act::stall);
    case Blow::upstream_fin: return upstream_.act(Act::fin);
    case Blow::upstream_reset: return upstream_.act(Act::reset);
    case Blow::upstream_close: return upstream_.act(Act::close);
    case Blow::upstream_stall: return upstream_.act(Act::stall);
    case Blow::upstream_gone: upstream_.refuse(); return upstream_.act(Act::reset);
    case Blow::front_stall: return net.stall(address(kFront));
    case Blow::back_stall: return net.stall(address(kBack));
    case Blow::front_pause: return pause(kFront);
    case Blow::back_pause: return pause(kBack);
    case Blow::reload:
      world_.set_yaml(std::string(kYaml) + "metrics: { max_series: 9999 }\n");
      static_cast<void>(world_.server->reload());
      return;
    case Blow::drain: return world_.server->drain();
    case Blow::stop: return world_.server->stop();
    case Blow::count_: return;
  }
}

void ProxyCase::pause(const char* at) {
  SimNet& net = world_.platform.net;
  net.stall(address(at));
  world_.sim.schedule_at(world_.sim.loop(0), world_.sim.now() + kPause, [&net, at] { net.unstall(address(at)); });
}

Allowed ProxyCase::allowed() const {
  Allowed allowed;
  allowed.retries = true;
  allowed.tries = kTries;
  if (cut_) {
    allowed.uncut = harmless(cut_->act);
    allowed.early_fin = cut_->side == Side::upstream && cut_->act != Act::reset;
    if (cut_->side == Side::client && cut_->act == Act::stall) allowed.own = {408, 504};
    if (cut_->side == Side::upstream && !harmless(cut_->act)) allowed.own = {502, 503, 504};
    allowed.client_deaf = cut_->side == Side::client;
    return allowed;
  }
  if (!blow_) {
    allowed.uncut = true;
    return allowed;
  }
  const Blow blow = blow_->blow;
  allowed.uncut = blow == Blow::reload || blow == Blow::front_pause || blow == Blow::back_pause;
  allowed.early_fin = blow == Blow::upstream_fin || blow == Blow::upstream_close;
  allowed.client_deaf = blow <= Blow::client_stall || blow == Blow::front_stall;
  allowed.upstream_deaf = blow == Blow::back_stall;
  if (blow == Blow::client_stall || blow == Blow::front_stall) allowed.own = {408, 504};
  if ((blow >= Blow::upstream_fin && blow <= Blow::upstream_gone) || blow == Blow::back_stall) allowed.own = {502, 503, 504};
  return allowed;
}

Problems ProxyCase::run() {
  Problems problems;
  SimLoop& loop = world_.sim.loop(0);
  if (conversation_.queued) {
    background_ = &world_.client();
    background_->get(kBackground);
    world_.advance(1ms);
  }
  client_ = std::make_shared<CutClient>(conversation_, client_point_, loop);
  const std::uint64_t began = world_.sim.events();
  const bool inbound = blow_ ? blow_->blow == Blow::drain : cut_ && cut_->at % 2 == 1;  // a drain begins there
  client_->connect(world_.platform.net, world_.server->listening().at(inbound ? "in" : "out"));
  if (blow_) {
    const auto due = [&] { return world_.sim.events() >= began + blow_->at; };
    if (!world_.sim.run_until([&] { return due() || client_->answered(); }, 10s) || !due()) return problems;
    strike();
  }
  world_.sim.run_until([&] { return client_->answered(); }, 10s);
  events_ = world_.sim.events() - began;
  if (stalls()) {
    world_.advance(kBodyProgress + 10s);
    if (connections() != 0) problems.push_back("a client is silent for ever, and still connected");
  } else {
    world_.advance(kQuiet);
  }
  if (in_flight() != 0) problems.push_back("an exchange goes on by itself: nothing ends it");
  judge_client(conversation_, client_->answers(), client_->end(), allowed(), problems);
  judge_upstream(conversation_, client_point_.said, upstream_, allowed(), problems);
  client_->close();
  if (background_ != nullptr) background_->close();
  world_.advance(kQuiet);
  for (const auto& peer : upstream_.peers) peer->close();
  world_.advance(1ms);
  judge_lines(problems);
  const bool over = blow_ && (blow_->blow == Blow::drain || blow_->blow == Blow::stop);
  if (over && !world_.finished) problems.push_back("the end never came");
  judge_at_rest(world_, over ? SIZE_MAX : quiet_, problems);
  return problems;
}

// One line for each exchange, and it says what the client saw.
void ProxyCase::judge_lines(Problems& problems) {
  std::vector<nlohmann::json> lines = world_.access_log();
  const std::size_t all = lines.size();
  const WorkerStatus status = world_.server->workers()[0]->status();
  if (all != status.exchanges) {
    problems.push_back(std::to_string(all) + " lines for " + std::to_string(status.exchanges) + " exchanges");
  }
  if (world_.metric("weir_requests_total") != static_cast<double>(all))
    problems.push_back("the metrics count other exchanges than the log");
  lines.erase(std::remove_if(lines.begin(), lines.end(), [](const nlohmann::json& line) { return line["path"] == kBackground; }),
              lines.end());
  const std::vector<WireMessage> finals = finals_of(client_->answers());
  if (finals.size() > lines.size()) problems.push_back("more answers than lines");
  for (std::size_t i = 0; i < std::min(finals.size(), lines.size()); ++i) {
    const WireMessage& seen = finals[i];
    const int logged = lines[i]["status"].get<int>();
    if (logged != seen.status()) {
      problems.push_back("the log says " + std::to_string(logged) + ", the client saw " + seen.start_line);
    }
    const bool client_well = allowed().uncut || !allowed().client_deaf;
    const bool fine = seen.whole && !own_answer(seen);
    if (client_well && fine == lines[i].contains("failure")) problems.push_back("the log is wrong about a failure: " + lines[i].dump());
    if (!seen.whole && !lines[i].contains("failure") && client_well) problems.push_back("broken off, and no failure in the log");
  }
}

void judge_at_rest(World& world, std::size_t quiet, Problems& problems) {
  const Worker& worker = *world.server->workers()[0];
  if (worker.arenas_in_use() != 0) problems.push_back(std::to_string(worker.arenas_in_use()) + " arenas are held");
  if (worker.chunks_in_use() != 0) problems.push_back(std::to_string(worker.chunks_in_use()) + " chunks of buffers are held");
  if (worker.splice_pipes_in_use() != 0) problems.push_back(std::to_string(worker.splice_pipes_in_use()) + " splice pipes are held");
  for (const auto& family : world.metrics.collect()) {
    if (!is_zero_at_the_end(family.name)) continue;
    for (const auto& sample : family.samples) {
      if (sample.value != 0) problems.push_back(family.name + " is " + std::to_string(sample.value));
    }
  }
  if (world.platform.net.open_streams() != 0) problems.push_back("streams are open");
  if (world.sim.pending() > quiet) {
    problems.push_back(std::to_string(world.sim.pending()) + " events wait, " + std::to_string(quiet) + " when nothing ran yet");
  }
}

}  // namespace weir::test
