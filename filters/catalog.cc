#include "filters/catalog.h"

#include "filters/circuit_breaker/circuit_breaker_filter.h"
#include "filters/concurrency_limit/concurrency_limit_filter.h"
#include "filters/load_shed/load_shed_filter.h"
#include "filters/rate_limit/rate_limit_filter.h"
#include "filters/retry/retry_filter.h"
#include "filters/timeout/timeout_filter.h"

namespace weir {

const FilterCatalog& filter_catalog() {
  static const FilterCatalog catalog = {
      &timeout_filter(), &retry_filter(), &circuit_breaker_filter(), &concurrency_limit_filter(), &rate_limit_filter(), &load_shed_filter(),
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
