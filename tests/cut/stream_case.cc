#include "tests/cut/stream_case.h"

#include <algorithm>

#include "tests/cut/proxy_case.h"
#include "tests/support/certificates.h"

namespace weir::test {

namespace {

const char* const kYaml = R"(version: 1
access_log: { path: /access.log }
drain: { timeout: 10s }
listeners:
  - { name: in, direction: inbound, listen: 127.0.0.1:15006, timeouts: { request_headers: 5s, idle: 20s }, @TLS@routes: [ { name: all, service: app, policy: p } ] }
services:
  app: { endpoints: [10.0.0.1:80], protocol: http2, keep_alive: { idle: 4s }, retry_budget: { ratio: 100%, min_rate: 100/s } }
policies:
  p:
    filters:
      - timeout: { total: 3s }
      - retry: { max_attempts: 3, causes: [connect_failure, refused_stream, reset, gateway_error, timeout], backoff: { base: 10ms, max: 20ms } }
      - circuit_breaker: { causes: [5xx, reset, timeout], min_calls: 50, failure_ratio: 90% }
      - concurrency_limit: { limit: 3, queue: { size: 8, timeout: 1s } }
      - timeout: { name: per-try, response_headers: 500ms, idle: 700ms }
)";
constexpr Duration kQuiet = 6s;
constexpr Duration kStalled = 70s;  // over what a silent peer is given
constexpr std::size_t kLarge = 40'000;

Address address(const char* text) { return Address::parse(text).value(); }

// One for all cases: making keys takes long.
struct Credentials {
  TestAuthority authority;
  PemPair server = authority.issue({.dns = {"web.local"}});
  std::shared_ptr<const TlsClientContext> client = [this] {
    TlsClientSettings settings;
    settings.ca = TlsTrust::parse(authority.ca()).value();
    settings.server_name = "web.local";
    settings.alpn = "h2";
    settings.alpn_required = true;
    return TlsClientContext::make(settings).value();
  }();
};
const Credentials& credentials() {
  static const Credentials one;
  return one;
}

std::string yaml(bool secured) {
  std::string text = kYaml;
  text.replace(text.find("@TLS@"), 5, secured ? "tls: { certificate: /tls/tls.crt, key: /tls/tls.key }, " : "");
  return text;
}

WorldOptions options(bool secured) {
  WorldOptions with;
  if (!secured) return with;
  with.from_file = true;
  with.files = {{"/tls/tls.crt", credentials().server.certificate}, {"/tls/tls.key", credentials().server.key}};
  return with;
}

struct Asked {
  const char* method;
  const char* path;
  std::string body;  // of the request, in two pieces
  H2Fields trailers;
  std::string expected;  // the answer's body
  H2Fields expected_trailers;
};

std::string large(char first) {
  std::string text(1, first);
  while (text.size() < kLarge) text += static_cast<char>('a' + (text.size() * 7) % 23);
  return text;
}

const std::vector<Asked>& requests() {
  static const std::vector<Asked> all{
      {"GET", "/get", "", {}, "hello", {}},
      {"POST", "/post", "a body in two pieces", {}, "posted", {}},
      {"PUT", "/trailers", "with trailers", {{"x-check", "1"}}, "and back", {{"x-sum", "7"}}},
      {"HEAD", "/head", "", {}, "", {}},
      {"PUT", "/large", large('L'), {}, large('l'), {}},
      {"GET", "/informed", "", {}, "after 103", {}},
  };
  return all;
}

const Asked* asked(const std::string& path) {
  for (const Asked& one : requests()) {
    if (one.path == path) return &one;
  }
  return nullptr;
}

}  // namespace

std::string described(const WireCut& cut) {
  const std::string who = cut.front ? (cut.cut.side == Side::client ? "the client's" : "the proxy's")
                                    : (cut.cut.side == Side::client ? "the proxy's (upstream)" : "the upstream's");
  return who + " byte " + std::to_string(cut.cut.at) + ", " + name_of(cut.cut.act);
}

StreamCase::StreamCase(std::optional<WireCut> cut, bool secured)
    : cut_(cut),
      secured_(secured),
      world_(yaml(secured), options(secured)),
      upstream_(world_.platform.net, world_.sim.loop(0), address("10.0.0.2:80")),
      back_(world_.platform.net, world_.sim.loop(0), address("10.0.0.1:80"), address("10.0.0.2:80")),
      front_(world_.platform.net, world_.sim.loop(0), address("10.0.0.9:80"), address("127.0.0.1:15006")),
      tls_(world_.sim.loop(0), buffers_, world_.platform.net) {
  if (secured) tls_.use(credentials().client);
  if (cut_) (cut_->front ? front_ : back_).arm(cut_->cut);
  upstream_.script = [this](H2Peer& peer, H2Request& request) { answer(peer, request); };
  world_.advance(10ms);
  quiet_ = world_.sim.pending();
}

StreamCase::~StreamCase() = default;

void StreamCase::answer(H2Peer& peer, H2Request& request) {
  const Asked* one = asked(request.field(":path"));
  if (one == nullptr) return peer.answer(request.id, 404);
  const std::string length = std::to_string(one->expected.size());
  if (std::string_view(one->path) == "/informed") peer.inform(request.id, 103, {{"link", "</x>"}});
  if (std::string_view(one->method) == "HEAD") return peer.answer(request.id, 200, "", {{"content-length", "5"}});
  if (!one->expected_trailers.empty()) return peer.answer(request.id, 200, one->expected, {}, one->expected_trailers);
  peer.answer(request.id, 200, one->expected, {{"content-length", length}});
}

