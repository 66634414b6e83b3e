// A second, plain implementation of what hop_headers.h and framing_rules.h promise about fields, over vectors of strings.
// The fuzz target of header values compares ours with it; each function is the rule of the RFC as a reader would write it down.
// It shares no code with the program, is in no hurry, and knows no arena.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weir::plain {

using Fields = std::vector<std::pair<std::string, std::string>>;  // names in lower case

std::string trimmed(std::string_view text);
std::string lower(std::string_view text);
std::vector<std::string> elements(std::string_view list);  // of a comma-separated list, trimmed, the empty ones left out

// RFC 9110 7.6.1 as hop_headers.h narrows it: what is left of the fields, and whether the connection is kept.
struct Connection {
  Fields fields;
  bool keep = true;
};
Connection take_connection_fields(const Fields& fields, bool http10);

// The field of that name joined, `entry` at its end, as the last field; the others in their order.
Fields appended(const Fields& fields, const std::string& name, const std::string& entry);
Fields without(const Fields& fields, const std::string& name);
std::vector<std::string> values(const Fields& fields, const std::string& name);

std::optional<std::int64_t> content_length(std::string_view value);  // RFC 9110 8.6

// "Example.COM.:80" to "example.com:80"; nothing when it is no host with an optional port.
std::optional<std::string> authority(std::string_view text);

}  // namespace weir::plain
