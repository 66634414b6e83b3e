#include "proxy/runtime/block_pool.h"

#include <cstdlib>
#include <cstring>
#include <limits>

#include "proxy/runtime/memory_poison.h"

namespace weir {

namespace {

struct SizeClass {
  std::size_t list;
  std::size_t capacity;
};

SizeClass class_of(std::size_t size) {
  if (size <= BlockPool::kSmall) {
    const std::size_t list = size == 0 ? 0 : (size - 1) / BlockPool::kStep;
    return {list, (list + 1) * BlockPool::kStep};
  }
  const std::size_t more = (size - BlockPool::kSmall - 1) / BlockPool::kLargeStep;
  return {BlockPool::kSmall / BlockPool::kStep + more, BlockPool::kSmall + (more + 1) * BlockPool::kLargeStep};
}

}  // namespace

void BlockPool::trim() {
  for (Block*& first : lists_) {
    while (Block* block = first) {
      first = block->next;
      unpoison(block + 1, block->capacity);
      std::free(block);
    }
  }
  kept_ = 0;
}

void* BlockPool::allocate(std::size_t size) {
  SizeClass wanted{0, 0};
  if (size <= kLargest) {
    wanted = class_of(size);
    if (Block* block = lists_[wanted.list]) {
      lists_[wanted.list] = block->next;
      kept_ -= wanted.capacity;
      unpoison(block + 1, wanted.capacity);
      return block + 1;
    }
    size = wanted.capacity;
  }
  if (size > std::numeric_limits<std::size_t>::max() / 2) return nullptr;
  auto* block = static_cast<Block*>(std::malloc(sizeof(Block) + size));
  if (block == nullptr) return nullptr;
  ++from_heap_;
  block->capacity = static_cast<std::uint32_t>(wanted.capacity);
  block->list = static_cast<std::uint32_t>(wanted.list);
  return block + 1;
}

void* BlockPool::allocate_zeros(std::size_t count, std::size_t size) {
  if (size != 0 && count > std::numeric_limits<std::size_t>::max() / size) return nullptr;
  void* at = allocate(count * size);
  if (at != nullptr) std::memset(at, 0, count * size);
  return at;
}

void* BlockPool::reallocate(void* at, std::size_t size) {
  if (at == nullptr) return allocate(size);
  Block* block = block_of(at);
  if (block->capacity == 0 && size > kLargest) {
    if (size > std::numeric_limits<std::size_t>::max() / 2) return nullptr;
    auto* grown = static_cast<Block*>(std::realloc(block, sizeof(Block) + size));
    return grown == nullptr ? nullptr : grown + 1;
  }
  if (size <= block->capacity) return at;
  void* other = allocate(size);
  if (other == nullptr) return nullptr;
  std::memcpy(other, at, block->capacity == 0 ? size : block->capacity);  // a large one that shrinks, or a small one that grows
  release(at);
  return other;
}

void BlockPool::release(void* at) {
  if (at == nullptr) return;
  Block* block = block_of(at);
  if (block->capacity == 0 || kept_ + block->capacity > kMostKept) return std::free(block);
  block->next = lists_[block->list];
  lists_[block->list] = block;
  kept_ += block->capacity;
  poison(block + 1, block->capacity);
}

}  // namespace weir
