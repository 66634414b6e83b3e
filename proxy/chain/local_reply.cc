#include "proxy/chain/local_reply.h"

#include <charconv>
#include <initializer_list>

namespace weir {
namespace {

constexpr std::string_view kName = "weir";

// What happened, as the reader of a browser or a curl sees it.
std::string_view sentence(FailureKind kind) {
  switch (kind) {
    case FailureKind::connect_failure: return "could not connect to the upstream";
    case FailureKind::connect_timeout: return "connecting to the upstream timed out";
    case FailureKind::tls_failure: return "no TLS connection to the upstream";
    case FailureKind::tls_certificate: return "the certificate of the upstream was not accepted";
    case FailureKind::no_endpoint: return "no endpoint of the upstream is usable";
    case FailureKind::refused_stream: return "the upstream refused the request";
    case FailureKind::reset: return "the upstream closed the connection before it answered";
    case FailureKind::truncated: return "the answer of the upstream broke off";
    case FailureKind::upstream_protocol: return "the answer of the upstream is not valid HTTP";
    case FailureKind::response_timeout:
    case FailureKind::idle_timeout: return "upstream timed out";
    case FailureKind::total_timeout: return "the request took too long";
    case FailureKind::deadline_exceeded: return "the deadline that the client set has passed";
    case FailureKind::rate_limited: return "too many requests";
    case FailureKind::breaker_open: return "the circuit breaker of the upstream is open";
    case FailureKind::queue_full: return "too many requests are waiting";
    case FailureKind::queue_timeout: return "the request waited too long for its turn";
    case FailureKind::limit_reached: return "too many requests at once";
    case FailureKind::shed: return "overloaded";
    case FailureKind::pool_overflow: return "the limits of the upstream are reached";
    case FailureKind::pool_timeout: return "no connection to the upstream was free in time";
    case FailureKind::client_gone: return "the client went away";
    case FailureKind::client_body: return "the request body broke off or is malformed";
    case FailureKind::client_timeout: return "the client was too slow";
    case FailureKind::no_route: return "no route";
    case FailureKind::bad_request: return "bad request";
    case FailureKind::none:
    case FailureKind::internal:
    case FailureKind::count_: break;
  }
  return "internal error";
}

std::string_view join(Arena& arena, std::initializer_list<std::string_view> parts) {
  std::size_t size = 0;
  for (const auto part : parts) size += part.size();
  auto* text = static_cast<char*>(arena.allocate(size, 1));
  char* at = text;
  for (const auto part : parts) at = std::copy(part.begin(), part.end(), at);
  return {text, size};
}

std::string_view number(Arena& arena, std::int64_t value) {
  char digits[24];
  const auto* end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  return arena.copy({digits, static_cast<std::size_t>(end - digits)});
}

// A quoted string of structured fields (RFC 8941 3.3.3): printable ASCII, quotes and backslashes escaped.
std::string_view quoted(Arena& arena, std::string_view text) {
  auto* out = static_cast<char*>(arena.allocate(text.size() * 2 + 2, 1));
  std::size_t size = 0;
  out[size++] = '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') out[size++] = '\\';
    out[size++] = c >= 0x20 && c < 0x7f ? c : '?';
  }
  out[size++] = '"';
  return {out, size};
}

// "response_timeout, policy careful, main.yaml:75": the kind comes first, where kind_of_local_reply() finds it. Only the last
// part of the path is shown: directories are nobody's business.
std::string_view facts_text(Arena& arena, const Failure& failure) {
  std::string_view text = failure.facts().name;
  if (!failure.detail.empty() && failure.detail != text) text = join(arena, {text, ", ", failure.detail});
  const LinkIdentity* by = failure.decided_by;
  if (by == nullptr) return text;
  if (!by->policy.empty()) text = join(arena, {text, ", policy ", by->policy});
  if (by->place.file == nullptr) return text;
  std::string_view file = by->place.file;
  file = file.substr(file.rfind('/') + 1);
  return join(arena, {text, ", ", file, ":", number(arena, by->place.line)});
}

