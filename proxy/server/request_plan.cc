#include "proxy/server/request_plan.h"

#include <algorithm>

#include "proxy/base/random.h"
#include "proxy/base/text.h"
#include "proxy/http/h1_parser.h"
#include "proxy/http/hop_headers.h"
#include "proxy/message/grpc.h"
#include "proxy/runtime/arena.h"
#include "proxy/server/request_target.h"
#include "proxy/server/route_table.h"

namespace weir {
namespace {

// The memory of the one request.
class Scratch {
 public:
  Scratch() : arena_(pool_.open()) {}
  ~Scratch() { arena_.release(); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  Arena& arena() { return arena_; }

 private:
  ArenaPool pool_;
  Arena& arena_;
};

// "http://host:1/path?q" as a client sends it: the host apart from "/path?q".
struct Url {
  std::string host;
  std::string target;
};

Url split_url(const RequestText& request, const ListenerConfig& listener) {
  if (request.method == "CONNECT") return {request.url, request.url};
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!request.url.starts_with(scheme)) continue;
    const std::string rest = request.url.substr(scheme.size());
    const std::size_t end = std::min(rest.find_first_of("/?#"), rest.size());
    const std::string target = rest.substr(end);
    return {rest.substr(0, end), target.starts_with('/') ? target : concat('/', target)};
  }
  return {std::string(listener.listen.text()), request.url};  // who connects without a name calls the listener so
}

std::string head_of(const RequestText& request, const ListenerConfig& listener) {
  const Url url = split_url(request, listener);
  std::string host = url.host;
  std::string fields;
  for (const auto& [name, value] : request.headers) {
    if (equal_ignoring_case(name, "host")) {
      host = value;
    } else {
      fields += concat(name, ": ", value, "\r\n");
    }
  }
  if (host.starts_with("unix:")) host = "localhost";
  return concat(request.method, ' ', url.target, " HTTP/1.1\r\nHost: ", host, "\r\n", fields, "\r\n");
}

// The parser's verdict; null: the head is read.
const Rule* parse(std::string& text, const ListenerConfig& listener, Arena& arena, RequestHead& head) {
  HttpLimits limits;
  limits.header_bytes = listener.limits.header_bytes;
  limits.headers = listener.limits.headers;
  HeadFinder finder(SectionKind::request);
  std::size_t used = 0;
  const HeadFinder::Found found = finder.feed(as_bytes(text), limits, used);
  if (found == HeadFinder::Found::bad) return finder.rule();
  if (found != HeadFinder::Found::end || used != text.size()) return &rules::kFieldValue;  // a line end where none belongs
  RequestFacts facts;
  char* copy = arena.make_array<char>(used);
  std::copy(text.begin(), text.end(), copy);
  return parse_request_head(copy, used, limits, head, facts);
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += concat(out.empty() ? "" : ", ", word);
  return out;
}

// What of a match block a request lacks, in words.
std::string lacks(const Config& config, const Matcher& matcher, const RequestHead& head) {
  switch (matcher.compare(head)) {
    case Matcher::Mismatch::none: break;
    case Matcher::Mismatch::methods: return concat("the method is not ", joined(matcher.methods));
    case Matcher::Mismatch::path: return concat("the path is not ", matcher.path);
    case Matcher::Mismatch::path_prefix: return concat("the path is not below ", matcher.path_prefix);
    case Matcher::Mismatch::hosts: return concat("the host is not ", joined(matcher.hosts));
    case Matcher::Mismatch::headers:
      for (const auto& wanted : matcher.headers) {
        Matcher one;
        one.headers = {wanted};
        if (one.matches(head)) continue;
        const auto secret = config.substituted.find(wanted.second);
        return concat("there is no ", wanted.first, ": ", secret == config.substituted.end() ? wanted.second : secret->second);
      }
      break;
  }
  return {};
}

FilterPlan plan_filter(const FilterSpec& spec, const RequestHead& head) {
  FilterPlan plan;
  plan.spec = &spec;
  plan.step.facts = spec.factory->facts(spec.config.get());
  plan.step.always = spec.ramp >= 1.0;
  if (is_grpc(head) && plan.step.facts.total > Duration::zero()) {
    const auto clients = parse_grpc_timeout(head.headers.value(HeaderId::grpc_timeout));
    if (clients) plan.step.facts.total = std::min(plan.step.facts.total, *clients);
  }
  if (spec.mode == FilterMode::disabled) {
    plan.idle = "disabled";
  } else if (spec.when != nullptr && !spec.when->matches(head)) {
    plan.idle = "its `when` does not match";
  } else if (spec.mode == FilterMode::shadow) {
    plan.idle = "shadow: counts, changes nothing";
  }
  plan.step.acts = plan.idle.empty();
  spec.factory->explain(spec.config.get(), head, plan.notes);
  return plan;
}

TargetPlan plan_target(const Config& config, const ListenerConfig& listener, const RouteConfig& route, const SplitTarget& split,
                       const RequestHead& head) {
  TargetPlan plan;
  plan.service = &config.services.at(split.service);
  plan.weight = split.weight;
  plan.choice = config.choose_policy(listener, route, split.service);
  std::vector<ChainStep> steps;
  for (const FilterSpec& spec : plan.choice.policy->filters) {
    plan.filters.push_back(plan_filter(spec, head));
    steps.push_back(plan.filters.back().step);
  }
  plan.has_body = head.has_body;
  plan.worst = worst_case(steps, {plan.service->connect_timeout, plan.service->pending_timeout});
  return plan;
}

void plan_route(const Config& config, const RouteConfig& route, Arena& arena, RequestHead& head, RequestPlan& plan) {
  if (route.targets.empty()) {
    plan.status = route.respond->status;
    return;
  }
  // Filters see the request as it is sent on: what Exchange::prepare_request adds, and the route's edits. Whose address a client has, nobody
  // knows here; it stands for one of this host.
  add_via(head.headers, head.version);
  if (plan.listener->direction == Direction::inbound) {
    ForwardedFacts hop;
    hop.client = "127.0.0.1";
    if (plan.listener->tls) hop.proto = "https";
    set_forwarded_fields(head, hop);
  }
  const CompiledEdits edits = CompiledEdits::compile(route.request_headers);
  edit_request(route, edits, arena, head);
  plan.sent_target = head.target;
  std::uint64_t weights = 0;
  for (const SplitTarget& split : route.targets) weights += split.weight;
  for (const SplitTarget& split : route.targets) {
    if (split.weight == 0) continue;
    plan.targets.push_back(plan_target(config, *plan.listener, route, split, head));
    plan.targets.back().weights = weights;
  }
}

}  // namespace

