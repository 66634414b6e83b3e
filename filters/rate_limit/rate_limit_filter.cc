#include "filters/rate_limit/rate_limit_filter.h"

#include "proxy/chain/gate_link.h"

namespace weir {

namespace {

using config::integer;
using config::Section;
using config::Value;

constexpr std::int64_t kMaxKeys = 1'000'000;
constexpr std::size_t kMaxKeyParts = 8;

config::Type<RateKeyPart> key_part() {
  config::Description description;
  description.json = config::Description::Json::string;
  description.form = "header:NAME, client_address, client_identity, path or method";
  description.pattern = "^(header:.+|client_address|client_identity|path|method)$";
  return config::scalar<RateKeyPart>(
      std::move(description), [](std::string_view text) { return parse_rate_key_part(text); },
      [](const RateKeyPart& part) { return Value::string(to_text(part)); });
}

class RateLimitFactory final : public FilterFactory {
 public:
  std::string_view kind() const override { return "rate_limit"; }
  const config::SectionBase& section() const override { return rate_limit_section(); }

  FilterFacts facts(const void* config) const override {
    const RateLimitConfig& limit = config_of(config);
    FilterFacts facts;
    facts.keeps_state = true;
    if (limit.key.empty()) {
      facts.most_per_second = limit.rate.per_second();
      facts.most_at_once = static_cast<double>(limit.effective_burst());
    }
    facts.rejects = true;
    return facts;
  }

  void explain(const void* config, const RequestHead& /*head*/, std::vector<FilterNote>& notes) const override {
    const RateLimitConfig& limit = config_of(config);
    std::string key;
    for (const RateKeyPart& part : limit.key) key += concat(key.empty() ? " for each " : " and ", to_text(part));
    notes.push_back({"lets through", concat(format_rate(limit.rate), " and ", limit.effective_burst(), " at once after a pause", key)});
  }

  std::shared_ptr<FilterState> make_state(const void* config, std::shared_ptr<FilterState> old, std::uint64_t seed) const override {
    if (old == nullptr) return std::make_shared<RateLimitState>(config_of(config), seed);
    static_cast<RateLimitState&>(*old).set_config(config_of(config));
    return old;
  }

  std::unique_ptr<Link> build(const void* /*config*/, const LinkContext& context, Link& next) const override {
    return std::make_unique<GateLink>(context, static_cast<RateLimitState&>(*context.state), next);
  }

 private:
  static const RateLimitConfig& config_of(const void* config) { return Section<RateLimitConfig>::as(config); }
};

}  // namespace

const Section<RateLimitConfig>& rate_limit_section() {
  using Config = RateLimitConfig;
  static const Section<Config> section =
      Section<Config>("rate_limit", "Lets so many requests through in a time and no more (token bucket).")
          .field("rate", &Config::rate, config::rate(), "Requests in the long run.")
          .required()
          .example("500/s")
          .field("burst", &Config::burst, integer(1, static_cast<std::int64_t>(BucketRules::kMaxBurst)),
                 "Requests at once after a pause; without it, those of one second.")
          .example("1000")
          .field("key", &Config::key, config::list_of<RateKeyPart>(key_part(), 0, kMaxKeyParts),
                 "A bucket for each value, or combination of values; requests without a value share one. Without it, one bucket for all.")
          .example("[header:x-tenant]")
          .field("max_keys", &Config::max_keys, integer(1, kMaxKeys),
                 "Buckets kept. When there are so many, only full (idle) ones make room; further keys share one bucket.");
  return section;
}

const FilterFactory& rate_limit_filter() {
  static const RateLimitFactory factory;
  return factory;
}

RateLimitState::RateLimitState(const RateLimitConfig& config, std::uint64_t seed)
    : SharedPolicy(std::make_unique<RateLimitPolicy>(config, seed)) {}

void RateLimitState::set_config(const RateLimitConfig& config) {
  with<RateLimitPolicy>([&](RateLimitPolicy& policy) { policy.set_config(config); });
}

}  // namespace weir
