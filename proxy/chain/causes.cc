#include "proxy/chain/causes.h"

#include <initializer_list>

#include "proxy/base/text.h"

namespace weir {
namespace {

constexpr const char* kAllowed =
    "connect_failure, reset, refused_stream, timeout, gateway_error, 5xx, a status such as 503, a range such as 500-503, or "
    "grpc_unavailable and the like";

struct KindWord {
  std::string_view word;
  std::initializer_list<FailureKind> kinds;
};

bool is_status(std::string_view text) { return text.size() == 3 && is_digits(text) && text[0] >= '1' && text[0] <= '5'; }
int status_of(std::string_view text) { return (text[0] - '0') * 100 + (text[1] - '0') * 10 + (text[2] - '0'); }

}  // namespace

Result<Causes> Causes::parse_word(std::string_view word) {
  using K = FailureKind;
  static const KindWord kKindWords[] = {
      {"connect_failure", {K::connect_failure, K::connect_timeout, K::tls_failure, K::tls_certificate, K::no_endpoint}},
      {"reset", {K::reset, K::truncated, K::upstream_protocol}},
      {"refused_stream", {K::refused_stream}},
      {"timeout", {K::response_timeout, K::idle_timeout}},
      {"rejected",
       {K::rate_limited, K::breaker_open, K::queue_full, K::queue_timeout, K::limit_reached, K::shed, K::pool_overflow, K::pool_timeout}},
  };
  Causes causes;
  const auto add_statuses = [&causes](int first, int last) {
    for (int status = first; status <= last; ++status) causes.statuses_.set(static_cast<std::size_t>(status));
  };
  for (const KindWord& entry : kKindWords) {
    if (entry.word != word) continue;
    for (const K kind : entry.kinds) causes.kinds_.set(static_cast<std::size_t>(kind));
    return causes;
  }
  if (word == "gateway_error") {
    add_statuses(502, 504);
    return causes;
  }
  if (word.size() == 3 && word[0] >= '1' && word[0] <= '5' && word.substr(1) == "xx") {
    add_statuses((word[0] - '0') * 100, (word[0] - '0') * 100 + 99);
    return causes;
  }
  if (is_status(word)) {
    add_statuses(status_of(word), status_of(word));
    return causes;
  }
  if (word.size() == 7 && word[3] == '-' && is_status(word.substr(0, 3)) && is_status(word.substr(4))) {
    const int first = status_of(word.substr(0, 3));
    const int last = status_of(word.substr(4));
    if (first > last) return Error{concat("the range ", word, " ends before it begins")};
    add_statuses(first, last);
    return causes;
  }
  if (word.substr(0, 5) == "grpc_") {
    for (std::size_t code = 1; code < kGrpcStatuses; ++code) {  // ok is no cause
      if (word != grpc_cause_name(static_cast<GrpcStatus>(code))) continue;
      causes.grpc_.set(code);
      return causes;
    }
  }
  return Error{concat("unknown cause ", word, "; expected ", kAllowed)};
}

void Causes::add(const Causes& other) {
  kinds_ |= other.kinds_;
  statuses_ |= other.statuses_;
  grpc_ |= other.grpc_;
}

}  // namespace weir
