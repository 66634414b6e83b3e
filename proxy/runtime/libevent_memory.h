// What libevent allocates with: small blocks come from pages of their own, the rest from the common heap.
// libevent_loop.cc hands it to libevent before the first loop, for the whole process; libevent owns the blocks. Any thread.
// It never gives pages back: libevent's small blocks live as long as the loops do.
#pragma once

#include <cstddef>

namespace weir {

// libevent keeps a record of 16 bytes for each descriptor number that a loop ever watched. On the common heap they come to lie between the
// buffers of whichever burst first reached that number, and keep their pages resident for good (measured: 4 KiB a descriptor).
struct LibeventMemory {
  static void* allocate(std::size_t size);
  static void* reallocate(void* old, std::size_t size);
  static void release(void* at);
};

}  // namespace weir
