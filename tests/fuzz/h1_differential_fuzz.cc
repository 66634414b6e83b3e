// What we accept, llhttp in strict mode must accept too, and see the same message in it: method, target,
// Host, fields, body and end.
//
// The differences that are meant, all of them. We refuse more: framing_rules.h lists it, and nothing is
// compared then. We accept more:
//  1. methods that llhttp does not know (RFC 9110 9.1: any token);
//  2. "\r\n" before a request: both ignore it, llhttp any number, we one: we are the stricter;
//  3. chunk extensions: llhttp takes fewer characters (it parses names and values, we only skip them);
//  4. an Upgrade header: llhttp stops for another protocol, we ignore it (RFC 9110 7.8) and read on;
//  5. targets and Host: llhttp refuses some bytes in absolute-form and CONNECT targets that RFC 3986 allows
//  in a reg-name;
//  6. a status line without the space before a missing reason;
//  7. responses 204, 304 and 1xx with framing fields (RFC 9112 6.3: no body): llhttp looks at the fields of
//  some;
//  8. reason phrases with obs-text;
//  9. framing fields in trailers: we drop them (RFC 9110 6.5.1), llhttp refuses some.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "tests/fuzz/llhttp_oracle.h"
#include "tests/http/h1_cases.h"
#include "tests/http/h1_harness.h"

namespace weir {

namespace {

[[noreturn]] void differ(const char* what, std::string_view input, const H1Harness& ours,
                         const OracleAnswer& theirs) {
  std::fprintf(stderr, "differs: %s\nours: %s\ntheirs: %s %s %s body %zu used %zu of %zu %s\n", what,
               ours.verdict().c_str(), theirs.complete ? "complete" : "incomplete", theirs.method.c_str(),
               theirs.target.c_str(), theirs.body.size(), theirs.used, input.size(), theirs.error.c_str());
  std::fwrite(input.data(), 1, input.size(), stderr);
  std::abort();
}

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.pop_back();
  return text;
}

bool has_framing_trailer(std::string_view input) {
  std::string trailers(input.substr(std::min(input.find("\r\n\r\n"), input.size())));
  for (char& c : trailers) c = static_cast<char>(kNameByte[static_cast<std::uint8_t>(c)]);
  return trailers.find("content-length") != std::string::npos ||
         trailers.find("transfer-encoding") != std::string::npos ||
         trailers.find("connection") != std::string::npos || trailers.find("upgrade") != std::string::npos;
}

bool is_meant(std::string_view input, const H1Harness& ours, const OracleAnswer& theirs, bool response) {
  if (theirs.error == "HPE_INVALID_METHOD") return true;  // 1
  if (ours.framing().body == BodyFraming::chunked && input.find(';') != std::string_view::npos &&
      !theirs.error.empty())
    return true;  // 3
  if (ours.framing().body == BodyFraming::chunked && !theirs.complete && has_framing_trailer(input))
    return true;  // 9
  if (!response && theirs.error == "HPE_INVALID_URL" && ours.request().target.substr(0, 1) != "/")
    return true;  // 5: CONNECT
  if (!response && theirs.error == "HPE_INVALID_URL" && !ours.request().scheme.empty()) return true;  // 5
  if (response && ours.response().reason.empty()) return true;                                        // 6
  const int status = response ? ours.response().status : 0;
  return response && (status < 200 || status == 204 || status == 304);  // 7
}

void compare_fields(std::string_view input, const H1Harness& ours, const OracleAnswer& theirs,
                    const Headers& headers) {
  std::size_t at = 0;
  for (const HeaderField& field : headers) {
    if (field.id == HeaderId::removed || field.id == HeaderId::te) continue;
    while (at < theirs.fields.size() && (theirs.fields[at].first != field.name ||
                                         trimmed(theirs.fields[at].second) != std::string(field.value))) {
      ++at;
    }
    if (at++ == theirs.fields.size()) differ("a field", input, ours, theirs);
  }
}

void compare(std::string_view input, bool response) {
  H1Harness ours(response ? SectionKind::response : SectionKind::request);
  ours.feed(input);
  ours.finish();
  if (ours.broken() != nullptr || !ours.complete()) return;
  const std::size_t used = input.size() - ours.left_over().size();
  const OracleAnswer theirs = ask_oracle(response, input.substr(0, used), true);
  if (is_meant(input, ours, theirs, response)) return;
  if (!theirs.complete) differ("not complete", input, ours, theirs);
  if (theirs.used != used) differ("the end", input, ours, theirs);
  if (theirs.body != ours.body()) differ("the body", input, ours, theirs);
  if (response) {
    if (theirs.status != ours.response().status) differ("the status", input, ours, theirs);
    return compare_fields(input, ours, theirs, ours.response().headers);
  }
  const RequestHead& head = ours.request();
  if (theirs.method != head.method_text) differ("the method", input, ours, theirs);
  if (!theirs.target.empty() && theirs.target[0] == '/') {
    if (theirs.target != head.target) differ("the target", input, ours, theirs);
    for (const auto& [name, value] : theirs.fields) {
      if (name == "host" && trimmed(value) != head.authority) differ("Host", input, ours, theirs);
    }
  }
  compare_fields(input, ours, theirs, head.headers);
}

}  // namespace

}  // namespace weir

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  weir::compare(input, false);
  weir::compare(input, true);
  static const bool kTable = [] {  // once: the rows of the parser's test too
    for (const weir::H1Case& row : weir::request_cases()) weir::compare(row.text, false);
    for (const weir::H1Case& row : weir::response_cases()) {
      if (row.request == weir::Method::get) weir::compare(row.text, true);
    }
    return true;
  }();
  static_cast<void>(kTable);
  return 0;
}
