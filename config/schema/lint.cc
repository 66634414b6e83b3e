#include "config/schema/lint.h"

#include <algorithm>
#include <map>
#include <span>
#include <string>

#include "proxy/chain/worst_case.h"

namespace weir {
namespace {

using config::Diagnostics;
using config::Files;
using config::Place;

struct Linted {
  const FilterDraft* filter;
  FilterFacts facts;

  // Where the field was written; the filter itself when it was left to its default.
  Place place(std::string_view field) const {
    for (const config::FieldPlace& written : filter->places) {
      if (written.field == field) return written.value;
    }
    return filter->place;
  }
  std::string path(std::string_view field) const { return concat(filter->path, '.', field); }
};

class PolicyLint {
 public:
  PolicyLint(const std::vector<const FilterDraft*>& filters, const Files& files, Diagnostics& diagnostics)
      : files_(files), diagnostics_(diagnostics) {
    for (const FilterDraft* filter : filters) {
      if (filter->mode == FilterMode::disabled) continue;
      filters_.push_back({filter, filter->factory->facts(filter->config.get())});
      // Lints speak of a filter on trial as of one that acts; but what some requests pass by bounds nothing for all.
      steps_.push_back({filters_.back().facts, true, !filter->when && filter->ramp >= 1.0});
    }
  }

  void run() {
    for (std::size_t inner = 0; inner < filters_.size(); ++inner) {
      const bool over = try_over_total(inner);
      if (!over) tries_over_total(inner);
      total_inside_total(inner);
      retry_inside_retry(inner);
      unreachable_volume(inner);
      nameless_state(inner);
      const Linted& filter = filters_[inner];
      if (filter.facts.max_attempts > 1 && filter.facts.retries_unsafe)
        say(filter, "methods",
            "repeats methods such as POST that may already have been processed, without asking for an "
            "Idempotency-Key",
            "unsafe-retry");
    }
  }

 private:
  void say(const Linted& filter, std::string_view field, std::string_view message, std::string_view code) {
    diagnostics_.warning(filter.place(field), filter.path(field), message, code);
  }
  // "line 25", or the file too where it is another one.
  std::string line(const Linted& filter, std::string_view field, const Linted& seen_from) const {
    const Place place = filter.place(field);
    return place.file == seen_from.filter->place.file ? concat("line ", place.line) : files_.print_line(place);
  }

  // The shortest total that bounds filter `inner` from outside or by itself; null when none does.
  const Linted* bounding_total(std::size_t inner, bool itself) const {
    const std::size_t shortest = shortest_total(steps_, inner + (itself ? 1U : 0U));
    return shortest == WorstCase::kNone ? nullptr : &filters_[shortest];
  }

  bool try_over_total(std::size_t inner) {
    const Linted& tries = filters_[inner];
    const Linted* total = bounding_total(inner, true);
    if (total == nullptr || tries.facts.try_limit == Duration::zero() || tries.facts.try_limit < total->facts.total) return false;
    say(tries, "response_headers",
        concat("a try's limit (", format_duration(tries.facts.try_limit), ") is not below the total (", format_duration(total->facts.total),
               ", ", line(*total, "total", tries), ")"),
        "try-over-total");
    return true;
  }

  void tries_over_total(std::size_t inner) {
    const Linted& tries = filters_[inner];
    if (tries.facts.try_limit == Duration::zero()) return;
    for (std::size_t outer = 0; outer < inner; ++outer) {
      const Linted& retry = filters_[outer];
      const Linted* total = bounding_total(outer, false);
      if (retry.facts.max_attempts < 2 || total == nullptr) continue;
      if (tries.facts.try_limit * retry.facts.max_attempts <= total->facts.total) continue;
      say(retry, "max_attempts",
          concat(retry.facts.max_attempts, " tries of up to ", format_duration(tries.facts.try_limit), " (",
                 line(tries, "response_headers", retry), ") do not fit the total (", format_duration(total->facts.total), ", ",
                 line(*total, "total", retry), ")"),
          "tries-over-total");
    }
  }

  void total_inside_total(std::size_t inner) {
    const Linted& filter = filters_[inner];
    const Linted* total = bounding_total(inner, false);
    if (filter.facts.total == Duration::zero() || total == nullptr || filter.facts.total < total->facts.total) return;
    say(filter, "total",
        concat("never ends anything: it lies inside a total of ", format_duration(total->facts.total), " (", line(*total, "total", filter),
               ")"),
        "senseless-order");
  }

