// The catalog: every filter that this weir knows, listed explicitly; reading catalog.cc tells what policies can contain.
// The factories are constants without state; the configuration looks kinds up here and the chain builds with what it finds.
// There is no registration at start: a filter that is not listed does not exist.
#pragma once

#include "proxy/chain/filter.h"

namespace weir {

const FilterCatalog& filter_catalog();
const FilterFactory* find_filter(std::string_view kind);  // null when there is none

}  // namespace weir
