#include "filters/circuit_breaker/circuit_breaker_filter.h"

#include "proxy/chain/causes_type.h"

namespace weir {

namespace {

using config::duration;
using config::integer;
using config::object;
using config::ratio;
using config::Reader;
using config::Section;
using config::Value;

constexpr std::int64_t kMaxProbes = 100;
constexpr std::int64_t kMaxCalls = 1'000'000;

const Section<SlowCallConfig>& slow_call_section() {
  static const Section<SlowCallConfig> section =
      Section<SlowCallConfig>("slow_call", "When calls count as too slow, and how many of them open the breaker.")
          .field(
              "longer_than", &SlowCallConfig::longer_than, duration(1ms, 1h),
              "To the response headers, from when the call comes here or, where its body comes later, from the end of that. A call that is "
              "cancelled later than this while the upstream owes the answer counts as slow.")
          .required()
          .example("300ms")
          .field("ratio", &SlowCallConfig::ratio, ratio(Ratio{1}), "Share of the calls in the window.");
  return section;
}

const Section<OpenForConfig>& open_for_section() {
  static const Section<OpenForConfig> section =
      Section<OpenForConfig>("open_for",
                             "How long the breaker stays open. Doubled each time it opens again without a healthy period between; "
                             "drawn between half and all of that, so that hosts do not probe in step.")
          .field("base", &OpenForConfig::base, duration(1ms, 1h), "At most, the first time.")
          .field("max", &OpenForConfig::max, duration(1ms, 24h), "At most, ever.")
          .check([](const OpenForConfig& open_for, const Value& value, Reader& reader) {
            if (open_for.base <= open_for.max) return true;
            reader.error(value.place,
                         concat("base (", format_duration(open_for.base), ") is above max (", format_duration(open_for.max), ")"));
            return false;
          });
  return section;
}

const Section<HalfOpenConfig>& half_open_section() {
  static const Section<HalfOpenConfig> section =
      Section<HalfOpenConfig>("half_open", "How the breaker finds out whether the service is well again.")
          .field("probes", &HalfOpenConfig::probes, integer(1, kMaxProbes), "At most so many calls are let through.")
          .field("successes", &HalfOpenConfig::successes, integer(1, kMaxProbes),
                 "So many good ones close it. As soon as they cannot be reached any more, it opens again.")
          .field("expire_after", &HalfOpenConfig::expire_after, duration(100ms, 1h),
                 "A probe that takes longer gives its place to another; its answer still counts.")
          .check([](const HalfOpenConfig& half_open, const Value& value, Reader& reader) {
            if (half_open.successes <= half_open.probes) return true;
            reader.error(value.place, concat("successes (", half_open.successes, ") is above probes (", half_open.probes, ")"));
            return false;
          });
  return section;
}

class CircuitBreakerFactory final : public FilterFactory {
 public:
  std::string_view kind() const override { return "circuit_breaker"; }
  const config::SectionBase& section() const override { return circuit_breaker_section(); }

  FilterFacts facts(const void* config) const override {
    const CircuitBreakerConfig& breaker = config_of(config);
    FilterFacts facts;
    facts.keeps_state = true;
    facts.rejects = true;
    facts.min_calls = breaker.min_calls;
    facts.window = breaker.window;
    return facts;
  }

  void explain(const void* config, const RequestHead& /*head*/, std::vector<FilterNote>& notes) const override {
    const CircuitBreakerConfig& breaker = config_of(config);
    std::string causes;
    for (const std::string& word : words_of(breaker.causes)) causes += concat(causes.empty() ? "" : ", ", word);
    std::string opens = concat("at ", format_ratio(breaker.failure_ratio), " failures (", causes, ")");
    if (breaker.slow_call)
      opens += concat(", or ", format_ratio(breaker.slow_call->ratio), " slower than ", format_duration(breaker.slow_call->longer_than));
    opens += concat(", of ", breaker.min_calls, " or more calls in ", format_duration(breaker.window));
    if (breaker.consecutive_failures) opens += concat("; or at ", *breaker.consecutive_failures, " failures in a row");
    notes.push_back({"opens", std::move(opens)});
    notes.push_back({"then", concat("refuses for up to ", format_duration(breaker.open_for.base), ", longer each time, at most ",
                                    format_duration(breaker.open_for.max), "; closes after ", breaker.half_open.successes, " of ",
                                    breaker.half_open.probes, " probes")});
    if (breaker.scope == CircuitBreakerConfig::Scope::route) notes.push_back({"scope", "one breaker for this route"});
  }

