#include "tests/swarm/swarm_upstream.h"

#include "proxy/base/text.h"
#include "tests/swarm/swarm_h2_upstream.h"

namespace weir::test {

std::uint64_t SwarmUpstream::hash_of(std::string_view text, std::uint64_t hash) {
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return hash;
}

std::size_t SwarmUpstream::some_size(Act act, Random& random) {
  if (act == Act::large) return pick(random, 100'000, 600'000);
  return random.chance(0.1) ? pick(random, 3'000, 30'000) : pick(random, 2, 2'000);
}

namespace {

std::uint32_t id_of(std::string_view text) {  // 0: none of the plan's
  if (text.size() < 2 || text.size() > 7 || text[0] != 's') return 0;
  std::uint32_t id = 0;
  for (const char c : text.substr(1)) {
    if (c < '0' || c > '9') return 0;
    id = id * 10 + static_cast<std::uint32_t>(c - '0');
  }
  return id;
}

std::string chunk(std::string_view bytes) {
  std::string digits;
  for (std::size_t left = bytes.size(); left > 0; left /= 16) digits.insert(digits.begin(), "0123456789ABCDEF"[left % 16]);
  return concat(digits, "\r\n", bytes, "\r\n");
}

Act drawn(const std::vector<std::uint32_t>& weights, Random& random) {
  std::uint64_t sum = 0;
  for (const std::uint32_t one : weights) sum += one;
  std::uint64_t at = random.below(sum);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (at < weights[i]) return static_cast<Act>(i);
    at -= weights[i];
  }
  return Act::ok;
}

}  // namespace

void SwarmUpstreamPeer::broken(const std::string& what) {
  trail("BROKEN: " + what);
  upstream_.ledger_.broken(concat("upstream ", upstream_.plan_.address, " request ", id_, ": ", what));
}

void SwarmUpstreamPeer::trail(const std::string& what) {
  if (upstream_.ledger_.keeps_trail())
    upstream_.ledger_.trail(upstream_.loop_.now(), concat("upstream ", upstream_.plan_.address, ": ", what));
}

RequestFacts* SwarmUpstream::facts(std::string_view text) {
  const auto found = ledger_.requests.find(id_of(text));
  return found == ledger_.requests.end() ? nullptr : &found->second;
}

Act SwarmUpstream::draw(Random& random) const { return healed_ ? Act::ok : drawn(plan_.weights, random); }

RequestFacts* SwarmUpstreamPeer::facts() { return upstream_.facts(id_); }

// --- Reading -------------------------------------------------------------------------------------------------------------------------

void SwarmUpstreamPeer::on_bytes() {
  while (open()) {
    if (whole_ && answering_ && !received.empty()) {
      broken("bytes of another request while the last one is not answered");
      received.clear();
    }
    switch (parser_.next(received, false, got_fin())) {
      case WireParser::Event::more:
        if (got_reset() || (got_fin() && !answering_)) return close();
        return;
      case WireParser::Event::bad: broken("a request that is none: " + parser_.problem()); return reset();
      case WireParser::Event::head: take_head(parser_.message()); break;
      case WireParser::Event::end: take_end(parser_.message()); break;
    }
  }
}

void SwarmUpstreamPeer::take_head(const WireMessage& request) {
  if (answering_) broken("a second request before the first was answered");
  if (spoilt_) broken("a request on a connection on which bytes came that nobody had asked for");
  id_ = request.field("x-request-id");
  method_ = request.method();
  begun_ = false;
  whole_ = false;
  upstream_.loop_.world().note(SwarmUpstream::hash_of(id_, 7));
  int seen = 0;
  if (RequestFacts* mine = facts()) {
    seen = ++mine->heads_seen;
    mine->last_seen_at = upstream_.loop_.now();
    if (method_ != mine->plan->method) broken("a request with another method than was sent");
  }
  if (request.count("host") != 1 || request.count("x-request-id") != 1) broken("a request without host or id, or with several");
  Random random(SwarmUpstream::hash_of(id_, upstream_.seed_ + static_cast<std::uint64_t>(seen)));
  act_ = upstream_.draw(random);
  trail(concat("sees ", id_, " ", request.start_line, ", will ", doomed_ ? "close" : to_word(act_)));
  if (act_ == Act::early || (act_ != Act::ok && random.chance(0.05))) act(act_, random);
}

void SwarmUpstreamPeer::take_end(const WireMessage& request) {
  whole_ = true;
  if (RequestFacts* mine = facts()) {
    ++mine->wholes_seen;
    const RequestPlan& plan = *mine->plan;
    const std::size_t size = plan.framing == RequestPlan::Framing::none ? 0 : plan.size;
    if (request.body.size() != size) {
      broken(concat("a body of ", request.body.size(), " bytes that looks whole, where ", size, " were meant"));
    } else if (request.body != body_text(plan.id, size)) {
      broken("a body with other bytes than were sent");
    } else if (!mine->sent_whole) {
      broken("a body that looks whole, and was not sent whole yet");
    }
  }
  if (begun_) return;
  Random random(SwarmUpstream::hash_of(id_, upstream_.seed_ + 77));
  act(act_, random);
}

// --- Answering -----------------------------------------------------------------------------------------------------------------------

// `size`: what the body is meant to be; `more` says how it is framed.
std::string SwarmUpstreamPeer::head(int status, std::uint64_t seed, std::size_t size, const std::string& more) const {
  return concat("HTTP/1.1 ", status, " Said\r\nX-Swarm: ", id_, "\r\nX-Body: ", seed, ".", size, "\r\n", more, "\r\n");
}

std::vector<SwarmUpstreamPeer::Step> SwarmUpstreamPeer::bodied(Act act, Random& random) const {
  const std::uint64_t seed = random.next() >> 16;
  const std::size_t size = SwarmUpstream::some_size(act, random);
  const bool to_head = method_ == "HEAD";
  const std::string_view body = to_head ? std::string_view() : body_text(seed, size);
  const std::string length = concat("Content-Length: ", size, "\r\n");
  const Duration pause = milliseconds(pick(random, 1, upstream_.plan_.head_ms));
  static const std::vector<int> kStatuses{200, 201, 302, 400, 404, 408, 429, 500, 501, 502, 503, 504, 599};
  switch (act) {
    case Act::status: return {{Duration(0), concat(head(one_of(random, kStatuses), seed, size, length), body)}};
    case Act::slow_head: return {{pause, concat(head(200, seed, size, length), body)}};
    case Act::slow_body: {
      if (to_head) return {{pause, head(200, seed, size, length)}};
      const std::size_t half = body.size() / 2;
      return {{Duration(0), head(200, seed, size, length)},
              {pause, std::string(body.substr(0, half))},
              {pause, std::string(body.substr(half))}};
    }
    case Act::chunked: {
      const std::string first = head(200, seed, size, "Transfer-Encoding: chunked\r\n");
      if (to_head) return {{Duration(0), first}};
      const std::size_t cut = 1 + random.below(size - 1);
      return {{Duration(0), first + chunk(body.substr(0, cut))},
              {random.chance(0.5) ? pause : Duration(0),
               chunk(body.substr(cut)) + (random.chance(0.3) ? "0\r\nX-Sum: 1\r\n\r\n" : "0\r\n\r\n")}};
    }
    case Act::until_close:
      if (to_head) return {{Duration(0), head(200, seed, size, ""), Then::fin}};
      return {{Duration(0), head(200, seed, size, "")}, {random.chance(0.5) ? pause : Duration(0), std::string(body), Then::fin}};
    case Act::informational: {
      const std::string told = random.chance(0.5) ? "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" : "HTTP/1.1 100 Continue\r\n\r\n";
      return {{Duration(0), told}, {random.chance(0.5) ? pause : Duration(0), concat(head(200, seed, size, length), body)}};
    }
    case Act::says_close: return {{Duration(0), concat(head(200, seed, size, length + "Connection: close\r\n"), body), Then::fin}};
    case Act::closes:
      return {{Duration(0), concat(head(200, seed, size, length), body), Then::keep, true},
              {random.chance(0.5) ? pause : Duration(0), "", Then::fin}};
    case Act::retry_after: {
      const std::string after = concat("Retry-After: ", random.below(3), "\r\n");
      return {{Duration(0), concat(head(random.chance(0.5) ? 503 : 429, seed, size, length + after), body)}};
    }
    case Act::left_over: return {{Duration(0), concat(head(200, seed, size, length), body, "nobody asked for this\r\n\r\n")}};
    case Act::no_body: {
      const std::uint64_t form = random.below(3);
      return {{Duration(0), form == 0   ? head(204, seed, 0, "")
                            : form == 1 ? head(304, seed, 0, length)
                                        : head(200, seed, 0, "Content-Length: 0\r\n")}};
    }
    default: return {{Duration(0), concat(head(200, seed, size, length), body)}};
  }
}

std::vector<SwarmUpstreamPeer::Step> SwarmUpstreamPeer::broken_off(Act act, Random& random) const {
  const std::uint64_t seed = random.next() >> 16;
  const std::size_t size = SwarmUpstream::some_size(act, random);
  const std::string_view body = body_text(seed, size);
  const std::string length = concat("Content-Length: ", size, "\r\n");
  const std::string_view part = body.substr(0, random.below(size));
  const Duration pause = random.chance(0.5) ? Duration(0) : Duration(milliseconds(pick(random, 1, upstream_.plan_.head_ms)));
  switch (act) {
    case Act::short_body: return {{Duration(0), concat(head(200, seed, size, length), part)}, {pause, "", Then::fin}};
    case Act::reset_body:
      return {{Duration(0), concat(head(200, seed, size, random.chance(0.5) ? length : ""), part)}, {pause, "", Then::reset}};
    case Act::broken_chunk: {
      const std::string first = concat(head(200, seed, size, "Transfer-Encoding: chunked\r\n"), chunk(body.substr(0, 1)));
      if (random.chance(0.5)) return {{Duration(0), first}, {pause, "xyz\r\nno chunk", Then::keep}};
      return {{Duration(0), first}, {pause, "", Then::fin}};
    }
    case Act::garbage: return {{pause, "\x16\x03\x01 this is no HTTP\r\n\r\n"}};
    case Act::reset: return {{pause, "", Then::reset}};
    case Act::fin: return {{pause, "", Then::fin}};
    default: return {};
  }
}

void SwarmUpstreamPeer::act(Act act, Random& random) {
  begun_ = true;
  answering_ = true;
  if (doomed_) return;
  const SimConditions& net = upstream_.plan_.net;
  spoilt_ = act == Act::left_over && net.fragment + net.short_write + net.short_read == 0 && net.window >= 60'000;
  switch (act) {
    case Act::never: return;
    case Act::short_body:
    case Act::reset_body:
    case Act::broken_chunk:
      if (method_ == "HEAD") return play(bodied(Act::ok, random), 0);
      [[fallthrough]];
    case Act::garbage:
    case Act::reset:
    case Act::fin: return play(broken_off(act, random), 0);
    default: return play(bodied(act, random), 0);
  }
}

void SwarmUpstreamPeer::play(std::vector<Step> steps, std::size_t next) {
  if (next >= steps.size()) {
    answering_ = false;
    return on_bytes();
  }
  const Duration after = steps[next].after;
  upstream_.loop_.world().schedule_at(upstream_.loop_, upstream_.loop_.now() + after,
                                      [weak = weak_from_this(), all = std::move(steps), next]() mutable {
                                        const auto self = weak.lock();
                                        if (self == nullptr || !self->open()) return;
                                        const Step& step = all[next];
                                        // The next request may come at once.
                                        if (step.whole || (next + 1 == all.size() && step.then == Then::keep)) self->answering_ = false;
                                        if (step.whole) self->doomed_ = true;
                                        if (!step.bytes.empty()) self->send(step.bytes);
                                        if (step.then != Then::keep) self->trail(step.then == Then::fin ? "ends its side" : "resets");
                                        if (step.then == Then::fin) self->finish();
                                        if (step.then == Then::reset) return self->reset();
                                        self->play(std::move(all), next + 1);
                                      });
}

// --- The endpoint --------------------------------------------------------------------------------------------------------------------

SwarmUpstream::SwarmUpstream(SimNet& net, SimLoop& loop, const EndpointPlan& plan, std::uint64_t seed, Ledger& ledger)
    : net_(net), loop_(loop), plan_(plan), at_(Address::parse(plan.address).value()), seed_(hash_of(plan.address, seed)), ledger_(ledger) {
  net_.conditions(at_) = plan.net;
  up();
}

SwarmUpstream::~SwarmUpstream() {
  if (listening_) net_.stop_listening(at_, *this);
}

void SwarmUpstream::up() {
  if (!std::exchange(listening_, true)) net_.listen(loop_, at_, *this);
}

void SwarmUpstream::down() {
  if (std::exchange(listening_, false)) net_.stop_listening(at_, *this);
  net_.reset(at_);
}

void SwarmUpstream::restore() { net_.conditions(at_) = plan_.net; }

void SwarmUpstream::calm() {
  up();
  SimConditions gentle;
  gentle.delay = plan_.net.delay;
  net_.conditions(at_) = gentle;
  net_.unstall(at_);
}

// What is still open may be in any state of an old script.
void SwarmUpstream::heal() {
  healed_ = true;
  close_all();
}

void SwarmUpstream::close_all() {
  for (const auto& peer : peers_) peer->reset();
}

void SwarmUpstream::on_accept(std::unique_ptr<ByteStream> stream) {
  std::shared_ptr<SwarmPeer> peer;
  if (plan_.http2) {
    peer = std::make_shared<SwarmH2Peer>(*this);
  } else {
    peer = std::make_shared<SwarmUpstreamPeer>(*this);
  }
  peers_.push_back(peer);
  peer->begin(std::move(stream));
}

}  // namespace weir::test