void StreamCase::ask() {
  Connector& connector = secured_ ? static_cast<Connector&>(tls_) : world_.platform.net;
  client_ = std::make_unique<H2Client>(connector, address("10.0.0.9:80"));
  for (const Asked& one : requests()) {
    if (one.body.empty()) {
      ids_.push_back(client_->request(one.method, one.path));
      continue;
    }
    const std::int32_t id = client_->open(one.method, one.path);
    client_->write(id, one.body.substr(0, one.body.size() / 2));
    ids_.push_back(id);
  }
  world_.advance(2ms);
  for (std::size_t i = 0; i < ids_.size(); ++i) {
    const Asked& one = requests()[i];
    if (one.body.empty()) continue;
    client_->write(ids_[i], one.body.substr(one.body.size() / 2));
    client_->finish(ids_[i], one.trailers);
  }
}

bool StreamCase::settled() {
  SimPeer& peer = client_->peer();
  if (!peer.open() || peer.ended() || peer.error() != 0) return true;
  return std::all_of(ids_.begin(), ids_.end(), [&](std::int32_t id) {
    const H2Reply& reply = client_->answer(id);
    return reply.ended || reply.reset >= 0 || reply.closed;
  });
}

Problems StreamCase::run() {
  Problems problems;
  ask();
  world_.sim.run_until([&] { return settled(); }, 20s);
  const bool stalls = cut_ && cut_->cut.act == Act::stall;
  world_.advance(stalls ? kStalled : kQuiet);
  const WorkerStatus status = world_.server->workers()[0]->status();
  if (status.inbound_in_flight != 0) problems.push_back("an exchange goes on by itself: nothing ends it");
  judge(problems);
  judge_requests(problems);
  client_->peer().close();
  front_.close_all();
  world_.advance(kQuiet);
  back_.close_all();
  for (const auto& peer : upstream_.peers) peer->peer().close();
  world_.advance(1ms);
  judge_lines(problems);
  judge_at_rest(world_, quiet_, problems);
  return problems;
}

void StreamCase::judge(Problems& problems) {
  if (client_->broken()) problems.push_back("the client got what is not HTTP/2");
  for (std::size_t i = 0; i < ids_.size(); ++i) {
    const Asked& one = requests()[i];
    const H2Reply& reply = client_->answer(ids_[i]);
    const std::string name = std::string(one.method) + " " + one.path;
    const bool own = reply.field("proxy-status").rfind("weir;", 0) == 0 || reply.status == 408;
    if (reply.ended && !own && (reply.status != 200 || reply.body != one.expected || reply.trailers != one.expected_trailers)) {
      problems.push_back(name + " is answered by " + std::to_string(reply.status) + " and " + std::to_string(reply.body.size()) +
                         " bytes that look whole");
    }
    if (one.expected.compare(0, reply.body.size(), reply.body) != 0 && !own) problems.push_back(name + " has bytes that were not sent");
    if (harmless_cut() && (!reply.ended || own)) problems.push_back(name + " is not answered, and nothing was cut");
  }
}

void StreamCase::judge_requests(Problems& problems) {
  if (upstream_.broken() && harmless_cut()) problems.push_back("the upstream got what is not HTTP/2");
  for (const auto& peer : upstream_.peers) {
    for (const auto& [id, request] : peer->requests()) {
      if (!request.head) continue;
      const Asked* one = asked(request.field(":path"));
      if (one == nullptr) {
        problems.push_back("a request that nobody sent: " + request.field(":path"));
        continue;
      }
      if (one->body.compare(0, request.body.size(), request.body) != 0) problems.push_back("the upstream got bytes that were not sent");
      if (!request.ended) continue;
      if (request.body != one->body) problems.push_back(std::string(one->path) + ": a body looks whole and is not");
      if (request.trailers != one->trailers) problems.push_back(std::string(one->path) + ": other trailers");
    }
  }
}

void StreamCase::judge_lines(Problems& problems) {
  const std::vector<nlohmann::json> lines = world_.access_log();
  const WorkerStatus status = world_.server->workers()[0]->status();
  if (lines.size() != status.exchanges) {
    problems.push_back(std::to_string(lines.size()) + " lines for " + std::to_string(status.exchanges) + " exchanges");
  }
  if (world_.metric("weir_requests_total") != static_cast<double>(lines.size())) problems.push_back("metrics and log differ");
  for (const nlohmann::json& line : lines) {
    for (std::size_t i = 0; i < ids_.size(); ++i) {
      if (line["path"] != requests()[i].path) continue;
      const H2Reply& reply = client_->answer(ids_[i]);
      if (reply.head && line["status"].get<int>() != reply.status) {
        problems.push_back("the log says " + line.dump() + ", the client saw " + std::to_string(reply.status));
      }
      if (reply.ended && reply.field("proxy-status").empty() && line.contains("failure") && line["failure"] != "client_gone" &&
          reply.status != 408) {
        problems.push_back("whole, and a failure in the log: " + line.dump());
      }
    }
  }
}

}  // namespace weir::test
