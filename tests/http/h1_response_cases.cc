#include "tests/http/h1_cases.h"

namespace weir {

namespace {

std::string ok(const std::string& fields, const std::string& body = "") { return "HTTP/1.1 200 OK\r\n" + fields + "\r\n" + body; }
std::string status(const std::string& code, const std::string& fields = "", const std::string& body = "") {
  return "HTTP/1.1 " + code + "\r\n" + fields + "\r\n" + body;
}

std::vector<H1Case> cases() {
  return {
      {ok("Content-Length: 2\r\n", "hi"), "200 OK | length 2 | hi"},
      {ok("Content-Length: 2\r\nServer: x\r\n", "hiX"), "200 OK server=x | length 2 | hi | left 1"},
      {ok("Content-Length: 0\r\n"), "200 OK | none 0 | "},
      {ok("Transfer-Encoding: chunked\r\n", "2\r\nhi\r\n0\r\nA: b\r\n\r\n"), "200 OK | chunked -1 | hi | a=b"},
      {ok("", "to the end"), "200 OK close | until-close -1 | to the end | incomplete"},
      {ok("Connection: close\r\nContent-Length: 1\r\n", "x"), "200 OK close | length 1 | x"},
      {ok("Connection: X-Hop\r\nX-Hop: 1\r\nContent-Length: 0\r\n"), "200 OK | none 0 | "},
      {status("200"), "200  close | until-close -1 |  | incomplete"},
      {status("200 "), "200  close | until-close -1 |  | incomplete"},
      {status("200 A b\xc3\xa4\t(c)", "Content-Length: 0\r\n"), "200 A b\xc3\xa4\t(c) | none 0 | "},
      {status("999 Odd", "Content-Length: 0\r\n"), "999 Odd | none 0 | "},
      {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", "200 OK 1.0 close | length 1 | x"},
      {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", "200 OK 1.0 | length 1 | x"},
      // Without body, whatever the fields say (RFC 9112 6.3).
      {status("204 No Content"), "204 No Content | none -1 | "},
      {status("204 No Content", "Content-Length: 0\r\n"), "204 No Content | none -1 | "},
      {status("204 No Content", "Content-Length: 5\r\n"), "204 No Content close | none -1 | "},
      {status("204 No Content", "Transfer-Encoding: chunked\r\n"), "204 No Content close | none -1 | "},
      {status("304 Not Modified", "Content-Length: 5\r\n"), "304 Not Modified | none 5 | "},
      {status("304 Not Modified", "Transfer-Encoding: chunked\r\n"), "304 Not Modified | none -1 | "},
      {status("304 Not Modified"), "304 Not Modified | none -1 | "},
      {status("100 Continue"), "100 Continue | none -1 | "},
      {status("103 Early Hints", "Link: </a>\r\n"), "103 Early Hints link=</a> | none -1 | "},
      {status("101 Switching Protocols"), "502 unasked-switch"},
      {ok("Content-Length: 5\r\n"), "200 OK | none 5 | ", Method::head},
      {ok("Transfer-Encoding: chunked\r\n"), "200 OK | none -1 | ", Method::head},
      {ok(""), "200 OK | none -1 | ", Method::head},
      {ok(""), "502 unasked-switch", Method::connect},
      {status("403 No", "Content-Length: 0\r\n"), "403 No | none 0 | ", Method::connect},
      // Refused.
      {ok("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n"), "400 length-with-encoding"},
      {ok("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n"), "400 length-with-encoding", Method::head},
      {ok("Content-Length: 2\r\nContent-Length: 2\r\n"), "400 length-repeated"},
      {ok("Content-Length: 2, 2\r\n"), "400 length-value"},
      {ok("Content-Length: -1\r\n"), "400 length-value"},
      {ok("Transfer-Encoding: gzip\r\n"), "400 encoding-value"},
      {ok("Transfer-Encoding: gzip, chunked\r\n"), "501 encoding-unknown"},
      {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "400 encoding-on-http10"},
      {"HTTP/1.2 200 OK\r\n\r\n", "502 response-version"},
      {"HTTP/2 200 OK\r\nX: y\r\n\r\n", "502 response-version"},
      {"HTTX/1.1 200 OK\r\n\r\n", "502 status-line"},
      {"ICY 200 OK\r\n\r\n", "502 status-line"},
      {"\r\nHTTP/1.1 200 OK\r\n\r\n", "502 status-line"},
      {"H\r\n\r\n", "502 status-line"},
      {"HTTP/1.1\r\n\r\n", "502 status-line"},
      {"HTTP/1.1  200 OK\r\n\r\n", "502 status-code"},
      {"HTTP/1.1\t200 OK\r\n\r\n", "502 status-line"},
      {status("20 OK"), "502 status-code"},
      {status("2000 OK"), "502 status-code"},
      {status("099 OK"), "502 status-code"},
      {status("2x0 OK"), "502 status-code"},
      {status("200\tOK"), "502 status-code"},
      {"HTTP/1.1 200 OK\nX: y\r\n\r\n", "400 bare-lf"},
      {"HTTP/1.1 200 O\rK\r\n\r\n", "400 bare-cr"},
      {"HTTP/1.1 200 O\x01K\r\n\r\n", "400 field-value"},
      {ok("X: a\r\n b\r\n"), "400 obs-fold"},
      {ok("X : a\r\n"), "400 space-around-name"},
      {ok("X: a\x7f\r\n"), "400 field-value"},
      {ok("Transfer-Encoding: chunked\r\n", "x\r\n"), "400 chunk-size"},
  };
}

}  // namespace

const std::vector<H1Case>& response_cases() {
  static const std::vector<H1Case> kAll = cases();
  return kAll;
}

}  // namespace weir
