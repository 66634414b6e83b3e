// Arena: the memory of one exchange: one 4 KiB block from the worker's free list, more blocks only for large heads.
// The exchange opens it; every call, pipe end and exchange made in it holds it, and the last to let go returns the blocks.
// It never frees single objects, and it is never shared between workers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string_view>
#include <utility>

namespace weir {

class ArenaPool;

class Arena {
 public:
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Uninitialised memory; any size. Never null.
  void* allocate(std::size_t size, std::size_t alignment = alignof(std::max_align_t)) {
    const std::uintptr_t start = (next_ + alignment - 1) & ~(alignment - 1);
    if (start + size > end_) return allocate_slow(size, alignment);
    next_ = start + size;
    return reinterpret_cast<void*>(start);
  }
  // The caller ends the object's life (calls are ended by the graveyard); trivially destructible objects need no end.
  template <class T, class... Args>
  T* make(Args&&... args) {
    return new (allocate(sizeof(T), alignof(T))) T(std::forward<Args>(args)...);
  }
  template <class T>
  T* make_array(std::size_t count) {
    return new (allocate(sizeof(T) * count, alignof(T))) T[count]{};
  }
  std::string_view copy(std::string_view text);
  std::size_t bytes() const { return bytes_; }  // taken from the pool or the heap so far

  // Each holder holds it once; the last release gives the memory back, the arena included.
  void retain() { ++holders_; }
  void release() {
    if (--holders_ == 0) give_back();
  }

 private:
  friend class ArenaPool;
  struct Extra;
  explicit Arena(ArenaPool& pool) : pool_(pool) {}
  void* allocate_slow(std::size_t size, std::size_t alignment);
  void give_back();

  ArenaPool& pool_;
  std::uintptr_t next_ = 0;
  std::uintptr_t end_ = 0;
  std::uint32_t holders_ = 1;
  std::size_t bytes_ = 0;
  Extra* extra_ = nullptr;
};

// Holds an arena while in scope or as a member.
class ArenaHold {
 public:
  ArenaHold() = default;
  explicit ArenaHold(Arena& arena) : arena_(&arena) { arena.retain(); }
  ArenaHold(ArenaHold&& other) noexcept : arena_(std::exchange(other.arena_, nullptr)) {}
  ArenaHold& operator=(ArenaHold&& other) noexcept {
    std::swap(arena_, other.arena_);
    return *this;
  }
  ~ArenaHold() { reset(); }
  void reset() {
    if (arena_ != nullptr) std::exchange(arena_, nullptr)->release();
  }
  Arena* get() const { return arena_; }

 private:
  Arena* arena_ = nullptr;
};

// Owns an object in an arena: ends its life, but the memory is the arena's. For parts that few exchanges need.
struct EndInArena {
  template <class T>
  void operator()(T* object) const {
    object->~T();
  }
};
template <class T>
using ArenaPtr = std::unique_ptr<T, EndInArena>;

// The worker's free list of blocks. The worker owns it; it outlives every arena. trim() gives back what a burst left behind.
class ArenaPool {
 public:
  static constexpr std::size_t kBlockSize = 4096;
  ArenaPool() = default;
  ~ArenaPool();
  ArenaPool(const ArenaPool&) = delete;
  ArenaPool& operator=(const ArenaPool&) = delete;

  Arena& open();                                  // held once, by the caller, who releases it
  std::size_t in_use() const { return in_use_; }  // arenas open
  std::size_t free_blocks() const { return free_count_; }
  void trim(std::size_t keep);

 private:
  friend class Arena;
  void* take_block();
  void give_block(void* block);
  struct FreeBlock {
    FreeBlock* next;
  };
  FreeBlock* free_ = nullptr;
  std::size_t free_count_ = 0;
  std::size_t in_use_ = 0;
};

}  // namespace weir
