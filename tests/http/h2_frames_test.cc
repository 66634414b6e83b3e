// RFC 9113, sections 4 to 6 and 8.1, as a client can put them to the test: frames in raw bytes, and what comes of them.
#include "tests/http/h2_world.h"

namespace weir {

using namespace frames;

namespace {

// What came back, in order: "answer 1", "reset 1 8", "goaway 1", "pong", "end" where the connection was ended.
std::string told(const std::vector<Frame>& list, bool ended) {
  std::string text;
  for (const Frame& one : list) {
    const std::string stream = std::to_string(one.stream);
    if ((one.type == headers || one.type == data) && (one.flags & kEndStream) != 0) text += "answer " + stream + ", ";
    if (one.type == rst_stream) text += "reset " + stream + " " + std::to_string(one.word()) + ", ";
    if (one.type == goaway) text += "goaway " + std::to_string(one.word(4)) + ", ";
    if (one.type == ping) text += "pong " + one.payload + ", ";
  }
  if (ended) text += "end, ";
  return text.substr(0, text.size() - std::min<std::size_t>(text.size(), 2));
}

// Each part is sent when what came of the one before is over.
std::string outcome(std::initializer_list<std::string> parts) {
  H2World w;
  w.script = [](TestExchange& e) {
    if (!e.body) return e.answer(200, "fine");
    e.request.on_end = [&e] { e.answer(200, "fine"); };
    e.request.attach(std::move(e.body));
  };
  SimPeer client(w.net, w.at);
  client.send(preface() + frame(settings, kAck, 0));
  w.run();
  for (const std::string& part : parts) {
    client.send(part);
    w.run();
  }
  const std::string text = told(parse(client.received()), client.ended());
  client.close();
  w.run();
  CHECK(w.connection().closed == 1);
  for (const auto& e : w.exchanges) CHECK((e->sent || e->error >= 0));
  return text;
}

std::string get(std::uint32_t stream) { return head(stream, request()); }
std::string post(std::uint32_t stream) { return head(stream, request("POST"), false); }
std::string bytes(std::initializer_list<int> list) {
  std::string text;
  for (const int one : list) text += static_cast<char>(one);
  return text;
}
std::string priority_of(std::uint32_t parent) { return number(parent, 4) + "\x10"; }
std::string block_of(const std::string& more) { return block(request()) + more; }
std::string with_block(const std::string& more) { return frame(headers, kEndHeaders | kEndStream, 1, block_of(more)); }

constexpr const char* kFine = "answer 1";
constexpr const char* kProtocolError = "goaway 1, end";
constexpr const char* kFlowControlError = "goaway 3, end";
constexpr const char* kStreamClosed = "goaway 5, end";
constexpr const char* kFrameSizeError = "goaway 6, end";
constexpr const char* kCompressionError = "goaway 9, end";

}  // namespace

TEST_CASE("h2 frames: where HTTP/2 was agreed upon, what is no preface is an error (3.4)") {
  struct Agreed final : AcceptHandler, ServerConnectionHandler {
    explicit Agreed(H1World& of) : world(of) { of.net.listen(at, *this); }
    void on_accept(std::unique_ptr<ByteStream> stream) override {
      codec = make_h2_server(world.worker, std::move(stream), *this, world.server_options, Bytes(world.buffers));
      codec->start();
    }
    void on_request(ServerStream&, Arena&, RequestHead&, BodyPipe::Reader) override { FAIL(); }
    void on_bad_request(ServerStream&, Arena&, const BadMessage&) override { FAIL(); }
    void on_refused(std::string_view rule) override { refused = rule; }
    void on_closed() override { closed = true; }
    H1World& world;
    Address at = Address::parse("127.0.0.1:9").value();
    std::unique_ptr<ServerConnection> codec;
    std::string refused;
    bool closed = false;
  };
  for (const char* text : {"INVALID CONNECTION PREFACE\r\n\r\n", "GET / HTTP/1.1\r\nhost: h\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r"}) {
    CAPTURE(text);
    H1World w;
    Agreed server(w);
    SimPeer client(w.net, server.at);
    client.send(text);
    w.run();
    CHECK(code_of(parse(client.received()), goaway) == 1);
    CHECK(client.ended());
    CHECK(server.refused == "http2-frame");
    client.close();
    w.run();
    CHECK(server.closed);
  }
}

TEST_CASE("h2 frames: what is unknown or reserved is ignored (4.1, 5.5)") {
  CHECK(outcome({frame(0x16, 0xff, 0, "x") + frame(0xfa, 0, 1, "yy") + frame(0xf0, 0xff, 77, "") + get(1)}) == kFine);
  CHECK(outcome({head(0x80000001, request())}) == kFine);
  CHECK(outcome({frame(ping, 0xfe, 0, "12345678") + get(1)}) == "pong 12345678, answer 1");
  CHECK(outcome({frame(settings, 0, 0, setting(0xbeef, 7)) + get(1)}) == kFine);
  CHECK(outcome({frame(headers, kEndHeaders | kEndStream | 0xd2, 1, block(request()))}) == kFine);
}

TEST_CASE("h2 frames: sizes (4.2)") {
  CHECK(outcome({post(1) + frame(data, kEndStream, 1, std::string(16384, 'a'))}) == kFine);
  CHECK(outcome({post(1) + frame(data, kEndStream, 1, std::string(16385, 'a'))}) == kFrameSizeError);
  CHECK(outcome({frame(headers, kEndHeaders | kEndStream, 1, std::string(16385, '\0'))}) == kFrameSizeError);
  CHECK(outcome({frame(0xfa, 0, 0, std::string(16385, '\0'))}) == kFrameSizeError);
  CHECK(outcome({frame(settings, 0, 0, "12345")}) == kFrameSizeError);
  CHECK(outcome({frame(ping, 0, 0, "1234567")}) == kFrameSizeError);
  CHECK(outcome({frame(ping, 0, 0, "123456789")}) == kFrameSizeError);
  CHECK(outcome({post(1) + frame(rst_stream, 0, 1, "123")}) == kFrameSizeError);
  CHECK(outcome({post(1) + frame(rst_stream, 0, 1, "12345")}) == kFrameSizeError);
  CHECK(outcome({frame(window_update, 0, 0, "123")}) == kFrameSizeError);
  CHECK(outcome({frame(window_update, 0, 0, "12345")}) == kFrameSizeError);
  CHECK(outcome({frame(priority, 0, 1, "1234")}) == kFrameSizeError);
  CHECK(outcome({frame(priority, 0, 1, "123456")}) == kFrameSizeError);
  CHECK(outcome({frame(goaway, 0, 0, "1234567")}) == kFrameSizeError);
  CHECK(outcome({frame(headers, kEndHeaders | kPriority, 1, "1234")}) == kFrameSizeError);
}

TEST_CASE("h2 frames: a header block is one piece (4.3, 6.10)") {
  const std::string open = frame(headers, kEndStream, 1, block(request()));
  CHECK(outcome({open + frame(continuation, kEndHeaders, 1)}) == kFine);
  CHECK(outcome({open + frame(continuation, 0, 1, block({{"a", "b"}})) + frame(continuation, kEndHeaders, 1, block({{"c", "d"}}))}) ==
        kFine);
  CHECK(outcome({open + frame(priority, 0, 1, priority_of(3))}) == kProtocolError);
  CHECK(outcome({open + get(3)}) == kProtocolError);
  CHECK(outcome({open + frame(data, 0, 1, "x")}) == kProtocolError);
  CHECK(outcome({open + frame(0xfa, 0, 0, "x")}) == kProtocolError);
  CHECK(outcome({open + frame(continuation, kEndHeaders, 3)}) == kProtocolError);
  CHECK(outcome({open + frame(continuation, kEndHeaders, 0)}) == kProtocolError);
  CHECK(outcome({frame(continuation, kEndHeaders, 0)}) == kProtocolError);
  CHECK(outcome({get(1) + frame(continuation, kEndHeaders, 1)}) == "goaway 1, end");
  CHECK(outcome({post(1) + frame(data, 0, 1, "x") + frame(continuation, kEndHeaders, 1)}) == kProtocolError);
}

TEST_CASE("h2 frames: what an idle stream may not get (5.1)") {
  CHECK(outcome({frame(data, kEndStream, 1, "x")}) == kProtocolError);
  CHECK(outcome({reset(1)}) == kProtocolError);
  CHECK(outcome({frame(window_update, 0, 1, number(1, 4))}) == kProtocolError);
  CHECK(outcome({frame(continuation, kEndHeaders, 1)}) == kProtocolError);
  CHECK(outcome({frame(priority, 0, 1, priority_of(0)) + frame(priority, 0, 9, priority_of(1)) + get(1)}) == kFine);
}

TEST_CASE("h2 frames: what a stream may get whose request is complete (5.1)") {
  CHECK(outcome({get(1) + frame(data, kEndStream, 1, "x")}) == kStreamClosed);
  CHECK(outcome({get(1) + get(1)}) == kStreamClosed);
  CHECK(outcome({get(1) + frame(window_update, 0, 1, number(1, 4)) + frame(priority, 0, 1, priority_of(3))}) == kFine);
  CHECK(outcome({get(1) + reset(1)}).empty());
}

TEST_CASE("h2 frames: what a stream may get that is closed (5.1)") {
  CHECK(outcome({get(1), frame(data, kEndStream, 1, "x")}) == "answer 1, goaway 5, end");
  CHECK(outcome({get(1), get(1)}) == "answer 1, goaway 5, end");
  CHECK(outcome({get(1), frame(continuation, kEndHeaders, 1)}) == "answer 1, goaway 1, end");
  CHECK(outcome({get(1), frame(window_update, 0, 1, number(1, 4)) + reset(1) + frame(priority, 0, 1, priority_of(0)), get(3)}) ==
        "answer 1, answer 3");
  CHECK(outcome({post(1) + reset(1), frame(data, kEndStream, 1, "x")}) == kStreamClosed);
  CHECK(outcome({post(1) + reset(1) + frame(data, kEndStream, 1, "x")}) == kStreamClosed);
  CHECK(outcome({post(1) + reset(1), post(1)}) == kStreamClosed);
}

TEST_CASE("h2 frames: what crosses a reset of ours is ignored (5.1)") {
  const std::string malformed = head(1, request("POST", "/", {{"connection", "close"}}), false);
  CHECK(outcome({malformed, frame(data, 0, 1, "xyz") + head(1, {{"x-trailer", "1"}}), get(3)}) == "reset 1 1, answer 3");
  CHECK(outcome({malformed, frame(window_update, 0, 1, number(1, 4)) + reset(1), get(3)}) == "reset 1 1, answer 3");
  CHECK(outcome({malformed + frame(data, kEndStream, 1, std::string(1000, 'x')) + get(3)}) == "reset 1 1, answer 3");
}

TEST_CASE("h2 frames: numbers of streams are odd and grow (5.1.1)") {
  CHECK(outcome({head(2, request())}) == kProtocolError);
  CHECK(outcome({get(5) + get(3)}) == kProtocolError);
  CHECK(outcome({get(5), get(3)}) == "answer 5, goaway 1, end");
  CHECK(outcome({get(3), get(1)}) == "answer 3, goaway 1, end");
  CHECK(outcome({get(9), frame(data, kEndStream, 7, "x")}) == "answer 9, goaway 5, end");
  CHECK(outcome({get(0)}) == kProtocolError);
  CHECK(outcome({get(0x7fffffff)}) == "answer 2147483647");
}

TEST_CASE("h2 frames: priorities are checked and change nothing (5.3, 6.3)") {
  CHECK(outcome({frame(headers, kEndHeaders | kEndStream | kPriority, 1, priority_of(0) + block(request()))}) == kFine);
  CHECK(outcome({frame(headers, kEndHeaders | kEndStream | kPriority, 1, priority_of(0x80000003) + block(request()))}) == kFine);
  CHECK(outcome({frame(headers, kEndHeaders | kEndStream | kPriority, 1, priority_of(1) + block(request()))}) == kProtocolError);
  CHECK(outcome({frame(priority, 0, 1, priority_of(1))}) == kProtocolError);
  CHECK(outcome({frame(priority, 0, 0, priority_of(1))}) == kProtocolError);
  CHECK(outcome({frame(priority, 0, 5, priority_of(0x80000000)) + get(1) + get(3)}) == "answer 1, answer 3");
}

TEST_CASE("h2 frames: padding (6.1, 6.2)") {
  CHECK(outcome({post(1) + frame(data, kPadded, 1, bytes({4, 'a', 0, 0, 0, 0})) + frame(data, kEndStream | kPadded, 1, bytes({0}))}) ==
        kFine);
  CHECK(outcome({post(1) + frame(data, kEndStream | kPadded, 1, bytes({1, 0}))}) == kFine);
  CHECK(outcome({post(1) + frame(data, kEndStream | kPadded, 1, bytes({2, 0}))}) == kProtocolError);
  CHECK(outcome({post(1) + frame(data, kEndStream | kPadded, 1)}) == kProtocolError);
  const std::string fields = block(request());
  CHECK(outcome({frame(headers, kEndHeaders | kEndStream | kPadded, 1, '\x03' + fields + std::string(3, '\0'))}) == kFine);
  CHECK(outcome({frame(headers, kEndHeaders | kEndStream | kPadded | kPriority, 1,
                       '\x03' + priority_of(0) + fields + std::string(3, '\0'))}) == kFine);
  CHECK(outcome({frame(headers, kEndHeaders | kEndStream | kPadded, 1, static_cast<char>(fields.size() + 1) + fields)}) == kProtocolError);
  CHECK(outcome({frame(headers, kEndHeaders | kEndStream | kPadded, 1)}) == kProtocolError);
}

TEST_CASE("h2 frames: stream 0 is the connection's, and no other is (6.1 to 6.9)") {
  CHECK(outcome({frame(data, 0, 0, "x")}) == kProtocolError);
  CHECK(outcome({reset(0)}) == kProtocolError);
  CHECK(outcome({frame(settings, 0, 1)}) == kProtocolError);
  CHECK(outcome({frame(settings, kAck, 1)}) == kProtocolError);
  CHECK(outcome({get(1) + frame(ping, 0, 1, "12345678")}) == kProtocolError);
  CHECK(outcome({frame(goaway, 0, 1, number(0, 4) + number(0, 4))}) == kProtocolError);
}

TEST_CASE("h2 frames: SETTINGS (6.5)") {
  const auto set = [](std::uint32_t id, std::uint32_t value) { return frame(settings, 0, 0, setting(id, value)); };
  CHECK(outcome({frame(settings, kAck, 0, setting(1, 1))}) == kFrameSizeError);
  CHECK(outcome({set(2, 0) + set(2, 1) + get(1)}) == kFine);
  CHECK(outcome({set(2, 2)}) == kProtocolError);
  CHECK(outcome({set(4, 0x7fffffff) + get(1)}) == kFine);
  CHECK(outcome({set(4, 0x80000000)}) == kFlowControlError);
  CHECK(outcome({set(5, 16384) + set(5, 16777215) + get(1)}) == kFine);
  CHECK(outcome({set(5, 16383)}) == kProtocolError);
  CHECK(outcome({set(5, 16777216)}) == kProtocolError);
  CHECK(outcome({set(1, 0) + set(1, 0xffffffff) + set(3, 0) + set(6, 0) + get(1)}) == kFine);
  CHECK(outcome({frame(settings, kAck, 0)}) == kProtocolError);  // one too many
  std::string many;
  for (std::uint32_t i = 0; i < 33; ++i) many += setting(0x100 + i, i);
  CHECK(outcome({frame(settings, 0, 0, many.substr(6)) + get(1)}) == kFine);
  CHECK(outcome({frame(settings, 0, 0, many)}) == "goaway 11, end");
}

TEST_CASE("h2 frames: SETTINGS are acknowledged, and PING with its own bytes (6.5.3, 6.7)") {
  H2World w;
  SimPeer client(w.net, w.at);
  client.send(preface() + frame(ping, 0, 0, "\x01\x02\x03\x04\x05\x06\x07z") + frame(ping, kAck, 0, "unasked!"));
  w.run();
  const auto got = parse(client.received());
  REQUIRE(got.size() >= 4);
  CHECK((got[0].type == settings && got[0].flags == 0));  // 3.4: the server's preface comes first
  int acks = 0;
  int pongs = 0;
  for (const Frame& one : got) {
    if (one.type == settings && one.flags == kAck) ++acks;
    if (one.type == ping) {
      ++pongs;
      CHECK(one.flags == kAck);
      CHECK(one.payload == "\x01\x02\x03\x04\x05\x06\x07z");
    }
  }
  CHECK(acks == 1);
  CHECK(pongs == 1);
}

TEST_CASE("h2 frames: a client pushes nothing (6.6, 8.4)") {
  CHECK(outcome({frame(push_promise, kEndHeaders, 1, number(2, 4) + block(request()))}) == kProtocolError);
  CHECK(outcome({post(1) + frame(push_promise, kEndHeaders, 1, number(2, 4) + block(request()))}) == kProtocolError);
}

TEST_CASE("h2 frames: a client's GOAWAY ends nothing that runs, whatever its code and text (6.8, 7)") {
  CHECK(outcome({post(1) + frame(goaway, 0, 0, number(0, 4) + number(0xff, 4) + "why not"), frame(data, kEndStream, 1, "x")}) ==
        "answer 1, end");
  CHECK(outcome({post(1) + reset(1, 0xff), get(3)}) == "answer 3");
  CHECK(outcome({frame(goaway, 0, 0, number(1, 4) + number(0, 4))}) == kProtocolError);  // no stream of ours
}

TEST_CASE("h2 frames: windows that overflow, or are opened by nothing (6.9)") {
  const std::string nothing = number(0, 4);
  const std::string most = number(0x7fffffff, 4);
  CHECK(outcome({frame(window_update, 0, 0, nothing)}) == kProtocolError);
  CHECK(outcome({post(1) + frame(window_update, 0, 1, nothing)}) == kProtocolError);
  CHECK(outcome({get(1), frame(window_update, 0, 1, nothing)}) == "answer 1, goaway 1, end");
  CHECK(outcome({frame(window_update, 0, 0, number(0x7fffffff - 65535, 4)) + get(1)}) == kFine);
  CHECK(outcome({frame(window_update, 0, 0, number(0x7fffffff - 65534, 4))}) == kFlowControlError);
  CHECK(outcome({post(1) + frame(window_update, 0, 1, most), get(3)}) == "reset 1 3, answer 3");
  // 6.9.2: also by SETTINGS
  CHECK(outcome({post(1) + frame(window_update, 0, 1, number(0x7fffffff - 65535, 4)) + frame(settings, 0, 0, setting(4, 65536))}) ==
        "reset 1 3, goaway 3, end");
}

TEST_CASE("h2 frames: DATA beyond a window is an error (6.9.1)") {
  H2World w;
  SimPeer client(w.net, w.at);
  client.send(preface() + post(1));
  w.run();
  for (int i = 0; i < 17; ++i) client.send(frame(data, 0, 1, std::string(16384, 'a')));  // nobody takes the body: 256 KiB and no more
  w.run();
  const auto got = parse(client.received());
  CHECK(code_of(got, goaway) == 3);
  CHECK(w.exchange().error >= 0);
}

TEST_CASE("h2 frames: answers keep to a window that shrinks below nothing (6.9.2)") {
  H2World w;
  w.script = [](TestExchange& e) { e.answer(200, std::string(10, 'x')); };
  SimPeer client(w.net, w.at);
  client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(settings, 0, 0, setting(4, 3)) + get(1));
  w.run();
  const auto body = [&] {
    std::size_t size = 0;
    for (const Frame& one : parse(client.received())) size += one.type == data ? one.payload.size() : 0;
    return size;
  };
  CHECK(body() == 3);
  client.send(frame(settings, 0, 0, setting(4, 1)));  // two less than it has used
  w.run();
  client.send(frame(window_update, 0, 1, number(2, 4)));
  w.run();
  CHECK(body() == 3);
  client.send(frame(window_update, 0, 1, number(1, 4)));
  w.run();
  CHECK(body() == 4);
  client.send(frame(settings, 0, 0, setting(4, 100)));
  w.run();
  CHECK(body() == 10);
  CHECK(w.exchange().sent);
}

