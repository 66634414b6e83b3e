// The three kinds of CodecCase.
#include <algorithm>

#include "tests/cut/codec_case.h"
#include "tests/http/h1_client_world.h"
#include "tests/http/h1_relay.h"
#include "tests/http/h1_world.h"

namespace weir::test {
namespace {

const Ask* ask_of(const Conversation& conversation, std::string_view target) {
  for (const Ask& one : conversation.asks) {
    if (one.target == target) return &one;
  }
  return nullptr;
}

// --- Server codec -------------------------------------------------------------------------------------------------------------------

class ServerCase final : public CodecCase, private AcceptHandler, private ServerConnectionHandler {
 public:
  using CodecCase::CodecCase;
  ~ServerCase() override { drop_all(); }
  bool suits(CodecBlow blow) const override {
    return blow <= CodecBlow::client_stall || blow == CodecBlow::front_stall || blow == CodecBlow::local_drain ||
           blow == CodecBlow::local_reset;
  }

 private:
  void begin() override {
    net_.listen(front_, *this);
    client_ = std::make_shared<CutClient>(conversation_, client_point_, loop_);
    client_->connect(net_, front_);
  }
  bool answered() override { return client_->answered(); }
  void on_accept(std::unique_ptr<ByteStream> stream) override {
    codec_ = make_h1_server(worker_, std::move(stream), *this, {});
    codec_->start();
  }
  void sweep() override {
    if (closed_ > 0 && codec_ != nullptr) codec_.reset();
  }
  void on_closed() override { ++closed_; }
  void on_bad_request(ServerStream& stream, Arena& arena, const BadMessage& bad) override {
    auto& exchange = *exchanges_.emplace_back(std::make_unique<TestExchange>(worker_, stream, arena));
    exchange.bad = std::string(bad.rule);
    exchange.answer(bad.status, "");
  }
  void on_request(ServerStream& stream, Arena& arena, RequestHead& head, BodyPipe::Reader body) override {
    auto& exchange = *exchanges_.emplace_back(std::make_unique<TestExchange>(worker_, stream, arena));
    exchange.line = std::string(head.target);
    exchange.head = &head;
    const Ask& ask = *ask_of(conversation_, head.target);
    const Reply& reply = ask.replies.front();
    const bool at_once = !body || reply.at_head;
    if (body) {
      exchange.request.on_end = [this, &exchange, &reply, at_once] {
        if (!at_once) answer(exchange, reply);
      };
      exchange.request.attach(std::move(body));
    }
    if (at_once) answer(exchange, reply);
  }
  // The body in two parts, the second after the reply's gap.
  void answer(TestExchange& exchange, const Reply& reply) {
    if (exchange.stream == nullptr) return;
    ResponseHead head(exchange.arena);
    head.status = reply.status;
    if (!reply.chunked) head.content_length = static_cast<std::int64_t>(reply.body.size());
    exchange.send(head, std::string_view(reply.body).substr(0, reply.body.size() / 2));
    world_.schedule_at(loop_, loop_.now() + reply.gap, [&exchange, &reply, alive = std::weak_ptr<int>(alive_)] {
      if (alive.expired() || !exchange.writer) return;
      exchange.writer.write(as_bytes(std::string_view(reply.body).substr(reply.body.size() / 2)));
      Headers trailers(exchange.arena);
      if (!reply.trailers.empty()) trailers.add("x-sum", "7");
      exchange.writer.finish(reply.trailers.empty() ? nullptr : &trailers);
    });
  }
  void strike_inside(CodecBlow blow) override {
    if (codec_ == nullptr || closed_ > 0) return;
    if (blow == CodecBlow::local_drain) return codec_->drain();
    for (const auto& one : exchanges_) {
      ServerStream* stream = std::exchange(one->stream, nullptr);
      if (stream == nullptr) continue;
      ++broken_off_;
      one->request.reader.drop();
      one->writer.drop();
      stream->reset();
    }
  }
  void judge(const Allowed& allowed, Problems& problems) override {
    judge_client(conversation_, client_->answers(), client_->end(), allowed, problems);
    for (const auto& one : exchanges_) judge_exchange(*one, problems);
    if (stalls() && codec_ != nullptr && !codec_->idle()) problems.push_back("a client is silent for ever, and still served");
  }
  void judge_exchange(const TestExchange& one, Problems& problems) {
    if (one.stream != nullptr) problems.push_back("an exchange that nothing ends: " + one.line);
    const int ends = (one.sent ? 1 : 0) + (one.error >= 0 ? 1 : 0);
    if (ends > 1) problems.push_back("an exchange ended twice: " + one.line);
    if (ends == 0 && broken_off_ == 0) problems.push_back("an exchange was never told its end: " + one.line);
    if (!one.bad.empty()) return;
    WireMessage request;
    request.head_whole = true;
    request.start_line = std::string(one.head->method_text) + " " + one.line + " HTTP/1.1";
    request.body = one.request.body;
    request.trailers = one.request.trailers;
    request.whole = one.request.ended || ask_of(conversation_, one.line)->body.empty();
    if (request.whole && request.body.empty()) return;  // an empty body may have ended before it was asked for
    judge_request(conversation_, client_point_.said, request, problems);
    if (one.request.ended && one.request.aborted != BodyAbort::none) problems.push_back("a body ended and broke off: " + one.line);
  }
  void drop_all() override {
    alive_.reset();
    codec_.reset();
    exchanges_.clear();
    net_.stop_listening(front_);
    if (closed_ > 1) std::abort();
  }

