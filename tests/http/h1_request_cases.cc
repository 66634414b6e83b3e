#include "tests/http/h1_cases.h"

namespace weir {

namespace {

using std::string_literals::operator""s;

std::string get(const std::string& fields) { return "GET / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n"; }
std::string line(const std::string& request_line) { return request_line + "\r\nHost: a\r\n\r\n"; }
std::string host(const std::string& value) { return "GET / HTTP/1.1\r\nHost: " + value + "\r\n\r\n"; }
std::string chunks(const std::string& body) { return "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body; }
const std::string kPosted = "POST / a | chunked -1 | ";

std::vector<H1Case> plain_cases() {
  return {
      {get(""), "GET / a | none -1 | "},
      {get("X-One: 1\r\nX-Two:2\r\nX-Three:\t 3 \t\r\n"), "GET / a x-one=1 x-two=2 x-three=3 | none -1 | "},
      {get("Empty:\r\nSpaces:   \r\n"), "GET / a empty= spaces= | none -1 | "},
      {get("Tab: a\tb  c\r\n"), "GET / a tab=a\tb  c | none -1 | "},
      {get("Utf: \xc3\xa4\r\n"), "GET / a utf=\xc3\xa4 | none -1 | "},
      {get("!#$%&'*+-.^_`|~09aZ: token\r\n"), "GET / a !#$%&'*+-.^_`|~09az=token | none -1 | "},
      {get("Same: 1\r\nSame: 2\r\n"), "GET / a same=1 same=2 | none -1 | "},
      {"\r\n" + get(""), "GET / a | none -1 | "},
      {"\r\n\r\n" + get(""), "400 empty-lines"},
      {"\n" + get(""), "400 bare-lf"},
      {get("") + "GET", "GET / a | none -1 |  | left 3"},
      {get("") + "\r\n", "GET / a | none -1 |  | left 2"},
      // Any method.
      {line("QUERY /q HTTP/1.1"), "QUERY /q a | none -1 | "},
      {line("FOO /q HTTP/1.1"), "FOO /q a | none -1 | "},
      {line("get / HTTP/1.1"), "get / a | none -1 | "},
      {line("M-SEARCH / HTTP/1.1"), "M-SEARCH / a | none -1 | "},
      // Incomplete.
      {"GET / HTTP/1.1\r\nHost: a\r\n", "incomplete head"},
      {"GET / HTTP/1.1\r\nHost: a\r\n\r", "incomplete head"},
  };
}

std::vector<H1Case> line_cases() {
  return {
      {line("GET  / HTTP/1.1"), "400 request-line"},
      {line("GET /  HTTP/1.1"), "400 request-line"},
      {line("GET / HTTP/1.1 "), "400 request-line"},
      {line("GET\t/ HTTP/1.1"), "400 request-line"},
      {line("GET /\tHTTP/1.1"), "400 request-line"},
      {line(" GET / HTTP/1.1"), "400 not-http"},
      {line("GET /"), "400 request-line"},
      {line("GET"), "400 request-line"},
      {line("GET / a HTTP/1.1"), "400 request-line"},
      {line("G(T / HTTP/1.1"), "400 method"},
      {line("GE\x01T / HTTP/1.1"), "400 method"},
      {line(":GET / HTTP/1.1"), "400 not-http"},
      {"GET / HTTP/1.1\nHost: a\r\n\r\n", "400 bare-lf"},
      {"GET / HTTP/1.1\rHost: a\r\n\r\n", "400 bare-cr"},
      {"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", "400 bare-cr"},
      {"\x16\x03\x01\x02", "400 not-http"},
      // Versions.
      {"GET / HTTP/1.0\r\n\r\n", "GET /  1.0 close | none -1 | "},
      {"GET / HTTP/1.0\r\nHost: b\r\nConnection: keep-alive\r\n\r\n", "GET / b 1.0 | none -1 | "},
      {line("GET / HTTP/1.2"), "505 version-unknown"},
      {line("GET / HTTP/2.0"), "505 version-unknown"},
      {line("GET / HTTP/0.9"), "505 version-unknown"},
      {line("GET / HTTP/9.9"), "505 version-unknown"},
      {line("GET / HTTP/1.10"), "400 version-syntax"},
      {line("GET / HTTP/1"), "400 version-syntax"},
      {line("GET / HTTP/11"), "400 version-syntax"},
      {line("GET / http/1.1"), "400 version-syntax"},
      {line("GET / ICY/1.1"), "400 version-syntax"},
      {line("GET / HTTP/1.1x"), "400 version-syntax"},
      {line("GET / HTTP/1.\xb9"), "400 version-syntax"},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 http2-preface"},
      {line("PRI / HTTP/1.1"), "505 http2-preface"},
      // Targets.
      {line("GET /a/b;c?d=e&f=%20 HTTP/1.1"), "GET /a/b;c?d=e&f=%20 a | none -1 | "},
      {line("GET //b HTTP/1.1"), "GET //b a | none -1 | "},
      {line("GET /{x}|\"y\" HTTP/1.1"), "GET /{x}|\"y\" a | none -1 | "},
      {line("GET /a#b HTTP/1.1"), "400 target-characters"},
      {line("GET /\xc3\xa4 HTTP/1.1"), "400 target-characters"},
      {line("GET /\x7f HTTP/1.1"), "400 target-characters"},
      {line("GET /a\0b HTTP/1.1"s), "400 target-characters"},
      {line("GET a HTTP/1.1"), "400 target-form"},
      {line("GET ?a HTTP/1.1"), "400 target-form"},
      {line("GET * HTTP/1.1"), "400 asterisk-form"},
      {line("OPTIONS * HTTP/1.1"), "OPTIONS * a | none -1 | "},
      {line("OPTIONS ** HTTP/1.1"), "400 target-form"},
      {line("GET http://b/c?d HTTP/1.1"), "GET /c?d b http | none -1 | "},
      {line("GET HTTP://b:80/ HTTP/1.1"), "GET / b:80 http | none -1 | "},
      {line("GET https://b HTTP/1.1"), "GET / b https | none -1 | "},
      {line("GET http://b?q=/ HTTP/1.1"), "GET /?q=/ b http | none -1 | "},
      {line("OPTIONS http://b HTTP/1.1"), "OPTIONS * b http | none -1 | "},
      {line("OPTIONS http://b/ HTTP/1.1"), "OPTIONS / b http | none -1 | "},
      {line("GET ftp://b/ HTTP/1.1"), "400 target-form"},
      {line("GET http:/b/ HTTP/1.1"), "400 target-form"},
      {line("GET http:///b HTTP/1.1"), "400 host-characters"},
      {line("GET http://u:p@b/ HTTP/1.1"), "400 userinfo"},
      {line("GET http://b:x/ HTTP/1.1"), "400 host-characters"},
      {"GET http://b/ HTTP/1.1\r\n\r\n", "400 host-missing"},
      {"GET http://b/ HTTP/1.1\r\nHost: c d\r\n\r\n", "400 host-characters"},
      {line("CONNECT b:443 HTTP/1.1"), "CONNECT  b:443 | none -1 | "},
      {line("CONNECT [::1]:443 HTTP/1.1"), "CONNECT  [::1]:443 | none -1 | "},
      {line("CONNECT b HTTP/1.1"), "400 authority-form"},
      {line("CONNECT / HTTP/1.1"), "400 authority-form"},
      {line("CONNECT http://b:1/ HTTP/1.1"), "400 authority-form"},
      {line("CONNECT u@b:1 HTTP/1.1"), "400 authority-form"},
      {line("GET b:443 HTTP/1.1"), "400 target-form"},
  };
}

std::vector<H1Case> field_cases() {
  return {
      {get(" X: folded\r\n"), "400 obs-fold"},
      {get("X: a\r\n b\r\n"), "400 obs-fold"},
      {get("X: a\r\n\tb\r\n"), "400 obs-fold"},
      {get("X: a\r\n \r\n"), "400 obs-fold"},
      {"GET / HTTP/1.1\r\n X: before the first\r\nHost: a\r\n\r\n", "400 obs-fold"},
      {"GET / HTTP/1.1\r\nHost: a\r\n Content-Length: 5\r\n\r\n", "400 obs-fold"},
      {get("Transfer-Encoding:\r\n chunked\r\n"), "400 obs-fold"},
      {get("X : a\r\n"), "400 space-around-name"},
      {get("X\t: a\r\n"), "400 space-around-name"},
      {get("X Y: a\r\n"), "400 space-around-name"},
      {get("Content-Length : 0\r\n"), "400 space-around-name"},
      {get(": a\r\n"), "400 field-name"},
      {get("X\r\n"), "400 field-name"},
      {get("X\xc3: a\r\n"), "400 field-name"},
      {get("X(: a\r\n"), "400 field-name"},
      {get("X\0: a\r\n"s), "400 field-name"},
      {get("X\rY: a\r\n"), "400 bare-cr"},
      {get("X: a\nY: b\r\n"), "400 bare-lf"},
      {get("X: a\rY: b\r\n"), "400 bare-cr"},
      {get("X: \rxTransfer-Encoding: chunked\r\n"), "400 bare-cr"},
      {get("X: a\r\r\n"), "400 bare-cr"},
      {"GET / HTTP/1.1\r\nHost: a\r\n\rX", "incomplete head"},
      {"GET / HTTP/1.1\r\nHost: a\r\n\rX\r\n\r\n", "400 bare-cr"},
      {"GET / HTTP/1.1\r\nHost: a\r\n\n", "400 bare-lf"},
      {get("X: a\0b\r\n"s), "400 field-value"},
      {get("X: a\x01\r\n"), "400 field-value"},
      {get("X: 0123456789abcdef\x1f 0123456789\r\n"), "400 field-value"},
      {get("X: a\x7f\r\n"), "400 field-value"},
      {get("X: a\x0b\r\n"), "400 field-value"},
      // Expect.
      {"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx", "POST / a expects | length 1 | x"},
      {"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\nx", "POST / a expects | length 1 | x"},
      {get("Expect: 100-continue\r\n"), "GET / a | none -1 | "},
      {get("Expect: 200-maybe\r\n"), "417 expectation-unknown"},
      {"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx", "POST /  1.0 close | length 1 | x"},
      {"GET / HTTP/1.0\r\nExpect: 200-maybe\r\n\r\n", "GET /  1.0 close | none -1 | "},
      // Connection.
      {get("Connection: close\r\n"), "GET / a close | none -1 | "},
      {get("Connection: Close, X-Hop\r\nX-Hop: 1\r\nX-End: 2\r\n"), "GET / a x-end=2 close | none -1 | "},
      {get("Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n"), "GET / a | none -1 | "},
      {get("Connection: authorization, x-forwarded-for\r\nAuthorization: b\r\nX-Forwarded-For: c\r\n"),
       "GET / a authorization=b x-forwarded-for=c | none -1 | "},
      {get("Connection: Upgrade\r\nUpgrade: websocket\r\n"), "GET / a | none -1 | "},
      {get("TE: gzip, trailers;q=0.5\r\nConnection: TE\r\n"), "GET / a te=trailers | none -1 | "},
      {get("TE: gzip\r\n"), "GET / a | none -1 | "},
  };
}

std::vector<H1Case> host_cases() {
  return {
      {"GET / HTTP/1.1\r\n\r\n", "400 host-missing"},
      {"GET / HTTP/1.1\r\nX: 1\r\n\r\n", "400 host-missing"},
      {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400 host-repeated"},
      {"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", "400 host-repeated"},
      {"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "400 host-repeated"},
      {host(""), "400 host-characters"},
      {host("example.com:8080"), "GET / example.com:8080 | none -1 | "},
      {host("under_score-1.a"), "GET / under_score-1.a | none -1 | "},
      {host("[::1]"), "GET / [::1] | none -1 | "},
      {host("[2001:db8::1]:80"), "GET / [2001:db8::1]:80 | none -1 | "},
      {host("a%20b"), "GET / a%20b | none -1 | "},
      {host("a%2"), "400 host-characters"},
      {host("a b"), "400 host-characters"},
      {host("a/b"), "400 host-characters"},
      {host("a?b"), "400 host-characters"},
      {host("a#b"), "400 host-characters"},
      {host("a\\b"), "400 host-characters"},
      {host("u@b"), "400 userinfo"},
      {host("a:"), "400 host-characters"},
      {host(":80"), "400 host-characters"},
      {host("a:65535"), "GET / a:65535 | none -1 | "},
      {host("a:65536"), "400 host-characters"},
      {host("a:8o"), "400 host-characters"},
      {host("a:80:80"), "400 host-characters"},
      {host("[::1"), "400 host-characters"},
      {host("[]"), "400 host-characters"},
      {host("[::g]"), "400 host-characters"},
      {host("[::1]a"), "400 host-characters"},
      {host("\xc3\xa4"), "400 host-characters"},
      {host("a, b"), "400 host-characters"},
  };
}

std::vector<H1Case> length_cases() {
  const auto post = [](const std::string& fields, const std::string& body = "") {
    return "POST / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n" + body;
  };
  return {
      {post("Content-Length: 5\r\n", "hello"), "POST / a | length 5 | hello"},
      {post("Content-Length: 5\r\n", "helloGET"), "POST / a | length 5 | hello | left 3"},
      {post("Content-Length: 5\r\n", "hell"), "POST / a | length 5 | hell | incomplete"},
      {post("Content-Length: 0\r\n"), "POST / a | none 0 | "},
      {post("Content-Length: 005\r\n", "hello"), "POST / a | length 5 | hello"},
      {post(""), "POST / a | none -1 | "},
      {post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), "400 length-repeated"},
      {post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"), "400 length-repeated"},
      {post("Content-Length: 5, 5\r\n", "hello"), "400 length-value"},
      {post("Content-Length: +5\r\n", "hello"), "400 length-value"},
      {post("Content-Length: -5\r\n", "hello"), "400 length-value"},
      {post("Content-Length: 0x5\r\n", "hello"), "400 length-value"},
      {post("Content-Length: 5 5\r\n", "hello"), "400 length-value"},
      {post("Content-Length: 5.0\r\n", "hello"), "400 length-value"},
      {post("Content-Length:\r\n", "hello"), "400 length-value"},
      {post("Content-Length: \"5\"\r\n", "hello"), "400 length-value"},
      {post("Content-Length: 9223372036854775807\r\n"), "POST / a | length 9223372036854775807 |  | incomplete"},
      {post("Content-Length: 9223372036854775808\r\n"), "400 length-overflow"},
      {post("Content-Length: 18446744073709551621\r\n"), "400 length-overflow"},
      {post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), "400 length-with-encoding"},
      {post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), "400 length-with-encoding"},
      {post("Transfer-Encoding: Chunked\r\n", "0\r\n\r\n"), kPosted},
      {post("Transfer-Encoding: xchunked\r\n"), "400 encoding-value"},
      {post("Transfer-Encoding: chunkedx\r\n"), "400 encoding-value"},
      {post("Transfer-Encoding: chunked, gzip\r\n"), "400 encoding-value"},
      {post("Transfer-Encoding: chunked, chunked\r\n"), "400 encoding-value"},
      {post("Transfer-Encoding: chunked, identity\r\n"), "400 encoding-value"},
      {post("Transfer-Encoding: identity\r\n"), "400 encoding-value"},
      {post("Transfer-Encoding: gzip, chunked\r\n"), "501 encoding-unknown"},
      {post("Transfer-Encoding: ,chunked\r\n"), "501 encoding-unknown"},
      {post("Transfer-Encoding: chunked,\r\n"), "400 encoding-value"},
      {post("Transfer-Encoding: chunked;q=1\r\n"), "400 encoding-value"},
      {post("Transfer-Encoding:\r\n"), "400 encoding-value"},
      {post("Transfer-Encoding: \x0b"
            "chunked\r\n"),
       "400 field-value"},
      {post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), "400 encoding-value"},
      {post("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"), "400 encoding-value"},
      {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "400 encoding-on-http10"},
      {"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi", "POST /  1.0 close | length 2 | hi"},
      {"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", "400 connect-body"},
      {"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "400 connect-body"},
      {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", "GET / a | length 2 | hi"},
  };
}

std::vector<H1Case> chunk_cases() {
  return {
      {chunks("5\r\nhello\r\n0\r\n\r\n"), kPosted + "hello"},
      {chunks("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET"), kPosted + "hello world | left 3"},
      {chunks("A\r\n0123456789\r\na\r\n0123456789\r\n00\r\n\r\n"), kPosted + "01234567890123456789"},
      {chunks("000000000000005\r\nhello\r\n0\r\n\r\n"), kPosted + "hello"},
      {chunks("00000000000000005\r\nhello\r\n0\r\n\r\n"), "400 chunk-overflow"},
      {chunks("5;ext\r\nhello\r\n0;a=\"b c\"\r\n\r\n"), kPosted + "hello"},
      {chunks("5"), kPosted + " | incomplete"},
      {chunks("5\r\nhel"), kPosted + "hel | incomplete"},
      {chunks("5\r\nhello\r\n0\r\n"), kPosted + "hello | incomplete"},
      {chunks("\r\nhello"), "400 chunk-size"},
      {chunks("0x5\r\nhello\r\n0\r\n\r\n"), "400 chunk-size"},
      {chunks(" 5\r\nhello\r\n0\r\n\r\n"), "400 chunk-size"},
      {chunks("5 \r\nhello\r\n0\r\n\r\n"), "400 chunk-size"},
      {chunks("5 ;ext\r\nhello\r\n0\r\n\r\n"), "400 chunk-size"},
      {chunks("+5\r\nhello\r\n0\r\n\r\n"), "400 chunk-size"},
      {chunks("-5\r\nhello\r\n0\r\n\r\n"), "400 chunk-size"},
      {chunks(";ext\r\n"), "400 chunk-size"},
      {chunks("g\r\n"), "400 chunk-size"},
      {chunks("5_0\r\n"), "400 chunk-size"},
      {chunks("5\nhello\r\n0\r\n\r\n"), "400 bare-lf"},
      {chunks("5\rhello\r\n0\r\n\r\n"), "400 bare-cr"},
      {chunks("5;a\nhello\r\n0\r\n\r\n"), "400 bare-lf"},
      {chunks("5;a\0b\r\n"s), "400 chunk-extension"},
      {chunks("5;a\rb\r\n"), "400 bare-cr"},
      {chunks("5\r\nhelloX\r\n0\r\n\r\n"), "400 chunk-end"},
      {chunks("5\r\nhello\n0\r\n\r\n"), "400 chunk-end"},
      {chunks("5\r\nhello\rX0\r\n\r\n"), "400 chunk-end"},
      {chunks("7fffffffffffffff\r\nx"), kPosted + "x | incomplete"},
      {chunks("8000000000000000\r\nx"), "400 chunk-overflow"},
      {chunks("ffffffffffffffff\r\nx"), "400 chunk-overflow"},
      {chunks("10000000000000005\r\nx"), "400 chunk-overflow"},
      // Trailers.
      {chunks("0\r\nX-Sum: 1\r\nY:2\r\n\r\n"), kPosted + " | x-sum=1 y=2"},
      {chunks("1\r\nz\r\n0\r\nX-Sum: 1\r\n\r\nG"), kPosted + "z | x-sum=1 | left 1"},
      {chunks("0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: b\r\nX: 1\r\n\r\n"), kPosted + " | x=1"},
      {chunks("0\r\nAuthorization: x\r\nCookie: b\r\nConnection: close\r\n\r\n"), kPosted},
      {chunks("0\r\nX : 1\r\n\r\n"), "400 space-around-name"},
      {chunks("0\r\nX: 1\r\n fold\r\n\r\n"), "400 obs-fold"},
      {chunks("0\r\n X: 1\r\n\r\n"), "400 obs-fold"},
      {chunks("0\r\nX: 1\n\r\n"), "400 bare-lf"},
      {chunks("0\r\nX: \r1\r\n\r\n"), "400 bare-cr"},
      {chunks("0\r\nX: \0\r\n\r\n"s), "400 field-value"},
      {chunks("0\r\n\rX\r\n\r\n"), "400 bare-cr"},
      {chunks("0\r\n\n"), "400 bare-lf"},
      {chunks("0\r\n: x\r\n\r\n"), "400 field-name"},
  };
}

void add(std::vector<H1Case>& all, std::vector<H1Case> more) { all.insert(all.end(), more.begin(), more.end()); }

}  // namespace

const std::vector<H1Case>& request_cases() {
  static const std::vector<H1Case> kAll = [] {
    std::vector<H1Case> all = plain_cases();
    add(all, line_cases());
    add(all, field_cases());
    add(all, host_cases());
    add(all, length_cases());
    add(all, chunk_cases());
    return all;
  }();
  return kAll;
}

}  // namespace weir