RequestPlan plan_request(const Config& config, const ListenerConfig& listener, const RequestText& request) {
  Scratch scratch;
  RequestHead head(scratch.arena());
  RequestPlan plan;
  plan.config = &config;
  plan.listener = &listener;
  plan.method = request.method;
  std::string text = head_of(request, listener);
  if (const Rule* broken = parse(text, listener, scratch.arena(), head)) {
    plan.refused = concat(broken->name, " (", broken->source, ")");
    plan.status = broken->status;
    return plan;
  }
  Random random(1);
  set_request_id(head, true, random);
  const std::string_view refused = normalize_request(scratch.arena(), head);
  plan.authority = head.authority;
  plan.target = head.target;
  if (!refused.empty()) {
    plan.refused = refused;
    plan.status = facts(FailureKind::bad_request).http_status;
    return plan;
  }
  const std::size_t index = first_match(listener.routes, head);
  for (std::size_t i = 0; i < std::min(index, listener.routes.size()); ++i) {
    plan.passed.push_back({&listener.routes[i], lacks(config, listener.routes[i].match, head)});
  }
  if (index == listener.routes.size()) {
    plan.status = facts(FailureKind::no_route).http_status;
    return plan;
  }
  plan.route = &listener.routes[index];
  plan_route(config, *plan.route, scratch.arena(), head, plan);
  return plan;
}

}  // namespace weir
