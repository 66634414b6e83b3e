// load_shed: refuses a share of the requests while the host itself is near a limit: CPU, memory, open files, loop delay.
// The chain owns the link, which owns its policy: each worker decides for itself from the same readings.
// It never samples the host: proxy/server does.
#pragma once

#include "config/section.h"
#include "filters/load_shed/load_shed_policy.h"
#include "proxy/chain/filter.h"

namespace weir {

const config::Section<LoadShedConfig>& load_shed_section();
const FilterFactory& load_shed_filter();

}  // namespace weir
