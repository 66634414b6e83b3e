#include "filters/retry/retry_policy.h"

#include <algorithm>

#include "proxy/base/text.h"
#include "proxy/chain/worst_case.h"

namespace weir {
namespace {

using Verdict = RetryDecision::Verdict;

// The cause that this end is, as the metric's word; empty when it is none.
std::string_view cause_of(const RetryConfig& config, const TryEnd& end) {
  if (!end.answered) return config.causes.matches_failure(end.failure) ? facts(end.failure).name : std::string_view();
  if (config.causes.matches_grpc(end.grpc_status)) return grpc_cause_name(end.grpc_status);
  if (!config.causes.matches_status(end.status)) return {};
  switch (end.status) {  // the usual ones by number: a label must be static text
    case 429: return "429";
    case 500: return "500";
    case 502: return "502";
    case 503: return "503";
    case 504: return "504";
    default: return end.status >= 500 ? "5xx" : end.status >= 400 ? "4xx" : "status";
  }
}

bool is_rejected(const TryEnd& end) { return end.failure != FailureKind::none && facts(end.failure).rejected; }

// Whether doing it again cannot do it twice.
bool repeatable(const TryEnd& end, const RetryState& state) {
  return state.method_allowed || !end.request_sent || end.failure == FailureKind::refused_stream;
}

RetryDecision pass(std::string_view reason) { return {Verdict::pass, reason, Duration::zero()}; }

}  // namespace

RetryDecision decide_retry(const RetryConfig& config, const TryEnd& end, const RetryState& state, Random& random) {
  if (is_rejected(end) || state.client_broke) return pass({});
  // The keep-alive race is nobody's failure: the upstream closed while the request was on its way.
  if (end.stale_connection && !end.answered && !state.resent && state.replayable && repeatable(end, state) && state.now < state.deadline) {
    return {Verdict::resend, "stale_connection", Duration::zero()};
  }
  const std::string_view cause = cause_of(config, end);
  if (cause.empty() || config.max_attempts <= 1) return pass({});
  if (state.tries >= config.max_attempts) return pass("attempts");
  if (!repeatable(end, state)) return pass("method");
  if (!state.replayable) return pass("body_too_large");
  Duration delay = full_jitter(config.backoff, state.tries, random);
  if (end.pushback.given) {  // instead of the backoff: the server has chosen it for this call
    if (!end.pushback.wait || *end.pushback.wait > config.retry_after.max) return pass("pushback");
    delay = *end.pushback.wait;
  } else if (end.answered && end.retry_after) {
    if (*end.retry_after > config.retry_after.max) return pass("retry_after");
    delay += *end.retry_after;  // the jitter on top, so that all who were told the same do not come back at once
  }
  if (state.deadline != kNever && delay >= state.deadline - state.now) return pass("deadline");
  return {Verdict::retry, cause, delay};
}

Duration full_jitter(const BackoffConfig& backoff, std::uint32_t n, Random& random) {
  const Duration cap = backoff_bound(backoff.base, backoff.max, n);
  return Duration(static_cast<Duration::rep>(random.below(static_cast<std::uint64_t>(cap.count()) + 1)));
}

bool RetryMethods::allow(const RequestHead& head) const {
  switch (rule) {
    case Rule::any: return true;
    case Rule::listed: return std::find(listed.begin(), listed.end(), head.method_text) != listed.end();
    case Rule::idempotent: break;
  }
  return is_idempotent(head.method) || head.headers.has(HeaderId::idempotency_key);
}

bool RetryMethods::repeats_unsafe() const {
  if (rule == Rule::any) return true;
  return std::any_of(listed.begin(), listed.end(), [](const std::string& name) { return !is_idempotent(method_of(name)); });
}

namespace {

// Two digits, or -1.
int two_digits(std::string_view text) {
  if (text.size() != 2 || !is_digits(text)) return -1;
  return (text[0] - '0') * 10 + (text[1] - '0');
}

// IMF-fixdate (RFC 9110 5.6.7): "Sun, 06 Nov 1994 08:49:37 GMT". The two obsolete forms are not worth their rules here: absent
// advice only means that our own back-off holds.
std::optional<WallTime> parse_http_date(std::string_view text) {
  constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
  if (text.size() != 29 || text.substr(3, 2) != ", " || text.substr(25) != " GMT") return std::nullopt;
  if (text[7] != ' ' || text[11] != ' ' || text[16] != ' ' || text[19] != ':' || text[22] != ':') return std::nullopt;
  const std::size_t month = kMonths.find(text.substr(8, 3));
  const int day = two_digits(text.substr(5, 2));
  const int century = two_digits(text.substr(12, 2));
  const int year = two_digits(text.substr(14, 2));
  const int hour = two_digits(text.substr(17, 2));
  const int minute = two_digits(text.substr(20, 2));
  const int second = two_digits(text.substr(23, 2));
  if (month == std::string_view::npos || month % 3 != 0 || std::min({day, century, year, hour, minute, second}) < 0) return std::nullopt;
  if (hour > 23 || minute > 59 || second > 60) return std::nullopt;
  using namespace std::chrono;
  const year_month_day date = std::chrono::year(century * 100 + year) / static_cast<int>(month / 3 + 1) / day;
  if (!date.ok() || date.year() < std::chrono::year(1970) || date.year() > std::chrono::year(2200)) return std::nullopt;
  return WallTime(sys_days(date).time_since_epoch() + hours(hour) + minutes(minute) + std::chrono::seconds(second));
}

}  // namespace

std::optional<Duration> parse_retry_after(std::string_view value, WallTime now) {
  if (is_digits(value)) {
    constexpr std::int64_t kMost = 1'000'000'000;  // as good as never; keeps nanoseconds in range
    std::int64_t number = 0;
    for (const char c : value) number = std::min(kMost, number * 10 + (c - '0'));
    return std::chrono::seconds(number);
  }
  const std::optional<WallTime> date = parse_http_date(value);
  if (!date) return std::nullopt;
  return std::max(Duration::zero(), *date - now);
}

}  // namespace weir
