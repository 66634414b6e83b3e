// An HTTP/2 server connection between a client that sends anything and exchanges that do anything: nothing crashes, each exchange ends
// exactly once, memory stays bounded, what we say is well-formed, and nothing is left behind.
//
// The input is a script: a byte of order (who does what) and what it needs. Half of the orders make frames that are valid, or nearly,
// with fields that decode, so that streams live long enough to be interesting; others send bytes as they are.
#include <map>
#include <memory>

#include "proxy/base/text.h"
#include "proxy/http/codec.h"
#include "proxy/metrics/metrics.h"
#include "proxy/sim/sim_net.h"
#include "proxy/sim/sim_peer.h"
#include "tests/fuzz/fuzz_support.h"
#include "tests/http/h2_frames.h"

namespace weir {

namespace {

class Script {
 public:
  explicit Script(std::string_view text) : text_(text) {}
  bool empty() const { return text_.empty(); }
  unsigned byte() {
    if (text_.empty()) return 0;
    const auto value = static_cast<std::uint8_t>(text_.front());
    text_.remove_prefix(1);
    return value;
  }
  std::string_view bytes(std::size_t size) {
    const std::string_view part = text_.substr(0, size);
    text_.remove_prefix(part.size());
    return part;
  }

 private:
  std::string_view text_;
};

class FuzzExchange final : public ServerStreamHandler, private BodySource, private BodySink {
 public:
  FuzzExchange(WorkerContext& worker, ServerStream& stream, Arena& arena, BodyPipe::Reader body)
      : worker_(worker), stream_(&stream), arena_(arena), body_(std::move(body)) {
    stream.set_handler(this);
  }
  ~FuzzExchange() {
    body_.drop();
    writer_.drop();
    if (stream_ != nullptr) stream_->reset();
    arena_.release();
  }
  bool over() const { return stream_ == nullptr; }

  void act(unsigned what, unsigned size) {
    switch (what % 9) {
      case 0: return answer(200 + static_cast<int>(size % 200), size * 100);
      case 1: return answer(204, 0);
      case 2: return inform(100 + static_cast<int>(size % 4));
      case 3: return write(size * 400);
      case 4: return finish((size & 1) != 0);
      case 5:
        if (writer_) writer_.abort(BodyAbort::peer_gone);
        return;
      case 6:
        if (body_ && !attached_) body_.set_sink(this);
        attached_ = true;
        allowance_ += size * 4000;
        if (body_) body_.resume();
        return;
      case 7: return body_.drop();
      case 8:
        if (size % 4 == 0 && stream_ != nullptr) std::exchange(stream_, nullptr)->reset();
        if (size % 4 == 1 && stream_ != nullptr) stream_->close_after_response();
        return;
      default: return;
    }
  }

 private:
  void answer(int status, std::size_t length) {
    if (stream_ == nullptr || answered_) return;
    answered_ = true;
    ResponseHead head(arena_);
    head.status = status;
    head.content_length = length % 300 == 0 ? -1 : static_cast<std::int64_t>(length);
    head.has_body = status != 204 && status != 304;
    head.headers.add_view("x-some", "thing");
    BodyPipe::Ends ends = BodyPipe::make(arena_, worker_.loop, worker_.buffers);
    writer_ = std::move(ends.writer);
    writer_.set_source(this);
    stream_->send_response(head, std::move(ends.reader));
  }
  void inform(int status) {
    if (stream_ == nullptr || answered_) return;
    ResponseHead head(arena_);
    head.status = status;
    stream_->send_informational(head);
  }
  void write(std::size_t size) {
    if (!writer_ || writer_.pipe()->finished() || writer_.paused()) return;
    const std::string text(size, 'w');
    writer_.write(as_bytes(text));
  }
  void finish(bool trailers) {
    if (!writer_ || writer_.pipe()->finished()) return;
    Headers fields(arena_);
    fields.add_view("grpc-status", "0");
    fields.add_view("content-length", "7");  // has no place there
    writer_.finish(trailers ? &fields : nullptr);
  }

  void on_stream_error(StreamError, int) override { end(); }
  void on_response_sent() override { end(); }
  void end() {
    require(stream_ != nullptr, "an exchange ends once");
    stream_ = nullptr;
    body_.drop();
    writer_.drop();
  }
  void on_body_resume() override {}
  void on_body_dropped() override {}
  std::size_t on_body(ByteView bytes) override {
    const std::size_t n = std::min(bytes.size(), allowance_);
    allowance_ -= n;
    return n;
  }
  void on_body_end(const Headers*) override { body_told(); }
  void on_body_abort(BodyAbort) override { body_told(); }
  void body_told() {
    require(!told_, "a body ends once");
    told_ = true;
  }

