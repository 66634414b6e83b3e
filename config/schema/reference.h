// The reference page of the configuration, config/README.md: every field with type, default, bounds, example and meaning.
// Made from the declarations that read the file, so that it cannot say something else; ctest checks that the page is current.
// It never contains anything that is written by hand elsewhere.
#pragma once

#include <string>

#include "proxy/chain/filter.h"

namespace weir {

std::string write_reference(const FilterCatalog& catalog);  // Markdown

}  // namespace weir
