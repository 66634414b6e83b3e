#include "tests/fuzz/h1_compare.h"

#include <algorithm>

#include "proxy/base/text.h"
#include "tests/fuzz/h1_differences.h"

namespace weir {

namespace {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Fields that belong to this hop or to the head itself, and so are not among the headers that we hand on.
bool is_taken_out(std::string_view name, const OracleFields& fields) {
  constexpr std::string_view kOurs[] = {"host",    "content-length",   "transfer-encoding", "connection", "keep-alive",
                                        "upgrade", "proxy-connection", "http2-settings",    "te",         "expect"};
  if (std::find(std::begin(kOurs), std::end(kOurs), name) != std::end(kOurs)) return true;
  for (const auto& [field, value] : fields) {  // named by a Connection field
    if (field != "connection") continue;
    std::string_view rest = value;
    while (!rest.empty()) {
      const std::size_t comma = std::min(rest.find(','), rest.size());
      if (equal_ignoring_case(trimmed(rest.substr(0, comma)), name)) return true;
      rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
  }
  return false;
}

// Every field of ours is theirs, in the same order, and what they have beside belongs to the hop.
bool same_fields(const Headers& ours, const OracleFields& theirs) {
  std::size_t at = 0;
  const auto skip_to = [&](std::string_view name, std::string_view value) {
    for (; at < theirs.size(); ++at) {
      if (theirs[at].first == name && trimmed(theirs[at].second) == value) return true;
      if (!is_taken_out(theirs[at].first, theirs)) return false;
    }
    return false;
  };
  for (const HeaderField& field : ours) {
    if (field.id == HeaderId::removed || field.id == HeaderId::te) continue;
    if (!skip_to(field.name, field.value)) return false;
    ++at;
  }
  return std::all_of(theirs.begin() + static_cast<std::ptrdiff_t>(at), theirs.end(),
                     [&](const auto& field) { return is_taken_out(field.first, theirs); });
}

// Ours may lack some: may_be_trailer() drops what a trailer must not bring.
bool same_trailers(const Headers* ours, const OracleFields& theirs) {
  if (ours == nullptr) return true;
  std::size_t at = 0;
  for (const HeaderField& field : *ours) {
    if (field.id == HeaderId::removed) continue;
    while (at < theirs.size() && (theirs[at].first != field.name || trimmed(theirs[at].second) != field.value)) ++at;
    if (at++ >= theirs.size()) return false;
  }
  return std::all_of(theirs.begin(), theirs.end(), [&](const auto& field) {
    const HeaderField one{field.first, field.second, header_id(field.first)};
    return !may_be_trailer(one) || ours->find(field.first) != nullptr;
  });
}

std::string request_disagreement(const RequestHead& head, const OracleAnswer& theirs) {
  if (theirs.method != head.method_text) return "the method";
  if (theirs.target.starts_with('/')) {
    if (theirs.target != head.target) return "the target";
    for (const auto& [name, value] : theirs.fields) {
      if (name == "host" && trimmed(value) != head.authority) return "Host";
    }
  } else if (head.method == Method::connect) {
    if (theirs.target != head.authority) return "the authority";
  } else if (theirs.target != "*") {  // absolute-form: ours is its end, and the authority stands before
    const std::size_t end = theirs.target.find("://");
    if (end == std::string::npos || std::string_view(theirs.target).substr(end + 3, head.authority.size()) != head.authority)
      return "the authority";
    const std::string_view rest = std::string_view(theirs.target).substr(end + 3 + head.authority.size());
    const bool query_only = rest.starts_with('?');
    if (!rest.empty() && (query_only ? head.target.substr(1) : head.target) != rest) return "the target";
  }
  return {};
}

std::string describe(std::string_view what, const BothReadings& read) {
  const OracleAnswer& theirs = read.theirs;
  std::string text =
      concat("differs: ", what, "\nours:   ", read.ours->verdict(), "\ntheirs: ", theirs.complete ? "complete" : "incomplete", ' ',
             theirs.method, ' ', theirs.target, ' ', theirs.status, " | ", theirs.body, " | used ", theirs.used, " of ", read.input.size(),
             theirs.keep_alive ? "" : " close");
  if (!theirs.error.empty()) text += concat(' ', theirs.error, " at ", theirs.error_at);
  return concat(text, "\n--- ", read.response ? "response" : "request", " ---\n", read.input, "\n");
}

}  // namespace

HttpLimits compared_limits() {
  HttpLimits limits;
  limits.header_bytes = 3000;
  limits.target_bytes = 500;
  limits.headers = 20;
  limits.chunk_extension_bytes = 100;
  return limits;
}

BothReadings::BothReadings(std::string_view bytes, bool is_response, Method request, const HttpLimits& limits)
    : input(bytes),
      response(is_response),
      asked(request),
      ours(std::make_unique<H1Harness>(is_response ? SectionKind::response : SectionKind::request, limits, request)),
      theirs(ask_oracle({is_response, request == Method::head, true}, bytes)) {
  ours->feed(bytes);
  ours->finish();
}

std::string disagreement(const BothReadings& read) {
  const OracleAnswer& theirs = read.theirs;
  if (read.refused()) return theirs.complete ? "they take what we refuse" : std::string();
  if (!read.complete()) return theirs.complete ? "they see an end where we see none" : std::string();
  if (!theirs.complete) return theirs.error.empty() ? "they see no end where we see one" : "they refuse what we take";
  if (read.used() != theirs.used) return "the end";
  if (theirs.body != read.ours->body()) return "the body";
  if (!same_fields(read.headers(), theirs.fields)) return "the fields";
  if (!same_trailers(read.ours->trailers(), theirs.trailers)) return "the trailers";
  if (read.response && theirs.status != read.ours->response().status) return "the status";
  if (!read.response) {
    const std::string what = request_disagreement(read.ours->request(), theirs);
    if (!what.empty()) return what;
  }
  if (theirs.keep_alive != read.ours->keep_alive()) return "whether the connection is kept";
  return {};
}

Comparison compare_readings(const ComparedStream& stream) {
  Comparison result;
  constexpr int kMostMessages = 8;
  std::string_view input = stream.bytes;
  std::size_t answers = 0;
  for (int i = 0; i < kMostMessages && !input.empty(); ++i) {
    const Method asked = stream.asked.empty() ? Method::get : stream.asked[std::min(answers, stream.asked.size() - 1)];
    const BothReadings read(input, stream.response, asked, stream.limits);
    result.understood.push_back(read.ours->verdict());
    const std::string what = disagreement(read);
    if (!what.empty()) {
      const Difference* row = explain(read);
      if (row == nullptr) {
        result.unexplained = describe(what, read);
        return result;
      }
      if (std::find(result.shown.begin(), result.shown.end(), row) == result.shown.end()) result.shown.push_back(row);
      if (!read.theirs.complete || !read.complete() || read.used() != read.theirs.used) return result;
    }
    if (!read.complete() || (!read.response && !read.ours->keep_alive())) return result;
    if (read.response && read.ours->response().status >= 200) ++answers;
    input.remove_prefix(read.used());
  }
  return result;
}

}  // namespace weir
