#include "proxy/http/h2_memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "proxy/runtime/memory_poison.h"

namespace weir {

H2Memory::~H2Memory() {
  for (std::size_t i = 1; i < lists_.size(); ++i) {
    while (Block* block = lists_[i].first) {
      lists_[i].first = block->next;
      unpoison(block + 1, i * kStep);
      std::free(block);
    }
  }
}

void* H2Memory::allocate(std::size_t size) {
  const std::size_t list = size <= kLargest ? (std::max<std::size_t>(size, 1) + kStep - 1) / kStep : 0;
  List& kept = lists_[list];
  if (Block* block = kept.first) {
    kept.first = block->next;
    --kept.count;
    unpoison(block + 1, list * kStep);
    return block + 1;
  }
  if (size > std::numeric_limits<std::size_t>::max() / 2) return nullptr;
  auto* block = static_cast<Block*>(std::malloc(sizeof(Block) + (list == 0 ? size : list * kStep)));
  if (block == nullptr) return nullptr;
  ++from_heap_;
  block->list = list;
  return block + 1;
}

void* H2Memory::allocate_zeros(std::size_t count, std::size_t size) {
  if (size != 0 && count > std::numeric_limits<std::size_t>::max() / size) return nullptr;
  void* at = allocate(count * size);
  if (at != nullptr) std::memset(at, 0, count * size);
  return at;
}

void* H2Memory::reallocate(void* at, std::size_t size) {
  if (at == nullptr) return allocate(size);
  Block* block = block_of(at);
  if (block->list == 0 && size > kLargest) {
    auto* grown = static_cast<Block*>(std::realloc(block, sizeof(Block) + size));
    return grown == nullptr ? nullptr : grown + 1;
  }
  if (size <= block->list * kStep) return at;
  void* other = allocate(size);
  if (other == nullptr) return nullptr;
  std::memcpy(other, at, block->list == 0 ? size : block->list * kStep);  // a large one that shrinks, or a small one that grows
  release(at);
  return other;
}

void H2Memory::release(void* at) {
  if (at == nullptr) return;
  Block* block = block_of(at);
  List& kept = lists_[block->list];
  if (block->list == 0 || kept.count >= kKept) return std::free(block);
  block->next = kept.first;
  kept.first = block;
  ++kept.count;
  poison(block + 1, block->list * kStep);
}

}  // namespace weir
