// A splice pipe of the simulated network that counts what goes through it, so that a test can show that it spliced.
#pragma once

#include <cstddef>
#include <memory>

#include "proxy/runtime/splice_pipe.h"

namespace weir::test {

std::unique_ptr<SplicePipe> make_counted_pipe();
std::size_t spliced_bytes();  // through all of them, ever

}  // namespace weir::test