LocalReply reply(Arena& arena, int status, std::string_view proxy_status, std::string_view body, bool to_head) {
  auto* head = arena.make<ResponseHead>(arena);
  head->status = status;
  head->has_body = !to_head;
  head->content_length = static_cast<std::int64_t>(body.size());
  head->headers.add_view("content-type", "text/plain; charset=utf-8", HeaderId::content_type);
  head->headers.add_view("proxy-status", proxy_status, HeaderId::proxy_status);
  return {head, to_head ? std::string_view() : body};
}

std::string_view proxy_status(Arena& arena, std::string_view error, std::string_view details) {
  if (error.empty()) return join(arena, {kName, "; details=", quoted(arena, details)});
  return join(arena, {kName, "; error=", error, "; details=", quoted(arena, details)});
}

// "Trailers-only": one head that says it all. The status of HTTP is 200 whatever happened: gRPC's is in its own field.
LocalReply grpc_reply(Arena& arena, const Failure& failure, std::string_view what) {
  const FailureFacts& facts = failure.facts();
  auto* head = arena.make<ResponseHead>(arena);
  head->status = 200;
  head->has_body = false;
  head->headers.add_view("content-type", kGrpcContentType, HeaderId::content_type);
  head->headers.add_view(kGrpcStatusField, number(arena, facts.grpc_status), HeaderId::grpc_status);
  const std::string_view message = join(arena, {kName, ": ", sentence(failure.kind), " (", what, ")"});
  head->headers.add_view(kGrpcMessageField, encode_grpc_message(arena, message));
  head->headers.add_view("proxy-status", proxy_status(arena, facts.proxy_status, what), HeaderId::proxy_status);
  if (failure.retry_after > Duration::zero()) {
    const auto whole = std::chrono::ceil<std::chrono::milliseconds>(failure.retry_after);
    head->headers.add_view(kGrpcPushbackField, number(arena, whole.count()));
  }
  return {head, {}};
}

}  // namespace

LocalReply make_local_reply(ExchangeContext& exchange, const Failure& failure) {
  Arena& arena = exchange.arena;
  const FailureFacts& facts = failure.facts();
  const std::string_view what = facts_text(arena, failure);
  if (exchange.grpc) return grpc_reply(arena, failure, what);
  const std::string_view body = join(arena, {kName, ": ", sentence(failure.kind), " (", what, ")\n"});
  LocalReply made =
      reply(arena, facts.http_status, proxy_status(arena, facts.proxy_status, what), body, exchange.head.method == Method::head);
  if (failure.retry_after > Duration::zero()) {
    const auto whole = std::chrono::ceil<std::chrono::seconds>(failure.retry_after);
    made.head->headers.add_view("retry-after", number(arena, whole.count()), HeaderId::retry_after);
  }
  return made;
}

LocalReply make_local_reply(Arena& arena, int status, std::string_view proxy_status_error, std::string_view detail) {
  const std::string_view body = join(arena, {kName, ": ", detail, "\n"});
  return reply(arena, status, proxy_status(arena, proxy_status_error, detail), body, false);
}

FailureKind kind_of_local_reply(const ResponseHead& head) {
  // RFC 9209 2: a list, the proxy nearest to the origin first; what matters is who made the answer, so any member of ours.
  for (const HeaderField& field : head.headers) {
    if (field.id != HeaderId::proxy_status) continue;
    const std::string_view value = field.value;
    for (std::size_t at = value.find(kName); at != std::string_view::npos; at = value.find(kName, at + 1)) {
      constexpr std::string_view kDetails = "details=\"";
      std::string_view rest = value.substr(at + kName.size());
      if (rest.substr(0, 1) != ";") continue;
      const std::size_t details = rest.find(kDetails);
      if (details == std::string_view::npos) continue;
      rest.remove_prefix(details + kDetails.size());
      const FailureKind kind = failure_kind_of(rest.substr(0, rest.find_first_of(",\"")));
      if (kind != FailureKind::none) return kind;
    }
  }
  return FailureKind::none;
}

}  // namespace weir
