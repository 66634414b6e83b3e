// What differs between two configurations, in words, section by section: for the log and for whoever asked for a reload.
// A pure function over two Configs, which stay their owner's. It compares all that a configuration says, not the texts of files.
// Header values that came from elsewhere are shown as their source, never as what they hold.
#pragma once

#include <string>
#include <vector>

#include "config/schema/config.h"

namespace weir {

inline constexpr std::size_t kMostChanges = 50;       // lines; the last one then says how many more there are
inline constexpr std::size_t kMostChangeBytes = 240;  // of a line

// One line for each thing that changed, such as "service payments: connect_timeout 3s -> 1s" or "listener in: moved from A to B".
// Empty exactly when the two are the same.
std::vector<std::string> describe_changes(const Config& before, const Config& after, const FilterCatalog& catalog);

}  // namespace weir
