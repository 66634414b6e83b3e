#include "config/schema/sections.h"
#include "config/write.h"
#include "proxy/base/text.h"
#include "proxy/cli/explain_text.h"

namespace weir::cli {
namespace {

using config::Value;

Value text(std::string_view words) {
  Value value = Value::plain(std::string(words));
  value.quoted = true;
  return value;
}
Value number(std::uint64_t count) { return Value::plain(concat(count)); }

// Whole milliseconds: durations of the configuration are no finer. Null: unbounded.
Value milliseconds(const std::optional<Duration>& time) {
  if (!time) return {};
  return Value::plain(concat(std::chrono::duration_cast<std::chrono::milliseconds>(*time).count()));
}

Value filter_tree(const FilterPlan& filter) {
  Value out = Value::map();
  out.add("name", text(filter.spec->name));
  out.add("kind", text(filter.spec->factory->kind()));
  out.add("place", text(print_place(filter.spec->place)));
  out.add("mode", text(mode_of(filter)));
  out.add("acts", Value::plain(filter.step.acts ? "true" : "false"));
  if (!filter.idle.empty()) out.add("why_not", text(filter.idle));
  out.add("config", filter.spec->factory->section().print_any(filter.spec->config.get()));
  Value notes = Value::map();
  for (const FilterNote& note : filter.notes) notes.add(std::string(note.what), text(note.text));
  out.add("notes", std::move(notes));
  return out;
}

Value worst_tree(const WorstCase& worst) {
  Value out = Value::map();
  out.add("attempts", number(worst.attempts));
  out.add("free_resends", number(worst.free_resends));
  out.add("to_headers_ms", milliseconds(worst.to_headers));
  out.add("to_end_ms", milliseconds(worst.to_end));
  out.add("tries_without_total_ms", milliseconds(worst.tries));
  out.add("unreachable_ms", milliseconds(worst.unreachable));
  return out;
}

Value target_tree(const TargetPlan& target, const std::vector<Finding>& findings) {
  static constexpr std::string_view kBy[] = {"route", "service", "direction"};
  Value out = Value::map();
  out.add("service", text(target.service->name));
  out.add("place", text(print_place(target.service->place)));
  out.add("weight", number(target.weight));
  out.add("weights", number(target.weights));
  out.add("config", service_section().print(*target.service));
  out.add("policy", text(target.choice.policy->name));
  out.add("policy_by", text(kBy[static_cast<std::size_t>(target.choice.by)]));
  out.add("policy_place", text(print_place(target.choice.policy->place)));
  Value filters = Value::list();
  for (const FilterPlan& filter : target.filters) filters.add(filter_tree(filter));
  out.add("filters", std::move(filters));
  out.add("worst_case", worst_tree(target.worst));
  Value warnings = Value::list();
  for (const std::string& line : findings_of(target, findings)) warnings.add(text(line));
  out.add("warnings", std::move(warnings));
  return out;
}

}  // namespace

std::string explain_json(const RequestPlan& plan, const std::vector<Finding>& findings) {
  Value out = Value::map();
  out.add("method", text(plan.method));
  out.add("authority", text(plan.authority));
  out.add("target", text(plan.target));
  out.add("listener", text(plan.listener->name));
  out.add("direction", text(plan.listener->direction == Direction::inbound ? "inbound" : "outbound"));
  if (!plan.refused.empty()) out.add("refused", text(plan.refused));
  if (plan.status != 0) out.add("status", number(static_cast<std::uint64_t>(plan.status)));
  Value passed = Value::list();
  for (const RouteVerdict& verdict : plan.passed) {
    Value one = Value::map();
    one.add("route", text(verdict.route->name));
    one.add("place", text(print_place(verdict.route->place)));
    one.add("why_not", text(verdict.why));
    passed.add(std::move(one));
  }
  out.add("passed", std::move(passed));
  if (plan.route != nullptr) {
    out.add("route", text(plan.route->name));
    out.add("route_place", text(print_place(plan.route->place)));
    if (!plan.targets.empty()) out.add("sent_target", text(plan.sent_target));
  }
  Value targets = Value::list();
  for (const TargetPlan& target : plan.targets) targets.add(target_tree(target, findings));
  out.add("targets", std::move(targets));
  out.add("limits_are", text("per process, over all workers"));
  return config::write_json_indented(out);
}

}  // namespace weir::cli
