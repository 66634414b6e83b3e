// Bounds: tries, retries and times within what the configurations allow; and what each filter let through.
#include <algorithm>
#include <optional>

#include "proxy/base/text.h"
#include "tests/swarm/checks.h"

namespace weir::test {
namespace {

using nlohmann::json;

constexpr double kTick = 2;  // ms: the clock of a simulated world is exact, the log rounds

std::string word(const json& line, const char* key) {
  const auto found = line.find(key);
  return found == line.end() ? std::string() : found->get<std::string>();
}

double in_ms(Duration duration) { return static_cast<double>(duration.count()) / 1e6; }

// The policy of a line, as each configuration has it; empty where it is one of weir's own.
std::vector<const PolicyPlan*> policies_of(const Evidence& evidence, const json& line) {
  std::vector<const PolicyPlan*> all;
  const std::string name = word(line, "policy");
  for (const ConfigPlan* config : evidence.plan.configs()) {
    const auto found = config->policies.find(name);
    if (found != config->policies.end()) all.push_back(&found->second);
  }
  return all;
}

std::optional<Duration> most(const std::vector<const PolicyPlan*>& policies, Duration (PolicyPlan::*limit)() const) {
  Duration longest{0};
  for (const PolicyPlan* one : policies) {
    const Duration mine = (one->*limit)();
    if (mine == Duration(0)) return std::nullopt;
    longest = std::max(longest, mine);
  }
  if (longest == Duration(0)) return std::nullopt;
  return longest;
}

std::size_t decided(const json& line, std::string_view decision) {
  const auto found = line.find("decisions");
  if (found == line.end()) return 0;
  return static_cast<std::size_t>(
      std::count_if(found->begin(), found->end(), [&](const json& one) { return one["decision"] == decision; }));
}

void check_tries(const Evidence& evidence, const json& line, const std::vector<const PolicyPlan*>& policies) {
  const std::size_t attempts = line["attempts"].size();
  std::size_t allowed = policies.empty() ? 3 : 1;  // the built-in ones allow two, and a resend
  bool one_retry = !policies.empty();
  std::size_t counted = 1;
  for (const PolicyPlan* policy : policies) {
    allowed = std::max<std::size_t>(allowed, policy->most_attempts());
    one_retry = one_retry && policy->retries() <= 1;
    for (const FilterPlan& filter : policy->filters) {
      if (filter.enforced()) counted = std::max<std::size_t>(counted, filter.max_attempts);
    }
  }
  if (attempts > allowed)
    evidence.broken(concat("request ", word(line, "id"), " had ", attempts, " tries, at most ", allowed, " are allowed"));
  const std::size_t resent = decided(line, "resent");
  if (one_retry && attempts > counted + resent) {
    evidence.broken(
        concat("request ", word(line, "id"), " had ", attempts, " tries, ", resent, " of them resent, at most ", counted, " are allowed"));
  }
}

// Its request had no body that may have come after a try began.
bool asked_at_once(const Evidence& evidence, const json& line) {
  const std::string id = word(line, "id");
  if (id.size() < 2 || id[0] != 's') return false;
  const auto found = evidence.ledger.requests.find(static_cast<std::uint32_t>(std::stoul(id.substr(1))));
  return found != evidence.ledger.requests.end() && found->second.plan->framing == RequestPlan::Framing::none;
}

void check_times(const Evidence& evidence, const json& line, const std::vector<const PolicyPlan*>& policies) {
  const std::optional<Duration> total = most(policies, &PolicyPlan::total);
  const std::optional<Duration> headers = most(policies, &PolicyPlan::response_headers);
  const auto late = [&](const char* what, double at, Duration limit) {
    if (at > in_ms(limit) + kTick) {
      evidence.broken(concat("request ", word(line, "id"), ": ", what, " after ", static_cast<std::int64_t>(at), "ms, the limit is ",
                             static_cast<std::int64_t>(in_ms(limit)), "ms"));
    }
  };
  for (const json& one : line["attempts"]) {
    if (total) late("a try began", one["after_ms"].get<double>(), *total);
    if (total) late("a try ended", one["after_ms"].get<double>() + one["ms"].get<double>(), *total);
    if (headers && one.contains("head_ms") && asked_at_once(evidence, line))
      late("a response head came", one["head_ms"].get<double>(), *headers);
  }
  const std::optional<Duration> outer = most(policies, &PolicyPlan::outer_total);
  const auto decisions = line.find("decisions");
  if (!outer || decisions == line.end()) return;
  for (const json& one : *decisions) late("something was decided", one["after_ms"].get<double>(), *outer);
}

// An answer of HTTP/2 may be whole to its client, by its length, before its upstream ends the stream: the next request waits for that.
bool behind_http2(const Evidence& evidence, const RequestFacts& facts, const std::string& id) {
  for (const RequestPlan& one : facts.client->requests) {
    const std::string other = concat("s", one.id);
    if (other == id) return false;
    for (const json& line : evidence.lines) {
      if (word(line, "id") == other && word(line, "service") == concat("s", kHttp2Service)) return true;
    }
  }
  return false;
}

// What the client itself saw, where nothing but the proxy can have held the answer up.
void check_answer_time(const Evidence& evidence, const json& line, const std::vector<const PolicyPlan*>& policies) {
  const std::string id = word(line, "id");
  const std::optional<Duration> total = most(policies, &PolicyPlan::outer_total);
  if (!total || id.size() < 2 || id[0] != 's') return;
  const auto found = evidence.ledger.requests.find(static_cast<std::uint32_t>(std::stoul(id.substr(1))));
  if (found == evidence.ledger.requests.end()) return;
  const RequestFacts& facts = found->second;
  if (!facts.alone || facts.status == 0 || evidence.plan.end != Plan::End::quiet) return;
  if (behind_http2(evidence, facts, id)) return;
  Duration network{0};
  for (const auto& [address, net] : evidence.plan.listener_net) {
    if (!evidence.plan.clean(address)) return;
    network = std::max(network, net.delay + net.jitter);
  }
  for (const RequestPlan& one : facts.client->requests) {
    if (one.framing != RequestPlan::Framing::none) return;  // bytes of it may stand before the head
  }
  if (facts.head_at > facts.sent_at + *total + 2 * network + milliseconds(static_cast<int>(kTick))) {
    evidence.broken(concat("request ", id, ": its client heard of an answer ",
                           static_cast<std::int64_t>(in_ms(facts.head_at - facts.sent_at)), "ms after it asked, the total is ",
                           static_cast<std::int64_t>(in_ms(*total)), "ms"));
  }
}

// Tries beyond the first, of a service, against what its budgets can have granted.
void check_budget(const Evidence& evidence, const std::string& service) {
  double asked = 0;
  double resent = 0;
  for (const json& line : evidence.lines) {
    if (word(line, "service") != service || line["attempts"].empty()) continue;
    ++asked;
    resent += static_cast<double>(decided(line, "resent"));
  }
  double ratio = 0;
  double floor = 0;
  double least_window = 1e9;
  for (const ConfigPlan* config : evidence.plan.configs()) {
    const auto found = config->services.find(service);
    if (found == config->services.end()) return;
    const ServicePlan& plan = found->second;
    ratio = std::max(ratio, plan.budget_percent / 100.0);
    floor = std::max(floor, static_cast<double>(plan.budget_per_second * plan.budget_window));
    least_window = std::min(least_window, static_cast<double>(plan.budget_window));
  }
  const double windows =
      seconds(evidence.plan.active + std::chrono::seconds(20)) / least_window + 2 + static_cast<double>(evidence.plan.reloads.size());
  const double extra = evidence.sum("weir_attempts_total", {{"service", service}}) - asked - resent;
  if (extra > ratio * asked + floor * windows) {
    evidence.broken(concat(service, " had ", static_cast<std::int64_t>(extra), " extra tries for ", static_cast<std::int64_t>(asked),
                           " requests, more than its budget"));
  }
}

// --- Filters -------------------------------------------------------------------------------------------------------------------------

// One chain, as metrics know it: of one service and one policy.
class ChainCheck {
 public:
  ChainCheck(const Evidence& evidence, const std::string& service, const PolicyPlan& policy)
      : evidence_(evidence), service_(service), policy_(policy) {
    for (const FilterPlan& one : policy.filters) {
      if (one.mode != "disabled") filters_.push_back(&one);
    }
  }