  std::vector<std::unique_ptr<TestExchange>> exchanges_;
  std::unique_ptr<ServerConnection> codec_;
  std::shared_ptr<int> alive_ = std::make_shared<int>();
  int closed_ = 0;
  int broken_off_ = 0;
};

// --- Client codec -------------------------------------------------------------------------------------------------------------------

class ClientCase final : public CodecCase, private ByteStreamHandler, private ClientConnectionHandler {
 public:
  using CodecCase::CodecCase;
  ~ClientCase() override { drop_all(); }
  bool suits(CodecBlow blow) const override {
    return (blow >= CodecBlow::upstream_fin && blow <= CodecBlow::upstream_stall) || blow == CodecBlow::back_stall ||
           blow >= CodecBlow::local_drop;
  }

 private:
  void begin() override {
    upstream_ = std::make_unique<CutUpstream>(conversation_, upstream_point_, net_, loop_, back_);
    connecting_ = net_.connect(back_, *this);
  }
  bool answered() override { return over_; }
  void on_readable() override {}
  void on_writable() override {}
  void on_connected(int error) override {
    if (error != 0) return;
    codec_ = make_h1_client(worker_, std::move(connecting_), *this, {});
    next();
  }
  void on_available() override { next(); }
  void on_closed() override {
    ++closed_;
    over_ = true;
  }
  void sweep() override {
    if (closed_ > 0) codec_.reset();
  }
  // Half of the body at once, the rest a millisecond later.
  void next() {
    if (calls_.size() == conversation_.asks.size() || !codec_->available()) {
      over_ = true;
      return;
    }
    const Ask& ask = conversation_.asks[calls_.size()];
    const std::size_t end = conversation_.end_of_ask(calls_.size());
    auto& call = *calls_.emplace_back(std::make_unique<TestCall>(worker_, ask.method, ask.target));
    BodyPipe::Reader body;
    const bool has_body = ask.bytes.find("\r\n\r\n") + 4 < ask.bytes.size();
    if (has_body) body = call.with_body(ask.chunked ? -1 : static_cast<std::int64_t>(ask.body.size()));
    call.stream = codec_->open(call.arena, call.head, {}, std::move(body), call);
    said_ = has_body ? end - 1 : end;
    if (!has_body) return;
    call.writer.write(as_bytes(std::string_view(ask.body).substr(0, ask.body.size() / 2)));
    world_.schedule_at(loop_, loop_.now() + 1ms, [this, &call, &ask, end, alive = std::weak_ptr<int>(alive_)] {
      if (alive.expired() || !call.writer || aborted_ || call.body_dropped) return;
      call.writer.write(as_bytes(std::string_view(ask.body).substr(ask.body.size() / 2)));
      Headers trailers(call.arena);
      if (!ask.trailers.empty()) trailers.add("x-check", "1");
      said_ = end;
      call.writer.finish(ask.trailers.empty() ? nullptr : &trailers);
    });
  }
  void strike_inside(CodecBlow blow) override {
    if (codec_ == nullptr) return;
    if (blow == CodecBlow::local_retire) return codec_->close_when_idle();
    if (calls_.empty()) return;
    TestCall& call = *calls_.back();
    if (blow == CodecBlow::local_stop_reading) call.sink.allowance = 0;
    if (blow == CodecBlow::local_drop) {
      dropped_ = call.ended + call.failed == 0 ? &call : nullptr;
      call.stream.reset();
      call.sink.reader.drop();
      call.writer.drop();
    }
    if (blow == CodecBlow::local_abort && call.writer && !call.writer.pipe()->finished()) {
      aborted_ = true;
      call.writer.abort(BodyAbort::peer_gone);
    }
  }
  void judge(const Allowed& allowed, Problems& problems) override {
    judge_upstream(conversation_, said_, *upstream_, allowed, problems);
    for (std::size_t i = 0; i < calls_.size(); ++i) judge_call(*calls_[i], conversation_.asks[i], allowed, problems);
    if (allowed.uncut && calls_.size() != conversation_.asks.size()) problems.push_back("uncut, yet not all requests were sent");
    if (closed_ > 1) problems.push_back("closed twice");
  }
  void judge_call(const TestCall& call, const Ask& ask, const Allowed& allowed, Problems& problems) {
    const bool hangs_by_right = stalls();
    if (call.ended + call.failed > 1) problems.push_back("a call was told its end twice: " + ask.target);
    if (call.ended + call.failed == 0 && &call != dropped_ && !hangs_by_right)
      problems.push_back("a call was never told its end: " + ask.target);
    if (call.failed > 0 && call.sink.ended) problems.push_back("a call failed, and its body ended well: " + ask.target);
    if (call.status == 0) return;
    const bool whole = call.ended > 0;
    const Reply& reply = ask.replies.front();
    const std::string body = ask.method == "HEAD" ? std::string() : reply.body;
    if (call.status != reply.status) problems.push_back("another status: " + std::to_string(call.status));
    if (body.compare(0, call.sink.body.size(), call.sink.body) != 0) problems.push_back("bytes that were not sent: " + call.sink.body);
    const bool reads = !(blow_ && blow_->blow == CodecBlow::local_stop_reading);
    const bool may_be_short = allowed.early_fin && reply.until_close;
    if (whole && reads && !may_be_short && &call != dropped_ && call.sink.body != body)
      problems.push_back("a body looks whole and is not: " + call.sink.body);
    if (whole && reads && call.trailers_at_end != (reply.trailers.empty() ? 0U : 1U)) problems.push_back("other trailers");
    if (allowed.uncut && !whole) problems.push_back("uncut, yet not whole: " + ask.target);
  }
  void drop_all() override {
    alive_.reset();
    connecting_.reset();
    calls_.clear();
    codec_.reset();
    upstream_.reset();
  }