  void retry_inside_retry(std::size_t inner) {
    const Linted& filter = filters_[inner];
    if (filter.facts.max_attempts < 2) return;
    for (std::size_t outer = 0; outer < inner; ++outer) {
      const Linted& other = filters_[outer];
      if (other.facts.max_attempts < 2) continue;
      say(filter, "max_attempts",
          concat("retries inside retries (", line(other, "max_attempts", filter), ") multiply: up to ",
                 most_attempts(std::span(steps_).subspan(outer, inner - outer + 1)), " tries"),
          "senseless-order");
      return;
    }
  }

  void unreachable_volume(std::size_t inner) {
    const Linted& breaker = filters_[inner];
    if (breaker.facts.min_calls == 0 || breaker.facts.window == Duration::zero()) return;
    for (std::size_t outer = 0; outer < inner; ++outer) {
      const Linted& limit = filters_[outer];
      const double most = limit.facts.most_per_second * seconds(breaker.facts.window) + limit.facts.most_at_once;
      const bool repeated =
          std::any_of(filters_.begin() + static_cast<std::ptrdiff_t>(outer), filters_.begin() + static_cast<std::ptrdiff_t>(inner),
                      [](const Linted& between) { return between.facts.max_attempts > 1; });
      if (limit.facts.most_per_second <= 0 || repeated || most >= breaker.facts.min_calls) continue;
      say(breaker, "min_calls",
          concat("the window of ", format_duration(breaker.facts.window), " cannot hold ", breaker.facts.min_calls,
                 " calls: the rate limit (", line(limit, "rate", breaker), ") lets ", static_cast<std::uint64_t>(most), " through"),
          "unreachable-volume");
    }
  }

  void nameless_state(std::size_t inner) {
    const Linted& filter = filters_[inner];
    if (!filter.facts.keeps_state || !filter.filter->name.empty()) return;
    for (std::size_t outer = 0; outer < inner; ++outer) {
      const Linted& other = filters_[outer];
      if (other.filter->factory != filter.filter->factory || !other.filter->name.empty()) continue;
      diagnostics_.warning(filter.filter->place, filter.filter->path,
                           concat("a second nameless ", filter.filter->factory->kind(), " (the first: ", line(other, "", filter),
                                  "): only their order tells their state apart; give them names"),
                           "nameless-state");
      return;
    }
  }