TEST_CASE("h2 frames: messages end where they say (8.1)") {
  CHECK(outcome({post(1) + head(1, {{"x", "y"}})}) == kFine);
  CHECK(outcome({post(1) + frame(data, 0, 1, "a") + head(1, {{"x", "y"}})}) == kFine);
  CHECK(outcome({post(1) + head(1, {{"x", "y"}}, false), get(3)}) == "reset 1 1, answer 3");
  const auto length = [](const std::string& value, bool end) { return head(1, request("POST", "/", {{"content-length", value}}), end); };
  CHECK(outcome({length("3", false) + frame(data, 0, 1, "ab") + frame(data, kEndStream, 1, "c")}) == kFine);
  CHECK(outcome({length("3", false) + frame(data, kEndStream, 1, "ab")}) == "reset 1 1");
  CHECK(outcome({length("3", false) + frame(data, 0, 1, "abcd")}) == "reset 1 1");
  CHECK(outcome({length("3", false) + frame(data, 0, 1, "ab") + head(1, {{"x", "y"}})}) == "reset 1 1");
  CHECK(outcome({length("3", true)}) == "reset 1 1");
  CHECK(outcome({length("0", true)}) == kFine);
  CHECK(outcome({length("0", false) + frame(data, kEndStream, 1)}) == kFine);
  for (const char* wrong : {"", "-1", "+1", "1,1", "0x1", "1 ", "99999999999999999999"}) {
    CAPTURE(wrong);
    CHECK(outcome({length(wrong, true)}) == "reset 1 1");
  }
  CHECK(outcome({head(1, request("POST", "/", {{"content-length", "3"}, {"content-length", "3"}}), false)}) == "reset 1 1");
}

