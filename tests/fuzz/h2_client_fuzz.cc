// The HTTP/2 client codec towards an upstream that sends any bytes and any frames, while requests come, send bodies, are read slowly and
// are dropped: nothing crashes, every request that is not dropped is told its end exactly once, memory stays bounded, and nothing is left
// behind.
//
// The input is a script: a byte of order, arguments, and for the upstream's words the bytes that follow.
#include <cstdlib>

#include "proxy/base/text.h"
#include "tests/fuzz/fuzz_support.h"
#include "tests/http/h1_client_world.h"

namespace weir {

namespace {

constexpr std::size_t kMaxCalls = 60;
constexpr std::size_t kMaxUploaded = std::size_t{256} * 1024;  // of one request

std::string number(std::uint32_t value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text += static_cast<char>(value >> (8 * i) & 0xff);
  return text;
}

struct Script {
  explicit Script(std::string_view of) : rest(of) {}
  bool over() const { return rest.empty(); }
  std::uint8_t byte() {
    if (rest.empty()) return 0;
    const auto value = static_cast<std::uint8_t>(rest.front());
    rest.remove_prefix(1);
    return value;
  }
  std::string_view bytes(std::size_t most) {
    const std::string_view taken = rest.substr(0, most);
    rest.remove_prefix(taken.size());
    return taken;
  }
  std::string_view rest;
};

class Play final : private ClientWorld {
 public:
  explicit Play(std::string_view text) : script_(text) {
    make = &make_h2_client;
    options.max_drain = 2000;
    connect();
  }
  void run_all() {
    const std::uint8_t mode = script_.byte();
    net.conditions().window = (mode & 1) != 0 ? 3000 : 64 * 1024;
    if ((mode & 2) != 0) say(number(0, 3) + std::string("\4\0\0\0\0\0", 6));  // SETTINGS, so that not every script has to find them
    for (int orders = 0; !script_.over() && orders < 2000; ++orders) {
      step(script_.byte());
      require(buffers.bytes_held() < std::size_t{64} * 1024 * 1024, "memory is bounded");
      check_each();
    }
    end();
  }

 private:
  void say(std::string_view bytes) {
    if (server.accepted() > 0 && upstream().open() && !said_end_) upstream().send(bytes);
  }

  // A frame whose head is well-formed; its payload may be anything.
  void say_frame() {
    const std::uint8_t type = script_.byte();
    const std::uint8_t flags = script_.byte();
    const std::uint32_t stream = script_.byte();
    const std::uint8_t size = script_.byte();
    std::string payload(script_.bytes(size & 0x7f));
    if ((size & 0x80) != 0) payload.append(std::size_t{size & 0x7fU} * 100, 'x');
    say(number(static_cast<std::uint32_t>(payload.size()), 3) + static_cast<char>(type % 12) + static_cast<char>(flags) +
        number(stream, 4) + payload);
  }

  // An answer's head, or trailers: mostly as they should be.
  void say_head() {
    const std::uint32_t stream = script_.byte();
    const std::uint8_t how = script_.byte();
    constexpr std::string_view kStatus[] = {"\x88", "\x89", std::string_view("\0\7:status\003103", 12), {}};
    std::string block(kStatus[how >> 1 & 3]);
    const std::string_view name = script_.bytes(how >> 4);
    if (!name.empty()) block += std::string(1, '\0') + static_cast<char>(name.size()) + std::string(name) + "\001v";
    say(number(static_cast<std::uint32_t>(block.size()), 3) + '\1' + static_cast<char>(4 | (how & 1)) + number(stream, 4) + block);
  }

  void begin_request() {
    if (codec == nullptr || closed > 0 || !codec->available() || calls.size() >= kMaxCalls) return;
    const std::uint8_t how = script_.byte();
    constexpr std::string_view kMethods[] = {"GET", "HEAD", "POST", "CONNECT"};
    TestCall& made = call(kMethods[how & 3], "/");
    made.sink.allowance = (how & 8) != 0 ? 500 : SIZE_MAX;
    made.drop_at_head = (how & 16) != 0;
    made.keep_reader = (how & 32) != 0;
    BodyPipe::Reader body;
    if ((how & 4) != 0) body = made.with_body((how & 64) != 0 ? 100 : -1);
    open(made, std::move(body));
  }

  TestCall* some_call() {
    const std::uint8_t which = script_.byte();
    return calls.empty() ? nullptr : calls[which % calls.size()].get();
  }

  void use_call(std::uint8_t what) {
    TestCall* one = some_call();
    if (one == nullptr) return;
    switch (what % 6) {
      case 0: one->stream.reset(); break;
      case 1:
        if (one->writer && one->writer.pipe()->bytes_written() < kMaxUploaded)
          one->writer.write(as_bytes(std::string(script_.byte() * 50U, 'u')));
        break;
      case 2:
        if (one->writer) std::exchange(one->writer, {}).finish();
        break;
      case 3:
        if (one->writer) one->writer.abort(BodyAbort::reset);
        break;
      case 4:
        one->sink.allowance = 100'000;
        if (one->sink.reader) one->sink.reader.resume();
        break;
      default:
        one->sink.reader.drop();
        one->reader.drop();
        break;
    }
  }

  void step(std::uint8_t order) {
    const std::uint8_t what = order >> 4 & 7;
    if ((order & 15) < 5) {
      say(script_.bytes(std::size_t{what} * 8 + 1));
    } else if ((order & 15) < 9) {
      say_frame();
    } else if ((order & 15) == 9) {
      say_head();
    } else if ((order & 15) < 12) {
      begin_request();
    } else if ((order & 15) < 14) {
      use_call(what);
    } else if ((order & 15) == 14) {
      loop.advance(std::chrono::milliseconds(what < 4 ? 100 : 20'000));
    } else if (what == 0) {
      said_end_ = true;
      upstream().finish();
    } else if (what == 1) {
      said_end_ = true;
      upstream().reset();
    } else if (what == 2) {
      codec->close_when_idle();
    } else {
      upstream().pause_reading(what == 3);
    }
    if ((order & 0x80) == 0) run();
  }

  void check_each() {
    for (const auto& one : calls) {
      require(one->ended + one->failed <= 1, "an end is told once");
      require(one->ended == 0 || one->status != 0, "no end without an answer");
      require(!one->sink.ended || one->ended == 1, "no whole body without a whole answer");
      require(one->drop_at_head || one->failed == 0 || !one->sink.ended, "no whole body of a failed answer");
    }
  }

  void end() {
    run();
    if (!said_end_) upstream().finish();
    upstream().pause_reading(false);
    loop.advance(2h);
    check_each();
    require(closed == 1, "the connection is over when the upstream is");
    for (const auto& one : calls) require(one->stream == nullptr || one->ended + one->failed == 1, "every request ends");
    codec.reset();
    calls.clear();
    loop.settle();
    require(buffers.chunks_in_use() == 0 && arenas.in_use() == 0, "nothing is left behind");
  }

  Script script_;
  bool said_end_ = false;
};

}  // namespace

}  // namespace weir

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  weir::Play(std::string_view(reinterpret_cast<const char*>(data), size)).run_all();
  return 0;
}
