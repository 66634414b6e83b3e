// Marks memory that lies in a free list as out of bounds for the address sanitizer, so that reuse does not hide a use after free.
// The pools of this folder call it; it owns nothing.
// It never does anything in a build without the sanitizer.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define WEIR_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEIR_POISON 1
#endif
#endif

#ifdef WEIR_POISON
#include <sanitizer/asan_interface.h>
#endif

namespace weir {

inline void poison([[maybe_unused]] const void* from, [[maybe_unused]] std::size_t size) {
#ifdef WEIR_POISON
  ASAN_POISON_MEMORY_REGION(from, size);
#endif
}

inline void unpoison([[maybe_unused]] const void* from, [[maybe_unused]] std::size_t size) {
#ifdef WEIR_POISON
  ASAN_UNPOISON_MEMORY_REGION(from, size);
#endif
}

}  // namespace weir