  void check(double exchanges) {
    if (filters_.empty()) {
      differ("the upstream", exchanges, calls("upstream"));
      return;
    }
    if (for_all(*filters_.front())) differ(filters_.front()->name, exchanges, calls(filters_.front()->name));
    for (std::size_t i = 0; i < filters_.size(); ++i) {
      const bool last = i + 1 == filters_.size();
      if (!for_all(*filters_[i]) || (!last && !for_all(*filters_[i + 1]))) continue;
      check_step(*filters_[i], last ? "upstream" : filters_[i + 1]->name);
    }
  }

  // Retries that were begun, of all its filters; nothing where that cannot be told.
  std::optional<double> retries_begun() const {
    double sum = 0;
    for (std::size_t i = 0; i < filters_.size(); ++i) {
      const FilterPlan& filter = *filters_[i];
      if (filter.kind != "retry" || !filter.enforced()) continue;
      const bool last = i + 1 == filters_.size();
      if (!for_all(filter) || (!last && !for_all(*filters_[i + 1]))) return std::nullopt;
      sum += calls(last ? "upstream" : filters_[i + 1]->name) - calls(filter.name) - decisions(filter.name, "resent");
    }
    return sum;
  }

 private:
  static bool for_all(const FilterPlan& filter) { return filter.when.empty() && filter.ramp == 100; }
  double calls(const std::string& filter) const {
    return evidence_.sum("weir_filter_requests_total", {{"service", service_}, {"policy", policy_.name}, {"filter", filter}});
  }
  double outcomes(const std::string& filter, const char* outcome) const {
    return evidence_.sum("weir_filter_requests_total",
                         {{"service", service_}, {"policy", policy_.name}, {"filter", filter}, {"outcome", outcome}});
  }
  double decisions(const std::string& filter, const char* decision) const {
    return evidence_.sum("weir_filter_decisions_total",
                         {{"service", service_}, {"policy", policy_.name}, {"filter", filter}, {"decision", decision}});
  }
  void differ(const std::string& filter, double expected, double got) const { between(filter, expected, got, expected); }
  void between(const std::string& filter, double least, double got, double most) const {
    if (got >= least && got <= most) return;
    evidence_.broken(concat(service_, "/", policy_.name, ": ", filter, " was called ", static_cast<std::int64_t>(got), " times, expected ",
                            static_cast<std::int64_t>(least), " to ", static_cast<std::int64_t>(most)));
  }

