// The splice pipe of a simulated network, whose streams have no descriptors: memory that is filled by a read and drained by a write, so that
// what weir does about splicing meets the network's short reads, short writes, stalls and resets too. SplicePipes owns it.
#pragma once

#include "proxy/runtime/splice_pipe.h"

namespace weir {

std::unique_ptr<SplicePipe> make_sim_pipe();

}  // namespace weir
