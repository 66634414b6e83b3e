#include "tests/swarm/swarm_h2_upstream.h"

#include "proxy/base/text.h"

namespace weir::test {

namespace {

// RFC 9113 7
constexpr std::uint32_t kNoError = 0;
constexpr std::uint32_t kInternalError = 2;
constexpr std::uint32_t kRefusedStream = 7;
constexpr std::uint32_t kCancel = 8;

H2Fields fields_of(const std::string& id, std::uint64_t seed, std::size_t size) {
  return {{"x-swarm", id}, {"x-body", concat(seed, ".", size)}};
}

H2Fields with(H2Fields fields, const std::string& name, const std::string& value) {
  fields.emplace_back(name, value);
  return fields;
}

}  // namespace

SwarmH2Peer::~SwarmH2Peer() {
  if (peer_ != nullptr) peer_->on_change = nullptr;
}

void SwarmH2Peer::begin(std::unique_ptr<ByteStream> stream) {
  peer_ = std::make_unique<SimPeer>(std::move(stream));
  H2PeerOptions options;
  options.max_streams = upstream_.plan_.streams;
  options.window = upstream_.plan_.window;
  session_ = std::make_unique<H2Peer>(*peer_, options, nullptr, true);
  peer_->on_change = [this](SimPeer&) {
    session_->on_change();
    on_update();
  };
}

void SwarmH2Peer::reset() {
  if (open()) peer_->reset();
}

void SwarmH2Peer::broken(std::int32_t id, const std::string& what) {
  const auto found = streams_.find(id);
  const std::string request = found == streams_.end() ? std::string() : found->second.request;
  trail("BROKEN: " + what);
  upstream_.ledger_.broken(concat("upstream ", upstream_.plan_.address, " (h2) request ", request, ": ", what));
}

void SwarmH2Peer::trail(const std::string& what) {
  if (upstream_.ledger_.keeps_trail()) {
    upstream_.ledger_.trail(upstream_.loop_.now(), concat("upstream ", upstream_.plan_.address, " (h2): ", what));
  }
}

RequestFacts* SwarmH2Peer::facts(std::int32_t id) { return upstream_.facts(streams_[id].request); }

// --- Reading -------------------------------------------------------------------------------------------------------------------------

void SwarmH2Peer::on_update() {
  if (session_->broken()) broken(0, "what came is not HTTP/2, or a request that is malformed");
  for (const auto& [id, request] : session_->requests()) {
    if (!request.head) continue;
    const bool known = streams_.count(id) != 0;
    Stream& stream = streams_[id];
    if (!known) take_head(id, request);
    if (request.ended && !std::exchange(stream.ended, true)) take_end(id, request);
  }
  if (open() && (peer_->ended() || peer_->error() != 0)) peer_->close();
}

void SwarmH2Peer::take_head(std::int32_t id, const H2Request& request) {
  Stream& stream = streams_[id];
  stream.request = request.field("x-request-id");
  stream.method = request.field(":method");
  upstream_.loop_.world().note(SwarmUpstream::hash_of(stream.request, 9));
  int seen = 0;
  RequestFacts* mine = facts(id);
  if (mine != nullptr) {
    seen = ++mine->heads_seen;
    mine->last_seen_at = upstream_.loop_.now();
    if (stream.method != mine->plan->method) broken(id, "a request with another method than was sent");
  }
  const std::string authority = request.field(":authority");
  if (authority.empty() || authority.find('|') != std::string::npos || stream.request.empty() ||
      stream.request.find('|') != std::string::npos)
    broken(id, "a request without authority or id, or with several");
  for (const char* name : {"connection", "keep-alive", "transfer-encoding", "upgrade", "host"}) {
    if (!request.field(name).empty()) broken(id, concat("a field of HTTP/1 in HTTP/2: ", name));
  }
  Random random(SwarmUpstream::hash_of(stream.request, upstream_.seed_ + static_cast<std::uint64_t>(seen)));
  stream.act = upstream_.draw(random);
  trail(concat("sees ", stream.request, " ", stream.method, " ", request.field(":path"), ", will ", to_word(stream.act)));
  if (stream.act == Act::reset && random.chance(0.5)) {  // nobody has looked at it
    if (mine != nullptr) --mine->heads_seen;
    stream.begun = true;
    return play({{Duration(0), [id](SwarmH2Peer& self) { self.session_->reset(id, kRefusedStream); }}}, 0);
  }
  if (stream.act == Act::early || (stream.act != Act::ok && random.chance(0.05))) act(id, random);
}

void SwarmH2Peer::take_end(std::int32_t id, const H2Request& request) {
  Stream& stream = streams_[id];
  if (RequestFacts* mine = facts(id); mine != nullptr && !(stream.begun && stream.act == Act::reset)) {
    ++mine->wholes_seen;
    const RequestPlan& plan = *mine->plan;
    const std::size_t size = plan.framing == RequestPlan::Framing::none ? 0 : plan.size;
    if (request.body.size() != size) {
      broken(id, concat("a body of ", request.body.size(), " bytes that looks whole, where ", size, " were meant"));
    } else if (request.body != body_text(plan.id, size)) {
      broken(id, "a body with other bytes than were sent");
    } else if (!mine->sent_whole) {
      broken(id, "a body that looks whole, and was not sent whole yet");
    }
  }
  if (stream.begun) return;
  Random random(SwarmUpstream::hash_of(stream.request, upstream_.seed_ + 77));
  act(id, random);
}

// --- Answering -----------------------------------------------------------------------------------------------------------------------

void SwarmH2Peer::act(std::int32_t id, Random& random) {
  streams_[id].begun = true;
  play(steps_of(id, random), 0);
}

std::vector<SwarmH2Peer::Step> SwarmH2Peer::steps_of(std::int32_t id, Random& random) {
  switch (streams_[id].act) {
    case Act::never: return {};
    case Act::short_body:
    case Act::reset_body:
    case Act::broken_chunk:
      if (streams_[id].method == "HEAD") return bodied(id, random);
      [[fallthrough]];
    case Act::garbage:
    case Act::reset:
    case Act::fin: return broken_off(id, random);
    default: return bodied(id, random);
  }
}

std::vector<SwarmH2Peer::Step> SwarmH2Peer::bodied(std::int32_t id, Random& random) {
  const Stream& stream = streams_[id];
  const std::uint64_t seed = random.next() >> 16;
  const std::size_t size = SwarmUpstream::some_size(stream.act, random);
  const bool to_head = stream.method == "HEAD";
  const std::string body(to_head ? std::string_view() : body_text(seed, size));
  const H2Fields plain = fields_of(stream.request, seed, size);
  const H2Fields sized = with(plain, "content-length", concat(size));
  const Duration pause = milliseconds(pick(random, 1, upstream_.plan_.head_ms));
  const Duration maybe = random.chance(0.5) ? pause : Duration(0);
  static const std::vector<int> kStatuses{200, 201, 302, 400, 404, 408, 429, 500, 501, 502, 503, 504, 599};
  const auto whole = [id](int status, const H2Fields& fields, const std::string& text) {
    return [id, status, fields, text](SwarmH2Peer& self) { self.session_->answer(id, status, text, fields); };
  };
  switch (stream.act) {
    case Act::status: return {{Duration(0), whole(one_of(random, kStatuses), sized, body)}};
    case Act::slow_head: return {{pause, whole(200, sized, body)}};
    case Act::slow_body:
    case Act::chunked:
    case Act::until_close: {
      if (to_head) return {{pause, whole(200, sized, body)}};
      const H2Fields fields = stream.act == Act::slow_body ? sized : plain;
      const H2Fields trailers = random.chance(0.3) ? H2Fields{{"x-sum", "1"}} : H2Fields{};
      const std::size_t half = body.size() / 2;
      return {{Duration(0), [id, fields](SwarmH2Peer& self) { self.session_->begin(id, 200, fields); }},
              {pause, [id, part = body.substr(0, half)](SwarmH2Peer& self) { self.session_->write(id, part); }},
              {maybe, [id, part = body.substr(half)](SwarmH2Peer& self) { self.session_->write(id, part); }},
              {maybe, [id, trailers](SwarmH2Peer& self) { self.session_->finish(id, trailers); }}};
    }
    case Act::informational: {
      const int status = random.chance(0.5) ? 103 : 100;
      return {{Duration(0), [id, status](SwarmH2Peer& self) { self.session_->inform(id, status); }}, {maybe, whole(200, sized, body)}};
    }
    case Act::early:
      return {{Duration(0), whole(200, sized, body)}, {maybe, [id](SwarmH2Peer& self) { self.session_->reset(id, kNoError); }}};
    case Act::says_close: return {{Duration(0), whole(200, sized, body)}, {maybe, [](SwarmH2Peer& self) { self.say_goodbye(); }}};
    case Act::closes: return {{Duration(0), whole(200, sized, body)}, {maybe, [](SwarmH2Peer& self) { self.end_connection(true); }}};
    case Act::retry_after: {
      const H2Fields fields = with(sized, "retry-after", concat(random.below(3)));
      return {{Duration(0), whole(random.chance(0.5) ? 503 : 429, fields, body)}};
    }
    case Act::left_over: return {{Duration(0), whole(200, sized, body)}, {Duration(0), [](SwarmH2Peer& self) { self.session_->ping(); }}};
    case Act::no_body: {
      const H2Fields none = fields_of(stream.request, seed, 0);
      const std::uint64_t form = random.below(3);
      return {{Duration(0), form == 0   ? whole(204, none, "")
                            : form == 1 ? whole(304, sized, "")
                                        : whole(200, with(none, "content-length", "0"), "")}};
    }
    default: return {{Duration(0), whole(200, sized, body)}};
  }
}

std::vector<SwarmH2Peer::Step> SwarmH2Peer::broken_off(std::int32_t id, Random& random) {
  const Stream& stream = streams_[id];
  const std::uint64_t seed = random.next() >> 16;
  const std::size_t size = SwarmUpstream::some_size(stream.act, random);
  const std::string part(body_text(seed, size).substr(0, random.below(size)));
  const H2Fields plain = fields_of(stream.request, seed, size);
  const H2Fields sized = with(plain, "content-length", concat(size));
  const Duration pause = random.chance(0.5) ? Duration(0) : Duration(milliseconds(pick(random, 1, upstream_.plan_.head_ms)));
  const auto begin = [id, part](const H2Fields& fields) {
    return [id, part, fields](SwarmH2Peer& self) {
      self.session_->begin(id, 200, fields);
      self.session_->write(id, part);
    };
  };
  const auto reset = [id](std::uint32_t code) { return [id, code](SwarmH2Peer& self) { self.session_->reset(id, code); }; };
  switch (stream.act) {
    case Act::short_body:  // less than its length: malformed
      return {{Duration(0), begin(sized)}, {pause, [id](SwarmH2Peer& self) { self.session_->finish(id); }}};
    case Act::reset_body: return {{Duration(0), begin(random.chance(0.5) ? sized : plain)}, {pause, reset(kInternalError)}};
    case Act::broken_chunk: return {{Duration(0), begin(plain)}, {pause, [](SwarmH2Peer& self) { self.end_connection(false); }}};
    case Act::garbage:
      return {{pause, [](SwarmH2Peer& self) {
                 self.trail("sends garbage");
                 self.peer_->send("HTTP/1.1 400 Bad Request\r\n\r\n this is no HTTP/2");
               }}};
    case Act::reset: return {{pause, reset(random.chance(0.5) ? kCancel : kInternalError)}};
    default: return {{pause, [](SwarmH2Peer& self) { self.end_connection(true); }}};
  }
}

void SwarmH2Peer::say_goodbye() {
  if (std::exchange(said_goodbye_, true) || streams_.empty()) return;
  trail("says GOAWAY");
  session_->goaway(streams_.rbegin()->first, kNoError);
}

void SwarmH2Peer::end_connection(bool fin) {
  trail(fin ? "ends its side" : "resets");
  fin ? peer_->finish() : peer_->reset();
}

void SwarmH2Peer::play(std::vector<Step> steps, std::size_t next) {
  if (next >= steps.size()) return;
  const Duration after = steps[next].after;
  upstream_.loop_.world().schedule_at(upstream_.loop_, upstream_.loop_.now() + after,
                                      [weak = weak_from_this(), all = std::move(steps), next]() mutable {
                                        const auto self = weak.lock();
                                        if (self == nullptr || !self->open()) return;
                                        all[next].act(*self);
                                        if (self->open()) self->play(std::move(all), next + 1);
                                      });
}

}  // namespace weir::test
