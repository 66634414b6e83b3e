// What HTTP/2 requests are refused and how: on their stream with an answer, with a RST_STREAM, or with a GOAWAY; and what passes.
#include "tests/http/h2_world.h"

namespace weir {

using test::H2Fields;

namespace {

constexpr const char* kMalformed = "reset 1";

// "400 rule", "reset CODE" or "ok", of one request in raw frames.
std::string verdict(const std::string& request, ServerConnectionOptions options = {}) {
  H2World w;
  options.http2 = true;
  w.server_options = options;
  w.script = [](TestExchange& e) { e.answer(200, ""); };
  SimPeer client(w.net, w.at);
  client.send(frames::preface() + request);
  w.run();
  const auto got = frames::parse(client.received());
  const int goaway = frames::code_of(got, frames::goaway);
  if (goaway >= 0) return "goaway " + std::to_string(goaway);
  if (w.exchanges.empty()) {
    CHECK(w.connection().refused.size() == 1);
    return "reset " + std::to_string(frames::code_of(got, frames::rst_stream, 1));
  }
  CHECK(w.connection().closed == 0);
  const TestExchange& e = w.exchange();
  return e.bad.empty() ? "ok" : e.bad;
}

std::string of(const H2Fields& fields) { return verdict(frames::head(1, fields)); }
std::string with(const std::string& name, const std::string& value) { return of(frames::request("GET", "/", {{name, value}})); }

}  // namespace

TEST_CASE("h2: fields and pseudo-fields that RFC 9113 forbids are a stream error, and counted") {
  CHECK(with("x", "fine") == "ok");
  for (const char* name : {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "X-Upper", "x y", "x:", "",
                           ":late", "x\r\nsmuggled"}) {
    CAPTURE(name);
    CHECK(with(name, "x") == kMalformed);
  }
  for (const char* value : {"a\r\nx: y", "a\nb", "a\rb", " lead", "trail ", "\x7f"}) {
    CAPTURE(value);
    CHECK(with("x", value) == kMalformed);
  }
  CHECK(with("x", std::string("a\0b", 3)) == kMalformed);
  CHECK(with("te", "gzip") == kMalformed);
  CHECK(with("te", "trailers") == "ok");
  CHECK(with(":status", "200") == kMalformed);
  CHECK(of({{":method", "GET"}, {":path", "/"}, {":authority", "h"}}) == kMalformed);
  CHECK(of({{":method", "GET"}, {":scheme", "http"}, {":authority", "h"}}) == kMalformed);
  CHECK(of({{":scheme", "http"}, {":path", "/"}, {":authority", "h"}}) == kMalformed);
  CHECK(of({{":method", "GET"}, {":scheme", "http"}, {":path", ""}, {":authority", "h"}}) == kMalformed);
  CHECK(of({{":method", "GET"}, {":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {":authority", "h"}}) == kMalformed);
  CHECK(of({{":method", "GET"}, {":scheme", "http"}, {"x", "y"}, {":path", "/"}, {":authority", "h"}}) == kMalformed);
  CHECK(with("content-length", "x") == kMalformed);
  CHECK(with("content-length", "1") == kMalformed);  // and no DATA
}

TEST_CASE("h2: pseudo-fields come first, once, whole, and there are no others (8.3)") {
  const auto request = [](const H2Fields& fields) { return of(fields); };
  const H2Fields all{{":method", "GET"}, {":scheme", "http"}, {":authority", "h"}, {":path", "/"}};
  CHECK(request(all) == "ok");
  for (const auto& [name, value] : all) {
    CAPTURE(name);
    H2Fields twice = all;
    twice.emplace_back(name, value);
    CHECK(request(twice) == kMalformed);
    H2Fields late = all;
    std::erase_if(late, [&, key = name](const auto& field) { return field.first == key; });
    const std::string without = request(late);
    late.emplace_back("x", "y");
    late.emplace_back(name, value);
    CHECK(request(late) == kMalformed);
    CHECK(without == kMalformed);  // :authority, too: neither is there a Host
    H2Fields empty = all;
    for (auto& field : empty) {
      if (field.first == name) field.second.clear();
    }
    CHECK(request(empty) == kMalformed);
  }
  for (const char* name : {":status", ":protocol", ":other", ":", ":METHOD", ":path "}) {
    CAPTURE(name);
    H2Fields more = all;
    more.emplace_back(name, "x");
    CHECK(request(more) == kMalformed);
  }
}

TEST_CASE("h2: methods, schemes, paths and authorities that would read differently in HTTP/1 (8.3.1, 10.3)") {
  const auto with_pseudo = [](const std::string& name, const std::string& value) {
    H2Fields fields{{":method", "GET"}, {":scheme", "http"}, {":authority", "h"}, {":path", "/"}};
    for (auto& field : fields) {
      if (field.first == name) field.second = value;
    }
    return of(fields);
  };
  for (const char* method : {"GET /x HTTP/1.1\r\nx:", "G T", "GET\t", "GET:", "G\"T", "G\x01T", " GET", "GET "}) {
    CAPTURE(method);
    CHECK(with_pseudo(":method", method) == kMalformed);
  }
  CHECK(with_pseudo(":method", "get") == "ok");  // a method of its own
  CHECK(with_pseudo(":method", "PROPFIND") == "ok");
  for (const char* path : {"/ HTTP/1.1\r\nx: y", "/a b", "/a\tb", "/a\r", "/a\n", "x", "http://h/", "?a", "*", "/\x7f"}) {
    CAPTURE(path);
    CHECK(with_pseudo(":path", path) == kMalformed);
  }
  CHECK(with_pseudo(":path", "//h/") == "ok");
  CHECK(with_pseudo(":path", "/?http://h/ ") == kMalformed);
  CHECK(with_pseudo(":path", "/*") == "ok");
  for (const char* authority : {"a b", "a\r\nb", "a/b", "a?b", "a\"b", " h", "h "}) {
    CAPTURE(authority);
    const std::string verdict = with_pseudo(":authority", authority);
    CHECK((verdict == kMalformed || verdict == "host-characters"));
  }
  for (const char* authority : {"@h", "u:p@h"}) CHECK(with_pseudo(":authority", authority) == "userinfo");
  for (const char* authority : {"h:80", "[::1]"}) CHECK(with_pseudo(":authority", authority) == "ok");
  for (const char* authority : {"h:", "h:x", "h:80:80", "[::1", "::1", ":80", "h#"}) {
    CAPTURE(authority);
    const std::string verdict = with_pseudo(":authority", authority);
    CHECK((verdict == kMalformed || verdict == "host-characters"));
  }
  for (const char* scheme : {"http:", "ht tp", "1http", ""}) CHECK(with_pseudo(":scheme", scheme) == kMalformed);
  CHECK(with_pseudo(":scheme", "HTTP") == "ok");
  CHECK(of({{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {"host", "a b"}}) == kMalformed);
  CHECK(of({{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {"host", "h"}, {"host", "h"}}) == kMalformed);
  CHECK(of({{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {"host", "u@h"}}) == "userinfo");
}

TEST_CASE("h2: CONNECT has an authority and nothing else, and is not extended (8.5, RFC 8441)") {
  CHECK(of({{":method", "CONNECT"}, {":authority", "h:443"}, {":path", "/"}}) == kMalformed);
  CHECK(of({{":method", "CONNECT"}, {":authority", "h:443"}, {":scheme", "http"}}) == kMalformed);
  CHECK(of({{":method", "CONNECT"}}) == kMalformed);
  CHECK(of({{":method", "CONNECT"}, {"host", "h:443"}}) == kMalformed);
  CHECK(of({{":method", "CONNECT"}, {":authority", "u@h:443"}}) == "authority-form");
  CHECK(of({{":method", "CONNECT"}, {":authority", "h:443"}, {"content-length", "3"}}) == "connect-body");
  CHECK(of({{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "http"}, {":path", "/"}, {":authority", "h"}}) == kMalformed);
  H2World w;
  SimPeer client(w.net, w.at);
  client.send(frames::preface());
  w.run();
  const frames::Frame settings = frames::parse(client.received()).at(0);
  for (std::size_t i = 0; i < settings.payload.size(); i += 6) CHECK(settings.payload.substr(i, 2) != std::string("\0\x08", 2));
}

TEST_CASE("h2: what nghttp2 lets pass and weir does not is answered by rule") {
  const auto path = [](const std::string& text) { return of(frames::request("GET", text)); };
  CHECK(path("/a#b") == "target-characters");
  CHECK(path("/\xc3\xa4") == "target-characters");
  CHECK(path("/" + std::string(16 * 1024, 'a')) == "target-too-long");
  CHECK(path("/" + std::string(16 * 1024 - 1, 'a')) == "ok");
  CHECK(of(frames::request("OPTIONS", "*")) == "ok");
  const auto authority = [](const std::string& text, const H2Fields& more = {}) {
    H2Fields fields{{":method", "GET"}, {":scheme", "http"}, {":authority", text}, {":path", "/"}};
    fields.insert(fields.end(), more.begin(), more.end());
    return of(fields);
  };
  CHECK(authority("h:8080") == "ok");
  CHECK(authority("[::1]:80") == "ok");
  CHECK(authority("user@h") == "userinfo");
  CHECK(authority("h:99999") == "host-characters");
  CHECK(authority("h,i") == "ok");  // a sub-delim of reg-name, as for HTTP/1
  CHECK(authority("h", {{"host", "h"}}) == "ok");
  CHECK(authority("h", {{"host", "H"}}) == "ok");
  CHECK(authority("h", {{"host", "other"}}) == "authority-conflict");
  CHECK(of({{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {"host", "h"}}) == "ok");
  CHECK(of({{":method", "GET"}, {":scheme", "ftp"}, {":authority", "h"}, {":path", "/"}}) == "scheme-unknown");
  CHECK(of({{":method", "GET"}, {":scheme", "https"}, {":authority", "h"}, {":path", "/"}}) == "ok");
  CHECK(of({{":method", "CONNECT"}, {":authority", "h:443"}}) == "ok");
  CHECK(of({{":method", "CONNECT"}, {":authority", "h"}}) == "authority-form");
  CHECK(with("expect", "100-continue") == "ok");
  CHECK(with("expect", "wonders") == "expectation-unknown");
}

TEST_CASE("h2: a head is limited in bytes, an overhead for each field counted, and in fields") {
  ServerConnectionOptions options;
  options.limits.header_bytes = 1024;
  options.limits.headers = 10;
  // 4 pseudo-fields of `request` take 4 * 32 + 7+3 + 7+4 + 10+1 + 5+1 bytes.
  const std::size_t taken = 4 * 32 + 38;
  const auto one = [&](std::size_t value) {
    return verdict(frames::head(1, frames::request("GET", "/", {{"x", std::string(value, 'a')}})), options);
  };
  CHECK(one(1024 - taken - 33) == "ok");
  CHECK(one(1024 - taken - 32) == "head-too-large");
  const auto many = [&](std::size_t count, const std::string& name) {
    H2Fields fields;
    for (std::size_t i = 0; i < count; ++i) fields.emplace_back(name, "1");
    return verdict(frames::head(1, frames::request("GET", "/", fields)), options);
  };
  CHECK(many(10, "x") == "ok");
  CHECK(many(11, "x") == "too-many-fields");
  CHECK(many(15, "cookie") == "ok");  // one field, in the end
  CHECK(many(40, "cookie") == "head-too-large");
}

TEST_CASE("h2: cookie crumbs are joined, and Host stands in for :authority") {
  H2World w;
  SimPeer client(w.net, w.at);
  client.send(frames::preface() + frames::head(1, {{":method", "GET"},
                                                   {":scheme", "http"},
                                                   {":path", "/"},
                                                   {"cookie", "a=1"},
                                                   {"host", "there:1"},
                                                   {"cookie", "b=2"},
                                                   {"x", "y"},
                                                   {"cookie", "c=3"}}));
  w.run();
  const RequestHead& head = *w.exchange().head;
  CHECK(head.authority == "there:1");
  CHECK(head.headers.count(HeaderId::cookie) == 1);
  CHECK(head.headers.value(HeaderId::cookie) == "a=1; b=2; c=3");
  CHECK_FALSE(head.headers.has(HeaderId::host));
  CHECK(head.headers.size() == 2);
}

TEST_CASE("h2: trailers are limited, and pseudo-fields in them malformed") {
  const auto end = [](const H2Fields& trailers, bool ends = true) {
    H2World w;
    w.server_options.limits.headers = 5;
    w.script = [](TestExchange& e) { e.request.attach(std::move(e.body)); };
    SimPeer client(w.net, w.at);
    client.send(frames::preface() + frames::head(1, frames::request("POST"), false) + frames::frame(frames::data, 0, 1, "abc") +
                frames::head(1, trailers, ends));
    w.run();
    if (w.exchange().request.ended) return "ok " + w.exchange().request.trailers;
    CHECK(is(w.exchange(), StreamError::bad_body));
    return "reset " + std::to_string(frames::code_of(frames::parse(client.received()), frames::rst_stream, 1));
  };
  CHECK(end({{"x", "1"}, {"host", "other"}, {"transfer-coding", "2"}}) == "ok x=1 transfer-coding=2 ");
  CHECK(end({{":path", "/"}}) == kMalformed);
  CHECK(end({{"x", "1"}}, false) == kMalformed);
  CHECK(end(H2Fields(6, {"x", "1"})) == kMalformed);
  CHECK(end(H2Fields(5, {"x", "1"})) == "ok x=1 x=1 x=1 x=1 x=1 ");
}

TEST_CASE("h2: rapid resets never run many more exchanges than the limit of streams") {
  H2World w;
  w.server_options.limits.streams = 10;
  std::size_t most = 0;
  std::size_t now = 0;
  w.script = [&](TestExchange& e) {
    most = std::max(most, ++now);
    e.on_over = [&](TestExchange&) { --now; };
  };
  SimPeer client(w.net, w.at);
  std::string bytes = frames::preface();
  for (std::uint32_t i = 0; i < 500; ++i) {
    bytes += frames::head(2 * i + 1, frames::request()) + frames::frame(frames::rst_stream, 0, 2 * i + 1, frames::number(8, 4));
  }
  client.send(bytes);
  w.run();
  CHECK(now == 0);
  CHECK(most <= 20);
  CHECK(most > 1);
}

TEST_CASE("h2: what is no HTTP/2 after the preface's line, or breaks its frames, ends in GOAWAY") {
  using namespace frames;
  const std::string cases[] = {
      "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(ping, 0, 0, "12345678"),  // SETTINGS must come first
      preface() + frame(data, 0, 1, "x"),
      preface() + frame(headers, kEndHeaders, 2, block(request())),
      preface() + frame(headers, kEndHeaders, 1, "\xff\xff\xff\xff\xff\xff"),
      preface() + frame(settings, 0, 1),
      preface() + frame(window_update, 0, 0, number(0, 4)),
      preface() + frame(continuation, 0, 1, "x"),
      preface() + number(20000, 3) + std::string(6, '\0'),
  };
  for (const std::string& bytes : cases) {
    H2World w;
    SimPeer client(w.net, w.at);
    client.send(bytes);
    w.run();
    CHECK(code_of(parse(client.received()), goaway) > 0);
    CHECK(client.ended());
    CHECK(w.connection().refused.size() >= 1);
    client.close();
    w.run();
    CHECK(w.connection().closed == 1);
  }
}

}  // namespace weir