  const Files& files_;
  Diagnostics& diagnostics_;
  std::vector<Linted> filters_;
  std::vector<ChainStep> steps_;  // the same filters
};

const PolicyDraft* find_draft(const std::vector<PolicyDraft>& drafts, const std::string& name) {
  const auto found = std::find_if(drafts.rbegin(), drafts.rend(), [&](const PolicyDraft& one) { return one.name == name; });
  return found == drafts.rend() ? nullptr : &*found;
}

// The enforced breaker of a policy, its own or of one that it uses. `looks`: at so many policies at most; circles, and what is used
// without end, have been refused already.
const FilterDraft* breaker_of(const PolicyDraft& policy, const std::vector<PolicyDraft>& drafts, int& looks) {
  if (--looks < 0) return nullptr;
  for (const FilterDraft& filter : policy.filters) {
    const PolicyDraft* const used = filter.use.empty() || looks <= 0 ? nullptr : find_draft(drafts, filter.use);
    const FilterDraft* const inner = used == nullptr ? nullptr : breaker_of(*used, drafts, looks);
    if (inner != nullptr) return inner;
    if (filter.factory == nullptr || filter.mode != FilterMode::enforce) continue;
    if (filter.factory->facts(filter.config.get()).min_calls > 0) return &filter;
  }
  return nullptr;
}

}  // namespace

void lint_policy(const std::vector<const FilterDraft*>& filters, const Files& files, Diagnostics& diagnostics) {
  PolicyLint(filters, files, diagnostics).run();
}

void lint_services(const Config& config, const std::vector<PolicyDraft>& drafts, const Files& files, Diagnostics& diagnostics) {
  struct Breaks {
    const PolicyDraft* policy;
    const FilterDraft* breaker;
  };
  std::map<std::string, Breaks> first;  // of each service
  const auto visit = [&](const std::string& service, const std::string& policy) {
    const PolicyDraft* const draft = find_draft(drafts, policy);
    if (draft == nullptr) return;
    int looks = 1000;
    const FilterDraft* breaker = breaker_of(*draft, drafts, looks);
    if (breaker == nullptr) return;
    const auto [other, fresh] = first.emplace(service, Breaks{draft, breaker});
    if (fresh || other->second.policy == draft) return;
    diagnostics.warning(breaker->place, breaker->path,
                        concat("service ", service, " is also broken by policy ", other->second.policy->name, " (",
                               files.print_line(other->second.breaker->place), "): each breaker sees only the calls of its own policy"),
                        "two-breakers");
  };
  for (const ListenerConfig& listener : config.listeners) {
    for (const RouteConfig& route : listener.routes) {
      for (const SplitTarget& target : route.targets) {
        const auto service = config.services.find(target.service);
        if (service == config.services.end()) continue;
        visit(target.service, route.policy.empty() ? service->second.policy : route.policy);
      }
    }
  }
}

namespace {

bool takes_everything(Matcher match) {
  if (match.path_prefix == "/") match.path_prefix.clear();
  return match.unconditional();
}

}  // namespace

void lint_routes(const std::vector<RouteConfig>& routes, const config::Value& items, config::Reader& reader) {
  if (!items.is(config::Value::Kind::list) || items.items.size() != routes.size()) return;
  const auto list = reader.enter("routes");
  std::map<std::string, std::size_t> first;
  for (std::size_t i = 0; i < routes.size(); ++i) {
    if (routes[i].name.empty()) continue;
    const auto [other, fresh] = first.emplace(routes[i].name, i);
    if (fresh) continue;
    const auto scope = reader.enter(i);
    reader.warning(items.items[i].place,
                   concat("has the name of the route at line ", items.items[other->second].place.line,
                          ": metrics, and state whose scope is the route, do not tell them apart"),
                   "same-name");
  }
  std::size_t last = 0;
  while (last < routes.size() && !takes_everything(routes[last].match)) ++last;
  for (std::size_t i = last + 1; i < routes.size(); ++i) {
    const auto scope = reader.enter(i);
    reader.warning(items.items[i].place, concat("never reached: the route at line ", items.items[last].place.line, " takes everything"),
                   "unreachable-route");
  }
}

void lint_outliers(const ServiceConfig& service, const config::Value& written, config::Reader& reader) {
  if (service.outlier_detection.mode == FilterMode::disabled) return;
  const auto scope = reader.enter("outlier_detection");
  if (service.outlier_detection.max_ejected > 0) return;
  reader.warning(written.place, "max_ejected: 0% ejects nobody; write mode: disabled", "ejects-none");
}

namespace {

void warn_unused(const config::Value& written, std::string_view name, std::string_view message, config::Reader& reader) {
  const config::Value::Member* member = written.find(name);
  if (member == nullptr) return;
  const auto scope = reader.enter(name);
  reader.warning(member->place, std::string(message), "unused-field");
}

}  // namespace

void lint_balance(const ServiceConfig& service, const config::Value& written, config::Reader& reader) {
  const bool hashes = is_hashing(service.balance);
  constexpr std::string_view kHashesOnly = "is for balance: ring_hash or maglev; here it has no effect";
  if (!hashes && !service.hash_key.empty()) warn_unused(written, "hash_key", kHashesOnly, reader);
  if (!hashes && service.hash_max_load != ServiceConfig{}.hash_max_load) warn_unused(written, "hash_max_load", kHashesOnly, reader);
  if (hashes && service.slow_start > Duration(0)) warn_unused(written, "slow_start", "has no effect with a balance that hashes", reader);
}

void lint_protocol(const ServiceConfig& service, const config::Value& written, config::Reader& reader) {
  const Http2Config usual;
  const Http2Config& http2 = service.http2;
  const bool is_usual =
      http2.max_streams == usual.max_streams && http2.ping_interval == usual.ping_interval && http2.ping_timeout == usual.ping_timeout;
  if (service.protocol == Protocol::http2 || is_usual) return;
  warn_unused(written, "http2", "is for protocol: http2; here it has no effect", reader);
}

}  // namespace weir