  void check_step(const FilterPlan& filter, const std::string& inner) const {
    const double in = calls(filter.name);
    const double out = calls(inner);
    const double rejected = filter.enforced() ? decisions(filter.name, "rejected") : 0;
    if (filter.kind == "timeout") {
      between(inner, in - (filter.enforced() ? decisions(filter.name, "timed_out") : 0), out, in);
    } else if (filter.kind == "retry") {
      if (!filter.enforced()) return differ(inner, in, out);
      const double resent = decisions(filter.name, "resent");
      between(inner, in + resent - outcomes(filter.name, "cancelled"), out, in + resent + decisions(filter.name, "retried"));
    } else if (filter.queue > 0 && filter.enforced()) {
      between(inner, in - rejected - outcomes(filter.name, "cancelled"), out, in - rejected);
    } else {
      differ(inner, in - rejected, out);
    }
    if (filter.burst > 0 && filter.enforced()) {
      const double most_admitted = filter.burst + filter.per_second * seconds(evidence_.lasted) + 1;
      if (in - rejected > most_admitted) {
        evidence_.broken(concat(service_, "/", policy_.name, ": ", filter.name, " let ", static_cast<std::int64_t>(in - rejected),
                                " through, its rate allows ", static_cast<std::int64_t>(most_admitted)));
      }
    }
  }

  const Evidence& evidence_;
  const std::string& service_;
  const PolicyPlan& policy_;
  std::vector<const FilterPlan*> filters_;
};

}  // namespace

void check_bounds(const Evidence& evidence) {
  for (const json& line : evidence.lines) {
    const std::vector<const PolicyPlan*> policies = policies_of(evidence, line);
    check_tries(evidence, line, policies);
    check_times(evidence, line, policies);
    check_answer_time(evidence, line, policies);
  }
  for (const auto& [name, service] : evidence.plan.config.services) check_budget(evidence, name);
}

// Only where one configuration was in force all the time: names of filters mean other things after a reload.
void check_filters(const Evidence& evidence) {
  if (evidence.plan.reloads_well()) return;
  std::map<std::pair<std::string, std::string>, double> exchanges;
  for (const json& line : evidence.lines) ++exchanges[{word(line, "service"), word(line, "policy")}];
  std::map<std::string, std::optional<double>> retries;
  for (const auto& [key, count] : exchanges) {
    const auto& [service, policy] = key;
    if (service.empty()) continue;
    const auto found = evidence.plan.config.policies.find(policy);
    auto& begun = retries.emplace(service, 0.0).first->second;
    if (found == evidence.plan.config.policies.end()) {
      begun.reset();
      continue;
    }
    ChainCheck chain(evidence, service, found->second);
    chain.check(count);
    const std::optional<double> mine = chain.retries_begun();
    if (begun) begun = mine ? std::optional<double>(*begun + *mine) : std::nullopt;
  }
  for (const ServiceStatus& service : evidence.world.server->directory().status()) {
    const auto found = retries.find(service.name);
    if (found == retries.end() || !found->second || *found->second == static_cast<double>(service.retries_taken)) continue;
    evidence.broken(concat(service.name, ": ", static_cast<std::int64_t>(*found->second),
                           " retries were begun, its budget was charged for ", service.retries_taken));
  }
}

}  // namespace weir::test
