// The fields of `retry:` in the configuration, and its factory.
#include <algorithm>

#include "config/write.h"
#include "filters/retry/retry_filter.h"
#include "proxy/chain/causes_type.h"
#include "proxy/chain/worst_case.h"

namespace weir {
namespace {

using config::Description;
using config::Reader;
using config::Section;
using config::Type;
using config::Value;

bool is_method(std::string_view text) {  // a token (RFC 9110 5.6.2) as methods are written: upper case, digits and hyphens
  const auto allowed = [](char c) { return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_'; };
  return !text.empty() && text.size() <= 32 && std::all_of(text.begin(), text.end(), allowed);
}

bool read_methods(const Value& value, Reader& reader, RetryMethods& out) {
  constexpr const char* kExpected = "expected idempotent, any or a list of methods such as [GET, PUT]";
  out = RetryMethods{};
  if (value.is(Value::Kind::invalid)) return false;
  if (value.is(Value::Kind::scalar) && value.text == "idempotent") return true;
  if (value.is(Value::Kind::scalar) && value.text == "any") {
    out.rule = RetryMethods::Rule::any;
    return true;
  }
  out.rule = RetryMethods::Rule::listed;
  const auto read_one = [&](const Value& item) {
    if (item.is(Value::Kind::invalid)) return false;
    if (item.is(Value::Kind::scalar) && is_method(item.text)) {
      out.listed.push_back(item.text);
      return true;
    }
    reader.error(item.place, concat(kExpected, ", got ", item.shown()));
    return false;
  };
  if (!value.is(Value::Kind::list)) return read_one(value);
  if (!config::type_detail::list_length(value, reader, 1, 50)) return false;
  bool good = true;
  for (std::size_t i = 0; i < value.items.size(); ++i) {
    const auto scope = reader.enter(i);
    good = read_one(value.items[i]) && good;
  }
  return good;
}

Value print_methods(const RetryMethods& methods) {
  if (methods.rule == RetryMethods::Rule::idempotent) return Value::plain("idempotent");
  if (methods.rule == RetryMethods::Rule::any) return Value::plain("any");
  Value list = Value::list();
  for (const std::string& method : methods.listed) list.add(Value::plain(method));
  return list;
}

Type<RetryMethods> methods_type() {
  Description word;
  word.json = Description::Json::string;
  word.form = "idempotent, any or a method";
  word.pattern = "^(idempotent|any|[A-Z0-9_-]{1,32})$";
  Description method;
  method.json = Description::Json::string;
  method.form = "a method";
  method.pattern = "^[A-Z0-9_-]{1,32}$";
  Description description;
  description.json = Description::Json::list;
  description.form = "idempotent, any or a list of methods";
  description.minimum = 1;
  description.maximum = 50;
  description.parts = {method};
  Description either;
  either.json = Description::Json::any;
  either.form = description.form;
  either.parts = {word, description};
  return config::custom<RetryMethods>(either, read_methods, print_methods);
}

template <class T>
bool base_not_over_max(const T& config, const Value& value, Reader& reader) {
  if (config.base <= config.max) return true;
  reader.error(value.place, concat("base (", format_duration(config.base), ") is above max (", format_duration(config.max), ")"));
  return false;
}

const Section<BackoffConfig>& backoff_section() {
  static const auto section =
      Section<BackoffConfig>("backoff", "How long to wait before a retry: a random time up to a bound that doubles (full jitter).")
          .field("base", &BackoffConfig::base, config::duration(1ms, 1min), "Upper bound of the first wait; doubled for each further one.")
          .field("max", &BackoffConfig::max, config::duration(1ms, 10min), "No wait is longer, Retry-After aside.")
          .check(base_not_over_max<BackoffConfig>);
  return section;
}

const Section<RetryAfterConfig>& retry_after_section() {
  static const auto section =
      Section<RetryAfterConfig>("retry_after", "What to do when the answer that is retried carries Retry-After.")
          .field("max", &RetryAfterConfig::max, config::duration(1ms, 1h),
                 "Honoured up to this; an answer that asks for more is not retried. The same holds for grpc-retry-pushback-ms.");
  return section;
}

RetryConfig defaults() {
  RetryConfig config;
  config.causes = causes_of({"connect_failure", "refused_stream"});
  return config;
}

// Only answers can carry Retry-After, or gRPC's pushback.
bool answers_are_causes(const Causes& causes) { return causes.any_grpc() || causes.any_status(); }

// Some cause does not say that the call was not done. By gRPC's convention `unavailable` and `resource_exhausted` do, and all its calls are
// POST: there is no other way to have them tried again.
bool may_have_been_done(const Causes& causes) {
  const Causes not_done = causes_of({"connect_failure", "refused_stream", "grpc_unavailable", "grpc_resource_exhausted"});
  Causes all = not_done;
  all.add(causes);
  return !(all == not_done);
}

std::string words_joined(const Causes& causes) {
  std::string out;
  for (const std::string& word : words_of(causes)) out += concat(out.empty() ? "" : ", ", word);
  return out;
}

void explain_retry(const RetryConfig& retry, const RequestHead& head, std::vector<FilterNote>& notes) {
  if (retry.max_attempts <= 1) return notes.push_back({"tries", "1: nothing is tried again"});
  notes.push_back({"tries", concat(retry.max_attempts, " at most, after ", words_joined(retry.causes))});
  if (!retry.methods.allow(head)) {
    notes.push_back(
        {"method", concat(head.method_text, " may not be sent twice (methods: ", config::write_flow(print_methods(retry.methods)),
                          "): only after a failure to connect, or refused_stream")});
  }
  std::string waits;
  for (std::uint32_t n = 1; n < retry.max_attempts; ++n)
    waits += concat(n == 1 ? "up to " : ", ", format_duration(backoff_bound(retry.backoff.base, retry.backoff.max, n)));
  notes.push_back({"waits", concat(waits, " (full jitter)")});
  if (answers_are_causes(retry.causes))
    notes.push_back({"retry_after", concat("honoured up to ", format_duration(retry.retry_after.max), ", on top; above it no retry")});
  if (is_grpc(head) && retry.causes.any_grpc()) {
    if (retry.grpc_hold > Duration::zero())
      notes.push_back({"grpc_hold", concat("the head of an answer waits up to ", format_duration(retry.grpc_hold),
                                           " for a message or a failing status behind it, once the request has ended")});
    notes.push_back({"pushback", "the upstream's grpc-retry-pushback-ms replaces the wait, or forbids the retry"});
  }
  notes.push_back({"body", concat("up to ", format_size(retry.max_replay), " is kept to be sent again")});
}

class RetryFactory final : public FilterFactory {
 public:
  std::string_view kind() const override { return "retry"; }
  const config::SectionBase& section() const override { return retry_section(); }
  FilterFacts facts(const void* config) const override {
    const auto& retry = *static_cast<const RetryConfig*>(config);
    FilterFacts facts;
    facts.max_attempts = retry.max_attempts;
    facts.retries_connects = retry.causes.matches_failure(FailureKind::connect_failure);
    facts.free_resends = 1;  // RetryState::resent
    facts.base_backoff = retry.backoff.base;
    facts.max_backoff = retry.backoff.max;
    if (answers_are_causes(retry.causes)) facts.max_retry_after = retry.retry_after.max;
    if (retry.causes.any_grpc()) facts.holds_answer = retry.grpc_hold;
    facts.retries_unsafe = retry.methods.repeats_unsafe() && may_have_been_done(retry.causes);
    return facts;
  }
  void explain(const void* config, const RequestHead& head, std::vector<FilterNote>& notes) const override {
    explain_retry(*static_cast<const RetryConfig*>(config), head, notes);
  }
  std::unique_ptr<Link> build(const void* config, const LinkContext& context, Link& next) const override {
    return std::make_unique<RetryLink>(*static_cast<const RetryConfig*>(config), context, next);
  }
};

}  // namespace

const Section<RetryConfig>& retry_section() {
  static const auto section =
      Section<RetryConfig>("retry", "Tries again, elsewhere where there is another endpoint, within the retry budget of the service.",
                           defaults())
          .field("max_attempts", &RetryConfig::max_attempts, config::integer(1, 10), "Tries in all, the first one included.")
          .field("causes", &RetryConfig::causes, causes_type(),
                 "What is tried again. What weir rejected itself never is. A gRPC status counts in the head, and in trailers that no "
                 "message came before.")
          .field("methods", &RetryConfig::methods, methods_type(),
                 "Which requests may be sent twice: idempotent ones (GET HEAD PUT DELETE OPTIONS TRACE, or any with Idempotency-Key), any, "
                 "or a list. Counts once a byte of the request was sent; connect_failure and refused_stream are safe for any method.")
          .field("backoff", &RetryConfig::backoff, config::object(backoff_section()), "How long to wait before a retry.")
          .field("retry_after", &RetryConfig::retry_after, config::object(retry_after_section()), "How Retry-After is honoured.")
          .field(
              "grpc_hold", &RetryConfig::grpc_hold, config::duration(0ms, 10s),
              "With grpc_ causes: how long the head of a gRPC answer is kept back, once the request has ended, to see whether it fails in "
              "its trailers. The first byte of a message ends it. 0s: only a status in the head is tried again.")
          .field("max_replay", &RetryConfig::max_replay, config::size(1, std::uint64_t{16} << 20),
                 "How much of a request body is kept to be sent again; a larger one is not retried once the upstream took some of it.");
  return section;
}

const FilterFactory& retry_filter() {
  static const RetryFactory factory;
  return factory;
}

}  // namespace weir
