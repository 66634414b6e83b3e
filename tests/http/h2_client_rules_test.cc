// What the HTTP/2 client codec refuses of an upstream: each rule by its name, the stream or the connection, and nothing else.
#include "tests/http/h2_client_world.h"

namespace weir {

using namespace frames;

namespace {

struct Case {
  const char* what;
  std::string bytes;  // on stream 1, behind SETTINGS
  const char* told;
};

std::string huge(std::size_t fields, std::size_t size) {
  test::H2Fields all = answer();
  for (std::size_t i = 0; i < fields; ++i) all.emplace_back("x-" + std::to_string(i), std::string(size, 'v'));
  return head(1, all);
}

std::string many_informational(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += head(1, answer("103"), false);
  return text;
}

std::vector<Case> cases() {
  const std::string ok = head(1, answer(), false);
  return {
      {"no status", head(1, {{"x", "y"}}), "protocol_error status-missing"},
      {"nothing at all", head(1, {}), "protocol_error status-missing"},
      {"two", head(1, {{":status", "200"}, {":status", "200"}}), "protocol_error pseudo-field"},
      {"a late one", head(1, {{"x", "y"}, {":status", "200"}}), "protocol_error pseudo-field"},
      {"of a request", head(1, {{":status", "200"}, {":path", "/"}}), "protocol_error pseudo-field"},
      {"unknown", head(1, {{":status", "200"}, {":x", "/"}}), "protocol_error pseudo-field"},
      {"two digits", head(1, answer("20")), "protocol_error status-code"},
      {"four digits", head(1, answer("2000")), "protocol_error status-code"},
      {"no digits", head(1, answer("2x0")), "protocol_error status-code"},
      {"a sign", head(1, answer("+20")), "protocol_error status-code"},
      {"empty", head(1, answer("")), "protocol_error status-code"},
      {"below 100", head(1, answer("099")), "protocol_error status-code"},
      {"101", head(1, answer("101"), false), "protocol_error unasked-switch"},
      {"connection", head(1, answer("200", {{"connection", "close"}})), "protocol_error connection-field"},
      {"keep-alive", head(1, answer("200", {{"keep-alive", "1"}})), "protocol_error connection-field"},
      {"proxy-connection", head(1, answer("200", {{"proxy-connection", "1"}})), "protocol_error connection-field"},
      {"transfer-encoding", head(1, answer("200", {{"transfer-encoding", "chunked"}})), "protocol_error connection-field"},
      {"upgrade", head(1, answer("200", {{"upgrade", "h2c"}})), "protocol_error connection-field"},
      {"upper case", head(1, answer("200", {{"X-a", "1"}})), "protocol_error field-name"},
      {"an empty name", head(1, answer("200", {{"", "1"}})), "protocol_error field-name"},
      {"a space in a name", head(1, answer("200", {{"a b", "1"}})), "protocol_error field-name"},
      {"a colon in a name", head(1, answer("200", {{"a:b", "1"}})), "protocol_error field-name"},
      {"NUL in a name", head(1, answer("200", {{std::string("a\0b", 3), "1"}})), "protocol_error field-name"},
      {"CR in a value", head(1, answer("200", {{"a", "1\r"}})), "protocol_error field-value"},
      {"LF in a value", head(1, answer("200", {{"a", "1\nb: 2"}})), "protocol_error field-value"},
      {"NUL in a value", head(1, answer("200", {{"a", std::string("1\0", 2)}})), "protocol_error field-value"},
      {"a space before", head(1, answer("200", {{"a", " 1"}})), "protocol_error field-value"},
      {"a tab behind", head(1, answer("200", {{"a", "1\t"}})), "protocol_error field-value"},
      {"two lengths", head(1, answer("200", {{"content-length", "1"}, {"content-length", "1"}}), false), "protocol_error length-repeated"},
      {"no number", head(1, answer("200", {{"content-length", "1x"}}), false), "protocol_error length-value"},
      {"too large a number", head(1, answer("200", {{"content-length", "99999999999999999999"}}), false), "protocol_error length-overflow"},
      {"more than said", head(1, answer("200", {{"content-length", "2"}}), false) + frame(data, 0, 1, "abc"),
       "protocol_error length-mismatch"},
      {"less than said", head(1, answer("200", {{"content-length", "4"}}), false) + frame(data, kEndStream, 1, "abc"),
       "protocol_error length-mismatch"},
      {"less, with trailers", head(1, answer("200", {{"content-length", "4"}}), false) + frame(data, 0, 1, "abc") + head(1, {{"a", "b"}}),
       "protocol_error length-mismatch"},
      {"nothing of what was said", head(1, answer("200", {{"content-length", "4"}})), "protocol_error length-mismatch"},
      {"something of nothing", head(1, answer("200", {{"content-length", "0"}}), false) + frame(data, kEndStream, 1, "abc"),
       "protocol_error unasked-body"},
      {"204 with a body", head(1, answer("204"), false) + frame(data, kEndStream, 1, "abc"), "protocol_error unasked-body"},
      {"304 with a body", head(1, answer("304"), false) + frame(data, kEndStream, 1, "abc"), "protocol_error unasked-body"},
      {"a body behind 103", head(1, answer("103"), false) + frame(data, 0, 1, "abc"), "protocol_error body-before-head"},
      {"103 that ends", head(1, answer("103")), "protocol_error informational-end"},
      {"one 1xx too many", many_informational(33), "protocol_error too-many-informational"},
      {"trailers that end nothing", ok + head(1, {{"a", "b"}}, false), "protocol_error trailers-without-end"},
      {"a status in trailers", ok + head(1, {{":status", "200"}}), "protocol_error pseudo-field"},
      {"connection in trailers", ok + head(1, {{"connection", "x"}}), "protocol_error connection-field"},
      {"too large a head", huge(70, 900), "head_too_large head-too-large"},
      {"too many fields", huge(101, 1), "head_too_large too-many-fields"},
      {"too many trailers", ok + head(1, test::H2Fields(101, {"a", "b"})), "protocol_error trailers-too-large"},
      {"too large trailers", ok + head(1, test::H2Fields(70, {"a", std::string(900, 'b')})), "protocol_error trailers-too-large"},
  };
}

}  // namespace

TEST_CASE("h2 client: an answer that breaks a rule fails its stream by that rule's name, and no other") {
  for (const Case& one : cases()) {
    INFO(one.what);
    H2ClientWorld w;
    TestCall& bad = w.get("/bad");
    TestCall& good = w.get("/good");
    w.run();
    w.say(server_preface() + one.bytes);
    CHECK(told(bad) == one.told);
    CHECK(bad.failure.anything_received);
    CHECK(bad.failure.anything_sent);
    CHECK_FALSE(bad.sink.ended);
    CHECK(told(good) == "open");
    w.say(head(3, answer(), false) + frame(data, kEndStream, 3, "fine"));
    CHECK(good.sink.body == "fine");
    CHECK(told(good) == "ended");
    const auto list = w.heard();
    CHECK(code_of(list, rst_stream, 1) == 1);
    CHECK(code_of(list, goaway) == -1);
    CHECK(w.codec->room() == 100);
    CHECK(w.closed == 0);
    w.check_nothing_left();
  }
}

TEST_CASE("h2 client: what is at the edge of the rules passes") {
  const std::vector<Case> edges = {
      {"32 informational", many_informational(32) + head(1, answer()), ""},
      {"100 fields", huge(99, 1), ""},
      {"999", head(1, answer("999")), ""},
      {"a length that fits", head(1, answer("200", {{"content-length", "3"}}), false) + frame(data, 0, 1, "ab") + frame(data, 1, 1, "c"),
       ""},
      {"an empty body behind 204", head(1, answer("204"), false) + frame(data, kEndStream, 1), ""},
      {"trailers behind nothing", head(1, answer("200", {{"content-length", "0"}}), false) + head(1, {{"a", "b"}}), ""},
      {"obs-text and a tab within", head(1, answer("200", {{"a", "\x80 \t\xff"}})), ""},
      {"an empty value", head(1, answer("200", {{"a", ""}})), ""},
      {"padding", head(1, answer(), false) + frame(data, kEndStream | 8, 1, std::string("\x03") + "abc" + std::string(3, '\0')), ""},
      {"priority and unknown frames", frame(priority, 0, 1, std::string(5, '\0')) + frame(99, 0, 1, "?") + head(1, answer()), ""},
  };
  for (const Case& one : edges) {
    INFO(one.what);
    H2ClientWorld w;
    TestCall& call = w.get();
    w.run();
    w.say(server_preface() + one.bytes);
    CHECK(told(call) == "ended");
    CHECK(w.closed == 0);
    w.check_nothing_left();
  }
}

TEST_CASE("h2 client: a broken connection fails all its streams, says GOAWAY and is over") {
  const std::vector<Case> broken = {
      {"HTTP/1", "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "protocol_error not-http2"},
      {"something else", "220 smtp.example.com ESMTP\r\n", "protocol_error http2-frame"},
      {"no SETTINGS first", frame(ping, 0, 0, "12345678"), "protocol_error http2-frame"},
      {"a frame too large", frame(settings, 0, 0) + number(20000, 3) + std::string("\0\0\0\0\0\1", 6), "protocol_error http2-frame"},
      {"DATA on no stream", frame(settings, 0, 0) + frame(data, 0, 0, "abc"), "protocol_error http2-frame"},
      {"a body before any head", frame(settings, 0, 0) + frame(data, 0, 1, "abc"), "protocol_error http2-frame"},
      {"a stream that was never begun", frame(settings, 0, 0) + head(99, answer()), "protocol_error http2-frame"},
      {"a stream of its own", frame(settings, 0, 0) + head(2, answer()), "protocol_error http2-frame"},
      {"a broken field block", frame(settings, 0, 0) + frame(headers, kEndHeaders, 1, "\xff\xff\xff\xff\xff\xff"),
       "protocol_error http2-frame"},
      {"a window that overflows", frame(settings, 0, 0) + frame(window_update, 0, 0, number(0x7fffffff, 4)), "protocol_error http2-frame"},
      {"a push", frame(settings, 0, 0) + frame(5, kEndHeaders, 1, number(2, 4) + block(request())), "protocol_error push-promise"},
      {"a push behind the acknowledgment", server_preface() + frame(5, kEndHeaders, 1, number(2, 4) + block(request())),
       "protocol_error push-promise"},
      {"the switch for pushes", frame(settings, 0, 0, number(2, 2) + number(1, 4)), "protocol_error http2-frame"},
  };
  for (const Case& one : broken) {
    INFO(one.what);
    H2ClientWorld w;
    TestCall& first = w.get();
    TestCall& second = w.get();
    w.run();
    w.heard();
    w.say(one.bytes);
    CHECK(told(first) == one.told);
    CHECK(told(second) == one.told);
    CHECK_FALSE(second.failure.anything_received);
    if (std::string_view(one.what) != "HTTP/1") CHECK(code_of(w.heard(), goaway) > 0);
    CHECK(w.closed == 1);
    CHECK(w.codec->room() == 0);
    w.check_nothing_left();
  }
}

TEST_CASE("h2 client: an answer larger than its window is a broken connection or stream, never more memory") {
  H2ClientWorld w;
  TestCall& call = w.call();
  call.sink.allowance = 0;
  w.open(call);
  w.run();
  std::string bytes = server_preface() + head(1, answer(), false);
  for (int i = 0; i < 40; ++i) bytes += frame(data, 0, 1, std::string(16384, 'x'));  // 640 KiB; a window is 256
  w.upstream().send(bytes);
  w.run();
  CHECK(call.failed == 1);
  CHECK(told(call).starts_with("protocol_error http2-frame"));
  CHECK(w.buffers.bytes_held() <= 1024 * 1024);
}

TEST_CASE("h2 client: floods end the connection with bounded memory") {
  SECTION("PINGs whose answers are not read") {
    H2ClientWorld w;
    TestCall& call = w.get();
    w.run();
    w.upstream().pause_reading(true);
    w.say(server_preface());
    std::string pings;
    for (int i = 0; i < 1000; ++i) pings += frame(ping, 0, 0, "12345678");
    for (int i = 0; i < 200 && w.closed == 0; ++i) w.say(pings);
    CHECK(told(call) == "protocol_error http2-flood");
    CHECK(w.closed == 1);
  }
  SECTION("SETTINGS") {
    H2ClientWorld w;
    TestCall& call = w.get();
    w.run();
    w.upstream().pause_reading(true);
    std::string all;
    for (int i = 0; i < 1000; ++i) all += frame(settings, 0, 0);
    for (int i = 0; i < 200 && w.closed == 0; ++i) w.say(all);
    CHECK(told(call) == "protocol_error http2-flood");
    CHECK(w.closed == 1);
  }
  SECTION("CONTINUATION") {
    H2ClientWorld w;
    TestCall& call = w.get();
    w.run();
    w.say(server_preface() + frame(headers, 0, 1, block(answer())));
    for (int i = 0; i < 1000 && w.closed == 0; ++i) w.say(frame(continuation, 0, 1, block({{"x", std::string(10000, 'v')}})));
    CHECK(call.failed == 1);
    CHECK(w.buffers.bytes_held() <= 1024 * 1024);
    CHECK(call.arena.bytes() <= 256 * 1024);
  }
}

}  // namespace weir
