// CHECK for what cannot happen, in every build; DCHECK for what is too dear to check in release builds.
// Owned by nobody; a failed check prints the condition with its place and aborts.
// Never used for input: bad input is a Result or a Failure.
#pragma once

namespace weir {

[[noreturn]] void check_failed(const char* condition, const char* file, int line) noexcept;

}  // namespace weir

#define WEIR_CHECK(condition) \
  (__builtin_expect(!(condition), 0) ? ::weir::check_failed(#condition, __FILE__, __LINE__) : static_cast<void>(0))

#ifdef NDEBUG
#define DCHECK(condition) static_cast<void>(sizeof(!(condition)))
#else
#define DCHECK(condition) WEIR_CHECK(condition)
#endif

// In tests the short name belongs to Catch2, so a header says WEIR_CHECK (or DCHECK) and a .cc may say CHECK.
#ifndef WEIR_TEST
#define CHECK(condition) WEIR_CHECK(condition)
#endif