  std::unique_ptr<ByteStream> connecting_;
  std::vector<std::unique_ptr<TestCall>> calls_;
  std::unique_ptr<ClientConnection> codec_;
  std::shared_ptr<int> alive_ = std::make_shared<int>();
  const TestCall* dropped_ = nullptr;
  std::size_t said_ = 0;  // of the conversation's bytes: a body that is not finished is not said to its end
  bool aborted_ = false;
  bool over_ = false;
  int closed_ = 0;
};

// --- Relay --------------------------------------------------------------------------------------------------------------------------

class RelayCase final : public CodecCase, private AcceptHandler, private ByteStreamHandler {
 public:
  using CodecCase::CodecCase;
  ~RelayCase() override { drop_all(); }
  bool suits(CodecBlow blow) const override { return blow <= CodecBlow::local_drain; }

 private:
  void begin() override {
    net_.listen(front_, *this);
    upstream_ = std::make_unique<CutUpstream>(conversation_, upstream_point_, net_, loop_, back_);
    client_ = std::make_shared<CutClient>(conversation_, client_point_, loop_);
    client_->connect(net_, front_);
  }
  bool answered() override { return client_->answered(); }
  void on_accept(std::unique_ptr<ByteStream> stream) override {
    accepted_ = std::move(stream);
    connecting_ = net_.connect(back_, *this);
  }
  void on_readable() override {}
  void on_writable() override {}
  void on_connected(int error) override {
    if (error == 0) relay_ = std::make_unique<H1Relay>(worker_, std::move(accepted_), std::move(connecting_));
  }
  void sweep() override {
    if (relay_ == nullptr) return;
    if (relay_->upstream_closed) relay_->drop_upstream();
    if (relay_->closed) relay_.reset();
  }
  void strike_inside(CodecBlow blow) override {
    if (blow == CodecBlow::local_drain && relay_ != nullptr) relay_->client().drain();
  }
  void judge(const Allowed& allowed, Problems& problems) override {
    judge_client(conversation_, client_->answers(), client_->end(), upstream_stalls() ? deaf(allowed) : allowed, problems);
    judge_upstream(conversation_, client_point_.said, *upstream_, allowed, problems);
    // Without filters nothing ends an upstream that stands still.
    if (relay_ != nullptr && relay_->busy() && !upstream_stalls()) problems.push_back("an exchange goes on by itself: nothing ends it");
  }
  bool upstream_stalls() const {
    if (cut_) return cut_->act == Act::stall && cut_->side == Side::upstream;
    return blow_ && (blow_->blow == CodecBlow::upstream_stall || blow_->blow == CodecBlow::back_stall);
  }
  static Allowed deaf(Allowed allowed) {
    allowed.client_deaf = true;
    return allowed;
  }
  void drop_all() override {
    relay_.reset();
    connecting_.reset();
    accepted_.reset();
    upstream_.reset();
    net_.stop_listening(front_);
  }

  std::unique_ptr<ByteStream> accepted_;
  std::unique_ptr<ByteStream> connecting_;
  std::unique_ptr<H1Relay> relay_;
};

}  // namespace

std::unique_ptr<CodecCase> make_codec_case(CodecKind kind, const Conversation& conversation, std::optional<Cut> cut,
                                           std::optional<CodecEventCut> blow) {
  switch (kind) {
    case CodecKind::server: return std::make_unique<ServerCase>(conversation, cut, blow);
    case CodecKind::client: return std::make_unique<ClientCase>(conversation, cut, blow);
    case CodecKind::relay: break;
  }
  return std::make_unique<RelayCase>(conversation, cut, blow);
}

}  // namespace weir::test
