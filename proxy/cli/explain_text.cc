#include "proxy/cli/explain_text.h"

#include <algorithm>
#include <cmath>

#include "config/schema/sections.h"
#include "config/schema/types.h"
#include "config/write.h"
#include "proxy/base/text.h"
#include "proxy/http/codec.h"

namespace weir::cli {
namespace {

constexpr std::size_t kPlaceColumn = 88;

std::string padded(std::string_view text, std::size_t width) {
  std::string out(text);
  if (out.size() < width) out.append(width - out.size(), ' ');
  return out;
}

class Page {
 public:
  // "listener   outbound, ...            weir.yaml:12"
  void line(std::string_view label, std::string_view text, std::string_view place = {}) {
    std::string made = concat(padded(label, 11), text);
    if (!place.empty()) made = concat(padded(made, kPlaceColumn), "  ", place);
    raw(made);
  }
  void under(std::string_view what, std::string_view text) { raw(concat("             ", padded(what, 17), ' ', text)); }
  void raw(std::string text) {
    text.erase(text.find_last_not_of(' ') + 1);
    text_ += concat(text, '\n');
  }
  void gap() { text_ += '\n'; }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

std::string match_words(const RequestPlan& plan) {
  const Matcher& match = plan.route->match;
  if (match.unconditional()) return "everything";
  config::Value tree = matcher_section().print(match);
  hide_substituted(tree, plan.config->substituted, false);
  std::string out = config::write_flow(tree);
  return out.substr(2, out.size() - 4);  // without its braces
}

std::string share_of(double share) { return format_ratio(Ratio{static_cast<std::uint32_t>(std::round(share * Ratio::kWhole))}); }

// A value of the service that is as built in is said to be so.
std::string with_default(const std::string& text, bool is_default) { return is_default ? concat(text, " (default)") : text; }

void add_listener(const RequestPlan& plan, Page& page) {
  const ListenerConfig& listener = *plan.listener;
  const ListenerConfig defaults;
  page.line("listener",
            concat(listener.name, ", ", listener.direction == Direction::inbound ? "inbound" : "outbound", ", ", listener.listen.text()),
            print_place(listener.place));
  page.under("request_headers", with_default(format_duration(listener.timeouts.request_headers),
                                             listener.timeouts.request_headers == defaults.timeouts.request_headers));
  page.under("idle", with_default(concat(format_duration(listener.timeouts.idle), " between requests"),
                                  listener.timeouts.idle == defaults.timeouts.idle));
  page.under("client silent",
             concat(format_duration(HttpLimits().body_progress), " while it owes a body, or does not read the answer (built in)"));
  page.under("limits", concat(listener.limits.connections, " connections; ", format_size(listener.limits.header_bytes), " and ",
                              listener.limits.headers, " fields a head"));
}

void add_route(const RequestPlan& plan, Page& page) {
  for (const RouteVerdict& passed : plan.passed)
    page.line("not", concat(passed.route->name, ": ", passed.why), print_place(passed.route->place));
  if (plan.route == nullptr) return page.line("route", "none: the answer is 404");
  page.line("route", concat(plan.route->name, ": ", match_words(plan)), print_place(plan.route->place));
  if (plan.targets.empty()) {
    const RespondConfig& respond = *plan.route->respond;
    return page.line("answer", concat(respond.status, " by weir itself, ", respond.body.size(), " bytes of body; no service is called"));
  }
  if (plan.sent_target != plan.target) page.line("sent on as", plan.sent_target);
  std::string edits;
  for (const std::string& name : plan.route->request_headers.remove) edits += concat(edits.empty() ? "" : ", ", "without ", name);
  for (const auto& [name, value] : plan.route->request_headers.set) edits += concat(edits.empty() ? "" : ", ", "with ", name);
  if (!edits.empty()) page.line("", edits);
}

void add_service(const TargetPlan& target, Page& page) {
  const ServiceConfig& service = *target.service;
  const std::string share =
      target.weight == target.weights
          ? std::string()
          : concat(", ", share_of(static_cast<double>(target.weight) / static_cast<double>(target.weights)), " of the requests");
  page.line("service", concat(service.name, share), print_place(service.place));
  for (const EndpointConfig& endpoint : service.endpoints) {
    page.under(&endpoint == &service.endpoints.front() ? "endpoints" : "",
               concat(endpoint.text, endpoint.weight == 1 ? std::string() : concat(", weight ", endpoint.weight)));
  }
  const config::Value fields = service_section().print(service);
  for (const char* name : {"protocol", "balance"}) page.under(name, fields.find(name)->value.text);
}

std::string_view chosen_by(PolicyChoice::By by) {
  switch (by) {
    case PolicyChoice::By::route: return "named by the route";
    case PolicyChoice::By::service: return "named by the service";
    case PolicyChoice::By::direction: break;
  }
  return "the default of the direction: neither route nor service names one";
}

void add_policy(const TargetPlan& target, Page& page) {
  page.line("policy", concat(target.choice.policy->name, ", ", chosen_by(target.choice.by)), print_place(target.choice.policy->place));
  page.line("filters", target.filters.empty() ? "none" : "outermost first");
  std::size_t number = 0;
  for (const FilterPlan& filter : target.filters) {
    const std::string_view kind = filter.spec->factory->kind();
    const std::string name = filter.spec->name == kind ? std::string(kind) : concat(kind, ' ', filter.spec->name);
    const std::string title = concat("  ", padded(concat(++number, '.'), 3), name, ", ", mode_of(filter));
    page.raw(concat(padded(title, kPlaceColumn), "  ", print_place(filter.spec->place)));
    for (const FilterNote& note : filter.notes) page.under(note.what, note.text);
  }
}

// The rest of what the service itself bounds, whatever the policy.
void add_upstream(const TargetPlan& target, Page& page) {
  const ServiceConfig& service = *target.service;
  const ServiceConfig& own = service_section().defaults();
  const auto said = [&](std::string_view name, const std::string& text, bool is_default) {
    page.under(name, with_default(text, is_default));
  };
  page.line("upstream", "what the service bounds for all its policies; limits are per process, over all workers",
            print_place(service.place));
  said("connect_timeout", concat(format_duration(service.connect_timeout), " for one connection"),
       service.connect_timeout == own.connect_timeout);
  said("pending_timeout", concat(format_duration(service.pending_timeout), " until a request has a connection"),
       service.pending_timeout == own.pending_timeout);
  const bool http2 = service.protocol == Protocol::http2;
  said("keep_alive.idle", format_duration(service.keep_alive.idle), service.keep_alive.idle == (http2 ? kHttp2Idle : own.keep_alive.idle));
  const ServiceLimits& limits = service.limits;
  const std::string requests = limits.requests == 0 ? "" : concat(", ", limits.requests, " requests in flight");
  const std::string mode = limits.mode == FilterMode::enforce ? "" : limits.mode == FilterMode::shadow ? ", shadow" : ", disabled";
  said("limits", concat(limits.connections, " connections, ", limits.pending, " waiting for one", requests, mode),
       limits.connections == own.limits.connections && limits.pending == own.limits.pending && limits.requests == own.limits.requests);
  const config::Value fields = service_section().print(service), defaults = service_section().print(own);
  for (const char* name : {"host", "http2", "hash_key", "slow_start", "retry_budget", "health_check", "outlier_detection", "panic_below"}) {
    const config::Value::Member* field = fields.find(name);
    if (field == nullptr) continue;  // not set, and without a default
    if (std::string_view(name) == "http2" && !http2) continue;
    const config::Value::Member* usual = defaults.find(name);
    const std::string text = config::write_flow(field->value);
    const bool is_default = usual != nullptr && text == config::write_flow(usual->value);
    if (is_default && text == "0s") continue;  // off
    said(name, text.starts_with("{ ") ? text.substr(2, text.size() - 4) : text, is_default);
  }
}

void add_worst(const TargetPlan& target, Page& page) {
  const WorstWords words = worst_words(target);
  page.line("worst case", "");
  page.under("tries", words.tries);
  page.under("to the answer", words.to_headers);
  page.under("to its end", words.to_end);
  page.under("no connection", words.unreachable);
}

}  // namespace

std::string print_place(PolicyPlace place) { return place.file == nullptr || place.line == 0 ? "" : concat(place.file, ':', place.line); }

std::string mode_of(const FilterPlan& filter) {
  const FilterSpec& spec = *filter.spec;
  std::string out = spec.mode == FilterMode::enforce ? "enforce" : spec.mode == FilterMode::shadow ? "shadow" : "disabled";
  if (spec.ramp < 1.0) out += concat(", for ", share_of(spec.ramp), " of the requests");
  if (spec.mode == FilterMode::enforce && !filter.idle.empty()) out += concat(", not for this request: ", filter.idle);
  return out;
}

std::vector<std::string> findings_of(const TargetPlan& target, const std::vector<Finding>& findings) {
  std::vector<std::string> out;
  const auto within = [](const std::string& path, const std::string& what) {
    return path.starts_with(what) && (path.size() == what.size() || path[what.size()] == '.');
  };
  for (const Finding& finding : findings) {
    const bool of_filter = std::any_of(target.filters.begin(), target.filters.end(),
                                       [&](const FilterPlan& filter) { return within(finding.path, filter.spec->path); });
    if (of_filter || within(finding.path, concat("services.", target.service->name))) out.push_back(finding.line);
  }
  return out;
}

WorstWords worst_words(const TargetPlan& target) {
  const WorstCase& worst = target.worst;
  const auto filter_at = [&](std::size_t index) {
    const FilterSpec& spec = *target.filters[index].spec;
    return concat(spec.name, ' ', print_place(spec.place));
  };
  WorstWords words;
  words.tries = concat(worst.attempts);
  if (worst.free_resends > 0) words.tries += concat(", and ", worst.free_resends, " more where a kept-alive connection proves dead");
  std::string silence;
  if (worst.silence != WorstCase::kNone)
    silence = concat("; a silence of ", format_duration(target.filters[worst.silence].step.facts.idle), " ends it (",
                     filter_at(worst.silence), ")");
  const bool patient = std::any_of(target.filters.begin(), target.filters.end(), [](const FilterPlan& filter) {
    return filter.step.acts && filter.step.facts.max_retry_after > Duration::zero();
  });
  const std::string_view asked_for = patient ? ", where answers ask for time (Retry-After)" : "";
  if (!worst.to_headers) {
    words.to_headers = concat("unbounded: no total and no response_headers is enforced", silence);
  } else {
    words.to_headers = format_duration(*worst.to_headers);
    const bool total_decides = worst.total != WorstCase::kNone && (!worst.tries || *worst.tries > *worst.to_headers);
    if (total_decides) words.to_headers += concat(", by ", filter_at(worst.total));
    if (total_decides && worst.tries)
      words.to_headers += concat("; the tries and their waits alone could take ", format_duration(*worst.tries), asked_for);
    if (!total_decides) words.to_headers += concat(", all tries and their waits", asked_for);
    if (!total_decides && target.has_body) words.to_headers += "; what the client takes for its body comes on top";
  }
  words.to_end = worst.to_end ? concat(format_duration(*worst.to_end), ", by ", filter_at(worst.total))
                              : concat("unbounded: no total is enforced", worst.to_headers ? silence : "");
  words.unreachable =
      worst.unreachable ? concat(format_duration(*worst.unreachable), " until weir says so, where every connect times out") : "unbounded";
  return words;
}

std::string explain_text(const RequestPlan& plan, const std::vector<Finding>& findings) {
  Page page;
  page.raw(concat(plan.method, ' ', plan.authority, plan.authority.empty() ? "" : " ", plan.target));
  page.gap();
  add_listener(plan, page);
  if (!plan.refused.empty()) {
    page.line("refused", concat(plan.status, ", before any route is asked: ", plan.refused));
    return page.take();
  }
  add_route(plan, page);
  for (const TargetPlan& target : plan.targets) {
    page.gap();
    add_service(target, page);
    add_policy(target, page);
    add_upstream(target, page);
    add_worst(target, page);
    const std::vector<std::string> said = findings_of(target, findings);
    for (const std::string& line : said) page.line(&line == &said.front() ? "warnings" : "", line);
  }
  return page.take();
}

}  // namespace weir::cli
