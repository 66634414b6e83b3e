// Draws everything of a plan but its configurations: clients and what they send, upstreams and how they behave, the network and its faults.
#include "tests/swarm/plan.h"

#include <algorithm>

#include "proxy/base/text.h"

namespace weir::test {
namespace {

constexpr std::uint32_t kEndpoints = 4;  // of a service, by address; and as many more by name

std::string by_name(std::size_t service, std::uint32_t number) { return concat("10.0.", service, ".", 10 + number); }

// --- The network ---------------------------------------------------------------------------------------------------------------------

SimConditions some_delay(Random& random) {
  SimConditions net;
  net.delay = milliseconds(random.chance(0.3) ? 0 : pick(random, 0, 40));
  if (random.chance(0.4)) net.jitter = milliseconds(pick(random, 1, 20));
  return net;
}

// Slow, small and in pieces, but nothing is lost.
void make_narrow(SimConditions& net, Random& random) {
  if (random.chance(0.3)) net.window = pick(random, 200, 8000);
  if (random.chance(0.4)) net.fragment = 0.5;
  if (random.chance(0.4)) net.short_read = 0.5;
  if (random.chance(0.4)) net.short_write = 0.5;
}

void make_harmful(SimConditions& net, Random& random) {
  net.within = pick(random, 1, 4000);
  if (random.chance(0.4)) net.reset = 0.2;
  if (random.chance(0.3)) net.stall = 0.15;
  if (random.chance(0.4)) net.refuse = 0.3;
  if (random.chance(0.3)) net.black_hole = 0.2;
}

// --- Upstreams -----------------------------------------------------------------------------------------------------------------------

EndpointPlan make_endpoint(Random& random, const std::string& address) {
  EndpointPlan endpoint;
  endpoint.address = address;
  endpoint.weights.assign(static_cast<std::size_t>(Act::count_), 0);
  const auto weight = [&](Act act) -> std::uint32_t& { return endpoint.weights[static_cast<std::size_t>(act)]; };
  weight(Act::ok) = 10;
  const std::uint32_t temper = pick(random, 0, 9);
  if (temper >= 3) {  // whole answers of every form
    for (const Act act :
         {Act::slow_head, Act::slow_body, Act::chunked, Act::until_close, Act::informational, Act::says_close, Act::no_body}) {
      weight(act) = pick(random, 0, 4);
    }
    weight(Act::large) = pick(random, 0, 6) == 0 ? 2 : 0;
  }
  if (temper >= 5) weight(Act::status) = pick(random, 1, 12);
  if (temper >= 6) weight(Act::retry_after) = pick(random, 0, 3);
  if (temper >= 7) {  // and now and then none at all
    for (int act = 0; act < static_cast<int>(Act::count_); ++act) {
      if (act != static_cast<int>(Act::large)) endpoint.weights[static_cast<std::size_t>(act)] += pick(random, 0, 2);
    }
  }
  if (temper == 9)
    weight(one_of(random, std::vector<Act>{Act::never, Act::reset, Act::fin, Act::closes, Act::early, Act::short_body})) += 20;
  endpoint.head_ms = pick(random, 1, 8) * pick(random, 1, 150);
  endpoint.net = some_delay(random);
  if (random.chance(0.3)) make_narrow(endpoint.net, random);
  if (random.chance(0.25)) make_harmful(endpoint.net, random);
  return endpoint;
}

// --- Clients -------------------------------------------------------------------------------------------------------------------------

std::string some_garbage(Random& random) {
  static const std::vector<std::string> kGarbage{
      "GET / HTTP/1.1\r\nHost: h1.test\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: h1.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: h1.test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
      "POST / HTTP/1.1\r\nHost: h1.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
      "GET /a/../../b HTTP/1.1\r\nHost: h1.test\r\n\r\n",
      "GET / HTTP/2.7\r\nHost: h1.test\r\n\r\n",
      "GET / HTTP/1.1\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
      "\r\n\r\nnonsense\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: h1.test\r\n folded: yes\r\n\r\n",
      "GET http://h2.test/a/x HTTP/1.1\r\nHost: h1.test\r\n\r\n",
      "OPTIONS * HTTP/1.1\r\nHost: h1.test\r\n\r\n",
  };
  if (random.chance(0.7)) return one_of(random, kGarbage);
  std::string out;
  for (std::uint32_t i = pick(random, 1, 200); i > 0; --i) out += static_cast<char>(random.below(256));
  return out + "\r\n\r\n";
}

std::size_t some_size(Random& random) {
  if (random.chance(0.02)) return pick(random, 100'000, 400'000);
  if (random.chance(0.1)) return pick(random, 5'000, 40'000);
  return pick(random, 1, 2'500);
}

RequestPlan make_request(Random& random, std::uint32_t id) {
  static const std::vector<std::string> kMethods{"GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"};
  static const std::vector<std::string> kTargets{"/",      "/a/x", "/a/b/c?q=1", "/b",   "/b/y", "/bb",
                                                 "/exact", "/c",   "/a/%7Ex",    "/a//", "/x",   "/a/./b"};
  RequestPlan request;
  request.id = id;
  request.method = one_of(random, kMethods);
  request.target = one_of(random, kTargets);
  if (random.chance(0.3)) request.host = random.chance(0.5) ? "h2.test" : "H1.TEST:8080";
  if (random.chance(0.3)) request.more += random.chance(0.5) ? "X-Tenant: gold\r\n" : concat("X-Tenant: t", random.below(4), "\r\n");
  if (random.chance(0.05)) request.more += "X-Debug: 1\r\nConnection: x-debug\r\n";
  if (random.chance(0.1)) request.more += concat("Idempotency-Key: ", id, "\r\n");
  request.http10 = random.chance(0.06);
  request.close = random.chance(0.08);
  const bool bodied = request.method == "POST" || request.method == "PUT" || request.method == "PATCH" || random.chance(0.03);
  if (!bodied || random.chance(0.05)) return request;
  request.framing = random.chance(0.35) && !request.http10 ? RequestPlan::Framing::chunked : RequestPlan::Framing::length;
  request.size = some_size(random);
  if (random.chance(0.4)) {
    request.pieces = static_cast<int>(pick(random, 2, 6));
    if (random.chance(0.7)) request.piece_gap = milliseconds(pick(random, 1, 300));
  }
  if (random.chance(0.15)) request.expect = random.chance(0.6) ? RequestPlan::Expect::waits : RequestPlan::Expect::impatient;
  request.stops_short = random.chance(0.04);
  request.trailers = request.framing == RequestPlan::Framing::chunked && random.chance(0.3);
  return request;
}

// The same client over HTTP/2: no garbage, nothing of HTTP/1's connections; and requests that are cancelled while the connection stays.
void speak_http2(ClientPlan& client, Random& random) {
  client.http2 = true;
  client.half_close = false;
  client.pipelined = random.chance(0.5);
  if (random.chance(0.3)) client.window = random.chance(0.5) ? pick(random, 100, 4000) : 1'000'000;
  for (RequestPlan& request : client.requests) {
    request.raw.clear();
    request.http10 = false;
    request.close = false;
    if (random.chance(0.1)) request.cancel_after = milliseconds(pick(random, 0, 20) * pick(random, 1, 60) + 1);
  }
}

ClientPlan make_client(Random& random, const std::vector<std::string>& listeners, Duration active, std::uint32_t& next_id) {
  ClientPlan client;
  client.listener = one_of(random, listeners);
  client.at = milliseconds(random.below(static_cast<std::uint64_t>(active.count() / 1'000'000 * 3 / 4)));
  client.pipelined = random.chance(0.2);
  for (std::uint32_t i = pick(random, 1, random.chance(0.3) ? 8 : 3); i > 0; --i) {
    RequestPlan request = make_request(random, next_id++);
    if (random.chance(0.03)) request.raw = some_garbage(random);
    client.requests.push_back(std::move(request));
  }
  if (random.chance(0.4)) client.gap = milliseconds(pick(random, 1, 800));
  if (random.chance(0.12)) client.slow = milliseconds(pick(random, 1, 200));
  if (random.chance(0.2)) {
    client.end = one_of(random, std::vector<ClientPlan::End>{ClientPlan::End::fin, ClientPlan::End::reset, ClientPlan::End::close});
    client.end_at = milliseconds(pick(random, 0, 30) * pick(random, 1, 60));
  } else {
    client.half_close = random.chance(0.06);
    client.lingers = random.chance(0.3);
  }
  if (random.chance(0.3)) speak_http2(client, random);
  return client;
}

// --- Faults --------------------------------------------------------------------------------------------------------------------------

void add_faults(Plan& plan, Random& random) {
  using Kind = FaultPlan::Kind;
  static const std::vector<Kind> kKinds{Kind::stall, Kind::reset, Kind::down, Kind::refuse, Kind::black_hole};
  const auto at = [&](Duration from) {
    return from + milliseconds(random.below(static_cast<std::uint64_t>(plan.active.count() / 1'000'000)));
  };
  for (std::uint32_t i = random.chance(0.5) ? pick(random, 1, 6) : 0; i > 0; --i) {
    FaultPlan fault;
    fault.kind = one_of(random, kKinds);
    fault.at = at(Duration(0));
    fault.target = one_of(random, plan.endpoints).address;
    plan.faults.push_back(fault);
    if (fault.kind == Kind::reset) continue;
    FaultPlan over = fault;
    over.kind = fault.kind == Kind::stall ? Kind::unstall : fault.kind == Kind::down ? Kind::up : Kind::clear;
    over.at = fault.at + milliseconds(pick(random, 10, 3000));
    plan.faults.push_back(over);
  }
  for (const auto& [name, addresses] : plan.names) {
    for (std::uint32_t i = pick(random, 0, 2); i > 0; --i) {
      FaultPlan change{Kind::names, at(Duration(0)), name, {}, 0, 0};
      const std::size_t service = static_cast<std::size_t>(name[1] - '0');
      for (std::uint32_t n = 1; n <= kEndpoints; ++n) {
        if (random.chance(0.4)) change.addresses.push_back(by_name(service, n));
      }
      plan.faults.push_back(change);
    }
  }
  for (std::uint32_t i = random.chance(0.4) ? pick(random, 1, 3) : 0; i > 0; --i) {
    FaultPlan pressure{Kind::pressure, at(Duration(0)), "", {}, pick(random, 0, 1000), pick(random, 0, 1000)};
    plan.faults.push_back(pressure);
  }
  std::stable_sort(plan.faults.begin(), plan.faults.end(), [](const FaultPlan& a, const FaultPlan& b) { return a.at < b.at; });
}

void add_network(Plan& plan, Random& random) {
  for (std::size_t service = 1; service <= kServices; ++service) {
    const std::size_t first = plan.endpoints.size();
    for (std::uint32_t i = 1; i <= kEndpoints; ++i) {
      plan.endpoints.push_back(make_endpoint(random, concat("10.0.", service, ".", i, ":80")));
      plan.endpoints.push_back(make_endpoint(random, by_name(service, i) + ":80"));
    }
    for (std::size_t i = first; service == kHttp2Service && i < plan.endpoints.size(); ++i) {
      plan.endpoints[i].http2 = true;
      if (random.chance(0.4)) plan.endpoints[i].streams = pick(random, 1, 4);
      if (random.chance(0.3)) plan.endpoints[i].window = random.chance(0.5) ? pick(random, 100, 4000) : 1'000'000;
    }
    std::vector<std::string> addresses;
    for (std::uint32_t i = 1; i <= kEndpoints; ++i) {
      if (random.chance(0.5)) addresses.push_back(by_name(service, i));
    }
    if (random.chance(0.9)) plan.names.emplace(concat("s", service, ".local"), addresses);
  }
  const bool harmful = random.chance(0.25);
  for (const ConfigPlan* config : plan.configs()) {
    for (const ListenerPlan& listener : config->listeners) {
      SimConditions net = some_delay(random);
      if (random.chance(0.3)) make_narrow(net, random);
      if (harmful && random.chance(0.7)) make_harmful(net, random);
      plan.listener_net.emplace(listener.address, net);
    }
  }
}

}  // namespace

bool RequestPlan::safe() const {
  const bool idempotent = method != "POST" && method != "PATCH" && method != "CONNECT";
  return idempotent || more.find("Idempotency-Key") != std::string::npos;
}

std::vector<const ConfigPlan*> Plan::configs() const {
  std::vector<const ConfigPlan*> all{&config};
  for (const ReloadPlan& one : reloads) {
    if (one.config.spoilt.empty()) all.push_back(&one.config);
  }
  return all;
}

bool Plan::reloads_well() const { return configs().size() > 1; }

bool Plan::clean(const std::string& address) const {
  const auto found = listener_net.find(address);
  if (found == listener_net.end()) return true;
  const SimConditions& net = found->second;
  return net.reset + net.stall + net.refuse + net.black_hole + net.fragment + net.short_read + net.short_write == 0 && net.window >= 60'000;
}

bool Plan::stays(const std::string& listener) const {
  std::string address;
  for (const ConfigPlan* one : configs()) {
    const auto found = std::find_if(one->listeners.begin(), one->listeners.end(), [&](const auto& l) { return l.name == listener; });
    if (found == one->listeners.end() || (!address.empty() && found->address != address)) return false;
    address = found->address;
  }
  return true;
}

Plan make_plan(std::uint64_t seed) {
  Plan plan;
  plan.seed = seed;
  Random random(seed ^ 0x5eed5eed5eedU);
  plan.workers = random.chance(0.5) ? 1 : pick(random, 2, 4);
  plan.active = milliseconds(pick(random, 1000, 9000));
  plan.config = make_config(random);
  ConfigPlan next = plan.config;
  for (std::uint32_t i = random.chance(0.4) ? pick(random, 1, 4) : 0; i > 0; --i) {
    ReloadPlan reload;
    reload.at = milliseconds(random.below(static_cast<std::uint64_t>(plan.active.count() / 1'000'000)));
    change_config(next, random);
    reload.config = next;
    next.spoilt.clear();
    plan.reloads.push_back(std::move(reload));
  }
  std::vector<Duration> times;
  for (const ReloadPlan& one : plan.reloads) times.push_back(one.at);
  std::sort(times.begin(), times.end());
  for (std::size_t i = 0; i < times.size(); ++i) plan.reloads[i].at = times[i];
  add_network(plan, random);
  std::vector<std::string> listeners;
  for (const ConfigPlan* config : plan.configs()) {
    for (const ListenerPlan& one : config->listeners) listeners.push_back(one.name);
  }
  std::uint32_t next_id = 1;
  for (std::uint32_t i = pick(random, 3, 22); i > 0; --i) plan.clients.push_back(make_client(random, listeners, plan.active, next_id));
  add_faults(plan, random);
  const std::uint32_t end = pick(random, 0, 9);
  plan.end = end < 6 ? Plan::End::quiet : end < 9 ? Plan::End::drain : Plan::End::cut;
  plan.stopped_twice = random.chance(0.3);
  return plan;
}

}  // namespace weir::test
