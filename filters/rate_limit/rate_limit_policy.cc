#include "filters/rate_limit/rate_limit_policy.h"

#include <algorithm>

#include "proxy/chain/exchange_context.h"

namespace weir {

namespace {

constexpr std::string_view kHeaderPrefix = "header:";
constexpr std::string_view kHeaderCharacters = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz";  // RFC 9110 5.6.2

struct KindName {
  RateKeyPart::Kind kind;
  std::string_view word;
};
constexpr KindName kWords[] = {{RateKeyPart::Kind::client_address, "client_address"},
                               {RateKeyPart::Kind::client_identity, "client_identity"},
                               {RateKeyPart::Kind::path, "path"},
                               {RateKeyPart::Kind::method, "method"}};

}  // namespace

Result<RateKeyPart> parse_rate_key_part(std::string_view text) {
  RateKeyPart part;
  for (const KindName& known : kWords) {
    if (known.word != text) continue;
    part.kind = known.kind;
    return part;
  }
  if (text.substr(0, kHeaderPrefix.size()) == kHeaderPrefix) {
    part.kind = RateKeyPart::Kind::header;
    part.header = ascii_lower(text.substr(kHeaderPrefix.size()));
    if (!part.header.empty() && part.header.find_first_not_of(kHeaderCharacters) == std::string::npos) return part;
  }
  return Error{concat("expected header:NAME, client_address, client_identity, path or method, got ", text), 0};
}

std::string to_text(const RateKeyPart& part) {
  for (const KindName& known : kWords) {
    if (known.kind == part.kind) return std::string(known.word);
  }
  return concat(kHeaderPrefix, part.header);
}

std::uint64_t RateLimitConfig::effective_burst() const {
  if (burst) return *burst;
  const auto periods = static_cast<std::uint64_t>(rate.per / std::chrono::seconds(1));
  return std::max<std::uint64_t>(rate.count / std::max<std::uint64_t>(periods, 1), 1);
}

RateLimitPolicy::RateLimitPolicy(const RateLimitConfig& config, std::uint64_t seed)
    : config_(config),
      rules_(config.rate, config.effective_burst()),
      seeded_(KeyFingerprint::seeded(seed)),
      buckets_(config.key.empty() ? 1 : config.max_keys) {}

void RateLimitPolicy::set_config(const RateLimitConfig& config) { pending_ = config; }

void RateLimitPolicy::apply_pending(MonotonicTime now) {
  const BucketRules rules(pending_->rate, pending_->effective_burst());
  single_.change_rules(rules_, rules, now);
  if (!(pending_->key == config_.key)) buckets_.clear();  // other keys: nothing that was counted fits them
  buckets_.change(rules_, rules, pending_->key.empty() ? 1 : pending_->max_keys, now);
  rules_ = rules;
  config_ = std::move(*pending_);
  pending_.reset();
}

KeyFingerprint RateLimitPolicy::fingerprint(const AdmissionFacts& facts) const {
  KeyFingerprint key = seeded_;
  for (const RateKeyPart& part : config_.key) {
    const bool has_head = facts.head != nullptr;
    switch (part.kind) {
      case RateKeyPart::Kind::header: {
        const HeaderField* field = has_head ? facts.head->headers.find(part.header) : nullptr;
        field != nullptr ? key.add(field->value) : key.add_missing();
        break;
      }
      case RateKeyPart::Kind::client_address: {
        const Address* client = facts.exchange != nullptr ? facts.exchange->client : nullptr;
        client != nullptr ? key.add(client->host()) : key.add_missing();
        break;
      }
      case RateKeyPart::Kind::client_identity: {
        const TlsInfo* tls = facts.exchange != nullptr ? facts.exchange->tls : nullptr;
        tls != nullptr && tls->peer_verified ? key.add(tls->peer_identity()) : key.add_missing();
        break;
      }
      case RateKeyPart::Kind::path: has_head ? key.add(facts.head->path()) : key.add_missing(); break;
      case RateKeyPart::Kind::method: has_head ? key.add(facts.head->method_text) : key.add_missing(); break;
    }
  }
  return key;
}

Admission RateLimitPolicy::admit(MonotonicTime now, const AdmissionFacts& facts, Random& /*random*/) {
  if (pending_) apply_pending(now);
  KeyedBuckets::Taken taken;
  if (config_.key.empty()) {
    taken.wait = single_.take(rules_, now);
  } else {
    taken = buckets_.take(rules_, fingerprint(facts), now);
  }
  Admission admission;
  admission.ticket.admitted = now;
  if (taken.wait > Duration{0}) {
    admission.verdict = Admission::Verdict::reject;
    admission.kind = FailureKind::rate_limited;
    admission.reason = taken.shared ? "rate_of_keys_beyond_max" : "rate";
    admission.retry_after = taken.wait;
  }
  return admission;
}

void RateLimitPolicy::describe(MonotonicTime /*now*/, std::vector<StateFact>& facts) const {
  if (!config_.key.empty()) facts.push_back(StateFact{"rate_limit_keys", static_cast<double>(buckets_.size()), {}});
}

}  // namespace weir
