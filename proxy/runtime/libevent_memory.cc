#include "proxy/runtime/libevent_memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <utility>

namespace weir {
namespace {

// Address space for a million records; what was never used of it takes no memory.
class RecordPages {
 public:
  static constexpr std::size_t kRecord = 32;

  static RecordPages& the() {
    static RecordPages pages;
    return pages;
  }
  bool has(const void* at) const { return std::greater_equal<const void*>()(at, begin_) && std::less<const void*>()(at, end_); }
  void* take() {  // null: none is left
    const std::lock_guard<std::mutex> lock(mutex_);
    if (free_ != nullptr) return std::exchange(free_, free_->next);
    return fresh_ == end_ ? nullptr : fresh_++;
  }
  void give_back(void* at) {
    const std::lock_guard<std::mutex> lock(mutex_);
    auto* record = static_cast<Record*>(at);
    record->next = std::exchange(free_, record);
  }

 private:
  static constexpr std::size_t kRecords = 1'000'000;
  union Record {
    Record* next;
    char bytes[kRecord];
  };
  RecordPages() {
    void* space = mmap(nullptr, kRecords * kRecord, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (space == MAP_FAILED) return;  // the heap will do
    fresh_ = begin_ = static_cast<Record*>(space);
    end_ = begin_ + kRecords;
  }

  std::mutex mutex_;
  Record *begin_ = nullptr, *fresh_ = nullptr, *end_ = nullptr;
  Record* free_ = nullptr;
};

}  // namespace

void* LibeventMemory::allocate(std::size_t size) {
  if (size <= RecordPages::kRecord) {
    if (void* record = RecordPages::the().take()) return record;
  }
  return std::malloc(size);
}

void* LibeventMemory::reallocate(void* old, std::size_t size) {
  if (old == nullptr) return allocate(size);
  if (!RecordPages::the().has(old)) return std::realloc(old, size);
  if (size <= RecordPages::kRecord) return old;
  void* grown = std::malloc(size);
  if (grown == nullptr) return nullptr;
  std::memcpy(grown, old, RecordPages::kRecord);
  RecordPages::the().give_back(old);
  return grown;
}

void LibeventMemory::release(void* at) {
  if (at == nullptr) return;
  RecordPages::the().has(at) ? RecordPages::the().give_back(at) : std::free(at);
}

}  // namespace weir
