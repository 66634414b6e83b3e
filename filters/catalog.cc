#include "filters/catalog.h"

#include "filters/retry/retry_filter.h"
#include "filters/timeout/timeout_filter.h"

namespace weir {

const FilterCatalog& filter_catalog() {
  static const FilterCatalog catalog = {
      &timeout_filter(),
      &retry_filter(),
  };
  return catalog;
}

const FilterFactory* find_filter(std::string_view kind) {
  for (const FilterFactory* factory : filter_catalog()) {
    if (factory->kind() == kind) return factory;
  }
  return nullptr;
}

}  // namespace weir