TEST_CASE("h2 frames: fields that cannot be decoded end the connection (RFC 7541)") {
  CHECK(outcome({with_block("\x80")}) == kCompressionError);                                                  // 6.1: index 0
  CHECK(outcome({with_block(bytes({0xff, 0x00}))}) == kCompressionError);                                     // 2.3.3: no such index
  CHECK(outcome({with_block(bytes({0x7f, 0xff, 0x7f, 0x01, 'a'}))}) == kCompressionError);                    // of a name
  CHECK(outcome({with_block(bytes({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}))}) == kCompressionError);       // 5.1: too large
  CHECK(outcome({with_block(bytes({0x00, 0x05, 'a'}))}) == kCompressionError);                                // cut short
  CHECK(outcome({with_block(bytes({0x00, 0x01, 'x', 0x81, 0x00}))}) == kCompressionError);                    // 5.2: padded with zeros
  CHECK(outcome({with_block(bytes({0x00, 0x01, 'x', 0x82, 0x1f, 0xff}))}) == kCompressionError);              // more than 7 bits
  CHECK(outcome({with_block(bytes({0x00, 0x01, 'x', 0x84, 0xff, 0xff, 0xff, 0xff}))}) == kCompressionError);  // EOS
  CHECK(outcome({with_block(bytes({0x3f, 0xe1, 0x1f}))}) == kCompressionError);                               // 4.2: not at the beginning
  const auto begun_by = [](const std::string& update) { return frame(headers, kEndHeaders | kEndStream, 1, update + block(request())); };
  CHECK(outcome({begun_by(bytes({0x3f, 0xe1, 0x1f}))}) == kFine);              // 4096
  CHECK(outcome({begun_by(bytes({0x20, 0x3f, 0xe1, 0x1f}))}) == kFine);        // 0, then 4096
  CHECK(outcome({begun_by(bytes({0x3f, 0xe2, 0x1f}))}) == kCompressionError);  // 6.3: 4097
  // The table of fields goes on though a message is malformed or its stream is refused.
  const std::string indexed = block(request()) + bytes({0x40, 0x01, 'x', 0x01, 'y'});
  CHECK(outcome({frame(headers, kEndHeaders | kEndStream, 1,
                       block(request("GET", "/", {{"connection", "x"}})) + bytes({0x40, 0x01, 'x', 0x01, 'y'})),
                 frame(headers, kEndHeaders | kEndStream, 3, block(request()) + "\xbe")}) == "reset 1 1, answer 3");
  CHECK(outcome({frame(headers, kEndHeaders | kEndStream, 1, indexed) +
                 frame(headers, kEndHeaders | kEndStream, 3, block(request()) + "\xbf")}) == "goaway 9, end");
}