  std::shared_ptr<FilterState> make_state(const void* config, std::shared_ptr<FilterState> old, std::uint64_t /*seed*/) const override {
    if (old == nullptr) return std::make_shared<CircuitBreakerState>(config_of(config));
    static_cast<CircuitBreakerState&>(*old).set_config(config_of(config));
    return old;
  }

  bool state_per_route(const void* config) const override { return config_of(config).scope == CircuitBreakerConfig::Scope::route; }

  std::unique_ptr<Link> build(const void* /*config*/, const LinkContext& context, Link& next) const override {
    return std::make_unique<AdmissionLink>(context, static_cast<CircuitBreakerState&>(*context.state), next);
  }

 private:
  static const CircuitBreakerConfig& config_of(const void* config) { return Section<CircuitBreakerConfig>::as(config); }
};

}  // namespace

const Section<CircuitBreakerConfig>& circuit_breaker_section() {
  using Config = CircuitBreakerConfig;
  static const Section<Config> section =
      Section<Config>("circuit_breaker", "Refuses calls while a service fails or is slow. Inside retry it sees tries.")
          .field("causes", &Config::causes, causes_type(), "What counts as a failure.")
          .field("window", &Config::window, duration(100ms, 1h), "What is judged: the calls that ended in this time.")
          .field("min_calls", &Config::min_calls, integer(1, kMaxCalls), "No ratio is judged over fewer calls.")
          .field("failure_ratio", &Config::failure_ratio, ratio(Ratio{1}), "Opens when this share of the calls failed.")
          .field("slow_call", &Config::slow_call, object(slow_call_section()), "Opens when calls are too slow.")
          .field("consecutive_failures", &Config::consecutive_failures, integer(1, kMaxCalls),
                 "Opens after so many failures in a row, whatever min_calls says.")
          .example("10")
          .field("open_for", &Config::open_for, object(open_for_section()), "How long it stays open.")
          .field("half_open", &Config::half_open, object(half_open_section()), "How it closes again.")
          .field("recover_over", &Config::recover_over, duration(100ms, 1h),
                 "After the probes, the share of calls let through rises to all of them over this time.")
          .example("10s")
          .field("scope", &Config::scope,
                 config::enumeration<Config::Scope>({{"service", Config::Scope::service}, {"route", Config::Scope::route}}),
                 "One breaker for the service in this policy, or one for each route.");
  return section;
}

const FilterFactory& circuit_breaker_filter() {
  static const CircuitBreakerFactory factory;
  return factory;
}

CircuitBreakerState::CircuitBreakerState(const CircuitBreakerConfig& config)
    : SharedPolicy(std::make_unique<CircuitBreakerPolicy>(config)) {}

void CircuitBreakerState::set_config(const CircuitBreakerConfig& config) {
  with<CircuitBreakerPolicy>([&](CircuitBreakerPolicy& policy) { policy.set_config(config); });
}

void CircuitBreakerState::set_control(MonotonicTime now, CircuitBreakerPolicy::Control control) {
  with<CircuitBreakerPolicy>([&](CircuitBreakerPolicy& policy) { policy.set_control(now, control); });
}

CircuitBreakerPolicy::View CircuitBreakerState::view(MonotonicTime now) {
  return with<CircuitBreakerPolicy>([&](CircuitBreakerPolicy& policy) { return policy.view(now); });
}

}  // namespace weir
