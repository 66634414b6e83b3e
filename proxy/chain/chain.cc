#include "proxy/chain/chain.h"

#include <algorithm>
#include <utility>

#include "proxy/base/text.h"
#include "proxy/chain/metered.h"

namespace weir {
namespace {

// `when` and `ramp`, once for all filters: requests that the filter is not for go past it.
class PassBy final : public Link {
 public:
  PassBy(const FilterSpec& spec, Link& filter, Link& next) : when_(spec.when.get()), filter_(filter), next_(next) {
    // Compared with 53 bits of a hash, as a double holds them.
    limit_ = static_cast<std::uint64_t>(std::clamp(spec.ramp, 0.0, 1.0) * static_cast<double>(kHashes));
  }

  CallPtr start(Request&& request, Caller& caller) override {
    Link& link = applies(request) ? filter_ : next_;
    return link.start(std::move(request), caller);
  }

 private:
  static constexpr std::uint64_t kHashes = std::uint64_t{1} << 53;

  bool applies(const Request& request) const {
    if (limit_ < kHashes && (mix(request.exchange->id_hash) >> 11) >= limit_) return false;
    return when_ == nullptr || (request.head != nullptr && when_->matches(*request.head));
  }
  // The id's hash may be weak in its high bits; the mix is that of splitmix64.
  static std::uint64_t mix(std::uint64_t hash) { return Random(hash).next(); }

  const Matcher* when_;
  Link& filter_;
  Link& next_;
  std::uint64_t limit_ = kHashes;
};

std::uint64_t hash_of(std::string_view text) {  // FNV-1a: the same on every machine, so that seeds repeat
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return hash;
}

}  // namespace

std::string StateKey::text() const {
  std::string text = concat(service, '/', policy, '/', filter);
  if (!route.empty()) text += concat('/', listener, '/', route);
  return text;
}

std::shared_ptr<FilterState> StateStore::obtain(const StateKey& key, const FilterFactory& factory, const void* config) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = entries_.find(key);
  std::shared_ptr<FilterState> old;
  if (found != entries_.end() && found->second.factory == &factory) {
    // Another worker or route of this generation asks for the same: its parameters are in place already. (Across generations an
    // address says nothing: the old configuration may be gone and its memory used again.)
    if (found->second.generation == generation_ && found->second.configured == config) return found->second.state;
    old = found->second.state;
  }
  std::shared_ptr<FilterState> state = factory.make_state(config, std::move(old), seed_ ^ hash_of(key.text()));
  if (state == nullptr) {
    if (found != entries_.end()) entries_.erase(found);
    return nullptr;
  }
  entries_[key] = Entry{state, &factory, config, generation_};
  return state;
}

void StateStore::begin_generation() {
  const std::lock_guard<std::mutex> lock(mutex_);
  ++generation_;
}

void StateStore::end_generation() {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    entry = entry->second.generation == generation_ ? std::next(entry) : entries_.erase(entry);
  }
}

void StateStore::visit(const std::function<void(const StateKey& key, FilterState&)>& visitor) const {
  std::vector<std::pair<StateKey, std::shared_ptr<FilterState>>> living;  // so that the visitor may take its time
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [key, entry] : entries_) living.emplace_back(key, entry.state);
  }
  for (const auto& [key, state] : living) visitor(key, *state);
}

class Chain::Builder {
 public:
  Builder(Chain& chain, const PolicySpec& policy, WorkerContext& worker, StateStore& states)
      : chain_(chain), policy_(policy), worker_(worker), states_(states) {}

  Link& measure(Link& link, const LinkIdentity& identity) { return keep(std::make_unique<Metered>(link, identity, worker_.metrics)); }

  const LinkIdentity& identify(std::string_view filter, std::string_view kind, PolicyPlace place, bool shadow) {
    auto identity = std::make_unique<LinkIdentity>();
    identity->service = chain_.names_.service;
    identity->route = chain_.names_.route;
    identity->policy = policy_.name;
    identity->filter = filter;
    identity->kind = kind;
    identity->place = place;
    identity->shadow = shadow;
    chain_.identities_.push_back(std::move(identity));
    return *chain_.identities_.back();
  }

  Link& add(const FilterSpec& spec, RetryBudget* budget, const HostPressure* pressure, Link& next) {
    const bool shadow = spec.mode == FilterMode::shadow;
    const LinkIdentity& identity = identify(spec.name, spec.factory->kind(), spec.place, shadow);
    chain_.decisions_.push_back(std::make_unique<Decisions>(identity, &worker_.metrics));
    const LinkContext context{worker_, identity, spec, *chain_.decisions_.back(), shadow, state_of(spec), budget, pressure};
    Link& filter = measure(keep(spec.factory->build(spec.config.get(), context, next)), identity);
    if (spec.when == nullptr && spec.ramp >= 1.0) return filter;
    return keep(std::make_unique<PassBy>(spec, filter, next));
  }

 private:
  Link& keep(std::unique_ptr<Link> link) {
    chain_.links_.push_back(std::move(link));
    return *chain_.links_.back();
  }

  FilterState* state_of(const FilterSpec& spec) {
    StateKey key{chain_.names_.service, policy_.name, spec.name, {}, {}};
    if (spec.factory->state_per_route(spec.config.get())) {
      key.listener = chain_.names_.listener;
      key.route = chain_.names_.route;
    }
    chain_.states_.push_back(states_.obtain(key, *spec.factory, spec.config.get()));
    return chain_.states_.back().get();
  }

  Chain& chain_;
  const PolicySpec& policy_;
  WorkerContext& worker_;
  StateStore& states_;
};

std::unique_ptr<Chain> Chain::build(const PolicySpec& policy, const ChainNames& names, WorkerContext& worker, StateStore& states,
                                    RetryBudget* budget, const HostPressure* pressure, Link& innermost) {
  std::unique_ptr<Chain> chain(new Chain);
  chain->names_ = names;
  Builder builder(*chain, policy, worker, states);
  Link* outer = &builder.measure(innermost, builder.identify("upstream", "upstream", policy.place, false));
  for (auto spec = policy.filters.rbegin(); spec != policy.filters.rend(); ++spec) {
    if (spec->mode == FilterMode::disabled) continue;
    outer = &builder.add(*spec, budget, pressure, *outer);
  }
  std::reverse(chain->decisions_.begin(), chain->decisions_.end());
  chain->outermost_ = outer;
  return chain;
}

Chain::~Chain() {
  while (!links_.empty()) links_.pop_back();  // outermost first: each refers to the next one in
}

}  // namespace weir
