// The built-in configuration: the policies of either direction and the fields of every service, as YAML text.
// It is read by the same code as a user's file, so that what is printed is what is done.
// It is never written to disk and never linted.
#pragma once

#include <string_view>

namespace weir {

inline constexpr const char* kBuiltinFile = "built-in";  // what messages and the access log call it

std::string_view builtin_yaml();

}  // namespace weir
