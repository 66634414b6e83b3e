// Writes a configuration tree as text: YAML for people (block style, short things on one line) and JSON for
// machines. Pure functions; the tree stays the caller's. What they write, the loader reads back as the same
// tree; they never write anchors, tags or comments.
#pragma once

#include <string>
#include <string_view>

#include "config/value.h"

namespace weir::config {

std::string write_yaml(const Value& value);  // a document, ending in a line end
std::string write_flow(const Value& value);  // one line: { total: 2s, methods: [GET, POST] }
std::string write_json(const Value& value);  // one line
// Indented by two, lists of scalars on one line; ends in a line end.
std::string write_json_indented(const Value& value);

}  // namespace weir::config
