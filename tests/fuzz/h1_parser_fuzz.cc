// The parsers over any bytes: what they say does not depend on how the bytes are cut, and nothing that they
// accept breaks a rule that can be stated without a parser.
#include <cstdio>
#include <cstdlib>

#include "tests/http/h1_harness.h"

namespace weir {

namespace {

void require(bool condition, const char* what, const std::string& verdict) {
  if (condition) return;
  std::fprintf(stderr, "violated: %s\n%s\n", what, verdict.c_str());
  std::abort();
}

bool has_control(std::string_view text) {
  for (const char c : text) {
    if (!is_value_byte(c)) return true;
  }
  return false;
}

void check_head(const H1Harness& read, const Headers& headers) {
  const std::string verdict = read.verdict();
  for (const HeaderField& field : headers) {
    if (field.id == HeaderId::removed) continue;
    require(!field.name.empty() && !has_control(field.value), "a field's syntax", verdict);
    for (const char c : field.name) require(is_token_byte(c) && !(c >= 'A' && c <= 'Z'), "a name in lower case", verdict);
    require(field.id == header_id(field.name), "a field's id", verdict);
    require(field.id != HeaderId::content_length && field.id != HeaderId::transfer_encoding && field.id != HeaderId::connection,
            "no framing field is left", verdict);
  }
}

void run(SectionKind kind, std::string_view text, std::size_t seed) {
  HttpLimits limits;
  limits.header_bytes = 2000;
  limits.target_bytes = 300;
  limits.headers = 20;
  limits.chunk_extension_bytes = 30;
  H1Harness whole(kind, limits);
  whole.feed(text);
  H1Harness bytewise(kind, limits);
  for (const char c : text) bytewise.feed(std::string_view(&c, 1));
  require(whole.verdict() == bytewise.verdict(), "the same byte by byte", whole.verdict() + "\n" + bytewise.verdict());
  H1Harness cut(kind, limits);
  std::size_t at = 0;
  while (at < text.size()) {
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    const std::size_t n = 1 + (seed >> 33) % 40;
    cut.feed(text.substr(at, n));
    at += n;
  }
  require(whole.verdict() == cut.verdict(), "the same in pieces", whole.verdict() + "\n" + cut.verdict());
  if (!whole.head_complete() || whole.broken() != nullptr) return;
  if (kind == SectionKind::request) {
    const RequestHead& head = whole.request();
    check_head(whole, head.headers);
    require(!head.headers.has(HeaderId::host), "Host is the authority", whole.verdict());
    require(head.version == HttpVersion::http10 || !head.authority.empty(), "an authority", whole.verdict());
    for (const char c : head.target) require(is_target_byte(c), "a target's characters", whole.verdict());
    require(head.method == Method::connect ? head.target.empty() : head.target == "*" || head.target.substr(0, 1) == "/", "a target's form",
            whole.verdict());
  } else {
    check_head(whole, whole.response().headers);
    require(whole.response().status >= 100 && whole.response().status <= 999, "a status", whole.verdict());
  }
  const Framing& framing = whole.framing();
  if (framing.body == BodyFraming::length && whole.complete()) {
    require(whole.body().size() == static_cast<std::size_t>(framing.length), "a body's length", whole.verdict());
  }
  if (whole.trailers() != nullptr) check_head(whole, *whole.trailers());
}

}  // namespace

}  // namespace weir

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  weir::run(weir::SectionKind::request, text, size);
  weir::run(weir::SectionKind::response, text, size);
  return 0;
}
