// FilterFactory: one kind of filter as the rest of weir sees it: its name, its declared fields, its lints, and how a link is built from them.
// filters/catalog lists the factories explicitly; they are constants without state. A factory never keeps what it built.
// FilterSpec and PolicySpec are the configured form; chain.h builds the onion from them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/random.h"
#include "proxy/base/time.h"
#include "proxy/chain/decisions.h"
#include "proxy/chain/failure.h"
#include "proxy/chain/link.h"
#include "proxy/message/match.h"

namespace weir {

namespace config {
class SectionBase;  // config/section.h
}

class RetryBudget;    // proxy/chain/retry_budget.h
struct HostPressure;  // proxy/chain/host_pressure.h
class FilterFactory;

enum class FilterMode : std::uint8_t { enforce, shadow, disabled };

struct FilterSpec {  // one item of `filters:`
  const FilterFactory* factory = nullptr;
  std::string name;    // unique in its policy; defaults to the kind, then kind-2
  bool named = false;  // the user wrote `name:`
  FilterMode mode = FilterMode::enforce;
  std::unique_ptr<const Matcher> when;  // null: always
  double ramp = 1.0;                    // share of requests (by hash of the request id) it is enforced for; the rest pass it by
  std::shared_ptr<const void> config;   // what factory->section() read: the factory's own config struct
  PolicyPlace place;
  std::uint32_t column = 0;
  std::string path;  // "policies.careful.filters[1].retry": as errors and lints name it
};

struct PolicySpec {
  std::string name;
  std::vector<FilterSpec> filters;  // outermost first
  PolicyPlace place;
};

// What a filter tells the chain's lints and worst_case.h of itself. 0 where it has nothing to say.
struct FilterFacts {
  Duration total{0};               // bounds everything inside it (timeout.total)
  Duration try_limit{0};           // bounds each try, from its request's end (timeout.response_headers)
  Duration idle{0};                // bounds each silence of the upstream (timeout.idle)
  Duration longest_wait{0};        // keeps a request this long at most before it passes it on (a queue)
  std::uint32_t max_attempts = 1;  // retry
  bool retries_connects = false;   // failures to connect are among what is tried again
  std::uint32_t free_resends = 0;  // tries beside these that are not counted, each without a wait
  Duration base_backoff{0};        // bound of the first wait between tries; doubled for each further one ...
  Duration max_backoff{0};         // ... up to this
  Duration max_retry_after{0};     // and so much more where the upstream asks for it
  Duration holds_answer{0};        // keeps the head of each answer back this long at most
  bool retries_unsafe = false;     // repeats methods that are not idempotent without asking for a key
  bool keeps_state = false;        // two nameless ones of the kind in a policy are a lint
  std::uint32_t min_calls = 0;     // breaker volume ...
  Duration window{0};              // ... within this window
  bool rejects = false;            // may answer by itself
  double most_per_second = 0;      // rate_limit without a key: lets no more through ...
  double most_at_once = 0;         // ... beside this burst
};

// What a state says of itself to operators: one number or word, under the name of the metric that shows it ("breaker_state").
struct StateFact {
  std::string_view name;  // static
  double value = 0;
  std::string text;  // where a word says more: "half_open"
};

// Host-wide state of one (service, policy, filter name[, route]); shared by all workers, kept across reloads while its key lives.
class FilterState {
 public:
  virtual ~FilterState() = default;
  // For /breakers and host-wide gauges; called off the data path, under the state's own lock.
  virtual void describe(MonotonicTime /*now*/, std::vector<StateFact>& /*facts*/) {}
};

// What a link is built with, once a worker. References outlive the link.
struct LinkContext {
  WorkerContext& worker;
  const LinkIdentity& identity;
  const FilterSpec& spec;
  Decisions& decisions;  // where the link notes what it decided: counted, and kept for the access log
  bool shadow = false;
  FilterState* state = nullptr;         // what make_state returned, null for filters without
  RetryBudget* retry_budget = nullptr;  // of the service; null in tests that need none
  const HostPressure* pressure = nullptr;
};

// One line of `weir explain`: what a filter does with one request, as "waits" and "up to 25ms, then 50ms".
struct FilterNote {
  std::string_view what;  // static
  std::string text;
};

class FilterFactory {
 public:
  virtual ~FilterFactory() = default;
  virtual std::string_view kind() const = 0;               // the key in YAML
  virtual const config::SectionBase& section() const = 0;  // declared once: fields, defaults, bounds, words for the reference
  virtual FilterFacts facts(const void* config) const = 0;
  // What it would do with this request, for people; most important first. `head` is as the filter would get it.
  virtual void explain(const void* /*config*/, const RequestHead& /*head*/, std::vector<FilterNote>& /*notes*/) const {}
  // Null for filters without host-wide state. With `old` (of the same key and kind) parameters change inside it and it is returned
  // again; all under the state's own lock, while workers use it.
  virtual std::shared_ptr<FilterState> make_state(const void* /*config*/, std::shared_ptr<FilterState> /*old*/,
                                                  std::uint64_t /*seed*/) const {
    return nullptr;
  }
  // True when the configuration asks for one state a route instead of one a service (`scope: route`).
  virtual bool state_per_route(const void* /*config*/) const { return false; }
  virtual std::unique_ptr<Link> build(const void* config, const LinkContext& context, Link& next) const = 0;
};

using FilterCatalog = std::vector<const FilterFactory*>;

}  // namespace weir
