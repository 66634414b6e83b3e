#include "proxy/runtime/arena.h"

#include <cstring>

#include "proxy/base/check.h"
#include "proxy/runtime/memory_poison.h"

namespace weir {

// The head of every further block; `pooled` ones go back to the free list, the others to the heap.
struct Arena::Extra {
  Extra* next;
  bool pooled;
};

namespace {

constexpr std::size_t kMaxAlignment = alignof(std::max_align_t);

std::uintptr_t address(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

}  // namespace

void* Arena::allocate_slow(std::size_t size, std::size_t alignment) {
  const std::size_t slack = alignment > kMaxAlignment ? alignment : 0;
  const std::size_t needed = sizeof(Extra) + kMaxAlignment + slack + size;
  WEIR_CHECK(needed > size);
  const bool pooled = needed <= ArenaPool::kBlockSize;
  const std::size_t taken = pooled ? ArenaPool::kBlockSize : needed;
  void* block = pooled ? pool_.take_block() : ::operator new(taken);
  bytes_ += taken;
  extra_ = new (block) Extra{extra_, pooled};

  const std::uintptr_t start = (address(block) + sizeof(Extra) + alignment - 1) & ~(alignment - 1);
  const std::uintptr_t next = start + size;
  const std::uintptr_t end = address(block) + taken;
  if (end - next > end_ - next_) {  // go on where more room is left
    next_ = next;
    end_ = end;
  }
  return reinterpret_cast<void*>(start);
}

std::string_view Arena::copy(std::string_view text) {
  if (text.empty()) return {};
  char* to = static_cast<char*>(allocate(text.size(), 1));
  std::memcpy(to, text.data(), text.size());
  return {to, text.size()};
}

void Arena::give_back() {
  ArenaPool& pool = pool_;
  for (Extra* extra = extra_; extra != nullptr;) {
    Extra* next = extra->next;
    if (extra->pooled) {
      pool.give_block(extra);
    } else {
      ::operator delete(extra);
    }
    extra = next;
  }
  --pool.in_use_;
  pool.give_block(this);  // the arena lives at the start of its first block
}

ArenaPool::~ArenaPool() {
  WEIR_CHECK(in_use_ == 0);
  trim(0);
}

Arena& ArenaPool::open() {
  void* block = take_block();
  Arena* arena = new (block) Arena(*this);
  arena->next_ = address(block) + sizeof(Arena);
  arena->end_ = address(block) + kBlockSize;
  arena->bytes_ = kBlockSize;
  ++in_use_;
  return *arena;
}

void* ArenaPool::take_block() {
  if (free_ == nullptr) return ::operator new(kBlockSize);
  FreeBlock* block = free_;
  free_ = block->next;
  --free_count_;
  unpoison(block, kBlockSize);
  return block;
}

void ArenaPool::give_block(void* block) {
  free_ = new (block) FreeBlock{free_};
  ++free_count_;
  poison(free_ + 1, kBlockSize - sizeof(FreeBlock));
}

void ArenaPool::trim(std::size_t keep) {
  while (free_count_ > keep) ::operator delete(take_block());
}

}  // namespace weir
