// The words of `weir explain`: a plan as compact text for people, and as JSON for machines.
// Pure functions over what the caller owns; they decide nothing that the plan does not say.
#pragma once

#include <string>
#include <vector>

#include "config/schema/load.h"
#include "proxy/server/request_plan.h"

namespace weir::cli {

std::string explain_text(const RequestPlan& plan, const std::vector<Finding>& findings);
std::string explain_json(const RequestPlan& plan, const std::vector<Finding>& findings);  // indented

// Of the findings those that concern the target: its service, or a filter of its policy.
std::vector<std::string> findings_of(const TargetPlan& target, const std::vector<Finding>& findings);

std::string print_place(PolicyPlace place);  // "weir.yaml:12"; empty where nothing was written
// What the filter is set to do here: "enforce", "shadow", "disabled", with "10%" of the requests where it ramps.
std::string mode_of(const FilterPlan& filter);
// How the worst case comes about, a sentence each.
struct WorstWords {
  std::string tries, to_headers, to_end, unreachable;
};
WorstWords worst_words(const TargetPlan& target);

}  // namespace weir::cli