  WorkerContext& worker_;
  ServerStream* stream_;
  Arena& arena_;
  BodyPipe::Reader body_;
  BodyPipe::Writer writer_;
  std::size_t allowance_ = 0;
  bool attached_ = false;
  bool answered_ = false;
  bool told_ = false;
};

struct World final : private AcceptHandler, private ServerConnectionHandler {
  World() : at(Address::parse("127.0.0.1:1").value()) {
    options.limits.streams = 20;
    options.limits.header_bytes = 4096;
    net.conditions().window = 20'000;
    net.listen(at, *this);
  }
  ~World() {
    exchanges.clear();
    codec.reset();
    loop.settle();
  }
  void on_accept(std::unique_ptr<ByteStream> stream) override {
    codec = make_h2_server(worker, std::move(stream), *this, options, Bytes(buffers));
    codec->start();
  }
  void on_request(ServerStream& stream, Arena& arena, RequestHead& head, BodyPipe::Reader body) override {
    check(head);
    exchanges.push_back(std::make_unique<FuzzExchange>(worker, stream, arena, std::move(body)));
    most = std::max(most, live());
  }
  void on_bad_request(ServerStream& stream, Arena& arena, const BadMessage&) override {
    exchanges.push_back(std::make_unique<FuzzExchange>(worker, stream, arena, BodyPipe::Reader()));
    exchanges.back()->act(0, 4);
  }
  void on_closed() override { closed = true; }

  // What could split or smuggle a message if it were written for HTTP/1.
  static void check(const RequestHead& head) {
    const auto clean = [](std::string_view text, std::string_view forbidden) {
      return text.find_first_of(forbidden) == std::string_view::npos && text.find('\0') == std::string_view::npos;
    };
    require(!head.method_text.empty() && clean(head.method_text, " \r\n:/"), "a method", head.method_text);
    require(clean(head.target, " \r\n#"), "a target", head.target);
    require(!head.authority.empty() && clean(head.authority, " \r\n@/"), "an authority", head.authority);
    for (const HeaderField& field : head.headers) {
      if (field.id == HeaderId::removed) continue;
      require(!field.name.empty() && clean(field.name, " \r\n:ABCXYZ"), "a name", field.name);
      require(clean(field.value, "\r\n"), "a value", field.value);
      require(field.id != HeaderId::transfer_encoding && field.id != HeaderId::content_length && field.id != HeaderId::connection &&
                  field.id != HeaderId::host,
              "a field that frames", field.name);
    }
  }
  std::size_t live() const {
    std::size_t count = 0;
    for (const auto& one : exchanges) count += one->over() ? 0 : 1;
    return count;
  }