TEST_CASE("h2 frames: every form of a field is understood (RFC 7541 6, C)") {
  H2World w;
  w.script = [](TestExchange& e) { e.answer(200, ""); };
  SimPeer client(w.net, w.at);
  const std::string huffman = bytes({0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff});  // www.example.com
  client.send(preface() + frame(headers, kEndHeaders | kEndStream, 1, bytes({0x82, 0x86, 0x84, 0x41}) + huffman) +
              frame(headers, kEndHeaders | kEndStream, 3, bytes({0x82, 0x86, 0x04, 0x02, '/',  'a', 0xbe, 0x10, 0x01, 'n',  0x01,
                                                                 '1',  0x00, 0x01, 'm',  0x01, '2', 0x40, 0x01, 'k',  0x01, '3'})) +
              frame(headers, kEndHeaders | kEndStream, 5, bytes({0x82, 0x87, 0x84, 0xbf, 0xbe, 0x0f, 0x01, 0x01, 'g'})));
  w.run();
  REQUIRE(w.exchanges.size() == 3);
  CHECK(w.exchange(0).line == "GET / www.example.com");
  CHECK(w.exchange(1).line == "GET /a www.example.com");
  CHECK(w.exchange(1).head->headers.value("n") == "1");
  CHECK(w.exchange(1).head->headers.value("m") == "2");
  CHECK(w.exchange(1).head->headers.value("k") == "3");
  CHECK(w.exchange(2).head->headers.value("k") == "3");
  CHECK(w.exchange(2).head->headers.value("accept-encoding") == "g");
  CHECK(w.exchange(2).head->scheme == "https");
}

}  // namespace weir
