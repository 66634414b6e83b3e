// Lints: configurations that are valid and surely not meant, as warnings with a code.
// Pure functions over what was read; the loader calls them on whatever is whole.
// They never speak of a value that failed to parse, and know filters only by the facts that these tell of
// themselves.
#pragma once

#include <vector>

#include "config/diagnostics.h"
#include "config/schema/config.h"
#include "config/schema/policies.h"

namespace weir {

// Outermost first: try-over-total, tries-over-total, unsafe-retry, unreachable-volume, senseless-order,
// nameless-state.
void lint_policy(const std::vector<const FilterDraft*>& filters, const config::Files& files, config::Diagnostics& diagnostics);

// two-breakers: policies of the file, both enforcing a breaker, that call one service. `drafts` are the
// file's own.
void lint_services(const Config& config, const std::vector<PolicyDraft>& drafts, const config::Files& files,
                   config::Diagnostics& diagnostics);

// unreachable-route: one after a route that takes everything. `items` are the places of the routes.
void lint_routes(const std::vector<RouteConfig>& routes, const config::Value& items, config::Reader& reader);

// ejects-none: an outlier_detection that can never eject. `written` is the block, with its place.
void lint_outliers(const ServiceConfig& service, const config::Value& written, config::Reader& reader);

// unused-field: hash_key without a balance that hashes, slow_start with one. `written` is the service.
void lint_balance(const ServiceConfig& service, const config::Value& written, config::Reader& reader);
void lint_protocol(const ServiceConfig& service, const config::Value& written, config::Reader& reader);

}  // namespace weir
