// H2Memory: the small blocks of one HTTP/2 session: streams, frames, fields. What is given back waits for the next of its size.
// H2Session owns it; the session's blocks are all given back before it goes.
// It never keeps more than a few of a size, so that a burst leaves little behind, and it is never shared.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace weir {

class H2Memory {
 public:
  static constexpr std::size_t kStep = 32;      // sizes are rounded up to it
  static constexpr std::size_t kLargest = 512;  // larger ones are the heap's
  static constexpr std::uint32_t kKept = 16;    // of each size

  H2Memory() = default;
  ~H2Memory();
  H2Memory(const H2Memory&) = delete;
  H2Memory& operator=(const H2Memory&) = delete;

  void* allocate(std::size_t size);  // null: the heap has none
  void* allocate_zeros(std::size_t count, std::size_t size);
  void* reallocate(void* at, std::size_t size);
  void release(void* at);
  std::uint64_t from_heap() const { return from_heap_; }  // blocks taken there so far

 private:
  struct Block {       // before the bytes
    std::size_t list;  // 0: too large for one
    Block* next;
  };
  struct List {
    Block* first = nullptr;
    std::uint32_t count = 0;
  };
  static Block* block_of(void* at) { return static_cast<Block*>(at) - 1; }
  static_assert(sizeof(Block) % alignof(std::max_align_t) == 0);

  std::array<List, kLargest / kStep + 1> lists_{};
  std::uint64_t from_heap_ = 0;
};

}  // namespace weir
