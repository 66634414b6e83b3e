// What holds of every text that is given to the configuration loader, whether it loads or not.
// Called by the fuzz target and by the test of the grammar; it loads with the catalog of all filters, from files in memory.
// Ends the run (require) where something does not hold.
#pragma once

#include <string_view>

namespace weir {

// True when it loaded. Then chains were built of it, and it was printed, read back and printed again.
bool check_config(std::string_view text);

// The same text made large, in two ways: loading must stay in proportion. Slow.
void check_config_grown(std::string_view text);

}  // namespace weir
