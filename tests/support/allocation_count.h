// Counts calls of operator new on the calling thread, for tests of what must not allocate.
// Linking a test program with it replaces the global operator new of that program; nobody owns it.
// It never counts malloc itself, nor other threads.
#pragma once

#include <cstdint>

namespace weir::test {

std::uint64_t allocation_count();

}  // namespace weir::test