  SimLoop loop;
  SimNet net{loop};
  Address at;
  BufferPool buffers;
  ArenaPool arenas;
  Random random{5};
  MetricsRegistry registry;
  WorkerContext worker{loop, buffers, arenas, random, registry.shard(0), 0};
  ServerConnectionOptions options;
  std::unique_ptr<ServerConnection> codec;
  std::vector<std::unique_ptr<FuzzExchange>> exchanges;
  std::size_t most = 0;
  bool closed = false;
};

test::H2Fields fields_of(unsigned what) {
  static const test::H2Fields more[] = {
      {},
      {{"cookie", "a=b"}, {"x", "y"}, {"cookie", "c=d"}},
      {{"expect", "100-continue"}},
      {{"content-length", "100"}},
      {{"te", "trailers"}},
      {{"host", "h"}},
      {{"connection", "close"}},
      {{"x", std::string(3000, 'a')}},
      {{"X", "y"}},
      {{"x", "a\r\nb: c"}},
      {{"host", "other"}},
      {{"transfer-encoding", "chunked"}},
  };
  static const char* const methods[] = {"GET", "POST", "HEAD", "OPTIONS", "PUT", "CONNECT", "A B", "POST"};
  static const char* const paths[] = {"/", "/a?b", "*", "/#", "", "http://x/", "//", "/a b"};
  return frames::request(methods[what & 7], paths[(what >> 3) & 7 ? (what >> 3) % 2 : what % 8], more[(what >> 4) % std::size(more)]);
}

// A frame, most often one that is allowed.
std::string frame_of(Script& script, std::uint32_t& highest) {
  const unsigned kind = script.byte();
  const unsigned more = script.byte();
  const std::uint32_t stream = highest == 0 ? 1 : highest - std::min<std::uint32_t>(highest - 1, 2 * (more & 7));
  switch (kind % 14) {
    case 0:
    case 1:
    case 2:
    case 3: {
      highest += highest == 0 ? 1 : 2 * (1 + ((more & 0x78) == 0x78 ? 1 : 0));
      return frames::head(highest, fields_of(script.byte()), (more & 1) != 0);
    }
    case 4:
    case 5:
      return frames::frame(frames::data, static_cast<std::uint8_t>(more >> 7), stream, std::string(std::size_t{script.byte()} * 40, 'd'));
    case 6: return frames::frame(frames::data, frames::kPadded, stream, std::string(1, static_cast<char>(more)) + std::string(more, 'p'));
    case 7: return frames::reset(stream, more);
    case 8:
      return frames::frame(frames::window_update, 0, (more & 8) != 0 ? stream : 0, frames::number((script.byte() << (more >> 4)) + 1, 4));
    case 9: return frames::frame(frames::settings, 0, 0, frames::setting((more & 7) + 1, script.byte() << (more >> 3)));
    case 10: return frames::frame(frames::ping, static_cast<std::uint8_t>(more & 1), 0, "pingpong");
    case 11: return frames::head(stream, {{"x-trailer", "t"}}, (more & 0x10) == 0);
    case 12: return frames::frame(frames::priority, 0, stream, frames::number(script.byte(), 4) + "x");
    default:
      return frames::frame(static_cast<std::uint8_t>(script.byte()), static_cast<std::uint8_t>(more), (more & 1) != 0 ? stream : 0,
                           script.bytes(more & 0x3f));
  }
}

// What a client may rely on.
void check_frames(std::string_view text) {
  std::map<std::uint32_t, bool> ended;
  bool gone = false;
  for (const frames::Frame& one : frames::parse(text)) {
    require(one.payload.size() <= 16384, "a frame's size");
    require(!gone, "nothing follows a GOAWAY that ends the connection");
    require(one.stream == 0 || (one.stream & 1) != 0, "a stream of the client's");
    gone = one.type == frames::goaway && one.word(4) != 0;
    if (one.type != frames::headers && one.type != frames::data) continue;
    require(one.stream != 0 && !ended[one.stream], "an answer after its end");
    ended[one.stream] = (one.flags & frames::kEndStream) != 0;
  }
}

void play(std::string_view text) {
  Script script(text);
  World w;
  SimPeer client(w.net, w.at);
  w.loop.run_ready();
  const unsigned mode = script.byte();
  if ((mode & 1) == 0) client.send(frames::preface());
  std::uint32_t highest = 0;
  bool gone = false;
  while (!script.empty() && !gone) {
    const unsigned order = script.byte();
    const unsigned what = order & 0xf;
    if (what < 8) {
      client.send(frame_of(script, highest));
    } else if (what < 12) {
      const unsigned which = script.byte();
      if (!w.exchanges.empty())
        w.exchanges[w.exchanges.size() - 1 - which % std::min<std::size_t>(w.exchanges.size(), 8)]->act(script.byte(), order >> 4);
    } else if (what == 12) {
      client.send(script.bytes(order >> 2));
    } else if (what == 13) {
      w.loop.advance(std::chrono::milliseconds((order & 0x10) != 0 ? 20'000 : 300));
    } else if (what == 14) {
      client.pause_reading((order & 0x10) != 0);
    } else if ((order >> 4) == 0) {
      client.finish();
      gone = true;
    } else if ((order >> 4) == 1) {
      client.reset();
      gone = true;
    } else if ((order >> 4) == 2 && w.codec != nullptr && !w.closed) {
      w.codec->drain();
    }
    if ((order & 0x80) == 0) w.loop.run_ready();
    require(w.buffers.bytes_held() < 8 * 1024 * 1024, "memory is bounded");
  }
  client.pause_reading(false);
  w.loop.run_ready();
  require(w.most <= 2 * w.options.limits.streams, "streams are bounded");
  check_frames(client.received());
  client.close();
  w.loop.advance(2h);
  require(w.closed, "the connection ends with the client");
  require(w.live() == 0, "and all its exchanges do");
  w.exchanges.clear();
  w.codec.reset();
  w.loop.settle();
  require(w.buffers.bytes_held() == 0 && w.arenas.in_use() == 0, "nothing is left behind");
}

}  // namespace

}  // namespace weir

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  weir::play(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
