// BlockPool: small blocks of any size for a library that allocates for itself (nghttp2: streams, frames, fields). What is given back waits
// for the next of its size. The worker owns it (worker_context.h), and it outlives whatever was allocated from it.
// It never keeps more than kMostKept bytes, trim() gives those back, and it is never shared between workers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace weir {

class BlockPool {
 public:
  // Sizes are rounded up: small ones finely, because they are many.
  static constexpr std::size_t kStep = 32;
  static constexpr std::size_t kSmall = 512;
  static constexpr std::size_t kLargeStep = 256;
  static constexpr std::size_t kLargest = 2048;  // larger ones are the heap's
  static constexpr std::size_t kMostKept = std::size_t{512} * 1024;

  BlockPool() = default;
  ~BlockPool() { trim(); }
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  void* allocate(std::size_t size);  // null: the heap has none
  void* allocate_zeros(std::size_t count, std::size_t size);
  void* reallocate(void* at, std::size_t size);
  void release(void* at);
  void trim();                                            // the heap gets what waits
  std::size_t kept() const { return kept_; }              // bytes that wait
  std::uint64_t from_heap() const { return from_heap_; }  // blocks taken there so far

 private:
  struct Block {             // before the bytes
    std::uint32_t capacity;  // 0: the heap's
    std::uint32_t list;
    Block* next;
  };
  static Block* block_of(void* at) { return static_cast<Block*>(at) - 1; }
  static_assert(sizeof(Block) % alignof(std::max_align_t) == 0);

  std::array<Block*, kSmall / kStep + (kLargest - kSmall) / kLargeStep> lists_{};
  std::size_t kept_ = 0;
  std::uint64_t from_heap_ = 0;
};

}  // namespace weir
